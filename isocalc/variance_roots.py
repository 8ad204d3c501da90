"""Where the variance maps of many networks of one activation meet the diagonal.

E φ² and its slope do not depend on σ_w and σ_b: every network is searched on the same grid of q.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import averages, second_moment_and_slope
from isocalc.root_arrays import roots_in_log
from isocalc.variance_map import NOISE, may_touch, search_grid

Array = npt.NDArray[np.float64]
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
