"""Roots of smooth functions of a positive number."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# A step of Newton's in log x this small, in units of the slope there, is the last: its square is rounding.
_LAST = 1e-8


def root_in_log(
    function: Callable[[float], tuple[float, float]],
    low: float,
    high: float,
    *,
    rising: bool,
    start: float | None = None,
) -> float:
    """Return the root between ``low`` and ``high``, by Newton in log x kept inside the bracket.

    Parameters
    ----------
    function : callable
        x to the value and its derivative in log x.
    low, high : float
        0 < low < high, with values of opposite sign (not evaluated).
    rising : bool
        Whether the value at ``high`` is positive.
    start : float, optional
        Where to begin, between the two.

    Returns
    -------
    float
        Good to the rounding of the function: steps shrink until rounding stops them.

    Raises
    ------
    NoAnswerError
        100 steps did not suffice (not known to happen).
    """
    x, smallest, stalled = start or math.sqrt(low) * math.sqrt(high), math.inf, 0
    for _ in range(100):
        value, slope = function(x)
        low, high = (low, x) if (value > 0) == rising else (x, high)
        step = -value / slope if slope and math.isfinite(value) else math.inf
        if value == 0 or x * math.exp(min(step, 1.0)) == x:
            return x
        if abs(step) < 1e-3:
            stalled = stalled + 1 if abs(step) > smallest / 2 else 0
            smallest = min(smallest, abs(step))
            if stalled == 3:
                return x
            x = min(max(x * math.exp(step), low), high)
        else:
            newton = x * math.exp(min(step, 700.0))
            x = newton if low < newton < high else math.sqrt(low) * math.sqrt(high)
    raise NoAnswerError(f"no root was reached between {low!r} and {high!r}")


def roots_in_log(
    function: Callable[[Indices, Array], tuple[Array, Array]],
    low: Array,
    high: Array,
    *,
    rising: npt.NDArray[np.bool_],
    start: Array,
) -> Array:
    """Return the roots of many functions at once, each as :func:`root_in_log` does.

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
