"""The law of paths of gates as a source of `solved_law.SolvedLaw`: solved at some hundred points."""

import math
from collections import Counter
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from isocalc import universal
from isocalc.bands import Band
from isocalc.chain_bands import LEAST_MASS, Middle, UnsolvedError, tables
from isocalc.errors import NoAnswerError
from isocalc.gate_paths import GatePaths
from isocalc.panel_table import PanelTable
from isocalc.path_chain import first_moments, solve
from isocalc.point_masses import SAME_PLACE
from isocalc.scan import Scan

Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]

_ROUNDING = 1e-14
# Places at which the equations may go unsolved while edges are looked for.
_MOST_UNSOLVED = 12


class ChainSource:
    """The law of y = log λ of a residual network whose gates are those of paths.

    Parameters
    ----------
    paths : GatePaths
    log_mean : float
        Logarithm of E λ, in units of the skip connection.
    unbounded : bool
        Whether gates have no largest value, so that the law has no upper edge, though that of the paths does.
    """

    def __init__(self, paths: GatePaths, log_mean: float, *, unbounded: bool) -> None:
        self.paths, self.log_mean, self._unbounded = paths, log_mean, unbounded
        at_skip = 2 * paths.persistent - 1
        self.atoms: Pairs = ((0.0, at_skip),) if at_skip > _ROUNDING else ()
        self.resolution = SAME_PLACE
        self._unsolved = 0

    def solved(self, y: Array) -> tuple[Array, Array]:
        """Solve at places inside the support: the density and the mass above.

        Raises
        ------
        UnsolvedError
            The equations are not solved at some place.
        NoAnswerError
            They were not solved at too many places before, each of which takes long.
        """
        found = solve(self.paths.chain, y)
        if not found.solved.all():
            place = float(y[~found.solved][0])
            self._unsolved += int(np.count_nonzero(~found.solved))
            kind = UnsolvedError if self._unsolved <= _MOST_UNSOLVED else NoAnswerError
            raise kind(
                f"the equations of the exact law were not solved at log lambda = {place:.6g} (less that of "
                "the skip connections); the layered law may be, and isocalc mc simulates"
            )
        return np.maximum(-found.m.imag / np.pi, 0.0), np.clip(found.potential.imag / np.pi, 0.0, 1.0)

    @cached_property
    def relative_variance(self) -> float:
        """Var λ / (E λ)²."""
        mean, second = first_moments(self.paths.chain)
        return second / mean / mean - 1

    @property
    def mean(self) -> float | None:
        """E y: 0 while no eigenvalue of a layer's W D is beyond the unit circle; ``None`` where some is."""
        return 0.0 if self._strengths.max() <= 1 else None

    @cached_property
    def _strengths(self) -> Array:
        """Mean squared singular value of W D of a layer in each group: c/L."""
        chain = self.paths.chain
        return np.asarray(chain.variances / chain.counts * (chain.gates @ chain.weights))

    @cached_property
    def _reaches_zero(self) -> bool:
        """Whether −1 is an eigenvalue of some layer's W D, whose eigenvalues fill a disk or a ring."""
        chain = self.paths.chain
        outside = self._strengths >= 1
        if not chain.orthogonal:
            return bool(outside.any())
        with np.errstate(divide="ignore", over="ignore"):
            inner = chain.variances / chain.counts / ((1 / chain.gates) @ chain.weights)
        return bool((outside & (inner <= 1)).any())

    @cached_property
    def tables(self) -> list[PanelTable]:
        """The law on each of its intervals, ascending."""
        return tables(self.solved, Middle(self._width, self.paths.persistent, self._reaches_zero))

    @property
    def _width(self) -> float:
        """About how far the law reaches: as the universal law, or as layers that are strong."""
        counts, strengths = self.paths.chain.counts, self._strengths
        return min(
            universal.edge(float(counts @ strengths)), 4 * float(counts @ np.log1p(2 * np.sqrt(strengths)))
        )

    @property
    def missed(self) -> float:
        """Mass next to λ = 0 below the tables, where it counts."""
        below = 1 - self.tables[0].ends[0] if self._reaches_zero else 0.0
        return below if below > 2 * LEAST_MASS else 0.0

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The intervals that carry the density, ascending."""
        ends = [[table.low, table.high] for table in self.tables]
        if self._reaches_zero:
            ends[0][0] = -math.inf
        if self._unbounded:
            ends[-1][1] = math.inf
        return tuple(Band(low, high) for low, high in ends)

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density and the mass above y, any floats."""
        density, survival = np.zeros(y.size), np.where(y < self.tables[-1].low, 1.0, 0.0)
        for below, table in pairwise(self.tables):
            gap = (y > below.high) & (y < table.low)
            atom = sum(mass * ((y[gap] < place) & (place <= table.low)) for place, mass in self.atoms)
            survival[gap] = table.ends[0] + atom
        for table in self.tables:
            inside = (y >= table.low) & (y <= table.high)
            density[inside], survival[inside] = table(y[inside])
        for end in self._edges:
            density[y == end] = 0.0
        return density, survival

    @property
    def _edges(self) -> set[float]:
        """Ends at which the density is 0: not where two tables touch, or the law goes on."""
        ends = Counter(end for table in self.tables for end in (table.low, table.high))
        return {end for end, count in ends.items() if count == 1} - (
            {self.tables[0].low} if self._reaches_zero else set()
        )

    def density(self, y: Array) -> Array:
        """Return the density alone."""
        return self.density_and_survival(y)[0]

    def masses(self, reach: Pairs) -> tuple[Array, Array]:  # noqa: ARG002 - the tables cover all there is
        """Return nodes y and masses that stand for the density."""
        y, masses = zip(*(table.masses() for table in self.tables), strict=True)
        return np.concatenate(y), np.concatenate(masses)

    @cached_property
    def scan(self) -> Scan:
        """The law at points placed by its mass, beyond both ends of it."""
        low, high = self.tables[0].low, self.tables[-1].high
        if self._reaches_zero:
            low += SAME_PLACE * abs(low)
        else:
            low -= SAME_PLACE * max(1.0, abs(low))
        return Scan(self.density_and_survival, np.array([low, self.log_mean, high]), self.atoms)


def distance(one: ChainSource, other: ChainSource, places: Array) -> float:
    """Return the largest difference of two laws: of the masses above places in both, and of their atoms."""
    for place, _ in other.atoms:
        places = places[places != place]
    density, survival = other.solved(places[::-1])
    live = density > 0
    apart = np.abs(one.density_and_survival(places[::-1])[1] - survival)[live].max(initial=0.0)
    of_atoms = abs(sum(mass for _, mass in one.atoms) - sum(mass for _, mass in other.atoms))
    return max(float(apart), of_atoms)
