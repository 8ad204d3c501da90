"""The law of a residual network at depth L: the universal law and its correction of first order in 1/L.

The theory's S-transform of one residual layer, expanded in c_l, the variance of the gated weights of layer
l over the square of the skip connection's weight, is

    log S_l(m) = −c_l w + δ_l(m),  δ_l = c_l² [w²/2 + u (1 + s_l w)] + O(c_l³),  w = 1 + 2m,  u = m (1 + m),

with s_l = −v_l for Gaussian and 1 − v_l for orthogonal weights, v_l the relative variance of φ'². The law
at depth L solves log((1+m)/m) + c w − Σ δ_l(m) = y, y = log λ − 2L log|a|. To first order its distribution
function changes by −Im Δ(m(y))/π, Δ = ∫ Σ δ_l dm = u (B w + K u)/2, B = Σ c_l², K = Σ c_l² s_l. That is a
displacement of each quantile by −Im Δ / Im m, finite up to the edges: the form in which it leaves an error
of O(1/L²) everywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from isocalc.gaussian import averages
from isocalc.network import ResNet
from isocalc.propagation import propagate
from isocalc.universal import edge

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

_POINTS = 4001
_LAYERS = 129
# Below it the law is narrower than rounding: a point mass.
_SMALLEST_C = 1e-30


@dataclass(frozen=True)
class DepthLaw:
    """The law of log s of a residual network of finite depth with free gates, N → ∞.

    Where the expansion is not accurate (`is_accurate`), distribution function, quantiles and variance are
    those of the universal law, without a correction.

    Parameters
    ----------
    c : float
        Σ c_l, the parameter of the universal law.
    squares : float
        B = Σ c_l².
    skews : float
        K = Σ c_l² s_l.
    terms : float
        Σ c_l² max(v_l, 1 if weights are orthogonal): what K would be if its parts did not cancel.
    strongest : float
        The largest c_l.
    mean_log_s : float
        L log|a|, the mean of log s: exact while ``strongest`` < 1.
    log_mean_lambda : float
        Logarithm of the mean squared singular value: exact.
    depth : int
        Number of layers L.
    """

    c: float
    squares: float
    skews: float
    terms: float
    strongest: float
    mean_log_s: float
    log_mean_lambda: float
    depth: int

    def cdf(self, log_s: Array) -> Array:
        """Mass at or below log s."""
        place, mass = self._quantiles
        return np.interp(log_s, place, mass, left=0.0, right=1.0)

    def ppf(self, mass: Array | Sequence[float]) -> Array:
        """Quantile of log s; masses outside [0, 1] give the edges."""
        place, known = self._quantiles
        return np.interp(mass, known, place)

    @cached_property
    def var_log_lambda(self) -> float:
        """Variance of log λ."""
        place, mass = self._quantiles
        square = (place - self.mean_log_s) ** 2
        return float(4 * np.sum(np.diff(mass) * (square[1:] + square[:-1]) / 2))

    @property
    def largest_density(self) -> float:
        """Largest density of log s."""
        return float(np.abs(self.universal[2].imag).max() * 2 / np.pi)

    @property
    def half_width(self) -> float:
        """Half of the length of the universal law's support in log s."""
        return edge(max(self.c, _SMALLEST_C)) / 2

    @property
    def ks(self) -> float:
        """Kolmogorov distance between the universal law and this one, to first order."""
        return float(np.abs(_integral(self.universal[2], self.squares, self.skews).imag).max() / np.pi)

    @property
    def error(self) -> float:
        """Estimate of the O(1/L²) error of quantiles of log s that is left.

        The square of the first order over the law's half-width, the first order taken without cancellation
        between its parts. Where this is below an eighth of the half-width, the error measured against the
        theory at depth L (linear, ReLU, tanh and rarely open gates, both kinds of weights, c from 0.02 to
        12, L from 4 to 100) was at most 1.0 times this between the 5 % and 95 % quantiles and 2.2 times at
        the edges.
        """
        m = self.universal[2]
        largest = max(np.abs(_displacement(m, self.squares, sign * self.terms)).max() for sign in (-1, 1))
        return float(largest / 2) ** 2 / self.half_width

    @property
    def is_accurate(self) -> bool:
        """Whether the expansion can be used: its error is below an eighth of the law's half-width."""
        return self.error < self.half_width / 8

    @property
    def gate_variance(self) -> float:
        """Relative variance of φ'², at least 1 for orthogonal weights: of the layers, weighted with c_l²."""
        return self.terms / self.squares if self.squares > 0 else 0.0

    @property
    def limited_by_gates(self) -> bool:
        """Whether the expansion could be used if the gates varied no more than half-open ones."""
        return not self.is_accurate and replace(self, terms=min(self.terms, self.squares)).is_accurate

    @cached_property
    def universal(self) -> tuple[Array, Array, Complex]:
        """Points of the universal law: y ascending from edge to edge, the mass below y, the root m, Im m < 0.

        On the curve where y is real, ζ = log((1+m)/m) = x + it has cosh x = cos t + c sin(t)/t.
        """
        c = max(self.c, _SMALLEST_C)
        angle = np.linspace(np.pi, 0.0, _POINTS)[1:-1]
        t = _highest(c) * np.sin(angle)
        excess = np.maximum(c * np.sin(t) / t - 2 * np.sin(t / 2) ** 2, 0.0)
        zeta = np.sign(np.cos(angle)) * 2 * np.arcsinh(np.sqrt(excess / 2)) + 1j * t
        w = 1 / np.tanh(zeta / 2)
        m = (w - 1) / 2
        survival = (c * m * m + np.log(-np.expm1(-zeta))).imag / np.pi
        return (zeta + c * w).real, 1 - survival, m

    @cached_property
    def _quantiles(self) -> tuple[Array, Array]:
        """Log s, ascending, and the mass below: the universal law, displaced where that is accurate."""
        y, mass, m = self.universal
        if self.c == 0:
            y = np.zeros_like(y)
        elif self.is_accurate:
            y = np.maximum.accumulate(y + _displacement(m, self.squares, self.skews))
        mass = np.maximum.accumulate(np.clip(mass, 0.0, 1.0))
        mass[0], mass[-1] = 0.0, 1.0
        return self.mean_log_s + y / 2, mass


def depth_law(network: ResNet) -> DepthLaw:
    """Return the law of log s of a residual network at its depth, gates and weights free of each other.

    Parameters
    ----------
    network : ResNet
        The network. What correlates the gates of a pre-activation block is not taken into account.

    Returns
    -------
    DepthLaw

    Raises
    ------
    NoAnswerError
        c overflows.
    """
    found = propagate(network)
    layers = found.c_per_layer / network.depth
    some = np.unique(np.linspace(0, network.depth - 1, _LAYERS).round().astype(int))
    gates = averages(network.act, np.minimum(found.q[some], 1e300))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = gates.gate_squared / gates.gate**2 - 1
    variance = np.interp(
        np.arange(network.depth), some, np.where(np.isfinite(relative), relative, 0.0).clip(0.0)
    )
    orthogonal = float(network.weights == "orthogonal")
    squares = layers**2
    return DepthLaw(
        c=found.c,
        squares=float(squares.sum()),
        skews=float((squares * (orthogonal - variance)).sum()),
        terms=float((squares * np.maximum(variance, orthogonal)).sum()),
        strongest=float(layers.max()),
        mean_log_s=network.depth * math.log(abs(network.skip)),
        log_mean_lambda=found.log_mean_lambda,
        depth=network.depth,
    )


def _highest(c: float) -> float:
    """Solve t tan(t/2) = c: the height of the curve at its middle."""
    low, high = 0.0, math.pi
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.tan(middle / 2) < c else (low, middle)
    return low


def _integral(m: Complex, squares: float, skews: float) -> Complex:
    u = m * (1 + m)
    integral: Complex = u * (squares * (1 + 2 * m) + skews * u) / 2
    return integral


def _displacement(m: Complex, squares: float, skews: float) -> Array:
    displacement: Array = -_integral(m, squares, skews).imag / m.imag
    return displacement
