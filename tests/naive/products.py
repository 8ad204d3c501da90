"""The law of a product of free layers, one point at a time, as theory (21) to (30) states it.

For one z Newton's iteration solves log((1 + m)/m) − Σ log S(m) = log z for ζ = log((1 + m)/m), every S from
a scalar equation of its own. Solutions are continued from tiny m on Im log z = 3 to the left, then down.
"""

import cmath
import functools
import math
from collections import Counter

import numpy as np
from scipy import special

from isocalc import FeedForward, propagate
from naive.gates import NaiveGate, unit

START, LONGEST, SHORTEST = 30 + 3j, 0.25, 1e-9
# Standard deviations, in lengths over which φ varies, between which averages over gates are plain work.
NEAREST, FARTHEST = 1e-8, 4.0


class OutOfReachError(Exception):
    """The twin is too plain for a network or a point."""


@functools.cache
def smooth_gate(spec, q):
    """Values of φ'² and weights on a path off the real axis, where none meets a pole of 1/(1 − dt)."""
    try:
        found = NaiveGate(spec, q)
    except AssertionError as reason:
        raise OutOfReachError(f"gates of q = {q:.3g}: {reason}") from None
    return found.d.astype(complex), found.weights.astype(complex)


class Gate:
    """The law of φ'(x)², x of variance q; neurons without a gate, where there are some, have 0."""

    def __init__(self, act, q, has_gate=1.0):
        if act.slopes is not None:
            ends = np.array([-math.inf, *act.breakpoints, math.inf]) / math.sqrt(q)
            self.d, weights = np.array(act.slopes) ** 2 + 0j, np.diff(special.ndtr(ends))
        elif not NEAREST < math.sqrt(q) / unit(act) < FARTHEST:
            raise OutOfReachError(f"gates of q = {q:.3g}")
        else:
            self.d, weights = smooth_gate(act.name, q)
        self.weights = has_gate * weights
        self.mean = float((self.weights * self.d).sum().real)

    def averages(self, u):
        """E dt/(1 − dt) and E dt/(1 − dt)² at t = e^u; beyond negative t by reflection."""
        if u.imag < -math.pi:
            return [average.conjugate() for average in self.averages(u.conjugate() - 2j * math.pi)]
        dt = self.d * cmath.exp(u)
        with np.errstate(all="ignore"):  # far off, t can be the inverse of a gate
            return [complex((self.weights * dt / (1 - dt) ** power).sum()) for power in (1, 2)]


class Layer:
    """Gates and weights between layers of N_0 · before and N_0 · after neurons, theory (24) to (30)."""

    def __init__(self, gate, net, before, after):
        self.gate, self.orthogonal, self.variance = gate, net.weights == "orthogonal", net.sigma_w**2
        self.share_before, self.share, self.growth = 1 / before, 1 / after, after / before

    def guess(self, m):
        return cmath.log(self.share * m / self.gate.mean)

    def equation(self, u, m):
        """What vanishes at the right u = log t, and its derivatives in u and in m."""
        b, slope = self.gate.averages(u)
        return b - self.share * m, slope, -self.share

    def log_s(self, u, m):
        """Log S, and its derivatives in u and in m."""
        seen, before = self.share * m, self.share_before * m
        of_gate, rate = u + cmath.log(1 + seen) - cmath.log(seen), self.share / (1 + seen) - 1 / m
        if not self.orthogonal:
            of_weights = -math.log(self.variance * self.growth) - cmath.log(1 + seen)
            return of_gate + of_weights, 1, rate - self.share / (1 + seen)
        rank = min(1.0, self.growth)
        of_weights = cmath.log(1 + before) - cmath.log(rank + before) - math.log(self.variance)
        return of_gate + of_weights, 1, rate + self.share_before * (1 / (1 + before) - 1 / (rank + before))


class ResidualLayer:
    """The layer 1 + X, theory (28): m_X = κb, b = E dt/(1 − dt), T = m_X (1 + m_X) S_X(m_X) = κt(1 + b)^k/v.

    k is 1 for X = D W with Gaussian W and 2 with orthogonal W. For X = W₂ D W₁ of κN neurons it is 0 with
    Gaussian matrices, and 2 with semi-orthogonal ones that widen and narrow.
    """

    def __init__(self, gate, variance, power, kappa=1.0):
        self.gate, self.variance, self.power, self.kappa = gate, variance, power, kappa

    def guess(self, m):
        return cmath.log(self.variance / self.kappa * m / (1 + self.variance * self.gate.mean))

    def log_t(self, u):
        """Log T and m_X, each with its derivative in u."""
        b, slope = self.gate.averages(u)
        log_t = u + math.log(self.kappa / self.variance) + self.power * cmath.log(1 + b)
        return log_t, 1 + self.power * slope / (1 + b), self.kappa * b, self.kappa * slope

    def equation(self, u, m):
        log_t, growth, m_x, slope = self.log_t(u)
        m_a, t = m - m_x, cmath.exp(log_t)
        return m_a * (1 + m_a) - t, -(1 + 2 * m_a) * slope - t * growth, 1 + 2 * m_a

    def log_s(self, u, m):
        log_t, growth, _, _ = self.log_t(u)
        return log_t - cmath.log(m) - cmath.log(1 + m), growth, -1 / m - 1 / (1 + m)


def root(layer, u, m):
    """The root u of a layer's equation next to a guess."""
    for _ in range(40):
        value, slope, _ = layer.equation(u, m)
        u -= value / slope
        if not abs(u.real) < 700:
            break
        if abs(value / slope) < 1e-14 * max(1.0, abs(u)):
            return u
    return complex(math.nan)


def left_over(layers, zeta, inner, log_z):
    """What is left of the equation at ζ, its derivative, and the roots of the layers."""
    m = 1 / (cmath.exp(zeta) - 1)
    left, slope, roots = zeta - log_z, 1.0, []
    for (layer, count), guess in zip(layers, inner, strict=True):
        u = root(layer, guess, m)
        _, of_u, of_m = layer.equation(u, m)
        log_s, in_u, in_m = layer.log_s(u, m)
        left -= count * log_s
        slope += count * (in_m - in_u * of_m / of_u) * m * (1 + m)
        roots.append(u)
    return left, slope, roots


def newton(layers, zeta, inner, log_z):
    """The solution next to another one, ``None`` where there is none so close."""
    found, roots = zeta, inner
    for _ in range(12):
        left, slope, roots = left_over(layers, found, roots, log_z)
        found -= left / slope
        moved = [abs(found - zeta), *(abs(u - old) for u, old in zip(roots, inner, strict=True))]
        if not all(change < 0.5 for change in moved):
            return None
        if abs(left / slope) < 1e-13 * max(1.0, abs(found)):
            return (found, roots) if -1e-9 < found.imag < math.pi else None
    return None


def density_of_product(layers, y):
    """Density of log λ at y, of layers given with how often each occurs."""
    zeta, m = START, 1 / (cmath.exp(START) - 1)
    at, _, inner = left_over(layers, zeta, [layer.guess(m) for layer, _ in layers], 0.0)
    for end in (complex(y, START.imag), complex(y, 0)):
        step = LONGEST
        while at != end:
            ahead = end if abs(end - at) <= step else at + step * (end - at) / abs(end - at)
            solved = newton(layers, zeta, inner, ahead)
            if solved:
                (zeta, inner), at, step = solved, ahead, min(LONGEST, 2 * step)
            elif step < SHORTEST:
                raise OutOfReachError(f"stuck at log z = {at:.6g}")
            else:
                step /= 2
    return -(1 / (cmath.exp(zeta) - 1)).imag / math.pi


def layers_of(net):
    """The layers of a network and how often each occurs."""
    act, orthogonal = net.act, net.weights == "orthogonal"
    if isinstance(net, FeedForward):
        widths = np.array(net.layer_widths or [1] * (net.depth + 1)) / (net.layer_widths or [1])[0]
        variances = np.ones(net.depth) if act.scale_free else propagate(net).q
        alike = Counter(zip(variances.tolist(), widths.tolist(), widths[1:].tolist(), strict=False))
        return [
            (Layer(Gate(act, q), net, before, after), count) for (q, before, after), count in alike.items()
        ]
    signal = propagate(net)
    if not net.branch.has_hidden_layer:
        v, power = net.sigma_w**2 / (net.depth * net.skip**2), 2 if orthogonal else 1
        alike = Counter(np.ones(net.depth).tolist() if act.scale_free else signal.q.tolist())
        return [(ResidualLayer(Gate(act, q), v, power), count) for q, count in alike.items()]
    # Semi-orthogonal matrices that narrow, then widen, are a square one with closed gates besides.
    rho, power = net.hidden_ratio, 2 if orthogonal else 0
    gate = Gate(act, signal.q_first, min(rho, 1.0) if orthogonal else 1.0)
    kappa = max(rho, 1.0) if orthogonal else rho
    alike = Counter((signal.c_per_layer / net.depth).tolist())
    return [(ResidualLayer(gate, c / gate.mean, power, kappa), count) for c, count in alike.items()]


def densities(net, places):
    """Density of log λ at each of some places, of a network at its depth, N → ∞."""
    layers = layers_of(net)
    skip = 0.0 if isinstance(net, FeedForward) else 2 * net.depth * math.log(abs(net.skip))
    return [density_of_product(layers, y - skip) for y in places]
