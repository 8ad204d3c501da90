"""Where the variance maps of many networks of one activation meet the diagonal.

E φ² and its slope do not depend on σ_w and σ_b: every network is searched on the same grid of q.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import averages, second_moment_and_slope
from isocalc.roots import roots_in_log
from isocalc.variance_map import NOISE, search_grid

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

Brackets = tuple[Indices, Array, Array, Array, Array]
"""Networks, and for each a root's bracket, where to begin in it, and 1 where the excess rises, else 0."""

_NONE: Brackets = (np.empty(0, dtype=np.intp), *(np.empty(0) for _ in range(4)))
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


def variance_roots(maps: VarianceMaps) -> Roots:
    """Return every q >= 0 where the maps cross the diagonal, as `fixed_variances` does for one of them."""
    at_zero = maps.weight * float(averages(maps.act, 0.0).second) + maps.bias
    grid = search_grid(maps.act, maps.weight, maps.bias, at_zero)
    excess, trend = maps.on(grid)
    unclear = ~(np.abs(excess) > NOISE).all(axis=1)
    excess, trend = np.where(unclear[:, None], 1.0, excess), np.where(unclear[:, None], 1.0, trend)
    above, turning = excess > 0, np.sign(excess) * np.sign(trend)
    crosses = above[:, 1:] != above[:, :-1]
    network, i = np.nonzero(crosses)
    crossings = _refined(maps, network, i, grid)
    network, i = np.nonzero(~crosses & (turning[:, :-1] < 0) & (turning[:, 1:] > 0))
    touching = _touching(maps, network, grid[i], grid[i + 1], above[network, i])
    brackets = (np.concatenate(parts) for parts in zip(crossings, *touching, strict=True))
    network, low, high, start, rising = brackets
    q = roots_in_log(
        lambda chosen, x: maps.excess(network[chosen], x), low, high, rising=rising > 0, start=start
    )
    from_zero = np.flatnonzero(at_zero == 0)
    network, q = np.concatenate((from_zero, network)), np.concatenate((np.zeros(from_zero.size), q))
    order = np.lexsort((q, network))
    return Roots(network[order], q[order], above[:, -1], unclear)


def _refined(maps: VarianceMaps, network: Indices, place: Indices, grid: Array) -> Brackets:
    """Return brackets within intervals of the grid, starting where cubic interpolation has the root."""
    low, high, start, rising = (np.empty(network.size) for _ in range(4))
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
    return network, low, high, start, rising


def _inverse_cubic(step: Array, before: Array, rate: Array, after: Array, last_rate: Array) -> Array:
    """Return where between 0 and ``step`` a function is 0, from values and derivatives at both ends."""
    rise = after - before
    t, chord = -before / rise, step / rise
    bend = (1 - t) * (1 / rate - chord) - t * (1 / last_rate - chord)
    return np.asarray(rise * t * (chord + (1 - t) * bend))


def _touching(
    maps: VarianceMaps, network: Indices, low: Array, high: Array, above: Flags
) -> tuple[Brackets, Brackets]:
    """Return brackets of the two roots where a map turns back between two points on one side, if it does."""
    found: tuple[list[Brackets], list[Brackets]] = [_NONE], [_NONE]
    left, right = low, high
    for _ in range(_MOST_HALVINGS):
        if not network.size:
            break
        q = np.sqrt(left) * np.sqrt(right)
        excess, trend = maps.excess(network, q)
        hit = ((excess > 0) != above) & (np.abs(excess) > NOISE)
        for brackets, ends, rising in zip(found, ((low, q), (q, high)), (~above, above), strict=True):
            start = np.sqrt(ends[0]) * np.sqrt(ends[1])
            parts = (network, *ends, start, rising.astype(float))
            brackets.append(tuple(part[hit] for part in parts))
        rises = (trend < 0) == above
        left, right = np.where(rises, q, left), np.where(rises, right, q)
        # At the turning point the excess differs from this one by its curvature, of order 1.
        kept = ~hit & ~(np.abs(np.expm1(excess)) > np.log(right / left) ** 2)
        network, low, high, left, right, above = (
            array[kept] for array in (network, low, high, left, right, above)
        )
    first, second = (tuple(map(np.concatenate, zip(*brackets, strict=True))) for brackets in found)
    return first, second
