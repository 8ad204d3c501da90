"""A law of y = log λ that is solved point by point: distribution function, quantiles, moments, grid.

`SolvedLaw` asks a `Source`: the free product of layers, or paths of correlated gates. `grid_of` places the
points at which a density is printed: dense at the edges of its bands, so that trapezoid sums are good.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.support import Band, Scan
from isocalc.laws.tolerances import (
    AT_EDGE,
    ATOM_GAP,
    EPS,
    FEWEST_OF_A_BAND,
    FINEST,
    GRID_FIRST,
    GRID_GOOD,
    GRID_GOOD_OF_FEW,
    GRID_HALVED,
    MISSED_MASS,
    MOST_ROUNDS,
    NEAR_END,
    NOTHING,
    ROUNDED,
    SLOPE_OVER,
    TAIL,
    TAIL_MASS,
    TAIL_NODES,
)
from isocalc.numerics.cubics import with_cubics_between

Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]


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
        lowest = float(law.quantile(np.array([law.mass_at_zero + max(TAIL_MASS, 2 * law.missed)]))[0])
        ends[0] = (max(lowest, ends[0][0]), ends[0][1])
    if bands[-1].high == np.inf:
        ends[-1] = (ends[-1][0], float(law.quantile(np.array([1 - TAIL_MASS]))[0]))
    parts = [band._replace(low=low, high=high) for band, (low, high) in zip(bands, ends, strict=True)]
    if points < 3 * len(parts):
        whole = Band(parts[0].low, parts[-1].high, parts[0].low_diverges, parts[-1].high_diverges)
        return _cosine(whole, points, points)
    mass = np.array(
        [np.diff(law.density_and_its_mass(np.array([part.low, part.high]))[1])[0] for part in parts]
    )
    cells = _Cells(law, parts, _shares(mass, points), points, power)
    if abs(float(cells.off.sum())) <= max(GRID_GOOD, GRID_GOOD_OF_FEW / points**2) * mass.sum():
        return cells.y
    fewer = max(points // GRID_FIRST, 3 * len(parts))
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
        order = order[off[order] >= GRID_HALVED * off[order[0]]]
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
    fewest = min(FEWEST_OF_A_BAND, points // mass.size)
    rest = points - fewest * mass.size
    wanted = np.cumsum(np.cbrt(np.maximum(mass, NOTHING)))
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


Flags = npt.NDArray[np.bool_]


class Source(Protocol):
    """What solves a law of y = log λ."""

    @property
    def atoms(self) -> Pairs:
        """Point masses as (y, mass), ascending; y is −inf where λ is 0."""

    @property
    def scan(self) -> Scan:
        """The law solved at points placed by its mass, beyond both ends of it."""

    @property
    def bands(self) -> tuple[Band, ...]:
        """The intervals that carry the density, ascending; they may touch."""

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of them all, solved for alone where that is cheaper."""

    @property
    def mean(self) -> float | None:
        """E y, −inf where λ has a point mass at 0; ``None`` where it has no formula."""

    @property
    def log_mean(self) -> float:
        """Logarithm of E λ."""

    @property
    def relative_variance(self) -> float:
        """Var λ / (E λ)²."""

    @property
    def missed(self) -> float:
        """Mass between that at λ = 0 and the scan for which the law is not solved."""

    @property
    def resolution(self) -> float:
        """Distance in y, in units of it where it is large, that rounding leaves from a point mass."""

    @property
    def resolves_tails(self) -> bool:
        """Whether densities beyond the scan are what they are, nan where they are not known; else 0."""

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density and the mass above y, any floats."""

    def density(self, y: Array) -> Array:
        """Return the density alone."""

    def masses(self, reach: Pairs) -> tuple[Array, Array]:
        """Return nodes y and masses that stand for the density on intervals."""


class SolvedLaw:
    """The law of y = log λ of a source: a `law.Centred`.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.atoms = source.atoms
        self.mass_at_zero = sum(mass for y, mass in source.atoms if y == -math.inf)

    def density_and_below(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y, atoms left out, nan where unresolved, and the mass at or below y."""
        flat = y.ravel()
        density, survival = self._source.density_and_survival(flat)
        for place, _ in self.atoms:
            density[self._is_at(flat, place)] = 0.0
        for edge, value in self._edges:
            density[np.abs(flat - edge) <= AT_EDGE * max(1.0, abs(edge))] = value
        known = ~np.isnan(density) if self._source.resolves_tails else density > 0
        density[~known] = 0.0
        density[self._is_unresolved(flat) & ~known] = np.nan
        below = self._with_atoms(flat, survival)
        if self._has_open_tail:
            tail = (below < self.mass_at_zero + TAIL) & (density > 0)
            below[tail] = self.mass_at_zero + self._tail(flat[tail], density[tail], below[tail])
        return density.reshape(y.shape), below.reshape(y.shape)

    @property
    def _has_open_tail(self) -> bool:
        """Whether densities have all their digits in a tail that reaches down to λ = 0."""
        return self._source.resolves_tails and self._source.bands[0].low == -math.inf

    def _tail(self, y: Array, density: Array, rough: Array) -> Array:
        """Return the mass below places in the tail next to λ = 0, to the digits of densities.

        By Gauss-Laguerre: it falls nearly as a power of λ, or faster. Where densities are not known, or
        hardly fall over the width of the law, it is the ``rough`` one.
        """
        width = self._source.scan.y[-1] - self._source.scan.y[0]
        step = width * SLOPE_OVER
        s, weights = np.polynomial.laguerre.laggauss(TAIL_NODES)
        counts = weights > EPS * weights.max()
        s, weights = s[counts], weights[counts]
        found = rough.copy()
        with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
            falls = np.log(density / self._source.density(y - step)) / step
            steep = np.flatnonzero(falls * width > 1)
            places = y[steep, None] - s / falls[steep, None]
            ahead = self._source.density(places.ravel()).reshape(places.shape)
            masses = (ahead * np.exp(s)) @ weights / falls[steep]
        good = np.isfinite(masses) & (masses > 0)
        found[steep[good]] = masses[good]
        return found

    @cached_property
    def _edges(self) -> list[tuple[float, float]]:
        """Ends of bands at which the density is 0 or infinite, but for rounding, and which it is there."""
        ends = [end for band in self._source.bands for end in (band[::2], band[1::2])]
        count = Counter(place for place, _ in ends)
        return [
            (place, math.inf if diverges else 0.0)
            for place, diverges in ends
            if math.isfinite(place) and (diverges or count[place] == 1)
            if not any(self._is_at(np.array([place]), atom)[0] for atom, _ in self.atoms)
        ]

    def _is_unresolved(self, y: Array) -> Flags:
        """Tell where an open end of the law has next to no mass, but the density is not 0."""
        bands, scan = self._source.bands, self._source.scan
        below = (y < scan.y[0]) & (bands[0].low == -math.inf) & (y > -math.inf)
        return np.asarray(below | ((y > scan.y[-1]) & (bands[-1].high == math.inf) & (y < math.inf)))

    def _is_at(self, y: Array, place: float) -> Flags:
        if place == -math.inf:
            return np.zeros(y.shape, dtype=bool)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(y - place) <= self._source.resolution * max(1.0, abs(place)))

    def _below(self, y: Array) -> Array:
        return self._with_atoms(y, self._source.density_and_survival(y)[1])

    def _with_atoms(self, y: Array, survival: Array) -> Array:
        """Return the mass at or below y from the mass above it, whose limits at a point mass are two."""
        for place, _ in self.atoms:
            at = self._is_at(y, place)
            if at.any():
                beside = np.array([place + max(ATOM_GAP, 2 * self._source.resolution) * max(1.0, abs(place))])
                survival[at] = self._source.density_and_survival(beside)[1]
        return np.clip(1 - survival, self.mass_at_zero, 1.0)

    @property
    def missed(self) -> float:
        """Mass next to λ = 0 for which the law is not solved."""
        return self._source.missed

    @cached_property
    def intervals(self) -> Pairs:
        """Intervals of y that carry the density, ascending."""
        joined: list[tuple[float, float]] = []
        for band in self._source.bands:
            low = joined.pop()[0] if joined and joined[-1][1] == band.low else band.low
            joined.append((low, band.high))
        return tuple(joined)

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of all intervals."""
        return self._source.edges

    @cached_property
    def _reach(self) -> Pairs:
        """The bands, cut where they carry no mass that counts."""
        lowest, highest = float(self._source.scan.y[0]), float(self._source.scan.y[-1])
        return tuple((max(band.low, lowest), min(band.high, highest)) for band in self._source.bands)

    @cached_property
    def masses(self) -> tuple[Array, Array]:
        """Nodes y and masses that stand for the density."""
        return self._source.masses(self._reach)

    @cached_property
    def _resolved(self) -> tuple[Array, Array]:
        """The same, known to stand for all of the density but what is not solved for, next to λ = 0.

        Raises
        ------
        NoAnswerError
            They do not.
        """
        y, masses = self.masses
        missed = abs(math.fsum(masses) + math.fsum(mass for _, mass in self.atoms) + self.missed - 1)
        if missed > MISSED_MASS:
            raise NoAnswerError(f"the density was integrated to within {missed:.0e} of its mass only")
        return y, masses

    def quantile(self, u: Array) -> Array:
        """Return the smallest y with at least the mass u at or below it."""
        flat, missed = u.ravel(), self.missed
        lost = (flat > self.mass_at_zero) & (flat < self.mass_at_zero + missed)
        if lost.any():
            raise NoAnswerError(
                f"the quantile {float(flat[lost][0])!r} is among {missed:.0e} of the mass near λ = 0 "
                "for which the law is not solved"
            )
        y = with_cubics_between(self._inverted, self._slopes, flat)
        if self._has_open_tail:
            tail = (flat > self.mass_at_zero) & (flat < self.mass_at_zero + TAIL)
            y[tail] = self._inverted_in_tail(flat[tail] - self.mass_at_zero, y[tail])
        for place, mass in self.atoms:
            top = float(self._below(np.array([place]))[0])
            y = np.where((flat > top - mass) & (flat <= top + EPS), place, y)
        lowest = min(self._source.bands[0].low, *(place for place, _ in self.atoms), math.inf)
        highest = max(self._source.bands[-1].high, *(place for place, _ in self.atoms), -math.inf)
        y = np.where(flat <= 0, lowest, np.where(flat >= 1, highest, y))
        return y.reshape(u.shape)

    def _inverted(self, u: Array) -> Array:
        """Solve for y with the mass u below: Newton on the logarithm of the mass on the lighter side."""
        places, below = self._knots
        right = np.clip(np.searchsorted(below, u), 1, places.size - 1)
        low, high = places[right - 1], places[right]
        share = (u - below[right - 1]) / np.maximum(below[right] - below[right - 1], NOTHING)
        y = low + (high - low) * np.clip(share, 0.0, 1.0)
        open_ = np.flatnonzero(below[right] != u)
        for _ in range(MOST_ROUNDS):
            if not open_.size:
                break
            density, survival = self._source.density_and_survival(y[open_])
            wanted, found = u[open_], 1 - survival
            low[open_] = np.where(found < wanted, y[open_], low[open_])
            high[open_] = np.where(found < wanted, high[open_], y[open_])
            upper = wanted > 0.5
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                mass = np.where(upper, survival, found - self.mass_at_zero)
                aim = np.where(upper, 1 - wanted, wanted - self.mass_at_zero)
                step = np.where(upper, -1.0, 1.0) * mass * np.log(aim / mass) / density
            place = y[open_] + step
            inside = (place > low[open_]) & (place < high[open_])
            place = np.where(inside, place, (low[open_] + high[open_]) / 2)
            done = np.abs(found - wanted) <= EPS
            moved = np.abs(place - y[open_])
            y[open_] = np.where(done, y[open_], place)
            done |= np.where(inside, moved, high[open_] - low[open_]) <= FINEST * np.maximum(
                1.0, np.abs(place)
            )
            open_ = open_[~done]
        return y

    def _inverted_in_tail(self, mass: Array, y: Array) -> Array:
        """Solve for y with so little mass between it and λ = 0, from y that are near: Newton in logarithms.

        Raises
        ------
        NoAnswerError
            The law is not solved so near to λ = 0.
        """
        y, last = np.fmax(y, self._source.scan.y[0]), np.full(y.size, math.inf)
        open_ = np.arange(y.size)
        for _ in range(MOST_ROUNDS):
            if not open_.size:
                return y
            density, below = self.density_and_below(y[open_])
            with np.errstate(divide="ignore", invalid="ignore"):
                below = below - self.mass_at_zero
                move = np.log(mass[open_] / below) * below / density
            if not np.isfinite(move).all():
                break
            y[open_] += move
            # By rounding of densities a step may shrink no more.
            size = np.abs(move) / np.maximum(1.0, np.abs(y[open_]))
            still = (size > FINEST) & ((size > ROUNDED) | (size < last[open_] / 2))
            last[open_] = size
            open_ = open_[still]
        raise NoAnswerError(f"the law is not solved so near λ = 0 that {mass.min():.2g} of the mass is below")

    def _slopes(self, y: Array) -> Array:
        """Return by how much y moves with the mass below it."""
        with np.errstate(divide="ignore"):
            return np.asarray(1 / self._source.density(y))

    @cached_property
    def _knots(self) -> tuple[Array, Array]:
        """Places and the mass below them, ascending, from end to end."""
        scan = self._source.scan
        ends = np.array([end for band in self._reach for end in band])
        beside = np.minimum(np.searchsorted(scan.y, ends), scan.y.size - 1)
        survival = np.where(scan.density[beside] == 0, scan.survival[beside], np.nan)
        inside = np.isfinite(survival)
        places = np.concatenate((scan.y, ends[inside]))
        order = np.argsort(places, kind="stable")
        below = 1 - np.concatenate((scan.survival, survival[inside]))[order]
        return places[order], np.maximum.accumulate(below)

    @cached_property
    def mean(self) -> float:
        """E y."""
        mean = self._source.mean
        return self.mean_of(lambda y: y) if mean is None else mean

    @cached_property
    def variance(self) -> float:
        """Variance of y."""
        return math.inf if self.mean == -math.inf else self.mean_of(lambda y: (y - self.mean) ** 2)

    def log_laplace(self, power: float) -> float:
        """Return log E λ^power.

        Raises
        ------
        NoAnswerError
            It is decided by values beyond what the density resolves.
        """
        log_mean = self._source.log_mean
        if power in {0, 1}:
            return power * log_mean
        if power == 2:
            return 2 * log_mean + math.log1p(self._source.relative_variance)
        if power < 0 and self.mass_at_zero:
            return math.inf
        y, masses = self._resolved
        terms = np.log(masses[masses > 0]) + power * y[masses > 0]
        terms = np.append(terms, [math.log(mass) + power * place for place, mass in self.atoms])
        top = float(terms.max())
        found = top + math.log(np.exp(terms - top).sum())
        if 0 < power < 1:
            self._require_small_above(power, found)
        elif self._decided_at_open_end(power, top):
            if power < 0:
                return math.inf
            raise NoAnswerError(f"the moment of λ of order {power!r} is decided by values the density misses")
        return found

    def _require_small_above(self, power: float, found: float) -> None:
        """Refuse a moment of an order below 1 that values above the nodes may add to.

        They add at most what they add to E λ, which is known, times λ^(power − 1) of the least of them.
        """
        y, masses = self.masses
        log_mean, end = self._source.log_mean, self._reach[-1][1]
        seen = float(masses @ np.exp(y - log_mean))
        seen += math.fsum(mass * math.exp(place - log_mean) for place, mass in self.atoms)
        most = (1 - seen) * math.exp(log_mean - (1 - power) * end - found)
        if most > MISSED_MASS:
            raise NoAnswerError(f"{most:.0e} of the moment of λ of order {power!r} is not found")

    def _decided_at_open_end(self, power: float, top: float) -> bool:
        """Tell whether e^(power y) times the density has not died out at an end that is not an edge."""
        low, high = self._source.bands[0].low, self._source.bands[-1].high
        end = self._reach[0][0] if power < 0 else self._reach[-1][1]
        if math.isfinite(low if power < 0 else high):
            return False
        near = end + (NEAR_END if power < 0 else -NEAR_END)
        density = float(self._source.density(np.array([near]))[0])
        return density > 0 and math.log(density) + power * near > top - 25

    def relative_variance(self, power: float) -> float:
        """Return the relative variance of λ^power."""
        if power == 1:
            return self._source.relative_variance
        mean = self.log_laplace(power)
        return self.mean_of(lambda y: np.expm1(power * y - mean) ** 2)

    def mean_of(self, function: Callable[[Array], Array]) -> float:
        """Return E function(y)."""
        y, masses = self._resolved
        at_atoms = [mass * float(function(np.array(place))) for place, mass in self.atoms]
        values = function(y)
        mean = float((masses * values).sum()) + math.fsum(at_atoms)
        beyond = self.missed * abs(float(function(np.array(self._source.scan.y[0]))))
        if beyond > MISSED_MASS * (masses * np.abs(values)).sum():
            raise NoAnswerError(f"an average is decided by {self.missed:.0e} of the mass near λ = 0")
        return mean

    def density_and_its_mass(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y and the mass below y that is of it, point masses left out."""
        density, below = self.density_and_below(y)
        for place, mass in self.atoms:
            below = below - mass * ((y >= place) | self._is_at(y, place))
        return density, below

    def grid(self, points: int, power: float = 0.0) -> Array:
        """Return values of y over the support, from the quantile 1e-9 where it reaches down to λ = 0."""
        return grid_of(self, self._source.bands, self._reach, points, power)
