"""Roots of smooth functions of one number: one of them, all on a range, or of many functions at once.

Roots of smooth functions of a positive number.

Roots of many smooth functions of a positive number at once.

All roots of a function on a range, branch by branch.
"""

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError

# Stands for infinity where values are interpolated.
_HUGE = 1e3


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


def bracketed_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return a root between ``low`` and ``high``, by Chandrupatla's method in log x; no derivative is needed.

    Parameters
    ----------
    function : callable
        x to a value, finite or not.
    low, high : float
        0 < low < high, with values of opposite sign.

    Returns
    -------
    float
        Where the value is 0, or changes its sign between neighbours to a few units of rounding.

    References
    ----------
    Chandrupatla, Adv. Eng. Softw. 28 (1997) 145.
    """
    a, b = math.log(high), math.log(low)
    f_a, f_b = _finite(function(high)), _finite(function(low))
    c, f_c, share = a, f_a, 0.5
    for _ in range(300):
        x = a + share * (b - a)
        value = _finite(function(math.exp(x)))
        if (value > 0) == (f_a > 0):
            c, f_c = a, f_a
        else:
            c, b, f_c, f_b = b, a, f_b, f_a
        a, f_a = x, value
        nearest = a if abs(f_a) < abs(f_b) else b
        least = 2 * sys.float_info.epsilon * max(abs(nearest), 0.5) / abs(b - a)
        if least > 0.5 or value == 0:
            return math.exp(nearest)
        trusted, share = _interpolated((a, b, c), (f_a, f_b, f_c))
        share = min(max(share, least), 1 - least) if trusted else 0.5
    return math.exp(a)


def _interpolated(x: Sequence[float], f: Sequence[float]) -> tuple[bool, float]:
    """Return whether inverse quadratic interpolation is to be trusted, and how far from a to b it leads."""
    (a, b, c), (f_a, f_b, f_c) = x, f
    xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
    if not (phi * phi < xi and (1 - phi) * (1 - phi) < 1 - xi):
        return False, 0.5
    towards_b, towards_c = f_a / (f_b - f_a) * f_c / (f_b - f_c), f_a / (f_c - f_a) * f_b / (f_c - f_b)
    return True, towards_b + (c - a) / (b - a) * towards_c


def _finite(value: float) -> float:
    return min(max(value, -_HUGE), _HUGE)


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
    """Return the roots of many functions at once, each as :func:`isocalc.numerics.roots.root_in_log` does.

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


_GOLDEN = (math.sqrt(5) - 1) / 2
# A turning point is looked for where the neighbours of a lowest value are this near to a root, ...
_NEAR = 2.0
# ... by so many steps, each of which shortens the interval to 0.62 of its length.
_STEPS = 36


def all_roots(
    function: Callable[[float], float], grid: Sequence[float], values: Sequence[float]
) -> list[float]:
    """Return every root that a grid shows, ascending: where the sign changes, and where values turn beside 0.

    Parameters
    ----------
    function : callable
        x > 0 to a value of order 1 or, at its ends, infinity.
    grid, values : sequences of float
        Ascending x, and the values there.
    """
    roots: list[float] = []
    for i, (low, value) in enumerate(zip(grid, values, strict=True)):
        if value == 0:
            roots.append(low)
            continue
        if i and _turns(values[i - 1 : i + 2]):
            roots += _roots_about(function, grid[i - 1], low, grid[i + 1])
        if i + 1 < len(grid) and value * values[i + 1] < 0:
            roots.append(bracketed_root(function, low, grid[i + 1]))
    return sorted(roots)


def _turns(three: Sequence[float]) -> bool:
    """Tell whether the middle of three values of one sign is nearest to 0, and near."""
    if len(three) < 3 or not all(value * three[1] > 0 for value in three):
        return False
    left, middle, right = map(abs, three)
    return middle <= left and middle <= right and middle < _NEAR and left > middle * (1 + 1e-9)


def turning_point(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where between two points x > 0 a function that falls and then rises is least."""
    left, right = math.log(low), math.log(high)
    for _ in range(_STEPS):
        inner = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
        at = [function(math.exp(x)) for x in inner]
        left, right = (left, inner[1]) if at[0] <= at[1] else (inner[0], right)
    return math.exp((left + right) / 2)


def _roots_about(function: Callable[[float], float], low: float, middle: float, high: float) -> list[float]:
    """Return the two roots beside a turning point of values of one sign, or none."""
    sign = math.copysign(1.0, function(middle))
    left, right = math.log(low), math.log(high)
    for _ in range(_STEPS):
        inner = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
        at = [sign * function(math.exp(x)) for x in inner]
        best = math.exp(inner[at[1] < at[0]])
        if min(at) <= 0:
            return [bracketed_root(function, low, best), bracketed_root(function, best, high)]
        left, right = (left, inner[1]) if at[0] <= at[1] else (inner[0], right)
    return []
