"""A law's distribution function as a table, for thousands of singular values at once."""

import math

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.law import Law

Array = npt.NDArray[np.float64]

_POINTS, _FINER = 401, 8
# Mass between two points over which the table may go without the points between.
_BRIDGED = 1e-3


def law_table(law: Law) -> tuple[Array, Array]:
    """Tabulate a law's distribution function.

    Parameters
    ----------
    law : Law
        In the variable "log".

    Returns
    -------
    place, mass : arrays, shape (n,)
        Log s and the mass at or below it, ascending, from the mass at s = 0 to 1, for linear interpolation to
        1e-5; a point mass has two entries. Empty where all is at s = 0. Towards s = 0 and infinity the table
        ends where a mass of 1e-9 is left.

    Raises
    ------
    NoAnswerError
        The law is not known at some places, with more than 1e-3 of the mass between their neighbours.
    """
    place, mass = _continuous(law)
    at_zero = sum(weight for where, weight in law.atoms if where == -math.inf)
    mass = mass + at_zero
    for where, weight in law.atoms:
        if where > -math.inf:
            k = int(np.searchsorted(place, where))
            before = float(np.interp(where, place, mass)) if place.size else at_zero
            place = np.concatenate((place[:k], [where, where], place[k:]))
            mass = np.concatenate((mass[:k], [before, before + weight], mass[k:] + weight))
    if place.size:
        mass[0], mass[-1] = at_zero, 1.0
    return place, mass


def upper_part(table: tuple[Array, Array], share: float) -> tuple[Array, Array]:
    """Return the part of a table that has a share of the mass, in (0, 1], from above."""
    place, mass = table
    rest = max(1 - share, mass[0])
    first = max(int(np.searchsorted(mass, rest, side="right")) - 1, 0)
    start = np.interp(rest, mass, place)
    return np.append(start, place[first + 1 :]), np.append(rest, mass[first + 1 :])


def _continuous(law: Law) -> tuple[Array, Array]:
    """Return places from end to end of the density and its mass below them."""
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - only where a simulation is judged

    if not law.support():
        return np.empty(0), np.empty(0)
    grid = np.unique(law.grid(_POINTS))
    inner, mass = _solved(law, grid[1:-1])
    for where, weight in law.atoms:
        mass = mass - weight * (where <= inner)
    whole = 1 - math.fsum(weight for _, weight in law.atoms)
    x = np.concatenate((grid[:1], inner, grid[-1:]))
    mass = np.maximum.accumulate(np.clip(np.concatenate(([0.0], mass, [whole])), 0.0, 1.0))
    across = np.diff(mass)[np.searchsorted(x, np.setdiff1d(grid, x)) - 1]
    if (across > _BRIDGED).any():
        raise NoAnswerError(f"the solver finds no way to a part of this law's mass, {across.max():.2g}")
    finer = np.interp(np.arange((x.size - 1) * _FINER + 1) / _FINER, np.arange(x.size), x)
    return finer, np.maximum.accumulate(np.asarray(PchipInterpolator(x, mass)(finer)))


def _solved(law: Law, x: Array) -> tuple[Array, Array]:
    """Return the distribution function at x, without the points that the solver does not reach."""
    try:
        return x, law.cdf(x)
    except NoAnswerError:
        if x.size == 1:
            return np.empty(0), np.empty(0)
        halves = [_solved(law, half) for half in np.array_split(x, 2)]
        found, mass = (np.concatenate(parts) for parts in zip(*halves, strict=True))
        return found, mass
