"""Pre-LayerNorm blocks done slowly: one path of scalar equations, by plain iteration.

Freeness with amalgamation over the diagonal matrices, where every neuron has the same path: per layer an
element 1 + X with X R-diagonal, αβ Ψ(αβ) = m_X. No S-transforms, and nothing of isocalc but φ'.
"""

import math

import numpy as np
from scipy import optimize

from isocalc.activations.catalogue import activation

# Evenly spaced, 0 in the middle between two.
Z = (np.arange(-2000, 2000) + 0.5) / 200
WEIGHTS = np.exp(-Z * Z / 2) / np.exp(-Z * Z / 2).sum()


class NaiveLayerNorm:
    """The limiting law of a network of Gaussian preln blocks, by its m(z) off the real axis."""

    def __init__(self, net):
        act = activation(net.activation)
        first, second = net.sigma_w**2, net.sigma_w2**2 / net.depth
        hidden = math.sqrt(first + net.sigma_b**2) * Z
        gate, image = (WEIGHTS @ values**2 for values in (act.dphi(hidden), act.phi(hidden)))
        p, self.v = net.input_variance, []
        for _ in range(net.depth):
            self.v.append(first * second * gate / p)
            p = net.skip**2 * p + second * image
        self.delta = act.dphi(hidden) ** 2 / gate
        self.ratio, self.skip, self.depth = net.hidden_ratio, net.skip**2, net.depth

    def _of_layer(self, v, t):
        """Ψ(t) = E δ/(1 − (v/ρ) t δ)."""
        return WEIGHTS @ (self.delta / (1 - v / self.ratio * t * self.delta))

    def iterate(self, z, alpha, beta):
        """α and β from themselves, and m."""
        psi = [self._of_layer(v, a * b) for v, a, b in zip(self.v, alpha, beta, strict=True)]
        p = [v * b * f for v, b, f in zip(self.v, beta, psi, strict=True)]
        q = [v * a * f for v, a, f in zip(self.v, alpha, psi, strict=True)]
        r, s = [1.0 + 0j], [1 / z]
        for k in range(self.depth):
            r.append(p[k] + self.skip * r[k] / (1 - q[k] * r[k]))
        for k in reversed(range(self.depth)):
            s.insert(0, q[k] + self.skip * s[0] / (1 - p[k] * s[0]))
        omega = [1 / (1 - a * b) for a, b in zip(r, s, strict=True)]
        pairs = [(s[k + 1] * omega[k + 1], r[k] * omega[k]) for k in range(self.depth)]
        return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]), np.array(omega) - 1

    def m(self, z):
        """Return m(z), Im z > 0, from the only fixed point in the sector of α and β."""
        alpha, beta = np.full(self.depth, 1 / z), np.ones(self.depth, complex)
        for _ in range(20_000):
            before = np.concatenate((alpha, beta))
            alpha, beta, m = self.iterate(z, alpha, beta)
            if np.abs(np.concatenate((alpha, beta)) - before).max() < 1e-14 * np.abs(before).max():
                self.solution = alpha, beta
                assert np.ptp(m.real) + np.ptp(m.imag) < 1e-10  # the same at every layer
                return m[0]
        raise AssertionError("no fixed point")

    def density(self, y):
        """Return the density of log λ, by Newton's iteration from off the real axis down to it."""
        self.m(np.exp(y + 0.3j))
        x = np.concatenate(self.solution)

        def miss(parts, angle):
            alpha, beta = np.split(parts[: x.size] + 1j * parts[x.size :], 2)
            found = self.iterate(np.exp(y + 1j * angle), alpha, beta)
            rest = np.concatenate((found[0] - alpha, found[1] - beta))
            return np.concatenate((rest.real, rest.imag))

        for angle in (0.2, 0.1, 0.05, 0.0):
            found = optimize.root(miss, np.concatenate((x.real, x.imag)), (angle,), tol=1e-13)
            assert found.success or np.abs(found.fun).max() < 1e-11, found.message
            x = found.x[: x.size] + 1j * found.x[x.size :]
        return -self.iterate(np.exp(y), *np.split(x, 2))[2][0].imag / math.pi
