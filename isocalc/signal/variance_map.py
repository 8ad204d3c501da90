"""The map of the variance q from layer to layer in a feed-forward network, and its fixed points.

How the variance q goes from layer to layer in a feed-forward network, and where it meets the diagonal.

Where the variance maps of many networks of one activation meet the diagonal.

E φ² and its slope do not depend on σ_w and σ_b: every network is searched on the same grid of q.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, second_moment_and_slope
from isocalc.activations.catalogue import Activation
from isocalc.networks.descriptions import FeedForward
from isocalc.numerics.roots import root_in_log, roots_in_log

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


Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

# Points to which an interval of the grid is refined before Newton's method starts.
_FINE = 33
_MOST_HALVINGS = 60


class VarianceMaps(NamedTuple):
    """q → σ_w² E φ² + σ_b² of many networks of one activation, arrays of shape (n,)."""

    act: Activation
    weight: Array
    bias: Array

    def excess(self, network: Indices, q: Array) -> tuple[Array, Array]:
        """Return log(value/q) and its slope in log q at one q > 0 for each of the networks."""
        distinct = np.array(sorted(set(q.tolist())))
        second, slope = second_moment_and_slope(self.act, distinct)
        place = np.searchsorted(distinct, q)
        return self.compare(network, q, second[place], slope[place])

    def compare(self, network: Indices, q: Array, second: Array, slope: Array) -> tuple[Array, Array]:
        """Return the same from E φ² and its slope at q; arrays are broadcast."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            value = self.weight[network] * second + self.bias[network]
            return np.log(value / q), q * self.weight[network] * slope / value - 1

    def on(self, q: Array) -> tuple[Array, Array]:
        """Return value/q − 1 and its slope in log q, over value/q, for all networks, shape (n, k)."""
        second, slope = second_moment_and_slope(self.act, q)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            value = self.weight[:, None] * second + self.bias[:, None]
            return value / q - 1, q * self.weight[:, None] * slope / value - 1


class Roots(NamedTuple):
    """Where many variance maps meet the diagonal."""

    network: Indices
    """Number of the network, shape (k,), ascending, and within it ascending q"""
    q: Array
    """Shape (k,); NaN where the root was not reached"""
    grows: Flags
    """Shape (n,): whether the map is above the diagonal beyond its last root"""
    unclear: Flags
    """Shape (n,): whether rounding hides somewhere on which side of the diagonal the map is"""


class _Brackets(NamedTuple):
    """Between which q there are roots, arrays of shape (k,)."""

    network: Indices
    low: Array
    high: Array
    start: Array
    rising: Flags


def variance_roots(maps: VarianceMaps) -> Roots:
    """Return every q >= 0 where the maps meet the diagonal, as `fixed_variances` does for one of them."""
    at_zero = maps.weight * float(averages(maps.act, 0.0).second) + maps.bias
    grid = search_grid(maps.act, maps.weight, maps.bias, at_zero)
    excess, trend = maps.on(grid)
    unclear = np.asarray(~(np.abs(excess) > NOISE).all(axis=1))
    excess[unclear], trend[unclear] = 1.0, 1.0
    above = np.asarray(excess > 0)
    turning = np.sign(excess) * np.sign(trend)
    crosses = above[:, 1:] != above[:, :-1]
    network, i = np.nonzero(crosses)
    crossing = _refined(maps, network, i, grid)
    network, i = np.nonzero(~crosses & (turning[:, :-1] < 0) & (turning[:, 1:] > 0))
    with np.errstate(divide="ignore"):
        heights = np.stack((np.broadcast_to(grid, excess.shape), np.log1p(excess), trend))
    touching = _touching(maps, network, heights[:, network, i], heights[:, network, i + 1], above[network, i])
    brackets = _joined([crossing, *touching])

    def excess_at(chosen: Indices, q: Array) -> tuple[Array, Array]:
        return maps.excess(brackets.network[chosen], q)

    q = roots_in_log(excess_at, brackets.low, brackets.high, rising=brackets.rising, start=brackets.start)
    from_zero = np.flatnonzero(at_zero == 0)
    network = np.concatenate((from_zero, brackets.network))
    q = np.concatenate((np.zeros(from_zero.size), q))
    order = np.lexsort((q, network))
    return Roots(network[order], q[order], above[:, -1], unclear)


def _joined(brackets: Sequence[_Brackets]) -> _Brackets:
    return _Brackets(*map(np.concatenate, zip(*brackets, strict=True)))


def _refined(maps: VarianceMaps, network: Indices, place: Indices, grid: Array) -> _Brackets:
    """Return brackets within intervals of the grid, starting where cubic interpolation has the root."""
    low, high, start = (np.empty(network.size) for _ in range(3))
    rising = np.empty(network.size, dtype=bool)
    for i in set(place.tolist()):
        chosen = np.flatnonzero(place == i)
        fine = np.geomspace(grid[i], grid[i + 1], _FINE)
        excess, trend = maps.compare(network[chosen][:, None], fine, *second_moment_and_slope(maps.act, fine))
        k = np.argmax((excess[:, 1:] > 0) != (excess[:, :1] > 0), axis=1)
        left, right = (np.arange(chosen.size), k), (np.arange(chosen.size), k + 1)
        low[chosen], high[chosen], rising[chosen] = fine[k], fine[k + 1], excess[right] > 0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = np.log(fine[k + 1] / fine[k])
            within = _inverse_cubic(step, excess[left], trend[left], excess[right], trend[right])
        within = np.where((within > 0) & (within < step), within, step / 2)
        start[chosen] = np.clip(fine[k] * np.exp(within), fine[k], fine[k + 1])
    return _Brackets(network, low, high, start, rising)


def _inverse_cubic(step: Array, before: Array, rate: Array, after: Array, last_rate: Array) -> Array:
    """Return where between 0 and ``step`` a function is 0, from values and derivatives at both ends."""
    rise = after - before
    t, chord = -before / rise, step / rise
    bend = (1 - t) * (1 / rate - chord) - t * (1 / last_rate - chord)
    return np.asarray(rise * t * (chord + (1 - t) * bend))


def _touching(
    maps: VarianceMaps, network: Indices, left: Array, right: Array, above: Flags
) -> list[_Brackets]:
    """Return brackets of both roots where a map turns back between two points on one side and has crossed.

    ``left`` and ``right`` are q, log(value/q) and its slope in log q at the points, shape (3, n).
    """
    found: list[_Brackets] = []
    # Heights over the diagonal on that side of it, below 0 beyond, and their slopes.
    sign = np.where(above, 1.0, -1.0) * np.array([[0.0], [1.0], [1.0]]) + np.array([[1.0], [0.0], [0.0]])
    left, right, low, high = sign * left, sign * right, left[0], right[0]
    for _ in range(_MOST_HALVINGS):
        kept = may_touch(np.log(right[0] / left[0]), left[1:], right[1:])
        network, sign, low, high = network[kept], sign[:, kept], low[kept], high[kept]
        left, right = left[:, kept], right[:, kept]
        if not network.size:
            break
        q = np.sqrt(left[0]) * np.sqrt(right[0])
        here = sign * np.stack((q, *maps.excess(network, q)))
        hit = here[1] < -NOISE
        for below, beyond, rising in ((low, q, sign[1] < 0), (q, high, sign[1] > 0)):
            start = np.sqrt(below) * np.sqrt(beyond)
            found.append(_Brackets(network[hit], below[hit], beyond[hit], start[hit], rising[hit]))
        left, right = np.where(here[2] < 0, here, left), np.where(here[2] < 0, right, here)
        network, sign, low, high = network[~hit], sign[:, ~hit], low[~hit], high[~hit]
        left, right = left[:, ~hit], right[:, ~hit]
    return found
