"""The law of a residual network whose gates are correlated from layer to layer: `ExactLaw`.

From below: `edge_from` finds the end of a density that vanishes like a square root, from points inside of it;
`tables` the intervals that carry the density, by what mass is beyond each; `ChainSource` makes of them a
source of `solved_law.SolvedLaw`, solved at some hundred points.
"""

import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from isocalc.errors import InvalidInputError, NoAnswerError, require_choice, require_whole
from isocalc.laws import universal
from isocalc.laws.free.law import LayeredLaw
from isocalc.laws.gates.nodes import gate_rule
from isocalc.laws.law import VARIABLES, Centred, Law, Pairs, Variable
from isocalc.laws.paths.equations import first_moments, solve
from isocalc.laws.paths.gate_paths import GatePaths, gate_paths
from isocalc.laws.solved_law import SolvedLaw
from isocalc.laws.support import Band, PointMasses, Scan
from isocalc.laws.tolerances import (
    DEFAULT_PATHS,
    EDGE_FOUND,
    EDGE_PART,
    EDGE_POINTS,
    EDGE_SMOOTH,
    EDGE_USED,
    FINE_ROUNDS,
    FINE_STEP,
    FINE_STEPS,
    FINEST,
    LEAST_MASS,
    MOST_LONGER,
    MOST_LOST,
    MOST_ROUNDS,
    MOST_UNSOLVED,
    OTHER_SETS,
    RETREATS,
    SAME,
    SHORTER,
    SOLVED_BESIDE_EDGE,
    SPIKE,
    SURELY,
    TOUCHES,
)
from isocalc.limits import LEAST_C, LEAST_PATHS, MOST_PATHS
from isocalc.networks.descriptions import ResNet
from isocalc.numerics.chebyshev import PanelTable
from isocalc.signal.propagation import Propagation, propagate

Array = npt.NDArray[np.float64]
Solver = Callable[[Array], tuple[Array, Array]]

# Densities up to here count as 0: beside edges the equations are solved no nearer.
DEAD = SOLVED_BESIDE_EDGE
# Where distribution functions are compared.
_QUANTILES = np.linspace(0.02, 0.98, 33)


class UnsolvedError(NoAnswerError):
    """The equations are not solved at one place, while at others they may be."""


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
    for count in range(EDGE_POINTS):
        y = places[-1] + step
        if (y - beyond) * sign >= 0 or (count >= EDGE_SMOOTH and math.isfinite(beyond)):
            y = (places[-1] + beyond) / 2
        if y in {places[-1], beyond}:
            return y
        square = density(y) ** 2
        if square <= DEAD**2:
            beyond, step = y, (y - places[-1]) / 2
            continue
        places.append(y)
        squares.append(square)
        previous, found = found, _extrapolated(places[-EDGE_USED:], squares[-EDGE_USED:])
        if abs(found - previous) <= EDGE_FOUND * max(1.0, abs(found)) and len(places) > EDGE_USED:
            return found
        towards = (found - y) * sign
        if not 0 < towards < math.inf:  # the density still rises towards there
            step *= 1.5
        else:
            step = sign * min(EDGE_PART * towards, 2 * abs(y - places[-2]) + towards / 8)
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


class Middle(NamedTuple):
    """What is known of a law beforehand.

    Attributes
    ----------
    width : float
        About the distance of its ends from y = 0.
    persistent : float
        Probability that all gates of a path are closed, of which 2 P − 1 is a point mass at y = 0.
    reaches_zero : bool
        Whether the density has no lower end.
    """

    width: float
    persistent: float
    reaches_zero: bool

    @property
    def atom(self) -> float:
        """The point mass at y = 0."""
        return max(0.0, 2 * self.persistent - 1)


def tables(solver: Solver, middle: Middle) -> list[PanelTable]:
    """Return the law on each of its intervals, ascending.

    Raises
    ------
    NoAnswerError
        Its mass is not found.
    """
    seeds = [_live(solver, sign * middle.width / 2) for sign in (-1, 1)]
    with ThreadPoolExecutor(2) as pool:
        lowest = pool.submit(
            *((_lowest, solver, middle.width) if middle.reaches_zero else (_end, solver, seeds[0]))
        )
        high = _end(solver, seeds[1])
        low = lowest.result()
    if middle.persistent > SPIKE and low < 0 < high:
        inner = [_inner(solver, seed, middle.width) if middle.atom else 0.0 for seed in seeds]
        found = [_table(solver, low, inner[0], middle), PanelTable(solver, inner[1], high)]
    else:
        found = [_table(solver, low, high, middle)]
    while found[-1].ends[1] > LEAST_MASS:
        found.append(_next(solver, found[-1].high, middle.width))
    while not middle.reaches_zero and _mass_below(found[0], middle) > 2 * LEAST_MASS:
        found.insert(0, _next(solver, found[0].low, -middle.width))
    for below, above in pairwise(found):
        lost = below.ends[1] - above.ends[0] - (middle.atom if below.high <= 0 <= above.low else 0.0)
        if abs(lost) > MOST_LOST:
            raise NoAnswerError(f"{abs(lost):.2g} of its mass was not found")
    return found


def _mass_below(table: PanelTable, middle: Middle) -> float:
    return 1 - table.ends[0] - (middle.atom if table.low > 0 else 0.0)


def _table(solver: Solver, low: float, high: float, middle: Middle) -> PanelTable:
    """Return the lowest table: where there is no lower end, from as far down as the law is solved."""
    for _ in range(RETREATS):
        try:
            return PanelTable(solver, low, high)
        except UnsolvedError:
            if not middle.reaches_zero:
                raise
            low *= SURELY
    return PanelTable(solver, low, high)


def _density(solver: Solver) -> Callable[[float], float]:
    """Return what gives the density at one place, 0 where the equations are not solved.

    Between edges they are; were they not, the mass beyond the edge found would tell.
    """

    def density(y: float) -> float:
        try:
            return float(solver(np.array([y]))[0][0])
        except UnsolvedError:
            return 0.0

    return density


def _live(solver: Solver, start: float) -> float:
    """Return the first place with a density on the way from ``start`` to y = 0."""
    density = _density(solver)
    for _ in range(MOST_ROUNDS):
        if density(start) > DEAD:
            return start
        start *= SHORTER
    raise NoAnswerError("no density of the exact law was found")


def _end(solver: Solver, seed: float) -> float:
    return edge_from(_density(solver), seed, seed / 4)


def _lowest(solver: Solver, width: float) -> float:
    """Return where next to no mass is left below, or else where the law is still solved."""
    lowest, y = 0.0, -width
    for _ in range(MOST_LONGER):
        try:
            survival = solver(np.array([y]))[1][0]
        except UnsolvedError:
            return SURELY * lowest
        lowest = y
        if 1 - survival < LEAST_MASS:
            break
        y /= SHORTER
    return lowest


def _inner(solver: Solver, seed: float, width: float) -> float:
    """Return the end next to the atom of the density on the side of it where ``seed`` is."""
    density = _density(solver)
    inside, place = seed, seed * SHORTER
    while abs(place) > TOUCHES * width:
        if density(place) <= DEAD:
            return edge_from(density, inside, (place - inside) / 4)
        inside, place = place, place * SHORTER
    return 0.0


def _next(solver: Solver, end: float, width: float) -> PanelTable:
    """Return the table of the next interval beyond an end: above it, or below for a negative ``width``."""
    step, place = FINE_STEP * width, end
    for _ in range(FINE_ROUNDS):
        y = place + step * np.arange(1.0, FINE_STEPS + 1)
        live = np.flatnonzero(solver(y)[0] > DEAD)
        if live.size:
            inside = float(y[live[0]])
            ends = [edge_from(_density(solver), inside, sign * abs(step) / 8) for sign in (-1, 1)]
            return PanelTable(solver, *ends)
        place = float(y[-1])
    raise NoAnswerError("some of its mass was not found")


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
        self.atoms: Pairs = ((0.0, at_skip),) if at_skip > FINEST else ()
        self.resolution = SAME
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
            kind = UnsolvedError if self._unsolved <= MOST_UNSOLVED else NoAnswerError
            raise kind(
                f"the equations of the exact law were not solved at log lambda = {place:.6g} (less that of "
                "the skip connections)",
                ("take the layered law", "simulate"),
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
            low += SAME * abs(low)
        else:
            low -= SAME * max(1.0, abs(low))
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
    solved to 1e-11, next to λ = 0 and beside edges to 1e-7, and tabulated to 1e-8 of the mass; what is left
    is the finite number of paths, which `error` measures, and in networks deeper than 128 layers the groups
    of layers that have the same gates.
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
        """Kolmogorov distance to laws of as many other paths, 0 where the paths are all there are."""
        if not self._has_chain or self._source is None or self._source.paths.exact:
            return 0.0
        places = self._centred.quantile(_QUANTILES)
        others = (self._source_of(other) for other in range(1, 1 + OTHER_SETS))
        return max(1.0 if other is None else distance(self._source, other, places) for other in others)
