"""Points at which a density is printed: dense at the edges of its bands, so that trapezoid sums are good."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isocalc.bands import Band

Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]

_TINY = 1e-9
_FEWEST = 7
# Mass by which trapezoid sums on cosine-spaced points may be off, and the same times their number squared.
_GOOD, _GOOD_OF_FEW = 3e-4, 10.0
# Points that are chosen step by step: the share to start with, and of the largest error what is halved.
_FIRST, _HALVED = 4, 0.2


class Solved(Protocol):
    """What is asked of a law."""

    mass_at_zero: float

    @property
    def missed(self) -> float:
        """Mass next to λ = 0 for which the law is not solved."""

    def quantile(self, u: Array) -> Array:
        """Return the y with the mass u at or below it."""

    def density_and_its_mass(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y and the mass below y that is of it, point masses left out."""


def grid_of(law: Solved, bands: Sequence[Band], reach: Pairs, points: int, power: float) -> Array:
    """Return ``points`` values of y, ascending, that cover the bands.

    They are cosine-spaced where trapezoid sums of the density are good on those; else they are placed where
    such a sum is off most.

    Parameters
    ----------
    law : Solved
    bands, reach : sequence of Band, of (float, float)
        The bands, and the same cut where they carry no mass that counts.
    points : int
        At least 1.
    power : float
        Sums are over λ^power, for 0 over y.
    """
    ends = list(reach)
    if bands[0].low == -np.inf:
        lowest = float(law.quantile(np.array([law.mass_at_zero + max(_TINY, 2 * law.missed)]))[0])
        ends[0] = (lowest, ends[0][1])
    if bands[-1].high == np.inf:
        ends[-1] = (ends[-1][0], float(law.quantile(np.array([1 - _TINY]))[0]))
    parts = [band._replace(low=low, high=high) for band, (low, high) in zip(bands, ends, strict=True)]
    if points < 3 * len(parts):
        whole = Band(parts[0].low, parts[-1].high, parts[0].low_diverges, parts[-1].high_diverges)
        return _cosine(whole, points, points)
    mass = np.array(
        [np.diff(law.density_and_its_mass(np.array([part.low, part.high]))[1])[0] for part in parts]
    )
    cells = _Cells(law, parts, _shares(mass, points), points, power)
    if abs(float(cells.off.sum())) <= max(_GOOD, _GOOD_OF_FEW / points**2) * mass.sum():
        return cells.y
    fewer = max(points // _FIRST, 3 * len(parts))
    cells = _Cells(law, parts, _shares(mass, fewer), points, power)
    while cells.y.size < points:
        cells.halve(points - cells.y.size)
    return cells.y


class _Cells:
    """Points on bands, and by how much mass a trapezoid sum is off between each and the next."""

    def __init__(
        self, law: Solved, parts: Sequence[Band], counts: Sequence[int], points: int, power: float
    ) -> None:
        self._law, self._power = law, power
        self.y = np.concatenate([_cosine(part, n, points) for part, n in zip(parts, counts, strict=True)])
        self._band = np.repeat(np.arange(len(parts)), counts)
        self._density, self._mass = law.density_and_its_mass(self.y)

    @property
    def off(self) -> Array:
        """What the sum has too much between neighbours; 0 between bands, and where rounding ends points."""
        step = np.diff(self.y)
        with np.errstate(over="ignore", invalid="ignore"):
            if self._power:
                left, right = (np.expm1(self._power * step), -np.expm1(-self._power * step))
                left, right = left / (2 * self._power), right / (2 * self._power)
            else:
                left = right = step / 2
            off = left * self._density[:-1] + right * self._density[1:] - np.diff(self._mass)
        middle = (self.y[1:] + self.y[:-1]) / 2
        inside = (np.diff(self._band) == 0) & (self.y[:-1] < middle) & (middle < self.y[1:])
        return np.where(inside & ~np.isnan(off), off, 0.0)

    def halve(self, most: int) -> None:
        """Add the middles of the steps on which the sum is off most."""
        off = np.abs(self.off)
        order = np.argsort(off)[::-1][:most]
        order = order[off[order] >= _HALVED * off[order[0]]]
        middle = (self.y[order] + self.y[order + 1]) / 2
        found = (middle, self._band[order], *self._law.density_and_its_mass(middle))
        joined = [
            np.concatenate(pair)
            for pair in zip((self.y, self._band, self._density, self._mass), found, strict=True)
        ]
        ascending = np.lexsort((joined[0], joined[1]))
        self.y, self._band, self._density, self._mass = (array[ascending] for array in joined)


def _shares(mass: Array, points: int) -> list[int]:
    """Share points out like the cube roots of the masses M: trapezoid sums with n points miss M/n²."""
    fewest = min(_FEWEST, points // mass.size)
    rest = points - fewest * mass.size
    wanted = np.cumsum(np.cbrt(np.maximum(mass, 1e-300)))
    upto = np.rint(rest * wanted / wanted[-1]).astype(int)
    return [fewest + int(count) for count in np.diff(upto, prepend=0)]


def _cosine(band: Band, count: int, points: int) -> Array:
    """Return ``count`` points cosine-spaced; towards an end of infinite density closer, and not at it.

    How close ``points`` says, the number there will be in the end.
    """
    if count == 1:
        return np.array([(band.low + band.high) / 2])
    gap = 0.5 / points
    start = gap if band.low_diverges else 0.0
    stop = 1 - gap if band.high_diverges else 1.0
    angle = np.pi / 2 * np.linspace(start, stop, count)
    width = band.high - band.low
    if band.high_diverges:
        angle = np.pi / 2 - angle
        return band.high - width * (1 - np.cos(angle * np.sin(angle)) ** 2)
    if band.low_diverges:
        return band.low + width * (1 - np.cos(angle * np.sin(angle)) ** 2)
    y = band.low + width * np.sin(angle) ** 2
    y[-1] = band.high
    return y
