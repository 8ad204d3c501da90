"""A smooth inverse at many places: some are solved for, and cubics are taken between them where these do."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Places from which on that pays; each how many are solved for at first.
MANY, STRIDE = 20_000, 256
# What cubics may miss half way between two places, relative to values of size 1 and more; halves miss 1/16.
MISSED = 4e-14


class _Pieces(NamedTuple):
    """Pieces of a curve between places of arrays, with slopes there: arrays of shape (pieces,)."""

    low: Indices
    high: Indices
    slope_low: Array
    slope_high: Array

    def some(self, which: Indices | npt.NDArray[np.bool_]) -> "_Pieces":
        """Return some of them, or one several times."""
        return _Pieces(self.low[which], self.high[which], self.slope_low[which], self.slope_high[which])


def with_cubics_between(solve: Callable[[Array], Array], slopes: Callable[[Array], Array], x: Array) -> Array:
    """Return ``solve(x)``, of many x as if all were solved for.

    Parameters
    ----------
    solve : callable
        x, ascending or not, to the y wanted there, which ascend with x.
    slopes : callable
        y to dy/dx; infinite where there is none.
    x : array, shape (n,)

    Notes
    -----
    A piece halves until the solution in its middle is that of the cubic, which has the values and slopes of
    its ends; both halves then have cubics of their own.
    """
    if x.size < MANY:
        return solve(x)
    order = np.argsort(x)
    x, y = x[order], np.empty_like(x)
    bounds = np.append(np.arange(0, x.size - 1, STRIDE), x.size - 1)
    low, high = bounds[:-1], bounds[1:]
    while low.size:
        middle = (low + high) // 2
        chosen, where = np.unique(np.concatenate((low, middle, high)), return_inverse=True)
        y[chosen] = solve(x[chosen])
        at_low, at_middle, at_high = np.split(slopes(y[chosen])[where], 3)
        guess = _cubics(x, y, _Pieces(low, high, at_low, at_high), middle)
        good = np.abs(guess - y[middle]) <= MISSED * np.maximum(1.0, np.abs(y[middle]))
        for halves in (_Pieces(low, middle, at_low, at_middle), _Pieces(middle, high, at_middle, at_high)):
            _fill(x, y, halves.some(good))
        low, high = np.concatenate((low[~good], middle[~good])), np.concatenate((middle[~good], high[~good]))
        longer = high > low + 1
        low, high = low[longer], high[longer]
    found = np.empty_like(y)
    found[order] = y
    return found


def _fill(x: Array, y: Array, pieces: _Pieces) -> None:
    """Set y between the ends of pieces."""
    counts = pieces.high - pieces.low - 1
    part = np.repeat(np.arange(counts.size), counts)
    at = pieces.low[part] + 1 + np.arange(part.size) - np.repeat(np.cumsum(counts) - counts, counts)
    y[at] = _cubics(x, y, pieces.some(part), at)


def _cubics(x: Array, y: Array, pieces: _Pieces, at: Indices) -> Array:
    """Return the cubics of pieces, each at one place."""
    low, high, *slopes = pieces
    length = x[high] - x[low]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(length > 0, (x[at] - x[low]) / length, 0.0)
        rise, left, right = y[high] - y[low], length * slopes[0], length * slopes[1]
        return np.asarray(
            y[low] + t * (left + t * (3 * rise - 2 * left - right + t * (left + right - 2 * rise)))
        )
