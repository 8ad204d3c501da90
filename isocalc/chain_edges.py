"""The ends of a density that vanishes like a square root, from points inside of it."""

import math
from collections.abc import Callable

from isocalc.errors import NoAnswerError

# Densities of rounding.
DEAD = 1e-7
_MOST_POINTS = 120
# Points after which the square of the density is not taken for smooth any more.
_SMOOTH = 30
_USED = 5
_AGREE = 1e-10
# Points go so much of the way to where the last ones say that the edge is.
_PART = 0.8


def edge_from(density: Callable[[float], float], inside: float, step: float) -> float:
    """Return the end of the density beyond a point inside.

    Near an edge y is a smooth function of the square of the density: the polynomial through the last points,
    taken at 0, says where it ends. Each next point is most of the way there. Where that does not settle,
    steps are halved until the edge is in between.

    Parameters
    ----------
    density : callable
        y to the density.
    inside : float
        Where the density is positive.
    step : float
        Signed first step towards the edge.

    Raises
    ------
    NoAnswerError
        The density does not end.
    """
    places, squares = [inside], [density(inside) ** 2]
    sign = math.copysign(1.0, step)
    beyond, found = sign * math.inf, math.inf
    for count in range(_MOST_POINTS):
        y = places[-1] + step
        if (y - beyond) * sign >= 0 or (count >= _SMOOTH and math.isfinite(beyond)):
            y = (places[-1] + beyond) / 2
        if y in {places[-1], beyond}:
            return y
        square = density(y) ** 2
        if square <= DEAD**2:
            beyond, step = y, (y - places[-1]) / 2
            continue
        places.append(y)
        squares.append(square)
        previous, found = found, _extrapolated(places[-_USED:], squares[-_USED:])
        if abs(found - previous) <= _AGREE * max(1.0, abs(found)) and len(places) > _USED:
            return found
        towards = (found - y) * sign
        if not 0 < towards < math.inf:  # the density still rises towards there
            step *= 1.5
        else:
            step = sign * min(_PART * towards, 2 * abs(y - places[-2]) + towards / 8)
    raise NoAnswerError("an edge of the exact law was not found")


def _extrapolated(places: list[float], squares: list[float]) -> float:
    """Return the value at square 0 of the polynomial through the points (Neville's scheme)."""
    values = list(places)
    for level in range(1, len(values)):
        for k in range(len(values) - level):
            left, right = squares[k], squares[k + level]
            if left == right:
                return values[-1]
            values[k] = (left * values[k + 1] - right * values[k]) / (left - right)
    return values[0]
