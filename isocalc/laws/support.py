"""Where a law of y = log λ has its mass: bands of density, point masses, and a scan for both.

`Scan` solves a law at points until no mass hides between them. `PointMasses` is a law without a density.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.tolerances import FLAT, HIDDEN, MISSED_MASS, MOST_ROUNDS, SAME, STEP_MASS, STEP_MISSED


class Band(NamedTuple):
    """An interval of y that carries a density, which may be infinite at its ends; ends may be infinite."""

    low: float
    high: float
    low_diverges: bool = False
    high_diverges: bool = False


Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PointMasses:
    """Point masses of y = log λ − centre, of total 1.

    Parameters
    ----------
    atoms : tuple of (float, float)
        (y, mass), ascending; y is −inf where λ is 0.
    """

    atoms: Pairs

    @property
    def intervals(self) -> Pairs:
        """No interval carries a density."""
        return ()

    @property
    def edges(self) -> tuple[float, float]:
        """None."""
        return math.inf, -math.inf

    @property
    def mean(self) -> float:
        """E y."""
        return sum(mass * y for y, mass in self.atoms)

    @property
    def variance(self) -> float:
        """Variance of y."""
        if self.atoms[0][0] == -math.inf:
            return math.inf if len(self.atoms) > 1 else 0.0
        return sum(mass * (y - self.mean) ** 2 for y, mass in self.atoms)

    def density_and_below(self, y: Array) -> tuple[Array, Array]:
        """Return the density, 0, and the mass at or below y."""
        below = np.zeros_like(y)
        for place, mass in self.atoms:
            below += mass * (y >= place - SAME * max(1.0, abs(place)) if place > -math.inf else True)
        return np.zeros_like(y), below

    def quantile(self, u: Array) -> Array:
        """Return the smallest y with at least the mass u at or below it."""
        below = np.cumsum([mass for _, mass in self.atoms])
        places = np.array([place for place, _ in self.atoms])
        return places[np.minimum(np.searchsorted(below, u), places.size - 1)]

    def log_laplace(self, power: float) -> float:
        """Return log E e^(power y)."""
        if power == 0:
            return 0.0
        logs = np.array([math.log(mass) + power * y for y, mass in self.atoms])
        top = float(logs.max())
        return top + math.log(np.exp(logs - top).sum()) if math.isfinite(top) else top

    def relative_variance(self, power: float) -> float:
        """Return Var λ^power / (E λ^power)²."""
        return math.expm1(self.log_laplace(2 * power) - 2 * self.log_laplace(power))

    def mean_of(self, function: Callable[[Array], Array]) -> float:
        """Return E function(y)."""
        return sum(mass * float(function(np.array(y))) for y, mass in self.atoms)

    def grid(self, points: int, power: float = 0.0) -> Array:  # noqa: ARG002 - the same for all
        """Return the places of the masses, each repeated until there are so many."""
        return np.repeat([y for y, _ in self.atoms], -(-points // len(self.atoms)))[:points]


Solver = Callable[[Array], tuple[Array, Array]]


class Scan:
    """A law solved at enough points to know where its mass is.

    Parameters
    ----------
    solver : callable
        y to the density at y and the mass above it.
    start : array
        Points to begin with, beyond both ends of the law or of its mass.
    atoms : tuple of (float, float)
        Point masses as (y, mass).

    Attributes
    ----------
    y, density, survival : arrays
        Ascending in y.
    """

    def __init__(self, solver: Solver, start: Array, atoms: Pairs) -> None:
        self._solver, self._atoms = solver, atoms
        self.y = self.density = self.survival = np.empty(0)
        self.add(start)
        for _ in range(MOST_ROUNDS):
            places = self._wanted()
            if not places.size:
                break
            self.add(places)

    def add(self, y: Array) -> None:
        """Solve at more points."""
        found = (y, *self._solver(y))
        parts = zip((self.y, self.density, self.survival), found, strict=True)
        joined = [np.concatenate(part) for part in parts]
        order = np.argsort(joined[0], kind="stable")
        self.y, self.density, self.survival = (part[order] for part in joined)
        if (np.diff(self.survival) > MISSED_MASS).any():
            raise NoAnswerError("the law was not solved: the mass above some points rises", ("simulate",))

    def _wanted(self) -> Array:
        """Return midpoints of the steps that hide something."""
        width = np.diff(self.y)
        mass = self.survival[:-1] - self.survival[1:]
        for place, atom in self._atoms:
            mass -= atom * ((self.y[:-1] < place) & (place <= self.y[1:]))
        missed = np.abs(mass - width * (self.density[:-1] + self.density[1:]) / 2)
        dead = self.density == 0
        hidden = (mass > HIDDEN) & dead[:-1] & dead[1:]
        dip = np.zeros(self.y.size, dtype=bool)
        beside = np.minimum(self.density[:-2], self.density[2:])
        dip[1:-1] = (self.density[1:-1] < FLAT * beside) & ~dead[1:-1]
        wanted = (mass > STEP_MASS) | (missed > STEP_MISSED) | hidden | dip[:-1] | dip[1:]
        wanted &= width > SAME * np.maximum(1.0, np.abs(self.y[1:]))
        middle: Array = (self.y[:-1] + self.y[1:]) / 2
        return np.asarray(middle[wanted])

    def runs(self) -> list[tuple[int, int]]:
        """Return the first and the last point of each run of points with a density, and mass that counts."""
        live = np.concatenate(([False], self.density > 0, [False]))
        turns = np.flatnonzero(live[1:] != live[:-1])
        runs = [(int(first), int(last) - 1) for first, last in zip(turns[::2], turns[1::2], strict=True)]
        top = self.y.size - 1
        masses = [
            self.survival[max(first - 1, 0)] - self.survival[min(last + 1, top)] for first, last in runs
        ]
        return [run for run, mass in zip(runs, masses, strict=True) if mass > HIDDEN]

    def between(self, low: int, high: int) -> float:
        """Return a place between two points: that of a point mass if there is one, else the middle."""
        within = [place for place, _ in self._atoms if self.y[low] < place < self.y[high]]
        return within[0] if within else float(self.y[low] + self.y[high]) / 2
