"""Points at which a density is printed: dense at the edges of its bands, so that trapezoid sums are good."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isocalc.bands import Band

Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]

_TINY = 1e-9
_FEWEST = 7
_GOOD = 3e-4


class Solved(Protocol):
    """What is asked of a law."""

    mass_at_zero: float
    atoms: Pairs

    @property
    def missed(self) -> float:
        """Mass next to λ = 0 for which the law is not solved."""

    @property
    def masses(self) -> tuple[Array, Array]:
        """Nodes and masses that stand for the density."""

    def quantile(self, u: Array) -> Array:
        """Return the y with the mass u at or below it."""

    def density_and_below(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y and the mass at or below y."""


def grid_of(law: Solved, bands: Sequence[Band], reach: Pairs, points: int) -> Array:
    """Return ``points`` values of y, ascending, that cover the bands.

    Parameters
    ----------
    law : Solved
    bands, reach : sequence of Band, of (float, float)
        The bands, and the same cut where they carry no mass that counts.
    points : int
        At least 1.
    """
    ends = list(reach)
    if bands[0].low == -math.inf:
        lowest = float(law.quantile(np.array([law.mass_at_zero + max(_TINY, 2 * law.missed)]))[0])
        ends[0] = (lowest, ends[0][1])
    if bands[-1].high == math.inf:
        ends[-1] = (ends[-1][0], float(law.quantile(np.array([1 - _TINY]))[0]))
    whole = 1 - math.fsum(mass for _, mass in law.atoms)
    mass = (
        np.array([_mass_between(law, low, high) for low, high in ends])
        if len(ends) > 1
        else np.array([whole])
    )
    parts = [
        _cover(law, band, (low, high), its_mass, count)
        for band, (low, high), its_mass, count in zip(
            bands, ends, mass.tolist(), _shares(mass, points), strict=True
        )
    ]
    return np.concatenate(parts)


def _mass_between(law: Solved, low: float, high: float) -> float:
    y, masses = law.masses
    return float(masses[(y >= low) & (y <= high)].sum())


def _shares(mass: Array, points: int) -> list[int]:
    """Share points out like the cube roots of the masses M: trapezoid sums with n points miss M/n²."""
    fewest = min(_FEWEST, points // mass.size)
    rest = points - fewest * mass.size
    wanted = np.cumsum(np.cbrt(np.maximum(mass, 1e-300)))
    upto = np.rint(rest * wanted / wanted[-1]).astype(int)
    return [fewest + int(count) for count in np.diff(upto, prepend=0)]


def _cover(law: Solved, band: Band, ends: tuple[float, float], mass: float, count: int) -> Array:
    low, high = ends
    if count < 3:
        return np.linspace(low, high, count + 2)[1:-1] if count else np.empty(0)
    y = _cosine(band, low, high, np.linspace(0.0, 1.0, count))
    covered = float(np.trapezoid(law.density_and_below(y)[0], y))
    if abs(covered - mass) <= max(_GOOD, 10 / count**2) * mass:
        return y
    y_in, masses = law.masses
    inside = (y_in >= low) & (y_in <= high)
    total = float(masses[inside].sum())
    if not total:
        return y
    # A spike: half of the points go where the mass is.
    fine = _cosine(band, low, high, np.linspace(0.0, 1.0, 16 * count))
    order = np.argsort(y_in[inside])
    share = np.interp(fine, y_in[inside][order], np.cumsum(masses[inside][order]) / total)
    share = (share + np.linspace(0.0, 1.0, fine.size)) / 2
    share = (share - share[0]) / (share[-1] - share[0])
    y = np.interp(np.linspace(0.0, 1.0, count), share, fine)
    y[0], y[-1] = fine[0], fine[-1]
    return y


def _cosine(band: Band, low: float, high: float, place: Array) -> Array:
    """Return points cosine-spaced; towards an end of infinite density closer, and not at it."""
    gap = 0.5 / place.size
    start = gap if band.low_diverges else 0.0
    stop = 1 - gap if band.high_diverges else 1.0
    part = start + (stop - start) * place
    angle = np.pi / 2 * part
    from_low = np.sin(angle) ** 2
    if band.low_diverges:
        from_low = 1 - np.cos(angle * np.sin(angle)) ** 2
    if band.high_diverges:
        angle = np.pi / 2 - angle
        from_high = 1 - np.cos(angle * np.sin(angle)) ** 2
        return high - (high - low) * from_high
    return low + (high - low) * from_low
