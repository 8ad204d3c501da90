"""How the variance q goes from layer to layer in a feed-forward network, and where it meets the diagonal."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import averages, second_moment_and_slope
from isocalc.network import FeedForward
from isocalc.roots import root_in_log

Array = npt.NDArray[np.float64]
Ends = Sequence[float] | Array

# A slope this close to 1 is 1: σ_w = √2 for ReLU gives 1 + 2⁻⁵².
CRITICAL = 16 * float(np.finfo(float).eps)
# Below, the sign of σ_w² E φ² + σ_b² − q is rounding.
NOISE = CRITICAL
_SHORTEST, _LONGEST = 1e-70, 1e70


class VarianceMap:
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


def fixed_variances(variance_map: VarianceMap) -> tuple[list[float], bool, bool]:
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
    one = np.array([[variance_map.weight], [variance_map.bias], [at_zero]])
    q = search_grid(variance_map.act, *one)
    value, slope = variance_map(q)
    with np.errstate(over="ignore", invalid="ignore"):
        excess = value / q - 1
    clear = np.abs(excess) > NOISE
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
    marginal = at_zero == 0 and abs(variance_map.slope_at(0.0) - 1) <= CRITICAL
    return roots, marginal and not above[:1].any(), bool(above[-1:].any())


def search_grid(act: Activation, weight: Array, bias: Array, at_zero: Array) -> Array:
    """Return values of q from far below to far above anything φ can tell apart, dense where it changes shape.

    Parameters
    ----------
    act : Activation
    weight, bias, at_zero : array, shape (n,)
        Of the maps of one network or of many, which are all searched on the same grid.
    """
    shape = [min(max(length, _SHORTEST), _LONGEST) ** 2 for length in act.lengths]
    low, high = 1e-3 * min(shape), 1e3 * max(shape)
    starts = np.where(at_zero > 0, np.maximum(np.minimum(1e-15 * low, at_zero / 16), bias / 2), 1e-15 * low)
    lowest, highest = float(starts.min()), max(1e15 * high, 1e6 * float(at_zero.max()))
    with np.errstate(over="ignore", invalid="ignore"):
        image = float((weight * second_moment_and_slope(act, np.array([highest]))[0] + bias).max())
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


def _crossing(variance_map: VarianceMap, low: float, high: float, *, rising: bool) -> float:
    """Solve value(q) = q between two points."""

    def excess(q: float) -> tuple[float, float]:
        value, slope = variance_map.at(q)
        return (math.log(value / q), q * slope / value - 1) if value > 0 else (-math.inf, 0.0)

    return root_in_log(excess, low, high, rising=rising)


def _touching_roots(variance_map: VarianceMap, low: float, high: float, *, above: bool) -> list[float]:
    """Return the two roots between points on one side of the diagonal where the map turns back, if any."""
    sign = 1.0 if above else -1.0

    def height(q: float) -> tuple[float, float]:
        """How far the map is from the diagonal, below 0 beyond it, and the slope of that in log q."""
        value, slope = variance_map.at(q)
        return (sign * math.log(value / q), sign * (q * slope / value - 1)) if value > 0 else (-sign, 0.0)

    left, right = (low, *height(low)), (high, *height(high))
    for _ in range(60):
        if not may_touch(math.log(right[0] / left[0]), left[1:], right[1:]):
            break
        q = math.sqrt(left[0]) * math.sqrt(right[0])
        here = (q, *height(q))
        if here[1] < -NOISE:
            lower = _crossing(variance_map, low, q, rising=not above)
            return [lower, _crossing(variance_map, q, high, rising=above)]
        left, right = (here, right) if here[2] < 0 else (left, here)
    return []


def may_touch(width: Array | float, left: Ends, right: Ends) -> npt.NDArray[np.bool_]:
    """Tell whether functions above 0 that turn back between two points may reach it there.

    Heights and slopes are those at both ends. A convex function is above both tangents, and so above where
    they meet; for one that bends otherwise too the tangents are taken twice as steep.
    """
    (before, falls), (after, rises) = np.asarray(left), np.asarray(right)
    falls, rises = 2 * falls, 2 * rises
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = np.clip((before - after + rises * width) / (rises - falls), 0.0, width)
        return np.asarray(np.maximum(before + falls * meet, after - rises * (width - meet)) <= 0)
