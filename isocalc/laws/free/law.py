"""The law of a network at the depth asked for, a free product of its layers: `LayeredLaw`.

A product of free positive laws has a point mass at Π a_l where Σ (1 − w_l) < 1, w_l the mass of factor l at
a_l, and none elsewhere but at 0; its mass is 1 − Σ (1 − w_l) (Bercovici and Voiculescu 1998; Belinschi 2003).
At most one factor can then be at a place that has not its largest mass, since two would miss 1/2 each.

The law of one orthogonal layer, square or narrowing, is that of its gate, d = φ'(x)², x normal. Nodes and
masses that stand for a continuous law are Gauss quadrature on panels that resolve it.
"""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import Activation
from isocalc.errors import NoAnswerError, require_choice
from isocalc.laws.free.network_factors import Layers, layers
from isocalc.laws.free.product import FreeProduct, cut, is_unbounded, reaches_zero
from isocalc.laws.free.table import Table
from isocalc.laws.gates.contours import Piece, gate_pieces, slope_and_bend
from isocalc.laws.gates.nodes import gate_mean_log, gate_rule
from isocalc.laws.law import VARIABLES, Centred, Law, Pairs, Variable
from isocalc.laws.solved_law import SolvedLaw
from isocalc.laws.support import Band, PointMasses, Scan
from isocalc.laws.tolerances import ATOM_GAP, MISSED_MASS, REACH, SAME
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.numerics.quadrature import legendre_rule
from isocalc.numerics.special import erf

Array = npt.NDArray[np.float64]

_BISECTIONS = 64
_UNIFORM_FROM = 20.0
# Places on a piece, from each end.
_SAMPLES, _NEAREST = 33, 1e-15
# Panels from an end of a piece to its middle, and nodes on each.
_PANELS, _GATE_NODES = 50, 8
_BESIDE = 1e-12


class GateLaw:
    """The law of y = log d as a source of `solved_law.SolvedLaw`.

    Parameters
    ----------
    act : Activation
        Not piecewise linear.
    q : float
        Variance of x, greater than 0.
    share : float
        Share of singular values that are gates, in (0, 1]: the others are 0.
    """

    def __init__(self, act: Activation, q: float, share: float = 1.0) -> None:
        self._act, self._sigma, self._share = act, math.sqrt(q), share
        self._pieces = gate_pieces(act).pieces
        rule = gate_rule(act, q)
        masses = {0.0: 1 - share}
        for value, mass in rule.masses:
            masses[value] = masses.get(value, 0.0) + share * mass
        self._flats = tuple((value, mass) for value, mass in sorted(masses.items()) if mass)
        self.atoms: Pairs = tuple(
            (math.log(value) if value else -math.inf, mass) for value, mass in self._flats
        )
        self.log_mean = math.log(share * rule.mean)
        self.relative_variance = max(0.0, rule.mean_square / rule.mean / rule.mean / share - 1)
        self.mean = gate_mean_log(rule) if share == 1 else -math.inf

    @property
    def missed(self) -> float:
        """Mass for which the law is not solved."""
        return 0.0

    @property
    def resolution(self) -> float:
        """Distance in y that rounding leaves from a point mass."""
        return SAME

    @cached_property
    def _images(self) -> list[tuple[float, float]]:
        """Sign and shift of the maps that take x of a piece to every x with the same d."""
        mirror, period = gate_pieces(self._act).mirror, self._act.period
        signs = [(1.0, 0.0)] if mirror is None else [(1.0, 0.0), (-1.0, 2 * mirror)]
        if math.isinf(period):
            return signs
        turns = math.ceil(REACH * min(self._sigma / period, _UNIFORM_FROM) + 1)
        return [(sign, shift + k * period) for sign, shift in signs for k in range(-turns, turns + 1)]

    @property
    def _is_uniform(self) -> bool:
        return self._sigma > _UNIFORM_FROM * self._act.period

    def _weight(self, x: Array) -> Array:
        """Return the density of all x with the d of the ones given."""
        if self._is_uniform:
            return np.full_like(x, 2 * self._share / self._act.period)
        z = [(sign * x + shift) / self._sigma for sign, shift in self._images]
        total: Array = np.exp(-0.5 * np.square(z)).sum(axis=0) / (math.sqrt(2 * math.pi) * self._sigma)
        return self._share * total

    def _mass(self, low: Array, high: Array) -> Array:
        """Return the mass between, of all images together."""
        if self._is_uniform:
            return (high - low) * (2 * self._share / self._act.period)
        unit = self._sigma * math.sqrt(2)
        total = np.zeros_like(low)
        for sign, shift in self._images:
            total += sign * (erf((sign * high + shift) / unit) - erf((sign * low + shift) / unit)) / 2
        return self._share * total

    def _ends(self, piece: Piece) -> tuple[float, float]:
        reach = REACH * self._sigma
        return max(piece.low.place, -reach), min(piece.high.place, reach)

    def density(self, y: Array) -> Array:
        """Return the density of y, any floats."""
        return self.density_and_survival(y)[0]

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density of y and the mass above y, any floats."""
        density, survival = np.zeros(y.size), np.zeros(y.size)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            wanted = np.exp(y)
            for piece in self._pieces:
                low, high = self._ends(piece)
                if low >= high:
                    continue
                rises = piece.high.value > piece.low.value
                x = self._inverted(wanted, low, high, rises=rises)
                above = (x, np.full_like(x, high)) if rises else (np.full_like(x, low), x)
                survival += self._mass(*above)
                slope, bend = slope_and_bend(self._act, x)
                inside = (x > low) & (x < high)
                density += np.where(inside, self._weight(x) * np.abs(slope / (2 * bend)), 0.0)
        for value, mass in self._flats:
            survival += np.where(wanted < value, mass, 0.0)
        return np.nan_to_num(density, nan=0.0, posinf=0.0), np.clip(survival, 0.0, 1.0)

    def masses(self, _reach: Pairs) -> tuple[Array, Array]:
        """Return nodes y and masses that stand for the density: a sum over x, where nothing diverges."""
        nodes, weights = legendre_rule(_GATE_NODES)
        parts = []
        for piece in self._pieces:
            low, high = self._ends(piece)
            if low >= high:
                continue
            middle = (low + high) / 2
            steps = np.concatenate(([0.0], np.geomspace(_NEAREST * (middle - low), middle - low, _PANELS)))
            around_0 = np.outer((-1, 1), (high - low) * np.geomspace(_NEAREST, 1, _PANELS)).ravel()
            even = np.arange(low, high, self._sigma / 2)
            ends = np.concatenate((low + steps, high - steps[-2::-1], around_0, even))
            ends = np.unique(ends[(ends >= low) & (ends <= high)])[:, None]
            start, stop = ends[:-1], ends[1:]
            x = ((start + stop) + (stop - start) * nodes) / 2
            parts.append((x, self._weight(x.ravel()).reshape(x.shape) * weights * (stop - start) / 2))
        x, masses = np.concatenate([(a.ravel(), b.ravel()) for a, b in parts], axis=1)
        with np.errstate(under="ignore", divide="ignore"):
            y = 2 * np.log(np.abs(self._act.dphi(x)))
        known = np.isfinite(y) & (masses > 0)
        return y[known], masses[known]

    def _inverted(self, wanted: Array, low: float, high: float, *, rises: bool) -> Array:
        """Return the x of a piece with d(x) as wanted, or the end that is nearer to it."""
        left, right = np.full_like(wanted, low), np.full_like(wanted, high)
        for _ in range(_BISECTIONS):
            middle = (left + right) / 2
            is_left = (self._act.dphi(middle) ** 2 < wanted) == rises
            left, right = np.where(is_left, middle, left), np.where(is_left, right, middle)
        middle = (left + right) / 2
        return np.where(left == low, low, np.where(right == high, high, middle))

    @cached_property
    def scan(self) -> Scan:
        """The law at the d of many x, and beyond both ends."""
        near = np.geomspace(_NEAREST, 0.5, _SAMPLES)
        share = np.concatenate(([0.0], near, 1 - near[::-1], [1.0]))
        x = np.concatenate([low + (high - low) * share for low, high in map(self._ends, self._pieces)])
        with np.errstate(under="ignore", over="ignore", divide="ignore"):
            y = np.unique(2 * np.log(np.abs(self._act.dphi(x))))
        y = y[np.isfinite(y)]
        beyond = _BESIDE * max(1.0, abs(y[0]), abs(y[-1]))
        start = np.concatenate(([y[0] - 1, y[0] - beyond], y, [y[-1] + beyond]))
        return Scan(self.density_and_survival, start, self.atoms)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The intervals between turns of d, where the density is infinite."""
        spans = [sorted((piece.low.value, piece.high.value)) for piece in self._pieces]
        with np.errstate(divide="ignore"):
            places = [float(np.log(value)) for value in sorted({value for span in spans for value in span})]
            spans = [[float(np.log(value)) for value in span] for span in spans]
        found = [
            Band(low, high, math.isfinite(low), math.isfinite(high))
            for low, high in pairwise(places)
            if any(span[0] <= low and high <= span[1] for span in spans)
        ]
        return tuple(found)


Flags = npt.NDArray[np.bool_]
_PER_LAYER = 1e-12
# Masses that are rounding, and by which a law's tables may be off.
_LEAST, _OFF, _MOST_OFF = 1e-15, 1e-8, MISSED_MASS
# Width of a law, over that of a point mass, where masses beside those may be taken for theirs.
_WIDE = 1e3
# Points to look for gaps at, where there is one.
_SCANS = (0, 48, 400)


class ProductSource:
    """A free product with its point masses.

    Parameters
    ----------
    product : FreeProduct
    atoms : tuple of (float, float)
        Its point masses as (y, mass), ascending.
    possible : tuple of (float, float)
        Where it could have some, and the masses: 0 where one is about to be born, else a debt.
    """

    def __init__(self, product: FreeProduct, atoms: Pairs, possible: Pairs = ()) -> None:
        self.product = product
        self.atoms = atoms
        self._possible = [y for y, _ in possible if y > -math.inf]
        self._singular = [y for y, mass in possible if y > -math.inf and mass >= -_LEAST]
        self._total = 1 - sum(mass for y, mass in atoms if y == -math.inf)

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
        is_wide = self.relative_variance > (_WIDE * ATOM_GAP) ** 2
        for points, spike in [*((points, False) for points in _SCANS), *([(0, True)] if is_wide else [])]:
            try:
                tables, spikes = self._tables(points, self._spikes if spike else ())
            except NoAnswerError as error:
                refused = error
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
        places, gap = list(self._singular), ATOM_GAP if spikes else 0.0
        bands = self.product.bands(places, points) if points else [self.product.ends]
        parts = [
            part for band in bands for part in cut(*band, self._possible if gap else self._singular, gap)
        ]
        return tuple(
            Table(self.product, *part, places, whole=not points and not gap) for part in parts
        ), spikes

    @property
    def _spikes(self) -> Pairs:
        """Return the masses next to point masses: of gates that are next to closed, for instance."""
        known, spikes = dict(self.atoms), []
        for place in self._possible:
            beside = place + ATOM_GAP * np.array([-1.0, 1.0])
            above = self.product.survival(self.product.solve(beside))
            spikes.append((place, float(above[0] - above[1]) - known.get(place, 0.0)))
        return tuple(spikes)

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density and the mass above y, any floats: beyond all mass that counts, no density."""
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
            density[inside], above = table.density_and_above(y[inside])
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
        return Scan(self.density_and_survival, start, self.atoms)

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
    return tuple(pair for pair in _possible_atoms(layers) if pair[1] > _LEAST)


def _possible_atoms(layers: Layers) -> Pairs:
    """Return where point masses can be, and their masses: a debt of mass where there is none."""
    found = {-math.inf: max((factor.mass_at_zero for factor in layers.factors), default=0.0)}
    if all(factor.point_masses for factor in layers.factors):
        tops = [max(factor.point_masses, key=lambda pair: pair[1]) for factor in layers.factors]
        missing = sum(count * (1 - top[1]) for count, top in zip(layers.counts, tops, strict=True))
        place = sum(count * top[0] for count, top in zip(layers.counts, tops, strict=True))
        found[place] = 1 - missing
        for factor, top in zip(layers.factors, tops, strict=True):
            for y, mass in factor.point_masses:
                if y != top[0]:
                    found[place - top[0] + y] = 1 - missing - top[1] + mass
    return tuple(sorted(found.items()))


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
        return SolvedLaw(ProductSource(product, atoms, _possible_atoms(self.layers)))
