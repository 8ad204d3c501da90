"""The law of a network at the depth asked for, a free product of its layers: `LayeredLaw`."""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError, require_choice
from isocalc.laws.free.edges import ends_of_weak_layers
from isocalc.laws.free.network_factors import Layers, layers
from isocalc.laws.free.product import (
    LEAST_MASS,
    End,
    FreeProduct,
    cut,
    is_unbounded,
    possible_atoms,
    reaches_zero,
)
from isocalc.laws.free.table import Table
from isocalc.laws.gates.law import GateLaw
from isocalc.laws.law import VARIABLES, Centred, Law, Pairs, Variable
from isocalc.laws.solved_law import SolvedLaw
from isocalc.laws.support import Band, PointMasses, Scan
from isocalc.laws.tolerances import ATOM_GAP, MISSED_MASS, SAME
from isocalc.networks.descriptions import FeedForward, ResNet

Array = npt.NDArray[np.float64]

Flags = npt.NDArray[np.bool_]
# Distances in y: beside an end, and what rounding leaves per layer.
_BESIDE, _PER_LAYER = 1e-12, 1e-12
# Masses by which a law's tables may be off.
_OFF, _MOST_OFF = 1e-8, MISSED_MASS
# Width of a law, over that of a point mass, where masses beside those may be taken for theirs.
_WIDE = 1e3
# Points to look for gaps at, where there is one.
_SCANS = (0, 48, 400)
# Places where a tail is looked at.
_PROBES = 24


class ProductSource:
    """A free product with its point masses.

    Parameters
    ----------
    product : FreeProduct
    atoms : tuple of (float, float)
        Its point masses as (y, mass), ascending.
    """

    resolves_tails = True

    def __init__(self, product: FreeProduct, atoms: Pairs) -> None:
        self.product = product
        self.atoms = atoms
        self._possible = [(y, 2) for y, _ in product.possible_atoms if y > -math.inf]
        self._total = 1 - sum(mass for y, mass in atoms if y == -math.inf)
        self._empty: list[float] = []

    @property
    def log_mean(self) -> float:
        """Logarithm of E λ."""
        return self.product.log_mean

    @property
    def relative_variance(self) -> float:
        """Var λ / (E λ)²."""
        return self.product.relative_variance

    @cached_property
    def mean(self) -> float | None:
        """E y, additive; ``None`` where some factor's has no formula."""
        if self._total < 1:
            return -math.inf
        means = [factor.mean_log for factor in self.product.factors]
        known = [mean for mean in means if mean is not None]
        if len(known) < len(means):
            return None
        return math.fsum(count * mean for count, mean in zip(self.product.counts, known, strict=True))

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The law, solved: one table for each of its bands.

        Raises
        ------
        NoAnswerError
            It is not solved, or not all of its mass is found.
        """
        return self._solved[0]

    @property
    def _masses(self) -> Pairs:
        """Point masses, and what is too near to them to be told from them."""
        return (*self.atoms, *self._solved[1])

    @cached_property
    def _solved(self) -> tuple[tuple[Table, ...], Pairs]:
        """The tables, and masses next to point masses that are not in them."""
        known = math.fsum(mass for _, mass in self.atoms) + self.product.missed
        found: list[tuple[float, tuple[Table, ...], Pairs]] = []
        refused = None
        is_wide = self._possible and self.relative_variance > (_WIDE * ATOM_GAP) ** 2
        scans = _SCANS[1:] if self.product.singular else _SCANS  # around a point mass there are gaps
        for points, spike in [*((points, False) for points in scans), *([(0, True)] if is_wide else [])]:
            try:
                tables, spikes = self._tables(points, self._spikes if spike else ())
            except NoAnswerError as error:
                # The first attempt only finds out whether there is a gap.
                refused = error if points else refused
                continue
            mass = math.fsum(table.mass for table in tables) + math.fsum(mass for _, mass in spikes)
            found.append((abs(mass + known - 1), tables, spikes))
            if found[-1][0] <= _OFF:
                break
        if not found and refused:
            raise refused
        off, tables, spikes = min(found, key=lambda one: one[0])
        if off > _MOST_OFF:
            raise NoAnswerError(
                f"the layered law was not solved: {off:.2g} of its mass is missing", ("simulate",)
            )
        return tables, spikes

    def _tables(self, points: int, spikes: Pairs) -> tuple[tuple[Table, ...], Pairs]:
        """Return the law, bands told apart by so many points, and the masses left out of it."""
        places, gap = [y for y, _ in self.product.singular], ATOM_GAP if spikes else 0.0
        born = [y for y, power in self.product.singular if power == 3]
        bands = [self.product.ends]
        if points:
            bands = self.product.bands([*places, *self._empty], points, born)
        parts = [
            part
            for band in bands
            for part in cut(*band, self._possible if gap else self.product.singular, gap)
        ]
        return tuple(
            Table(self.product, *part, self._empty, whole=not points and not gap) for part in parts
        ), spikes

    @property
    def _spikes(self) -> Pairs:
        """Return the masses next to point masses: of gates that are next to closed, for instance."""
        known, spikes = dict(self.atoms), []
        for place, _ in self._possible:
            beside = place + ATOM_GAP * np.array([-1.0, 1.0])
            above = self.product.survival(self.product.solve(beside))
            spikes.append((place, float(above[0] - above[1]) - known.get(place, 0.0)))
        return tuple(spikes)

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density, however small, and the mass above y, any floats."""
        density, survival = self._tabulated(y, thin=True)
        ends = [End(-math.inf, turns=False), End(math.inf, turns=False)]
        ends[1:1] = [end for table in self.tables for end in (table.low, table.high)]
        for low, high in zip(ends[::2], ends[1::2], strict=True):
            beyond = (low.y <= y) & (y <= high.y) & np.isfinite(y)
            if beyond.any() and not low.turns and not high.turns:
                end = low.y if high.y == math.inf else high.y
                density[beyond] = self._beyond(y[beyond], end)
        return density, survival

    def _beyond(self, y: Array, end: float) -> Array:
        """Return the density of a tail that is too thin for the table that ends there, nan where not known.

        Beyond a place where no double is as small it is 0, as tails fall.
        """
        density = self._solved_for(y)
        if np.isnan(density).any():
            nearer = end + np.sign(y[0] - end) * np.geomspace(1, max(2.0, np.abs(y - end).max()), _PROBES)
            none = np.abs(nearer - end)[self._solved_for(nearer) == 0]
            density[np.abs(y - end) >= none.min(initial=math.inf)] = 0.0
        return density

    def _solved_for(self, y: Array) -> Array:
        """Return the density solved for at each y, nan where that fails."""
        with np.errstate(all="ignore"):
            state, reached = self.product.solved(y)
        density = np.full(y.size, np.nan)
        density[reached] = self.product.density_at(state[:, reached], y[reached])
        return density

    def _tabulated(self, y: Array, *, thin: bool = False) -> tuple[Array, Array]:
        """Return the density, thin tails left out or not, and the mass above y."""
        left, missed = self.product.left, self.product.missed
        if missed and ((y < left - SAME * max(1.0, abs(left))) & (y > -math.inf)).any():
            raise NoAnswerError(
                f"the law is not solved so near λ = 0, where {missed:.0e} of its mass is: ask further up"
            )
        density, survival = np.zeros(y.size), np.zeros(y.size)
        for place, mass in self._masses:
            survival += mass * (y < place)
        for table in self.tables:
            inside = (y > table.low.y) & (y < table.high.y)
            survival[y <= table.low.y] += table.mass
            density[inside], above = table.density_and_above(y[inside], thin=thin)
            survival[inside] += above
        if not missed:
            # Below all of the density, mass that the tables are off by is not mass.
            below = y <= self.tables[0].low.y
            survival[below] += 1 - sum(mass for _, mass in self._masses) - sum(t.mass for t in self.tables)
        return density, np.clip(survival, 0.0, self._total)

    def density(self, y: Array) -> Array:
        """Return the density alone."""
        return self.density_and_survival(y)[0]

    def masses(self, reach: Pairs) -> tuple[Array, Array]:  # noqa: ARG002 - the tables cover all there is
        """Return nodes y and masses that stand for the density."""
        y, masses = zip(*(table.masses() for table in self.tables), strict=True)
        spikes = np.array(self._solved[1]).reshape(-1, 2).T
        return np.concatenate((*y, spikes[0])), np.concatenate((*masses, spikes[1]))

    @cached_property
    def scan(self) -> Scan:
        """The law at the nodes of its tables, and beyond their ends."""
        ends = [(table.low.y, table.high.y) for table in self.tables]
        beyond = _BESIDE * max(1.0, abs(ends[0][0]), abs(ends[-1][1]))
        outside = [] if self.bands[0].low == -math.inf else [ends[0][0] - beyond]
        outside += [] if self.bands[-1].high == math.inf else [ends[-1][1] + beyond]
        nodes = [table.nodes for table in self.tables]
        start = np.unique(np.concatenate((*ends, outside, *nodes)))
        return Scan(self._tabulated, start, self._masses)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The intervals that carry the density, ascending; a tail too thin to be told leaves no gap."""
        bands: list[Band] = []
        thin = False
        for table in self.tables:
            low, high = table.low, table.high
            start = bands[-1].high if thin and not low.turns else low.y
            bands.append(Band(start, high.y, low.diverges, high.diverges))
            thin = not high.turns
        if reaches_zero(self.product):
            bands[0] = bands[0]._replace(low=-math.inf)
        if is_unbounded(self.product):
            bands[-1] = bands[-1]._replace(high=math.inf)
        return tuple(bands)

    @cached_property
    def edges(self) -> tuple[float, float]:
        """The ends of all bands: where they are certain, without the law in between."""
        if "_solved" in self.__dict__:
            return self.bands[0].low, self.bands[-1].high
        if found := ends_of_weak_layers(self.product):
            return found
        if self.product.has_certain_ends:
            low, high = (end.y for end in self.product.ends)
            return (
                -math.inf if reaches_zero(self.product) else low,
                math.inf if is_unbounded(self.product) else high,
            )
        return self.bands[0].low, self.bands[-1].high

    @property
    def missed(self) -> float:
        """Mass below the scan for which the law is not solved."""
        return self.product.missed

    @property
    def resolution(self) -> float:
        """Distance in y that rounding leaves from a point mass, which adds up over layers."""
        return max(SAME, _PER_LAYER * sum(self.product.counts))


def atoms_of(layers: Layers) -> Pairs:
    """Return the point masses of y = log λ − centre as (y, mass), ascending; y is −inf where λ is 0."""
    return tuple(pair for pair in possible_atoms(layers.factors, layers.counts) if pair[1] > LEAST_MASS)


# Mass beside point masses that does not count.
_NEXT_TO_NONE = 1e-8


@dataclass(frozen=True, eq=False)
class LayeredLaw(Law):
    """The law of a free product of layers: any network at its own depth, N → ∞.

    Parameters
    ----------
    layers : Layers
        The factors, of `isocalc.laws.free.network_factors.layers`.
    variable : {"singular", "lambda", "log"}
        What x is: a singular value s, its square λ, or log s.
    error : float, optional
        Distance from the law of a network, as predicted.

    Notes
    -----
    Theory (21) to (32).
    """

    name: ClassVar[str] = "layered"
    layers: Layers
    _: KW_ONLY
    variable: Variable = "singular"
    error: float | None = None

    def __post_init__(self) -> None:
        require_choice("variable", self.variable, VARIABLES)

    @classmethod
    def of(
        cls, network: ResNet | FeedForward, variable: Variable = "singular", *, error: float | None = None
    ) -> Self:
        """Return the law of a network."""
        return cls(layers(network), variable=variable, error=error)

    @property
    def _centre(self) -> Pairs:
        return self.layers.centre

    @cached_property
    def _centred(self) -> Centred:
        if self.layers.vanishes:
            return PointMasses(((-math.inf, 1.0),))
        if self.layers.gate:
            return SolvedLaw(GateLaw(*self.layers.gate))
        if not self.layers.factors:
            return PointMasses(((0.0, 1.0),))
        product, atoms = FreeProduct(self.layers.factors, self.layers.counts), atoms_of(self.layers)
        total = sum(mass for _, mass in atoms)
        if total > 1 - _NEXT_TO_NONE:
            return PointMasses(tuple((y, mass / total) for y, mass in atoms))
        return SolvedLaw(ProductSource(product, atoms))
