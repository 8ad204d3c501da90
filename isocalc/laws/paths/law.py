"""The law of a residual network whose gates are correlated from layer to layer: `ExactLaw`.

`ChainSource` makes of the bands of paths of gates a source of `solved_law.SolvedLaw`.
"""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from isocalc.errors import InvalidInputError, NoAnswerError, require_choice, require_whole
from isocalc.laws import universal
from isocalc.laws.free.law import LayeredLaw
from isocalc.laws.gates.nodes import gate_rule
from isocalc.laws.law import VARIABLES, Centred, Law, Pairs, Variable
from isocalc.laws.paths.bands import Middle, tables
from isocalc.laws.paths.equations import Equations
from isocalc.laws.paths.gate_paths import GatePaths, gate_paths
from isocalc.laws.paths.table import Table, UnsolvedError
from isocalc.laws.solved_law import SolvedLaw
from isocalc.laws.support import Band, PointMasses, Scan
from isocalc.laws.tolerances import (
    DEFAULT_PATHS,
    FINEST,
    LEAST_MASS,
    OTHER_SETS,
    SAME,
)
from isocalc.limits import LEAST_C, LEAST_PATHS, MOST_PATHS
from isocalc.networks.descriptions import ResNet
from isocalc.signal.propagation import Propagation, propagate

Array = npt.NDArray[np.float64]

# Where distribution functions are compared.
_QUANTILES = np.linspace(0.02, 0.98, 17)


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

    resolves_tails = False

    def __init__(self, paths: GatePaths, log_mean: float, *, unbounded: bool) -> None:
        self.paths, self.log_mean, self._unbounded = paths, log_mean, unbounded
        at_skip = 2 * paths.persistent - 1
        self.atoms: Pairs = ((0.0, at_skip),) if at_skip > FINEST else ()
        self.resolution = SAME
        self.equations = Equations(paths.chain)

    def solved(self, y: Array) -> tuple[Array, Array]:
        """Solve at places inside the support from nothing: the density and the mass above.

        Raises
        ------
        UnsolvedError
            The equations are not solved at some place.
        """
        found = self.equations.solve(y.astype(complex))
        if not found.solved.all():
            raise UnsolvedError(float(y[~found.solved][0]))
        return Table.density_of(found.zeta), self.equations.above(found.states, y)

    @cached_property
    def relative_variance(self) -> float:
        """Var λ / (E λ)²."""
        moments = self.equations.expansion
        return moments.second / moments.mean / moments.mean - 1

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
    def tables(self) -> list[Table]:
        """The law on each of its intervals, ascending."""
        return tables(self.equations, Middle(self._width, self.paths.persistent, self._reaches_zero))

    @property
    def _width(self) -> float:
        """About how far the law reaches: as the universal law, or as layers that are strong."""
        counts, strengths = self.paths.chain.counts, self._strengths
        return min(
            universal.edge(float(counts @ strengths)), 4 * float(counts @ np.log1p(2 * np.sqrt(strengths)))
        )

    @property
    def _is_cut(self) -> bool:
        """Whether the lowest table ends where next to no mass is left below, not at an edge."""
        return not self.tables[0].low.turns

    @property
    def missed(self) -> float:
        """Mass next to λ = 0 below the tables, where it counts."""
        below = 1 - math.fsum(table.mass for table in self.tables) - math.fsum(mass for _, mass in self.atoms)
        return below if self._is_cut and below > 2 * LEAST_MASS else 0.0

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The intervals that carry the density, ascending."""
        ends = [[table.low.y, table.high.y] for table in self.tables]
        if self._is_cut:
            ends[0][0] = -math.inf
        if self._unbounded:
            ends[-1][1] = math.inf
        return tuple(Band(low, high) for low, high in ends)

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of them all."""
        return self.bands[0].low, self.bands[-1].high

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density and the mass above y, any floats."""
        density, survival = np.zeros(y.size), np.zeros(y.size)
        for place, mass in self.atoms:
            survival += mass * (y < place)
        for table in self.tables:
            survival[y < table.low.y] += table.mass
            inside = (y >= table.low.y) & (y <= table.high.y)
            density[inside], above = table.density_and_above(y[inside])
            survival[inside] += above
            for end in (table.low, table.high):
                if end.knot is not None:
                    density[y == end.y] = 0.0
        survival[y < self.tables[0].low.y] = 1.0
        return density, np.clip(survival, 0.0, 1.0)

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
        low, high = self.tables[0].low.y, self.tables[-1].high.y
        if self._is_cut:
            low += SAME * abs(low)
        else:
            low -= SAME * max(1.0, abs(low))
        return Scan(self.density_and_survival, np.array([low, self.log_mean, high]), self.atoms)


def distance(one: ChainSource, other: ChainSource, places: Array) -> float:
    """Return the largest difference of two laws: of the masses above places in both, and of their atoms.

    The potential of the other paths is stationary in the states: those of the first will do.
    """
    apart = abs(sum(mass for _, mass in one.atoms) - sum(mass for _, mass in other.atoms))
    for table in one.tables:
        y = places[(places > table.low.y) & (places < table.high.y)]
        if y.size:
            above = other.equations.above(other.paths.states_from(one.paths, table.states(y)), y)
            differences = np.abs(one.density_and_survival(y)[1] - above)
            apart = max(apart, float(differences.max()))
    return apart


@dataclass(frozen=True, eq=False)
class ExactLaw(Law):
    """The law of a residual network at its own depth, N → ∞, whatever its gates know of each other.

    Parameters
    ----------
    network : ResNet
        Of any block.
    paths : int
        Number of paths of gates, from 64 to 2¹⁷, that stand for their joint law.
    variable : {"singular", "lambda", "log"}
        What x is: a singular value s, its square λ, or log s.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        By every question: the signal overflows, or the equations were not solved.

    Notes
    -----
    Freeness with amalgamation over the diagonal matrices: theory (44) to (48). The equations are
    solved to 1e-10, next to λ = 0 and beside edges to 1e-7, and tabulated to 1e-8 of the mass, of which as
    much may be left out below; what remains is the finite number of paths, which `error` measures to first
    order, and in networks deeper than 128 layers the groups of layers that have the same gates.
    """

    name: ClassVar[str] = "exact"
    network: ResNet
    _: KW_ONLY
    paths: int = DEFAULT_PATHS
    variable: Variable = "singular"

    def __post_init__(self) -> None:
        if not isinstance(self.network, ResNet):
            raise InvalidInputError("network", "a ResNet, for the exact law", self.network)
        require_whole("paths", self.paths, LEAST_PATHS, MOST_PATHS)
        require_choice("variable", self.variable, VARIABLES)

    @classmethod
    def of(cls, network: ResNet, variable: Variable = "singular", *, paths: int | None = None) -> Self:
        """Return the law of a network, with the default number of paths for ``None``."""
        return cls(network, paths=DEFAULT_PATHS if paths is None else paths, variable=variable)

    @property
    def _centre(self) -> Pairs:
        return ((abs(self.network.skip), self.network.depth),)

    @cached_property
    def _centred(self) -> Centred:
        if not self._has_chain:
            return LayeredLaw.of(self.network)._centred  # noqa: SLF001 - the same law
        source = self._source
        return PointMasses(((0.0, 1.0),)) if source is None else SolvedLaw(source)

    @property
    def _has_chain(self) -> bool:
        """Whether gates can be correlated; one layer, or hidden gates, fresh in each, has the layered law."""
        return self.network.depth > 1 and not self.network.branch.hides_gates

    @cached_property
    def _signal(self) -> Propagation:
        return propagate(self.network)

    @property
    def c(self) -> float:
        """The parameter c of the network."""
        return self._signal.c

    @cached_property
    def _source(self) -> ChainSource | None:
        return self._source_of(0)

    def _source_of(self, other: int) -> ChainSource | None:
        """Return the law of paths of gates, ``None`` where it is the point mass of the skip connections."""
        if not self.c:
            return None
        if self.c < LEAST_C:
            raise NoAnswerError(
                f"the exact law is computed for c from {LEAST_C:g}; here c is {self.c:.3g}: log s shrinks "
                "like sigma_w, so take the law of a larger one"
            )
        paths = gate_paths(self.network, self._signal, self.paths, other=other)
        if paths.persistent == 1:
            return None
        largest = gate_rule(self.network.act, float(self._signal.q.max())).largest
        skips = 2 * self.network.depth * math.log(abs(self.network.skip))
        log_mean = self._signal.log_mean_lambda - skips
        return ChainSource(paths, log_mean, unbounded=largest == math.inf)

    @cached_property
    def error(self) -> float:
        """Kolmogorov distance to laws of as many other paths, to first order; 0 where there are none."""
        if not self._has_chain or self._source is None or self._source.paths.exact:
            return 0.0
        places = self._centred.quantile(_QUANTILES)
        others = (self._source_of(other) for other in range(1, 1 + OTHER_SETS))
        return max(1.0 if other is None else distance(self._source, other, places) for other in others)
