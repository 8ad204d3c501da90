"""Roots of many smooth functions of a positive number at once."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# A step of Newton's in log x this small, in units of the slope there, is the last: its square is rounding.
_LAST = 1e-8


def roots_in_log(
    function: Callable[[Indices, Array], tuple[Array, Array]],
    low: Array,
    high: Array,
    *,
    rising: npt.NDArray[np.bool_],
    start: Array,
) -> Array:
    """Return the roots of many functions at once, each as :func:`isocalc.roots.root_in_log` does.

    Parameters
    ----------
    function : callable
        Indices i, shape (m,), and points x, shape (m,), to the values of the functions number i at x and
        their derivatives in log x.
    low, high, start : array, shape (n,)
        Bracket and beginning of each.
    rising : array of bool, shape (n,)

    Returns
    -------
    array, shape (n,)
        NaN where 100 steps did not suffice.
    """
    root, left, x = np.full(low.size, np.nan), np.arange(low.size), start
    smallest, stalled = np.full(low.size, np.inf), np.zeros(low.size)
    for _ in range(100):
        if not left.size:
            break
        value, slope = function(left, x)
        before = (value > 0) == rising[left]
        low, high = np.where(before, low, x), np.where(before, x, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = np.where((slope != 0) & np.isfinite(value), -value / slope, np.inf)
            newton = x * np.exp(np.minimum(step, 700.0))
            middle = np.sqrt(low) * np.sqrt(high)
        size = np.abs(step)
        near = size < 1e-3
        stalled = np.where(near & (size > smallest / 2), stalled + 1, 0)
        smallest = np.where(near, np.minimum(smallest, size), smallest)
        done = (value == 0) | (stalled == 3)
        last = near & ~done & ((size <= _LAST * np.abs(slope)) | (newton == x))
        inside = np.where((low < newton) & (newton < high), newton, middle)
        following = np.where(near, np.clip(newton, low, high), inside)
        root[left[done]], root[left[last]] = x[done], following[last]
        kept = ~(done | last)
        left, x, low, high, smallest, stalled = (
            array[kept] for array in (left, following, low, high, smallest, stalled)
        )
    return root
