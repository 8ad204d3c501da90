"""Roots of smooth functions of a positive number."""

import math
from collections.abc import Callable

from isocalc.errors import NoAnswerError


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
