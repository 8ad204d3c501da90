"""Fixed points of signal propagation in feed-forward networks: q*, χ, the phase and the depth scales.

Poole et al., arXiv 1606.05340; Schoenholz et al., arXiv 1611.01232.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from isocalc.correlation import stable_correlation
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.gaussian import averages, second_moment_and_slope
from isocalc.network import FeedForward
from isocalc.roots import root_in_log

Array = npt.NDArray[np.float64]
Phase = Literal["ordered", "critical", "chaotic"]

_EPS = float(np.finfo(float).eps)
# A slope this close to 1 is 1: σ_w = √2 for ReLU gives 1 + 2⁻⁵².
_CRITICAL = 16 * _EPS
# Below, the sign of σ_w² E φ² + σ_b² − q is rounding.
_NOISE = 16 * _EPS
# Then no square leaves the doubles, and a pair of inputs is averaged in seconds.
_SMALLEST_SIGMA, _LARGEST_SIGMA = 1e-100, 1e10
_SHORTEST, _LONGEST = 1e-70, 1e70


@dataclass(frozen=True)
class FixedPoint:
    """A stable fixed point of signal propagation in a feed-forward network.

    Attributes
    ----------
    q_star : float or None
        Variance of the pre-activations; ``None`` where every q is a fixed point. At 0 the other numbers are
        limits q → 0+.
    chi : float
        χ = σ_w² E φ'², the mean squared singular value of one layer.
    phase : {"ordered", "critical", "chaotic"}
        χ below, at or above 1 (within 16 rounding units).
    xi_q, xi_c : float or None
        Depth scales of the variance and of the correlation of two inputs, in layers; ``inf`` at criticality.
        ``xi_c`` is ``None`` where two inputs have no stable correlation.
    c_star : float or None
        The stable correlation of two inputs that belongs to ``xi_c``.
    relative_variance : float
        Relative variance Var λ / (E λ)² that one layer adds, weights included; ``inf`` where χ = 0.
    escape : float or None
        A larger q from which the variance grows without bound instead; ``None`` where there is none.
    """

    q_star: float | None
    chi: float
    phase: Phase
    xi_q: float
    xi_c: float | None
    c_star: float | None
    relative_variance: float
    escape: float | None = None

    @property
    def mean_lambda(self) -> float:
        """Mean squared singular value of one layer, χ."""
        return self.chi


def fixed_points(network: FeedForward) -> tuple[FixedPoint, ...]:
    """Return all stable fixed points of the variance map q → σ_w² E φ(√q z)² + σ_b², smallest first.

    Parameters
    ----------
    network : FeedForward
        With ``sigma_w`` and ``sigma_b`` 0 or from 1e-100 to 1e10.

    Returns
    -------
    tuple of FixedPoint
        At least one. Accurate to 1e-14 times the conditioning of the problem.

    Raises
    ------
    InvalidInputError
        ``sigma_w`` or ``sigma_b`` is outside that range.
    NoAnswerError
        There is none: q grows without bound.
    """
    for parameter, value in (("sigma_w", network.sigma_w), ("sigma_b", network.sigma_b)):
        if value and not _SMALLEST_SIGMA <= value <= _LARGEST_SIGMA:
            raise InvalidInputError(parameter, "0 or from 1e-100 to 1e10 at a fixed point", value)
    variance_map = _VarianceMap(network)
    if network.act.scale_free:
        return (_describe(variance_map, _scale_free_fixed_point(variance_map)),)
    roots, falls_at_zero, grows = _roots(variance_map)
    # No slope is below -1/2, since z² − 1 >= −1: q never oscillates.
    stable = [q for q in roots if variance_map.slope_at(q) < 1 or (q == 0 and falls_at_zero)]
    if stable:
        return tuple(_describe(variance_map, q, roots[-1] if grows else None) for q in stable)
    raise NoAnswerError(f"{network.act.name} has no fixed point here: q grows without bound")


class _VarianceMap:
    """q → σ_w² E φ² + σ_b² of a network, with its slope."""

    def __init__(self, network: FeedForward) -> None:
        self.network = network
        self.act = network.act
        self.weight = network.sigma_w * network.sigma_w
        self.bias = network.sigma_b * network.sigma_b

    def __call__(self, q: Array) -> tuple[Array, Array]:
        """Return value and slope at q > 0."""
        second, slope = second_moment_and_slope(self.act, q)
        with np.errstate(over="ignore", invalid="ignore"):
            return self.weight * second + self.bias, self.weight * slope

    def at(self, q: float) -> tuple[float, float]:
        """Return value and slope at one q > 0."""
        value, slope = self(np.array([q]))
        return float(value[0]), float(slope[0])

    def at_zero(self) -> float:
        """Return the limit of the value at q → 0+."""
        return self.weight * float(averages(self.act, 0.0).second) + self.bias

    def slope_at(self, q: float) -> float:
        """Return the slope at q >= 0."""
        if q == 0:
            return self.weight * float(averages(self.act, 0.0).gate)
        return self.at(q)[1]


def _scale_free_fixed_point(variance_map: _VarianceMap) -> float | None:
    slope = variance_map.slope_at(0.0)
    if abs(slope - 1) <= _CRITICAL and variance_map.bias == 0:
        return None
    if slope < 1:
        return variance_map.bias / (1 - slope)
    raise NoAnswerError(
        f"{variance_map.act.name} has no fixed point here: q grows without bound, by {slope:.6g} a layer"
    )


def _roots(variance_map: _VarianceMap) -> tuple[list[float], bool, bool]:
    """Return every q >= 0 where the map crosses the diagonal, and how it leaves it.

    Returns
    -------
    roots : list of float
    falls_at_zero : bool
        The slope is 1 at the root 0 to rounding and higher orders pull q back to 0.
    grows : bool
        The map is above the diagonal beyond the last root.
    """
    at_zero = variance_map.at_zero()
    roots = [0.0] if at_zero == 0 else []
    q = _search_grid(variance_map, at_zero)
    value, slope = variance_map(q)
    with np.errstate(over="ignore", invalid="ignore"):
        excess = value / q - 1
    clear = np.abs(excess) > _NOISE
    q, value, slope, excess = q[clear], value[clear], slope[clear], excess[clear]
    # Slope of log(value/q) in log q: tells whether the excess turns back to 0 between two points.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        trend = q * slope / value - 1
    above, points, turning = excess > 0, q.tolist(), np.sign(excess) * np.sign(trend)
    for i, j in pairwise(range(len(points))):
        if above[i] != above[j]:
            roots.append(_crossing(variance_map, points[i], points[j], rising=bool(above[j])))
        elif turning[i] < 0 < turning[j]:
            roots += _touching_roots(variance_map, points[i], points[j], above=bool(above[i]))
    marginal = at_zero == 0 and abs(variance_map.slope_at(0.0) - 1) <= _CRITICAL
    return roots, marginal and not above[:1].any(), bool(above[-1:].any())


def _search_grid(variance_map: _VarianceMap, at_zero: float) -> Array:
    """Values of q from far below to far above anything φ can tell apart, dense where φ changes its shape."""
    lengths = [abs(point) for point in variance_map.act.breakpoints if point]
    lengths += [variance_map.act.scale] if math.isfinite(variance_map.act.scale) else []
    shape = [min(max(length, _SHORTEST), _LONGEST) ** 2 for length in lengths or [1.0]]
    low, high = 1e-3 * min(shape), 1e3 * max(shape)
    lowest = max(min(1e-15 * low, at_zero / 16), variance_map.bias / 2) if at_zero else 1e-15 * low
    highest = max(1e15 * high, 1e6 * at_zero)
    image = variance_map.at(highest)[0]
    highest = max(highest, 16 * image) if image < math.inf else highest

    def spread(start: float, stop: float, factor: float) -> Array:
        if not start < stop:
            return np.empty(0)
        return np.geomspace(start, stop, 2 + int(math.log(stop / start) / math.log(factor)))

    parts = (
        spread(lowest, min(low, highest), 8.0),
        spread(max(low, lowest), high, 2.0),
        spread(max(high, lowest), highest, 8.0),
    )
    return np.concatenate(parts)


def _crossing(variance_map: _VarianceMap, low: float, high: float, *, rising: bool) -> float:
    """Solve value(q) = q between two points."""

    def excess(q: float) -> tuple[float, float]:
        value, slope = variance_map.at(q)
        return (math.log(value / q), q * slope / value - 1) if value > 0 else (-math.inf, 0.0)

    return root_in_log(excess, low, high, rising=rising)


def _touching_roots(variance_map: _VarianceMap, low: float, high: float, *, above: bool) -> list[float]:
    """Return the two roots between points on one side of the diagonal where the map turns back, if any."""
    left, right = low, high
    for _ in range(60):
        q = math.sqrt(left) * math.sqrt(right)
        value, slope = variance_map.at(q)
        if (value > q) != above:
            lower = _crossing(variance_map, low, q, rising=not above)
            return [lower, _crossing(variance_map, q, high, rising=above)]
        if (q * slope / value < 1) == above:
            left = q
        else:
            right = q
        # At the turning point the excess differs from this one by its curvature, of order 1.
        if abs(value / q - 1) > math.log(right / left) ** 2:
            break
    return []


def _describe(variance_map: _VarianceMap, q_star: float | None, escape: float | None = None) -> FixedPoint:
    network = variance_map.network
    slope = variance_map.slope_at(0.0 if q_star is None else q_star)
    gates = averages(network.act, 1.0 if q_star is None else q_star)
    chi = variance_map.weight * float(gates.gate)
    phase: Phase = "critical" if abs(chi - 1) <= _CRITICAL else "ordered" if chi < 1 else "chaotic"
    gate_variance = float(gates.gate_squared / gates.gate / gates.gate) - 1 if gates.gate else math.inf
    c_star, correlation_slope = stable_correlation(network, q_star, chi, critical=phase == "critical")
    return FixedPoint(
        q_star=q_star,
        chi=chi,
        phase=phase,
        xi_q=depth_scale(slope),
        xi_c=None if correlation_slope is None else depth_scale(correlation_slope),
        c_star=c_star,
        relative_variance=gate_variance + (1.0 if network.weights == "gaussian" else 0.0),
        escape=escape,
    )


def depth_scale(slope: float) -> float:
    """Return −1/log|slope|, the layers in which a deviation falls by a factor e; inf at |slope| = 1."""
    size = abs(slope)
    if size == 0:
        return 0.0
    return math.inf if abs(size - 1) <= _CRITICAL else -1 / math.log(size)
