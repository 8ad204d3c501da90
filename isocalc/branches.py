"""All roots of a function on a range, branch by branch."""

import math
from collections.abc import Callable, Sequence

from isocalc.roots import bracketed_root

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
