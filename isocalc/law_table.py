"""A law's distribution function as a table, for thousands of singular values at once."""

import math

import numpy as np
import numpy.typing as npt

from isocalc.law import Law

Array = npt.NDArray[np.float64]

_POINTS, _FINER = 401, 8


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
    x = np.unique(law.grid(_POINTS))
    mass = law.cdf(x)
    for where, weight in law.atoms:
        mass = mass - weight * (where <= x)
    mass = np.maximum.accumulate(np.clip(mass, 0.0, 1.0))
    finer = np.interp(np.arange((x.size - 1) * _FINER + 1) / _FINER, np.arange(x.size), x)
    return finer, np.maximum.accumulate(np.asarray(PchipInterpolator(x, mass)(finer)))
