"""Roots of functions of one number, of many functions at once: in brackets, or all that a grid shows.

`find_roots` is the one loop. SciPy's ``optimize.elementwise.find_root`` does without slopes, logarithms and
starts, and importing it takes 150 ms.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.numerics.tolerances import CLOSED, HUGE, MOST_STEPS, NEAR

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Function = Callable[[Indices, Array], tuple[Array, Array | None]]


class Found(NamedTuple):
    """Roots of many functions, arrays of shape (n,)."""

    x: Array
    """NaN where the root was not reached"""
    reached: Flags


def find_roots(
    function: Function,
    low: Array,
    high: Array,
    values: tuple[Array, Array],
    *,
    start: Array | None = None,
    in_log: bool = True,
) -> Found:
    """Return a root of each of many functions, in brackets.

    Steps are Newton's where the function tells its slope, else by inverse quadratic interpolation where
    Chandrupatla's criterion trusts it [1]_, and halve the bracket where neither leads inside.

    Parameters
    ----------
    function : callable
        Indices i, shape (m,), and points x, shape (m,), to the values there of the functions number i, finite
        or not, and to their slopes, in log x if ``in_log``, or ``None``.
    low, high : array, shape (n,)
        Ends of the brackets, greater than 0 if ``in_log``.
    values : tuple of array, shape (n,)
        Values at both ends, of opposite sign; infinite where only the sign is known.
    start : array, shape (n,), optional
        Points to begin with, inside of the brackets.
    in_log : bool
        Whether steps are in log x and accuracy is relative to x, however small it is.

    Returns
    -------
    Found
        Where a value is 0, changes its sign between neighbours, or Newton's steps are rounding. Not reached
        where that is nowhere in the bracket, or within 200 steps.

    References
    ----------
    .. [1] Chandrupatla, Adv. Eng. Softw. 28 (1997) 145.
    """

    def moved(step: Array) -> Array:
        """Return x moved, inside of the bracket to the last digit."""
        return np.clip(_moved(x, step, in_log), np.minimum(x, b[0]), np.maximum(x, b[0]))

    root, left = np.full(low.size, np.nan), np.arange(low.size)
    # The root is between a, the last point, and b; c is the point before. Rows: places and values.
    a, b = np.array((high, values[1])), np.array((low, values[0]))
    progress = np.array((np.full(low.size, np.inf), np.zeros(low.size)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        x = _moved(low, _apart(low, high, in_log) / 2, in_log) if start is None else start
        for _ in range(MOST_STEPS):
            if not left.size:
                break
            value, slope = function(left, x)
            value = np.clip(value, -HUGE, HUGE)
            same = (value > 0) == (a[1] > 0)
            a, b, c = np.array((x, value)), np.where(same, b, a), np.where(same, a, b)
            width, unit = _apart(x, b[0], in_log), np.ones_like(x) if in_log else np.abs(x)
            done = (value == 0) | (np.abs(width) <= 2 * CLOSED * unit)
            if slope is None:
                step, near = _interpolated(a, b, c, width, in_log), np.zeros_like(done)
            else:
                step = -value / slope
                near = np.abs(step) < NEAR * unit
            known = done & ((value == 0) | (np.isfinite(value) & (np.isfinite(b[1]) | near)))
            root[left[known]] = np.where(np.abs(value) <= np.abs(b[1]), x, b[0])[known]
            if slope is not None:
                # Its square, over the slope, is rounding.
                last = near & ~done & (np.abs(step) <= np.maximum(1e-8 * np.abs(slope), CLOSED) * unit)
                progress = _progress(progress, np.abs(step), near)
                stalled = ~done & ~last & (progress[1] == 3)
                root[left[stalled]], root[left[last]] = x[stalled], moved(step)[last]
                done |= last | stalled
            inside = near | ((step / width > 0) & (step / width < 1))
            least = CLOSED * unit
            kept_off = np.copysign(np.clip(np.abs(step), least, np.abs(width) - least), width)
            x = moved(np.where(inside, kept_off, width / 2))
            left, x, a, b, progress = left[~done], x[~done], a[:, ~done], b[:, ~done], progress[:, ~done]
    return Found(root, ~np.isnan(root))


def _apart(one: Array, other: Array, in_log: bool) -> Array:  # noqa: FBT001 - private, and always given
    """Return the way from one point to another."""
    return np.asarray(2 * np.log(np.sqrt(other) / np.sqrt(one)) if in_log else other - one)


def _moved(x: Array, step: Array, in_log: bool) -> Array:  # noqa: FBT001 - private, and always given
    return np.asarray(x * np.exp(step) if in_log else x + step)


def _interpolated(a: Array, b: Array, c: Array, width: Array, in_log: bool) -> Array:  # noqa: FBT001 - as above
    """Return the step from a towards b by inverse quadratic interpolation, NaN where it is not trusted."""
    f_a, f_b, f_c = a[1], b[1], c[1]
    to_c = _apart(a[0], c[0], in_log) / width
    xi, phi = 1 / (1 - to_c), (f_a - f_b) / (f_c - f_b)
    trusted = (phi * phi < xi) & ((1 - phi) * (1 - phi) < 1 - xi)
    towards_b, towards_c = f_a / (f_b - f_a) * f_c / (f_b - f_c), f_a / (f_c - f_a) * f_b / (f_c - f_b)
    return np.where(trusted, width * (towards_b + to_c * towards_c), np.nan)


def _progress(progress: Array, size: Array, near: Flags) -> Array:
    """Return the smallest step of Newton's yet, and how many in a row did not halve it."""
    smallest, stalled = progress
    stalled = np.where(near & (size > smallest / 2), stalled + 1, 0)
    return np.array((np.where(near, np.minimum(smallest, size), smallest), stalled))


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return a root of one function of x > 0 between points where its values are of opposite sign.

    Raises
    ------
    NoAnswerError
        It was not reached (not known to happen).
    """

    def of_many(_: Indices, x: Array) -> tuple[Array, None]:
        return np.array([function(value) for value in x.tolist()]), None

    values = np.clip([[function(low)], [function(high)]], -HUGE, HUGE)
    found = find_roots(of_many, np.array([low]), np.array([high]), (values[0], values[1]))
    if not found.reached[0]:
        raise NoAnswerError(f"no root was reached between {low!r} and {high!r}")
    return float(found.x[0])


def all_roots(function: Callable[[Array], Array], grid: Array, values: Array) -> list[float]:
    """Return every root that a grid shows, ascending: where the sign changes, and where values turn beside 0.

    Parameters
    ----------
    function : callable
        x > 0, shape (n,), to values of order 1 or, at its ends, infinite.
    grid, values : array, shape (k,)
        Ascending x, and the values there.
    """
    exact, signs = grid[values == 0], np.sign(values)
    crossing = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    brackets = [np.array((grid[crossing], grid[crossing + 1], values[crossing], values[crossing + 1]))]
    turning = 1 + np.flatnonzero(_turns(values))
    if turning.size:
        low, high = turning - 1, turning + 1
        place, least = turning_points(function, grid[low], grid[high], signs[turning], stop_below=0.0)
        hit = signs[turning] * least <= 0
        low, high, place, least = low[hit], high[hit], place[hit], least[hit]
        brackets.append(np.array((grid[low], place, values[low], least)))
        brackets.append(np.array((place, grid[high], least, values[high])))
    low, high, *ends = np.concatenate(brackets, axis=1)
    ends = np.clip(ends, -HUGE, HUGE)
    found = find_roots(lambda _, x: (function(x), None), low, high, (ends[0], ends[1]))
    return sorted([*exact.tolist(), *found.x[found.reached].tolist()])


def _turns(values: Array) -> Flags:
    """Tell which of the inner values are near 0, and nearer than their neighbours, of the same sign."""
    left, middle, right = np.abs(values[:-2]), np.abs(values[1:-1]), np.abs(values[2:])
    signs = np.sign(values)
    alike = (signs[:-2] == signs[1:-1]) & (signs[2:] == signs[1:-1])
    lowest = (middle <= left) & (middle <= right) & (left > middle * (1 + 1e-9))
    # Values are logarithms or ratios: from 2 on none comes down to 0 between neighbours of a grid.
    return np.asarray(alike & lowest & (middle > 0) & (middle < 2.0))


def turning_points(
    function: Callable[[Array], Array],
    low: Array,
    high: Array,
    sign: Array,
    stop_below: float = -np.inf,
) -> tuple[Array, Array]:
    """Return where between points x > 0 functions, times a sign, are least, and their values there.

    Golden sections in log x, 36 of them, since a minimum is known to half of the digits; those whose value
    times the sign comes down to ``stop_below`` are ended there.

    Parameters
    ----------
    function : callable
        x, shape (m,), to values; one function for all intervals.
    low, high, sign : array, shape (n,)
    stop_below : float
    """
    golden = (5**0.5 - 1) / 2
    left, right = np.log(low), np.log(high)
    place, least = np.empty(low.size), np.empty(low.size)
    open_ = np.arange(low.size)
    for _ in range(36):
        if not open_.size:
            break
        length = golden * (right - left)
        inner = np.array((right - length, left + length))
        at = sign[open_] * function(np.exp(inner.ravel())).reshape(inner.shape)
        first = at[0] <= at[1]
        left, right = np.where(first, left, inner[0]), np.where(first, inner[1], right)
        place[open_], least[open_] = np.exp(np.where(first, *inner)), np.minimum(*at)
        going = least[open_] > stop_below
        open_, left, right = open_[going], left[going], right[going]
    if open_.size:
        place[open_] = np.exp((left + right) / 2)
        least[open_] = sign[open_] * function(place[open_])
    return place, sign * least
