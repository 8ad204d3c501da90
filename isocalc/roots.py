"""Roots of smooth functions of a positive number."""

import math
import sys
from collections.abc import Callable, Sequence

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
