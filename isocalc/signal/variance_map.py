"""How the variance q goes from layer to layer in feed-forward networks, and where it stays: theory (12).

E φ² and its slope do not depend on σ_w and σ_b: all networks of one activation are searched on one grid of q.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, second_moment_and_slope
from isocalc.activations.catalogue import Activation
from isocalc.numerics.roots import find_roots
from isocalc.signal.tolerances import CRITICAL

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


class VarianceMaps(NamedTuple):
    """q → σ_w² E φ² + σ_b² of networks of one activation, arrays of shape (n,)."""

    act: Activation
    weight: Array
    bias: Array

    def excess(self, network: Indices, q: Array) -> tuple[Array, Array]:
        """Return log(value/q) and its slope in log q at one q > 0 for each of the networks."""
        distinct = np.array(sorted(set(q.tolist())))
        second, slope = second_moment_and_slope(self.act, distinct)
        place = np.searchsorted(distinct, q)
        ratio, trend = self.ratio(network, q, second[place], slope[place])
        with np.errstate(divide="ignore"):
            return np.log(ratio), trend

    def ratio(self, network: Indices, q: Array, second: Array, slope: Array) -> tuple[Array, Array]:
        """Return value/q and the slope of its logarithm in log q, from E φ² and its slope, broadcast."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            value = self.weight[network] * second + self.bias[network]
            return value / q, q * self.weight[network] * slope / value - 1

    def on(self, network: Indices, q: Array) -> tuple[Array, Array]:
        """Return value/q − 1 and the same slope for some networks on a grid of q, shape (n, k)."""
        ratio, trend = self.ratio(network[:, None], q, *second_moment_and_slope(self.act, q))
        return ratio - 1, trend


class Roots(NamedTuple):
    """Where variance maps meet the diagonal."""

    network: Indices
    """Number of the network, shape (k,), ascending, and within it ascending q"""
    q: Array
    """Shape (k,); NaN where the root was not reached"""
    falls_at_zero: Flags
    """Shape (n,): whether the slope is 1 at the root 0 to rounding, and higher orders pull q back to 0"""
    grows: Flags
    """Shape (n,): whether the map is above the diagonal beyond its last root"""
    everywhere: Flags
    """Shape (n,): whether the map is the diagonal; its one root is NaN then"""


class _Brackets(NamedTuple):
    """Between which q there are roots, arrays of shape (k,)."""

    network: Indices
    low: Array
    high: Array
    start: Array
    rising: Flags


def variance_roots(maps: VarianceMaps) -> Roots:
    """Return every q >= 0 where the maps meet the diagonal; where rounding hides their side, they do not."""
    at_zero = averages(maps.act, 0.0)
    value = maps.weight * float(at_zero.second) + maps.bias
    grid = _grid(maps, value)
    excess, trend = maps.on(np.arange(value.size), grid)
    above, clear = excess > 0, np.abs(excess) > CRITICAL
    # Neighbours of a map: the clear places, each with the clear one before it.
    place = np.maximum.accumulate(np.where(clear, np.arange(grid.size), -1), axis=1)
    network, right = np.nonzero(clear[:, 1:] & (place[:, :-1] >= 0))
    right += 1
    left = place[network, right - 1]
    turning = np.sign(excess) * np.sign(trend)
    crosses = above[network, left] != above[network, right]
    turns = ~crosses & (turning[network, left] < 0) & (turning[network, right] > 0)
    brackets = [_refined(maps, network[crosses], grid[left[crosses]], grid[right[crosses]])]
    network, left, right = network[turns], left[turns], right[turns]
    if network.size:
        with np.errstate(divide="ignore"):
            heights = np.array((np.broadcast_to(grid, excess.shape), np.log1p(excess), trend))
        ends = heights[:, network, left], heights[:, network, right]
        brackets += _touching(maps, network, *ends, above[network, left])
    found = _Brackets(*map(np.concatenate, zip(*brackets, strict=True)))
    signs = np.where(found.rising, np.inf, -np.inf)
    q = find_roots(
        lambda chosen, q: maps.excess(found.network[chosen], q),
        found.low,
        found.high,
        (-signs, signs),
        start=found.start,
    ).x
    from_zero = np.flatnonzero(value == 0)
    network = np.concatenate((from_zero, found.network))
    q = np.concatenate((np.zeros(from_zero.size), q))
    order = np.lexsort((q, network))
    every, last = np.arange(value.size), np.maximum(place[:, -1], 0)
    marginal = (value == 0) & (np.abs(maps.weight * float(at_zero.gate) - 1) <= CRITICAL)
    below = ~(above & clear)[every, np.argmax(clear, axis=1)]
    grows = (above & clear)[every, last]
    return Roots(network[order], q[order], marginal & below, grows, np.zeros_like(grows))


def _grid(maps: VarianceMaps, at_zero: Array) -> Array:
    """Return q from far below to far above anything φ can tell apart, dense where it changes shape."""
    shortest, longest = maps.act.length_range
    low, high = 1e-3 * shortest**2, 1e3 * longest**2
    starts = np.maximum(np.minimum(1e-15 * low, at_zero / 16), maps.bias / 2)
    lowest = float(np.where(at_zero > 0, starts, 1e-15 * low).min())
    highest = max(1e15 * high, 1e6 * float(at_zero.max()))
    with np.errstate(over="ignore", invalid="ignore"):
        second = second_moment_and_slope(maps.act, np.array([highest]))[0]
        image = float((maps.weight * second + maps.bias).max())
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


def _refined(maps: VarianceMaps, network: Indices, left: Array, right: Array) -> _Brackets:
    """Return brackets within intervals of the grid, starting where a cubic has the root.

    The first of several roots is kept apart from the others. Networks of one interval share averages inside
    of it; Newton's steps, each at its own q, do not.
    """
    low, high, start = (np.empty(network.size) for _ in range(3))
    rising = np.empty(network.size, dtype=bool)
    for ends in set(zip(left.tolist(), right.tolist(), strict=True)):
        chosen = np.flatnonzero((left == ends[0]) & (right == ends[1]))
        fine = np.geomspace(*ends, 17)
        excess, trend = maps.on(network[chosen], fine)
        k = np.argmax((excess[:, 1:] > 0) != (excess[:, :1] > 0), axis=1)
        before, after = (np.arange(chosen.size), k), (np.arange(chosen.size), k + 1)
        low[chosen], high[chosen], rising[chosen] = fine[k], fine[k + 1], excess[after] > 0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = np.log(fine[k + 1] / fine[k])
            within = _inverse_cubic(step, excess[before], trend[before], excess[after], trend[after])
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
    side = np.where(above, 1.0, -1.0)
    sign = np.array((np.ones_like(side), side, side))
    left, right, low, high = sign * left, sign * right, left[0], right[0]
    for _ in range(60):  # halves of an interval of doubles are points before
        if not network.size:
            break
        kept = _may_touch(left, right)
        network, sign, low, high = network[kept], sign[:, kept], low[kept], high[kept]
        left, right = left[:, kept], right[:, kept]
        q = np.sqrt(left[0]) * np.sqrt(right[0])
        here = sign * np.array((q, *maps.excess(network, q)))
        hit = here[1] < -CRITICAL
        for below, beyond, rising in ((low, q, sign[1] < 0), (q, high, sign[1] > 0)):
            start = np.sqrt(below) * np.sqrt(beyond)
            found.append(_Brackets(network[hit], below[hit], beyond[hit], start[hit], rising[hit]))
        left, right = np.where(here[2] < 0, here, left), np.where(here[2] < 0, right, here)
        network, sign, low, high = network[~hit], sign[:, ~hit], low[~hit], high[~hit]
        left, right = left[:, ~hit], right[:, ~hit]
    return found


def _may_touch(left: Array, right: Array) -> Flags:
    """Tell whether functions above 0 that turn back between two points may reach it there.

    Points, heights and slopes are those at both ends. A convex function is above both tangents, and so above
    where they meet; for one that bends otherwise too the tangents are taken twice as steep.
    """
    (q, before, falls), (end, after, rises) = left, right
    width, falls, rises = np.log(end / q), 2 * falls, 2 * rises
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = np.clip((before - after + rises * width) / (rises - falls), 0.0, width)
        return np.asarray(np.maximum(before + falls * meet, after - rises * (width - meet)) <= 0)
