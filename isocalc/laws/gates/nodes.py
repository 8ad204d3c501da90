"""The law of a gate d = φ'(x)², x normal, as nodes and weights good for E 1/(1 - d t) at every t; averages.

Where d is not constant nodes are complex: the path of integration over x runs where Im d < 0, so that sums
over the nodes are averages for Im t <= 0 (`contours`); at real t they are limits from below. S-transforms are
made of averages at u = log t, t off the positive real axis, 0 >= Im u >= −2π: above, Im u < −π, they are the
conjugates of those at the conjugate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, reach_of
from isocalc.activations.catalogue import Activation
from isocalc.activations.definition import normal_mass
from isocalc.errors import NoAnswerError
from isocalc.laws.gates.contours import Flat, GatePieces, Path, gate_path, gate_pieces
from isocalc.laws.tolerances import (
    ALIKE_NODES,
    CACHED_NUMBERS,
    DROPPED,
    EPS,
    FAR,
    FAR_BLOCKS,
    FAR_REACH,
    FAR_TERMS,
    GATE_ACCURACY,
    HARMONICS,
    LEAST_LOG,
    MOST_PIECES,
    NOTHING,
    ON_AXIS,
    PATHS_AN_OCTAVE,
    POINTS_AT_ONCE,
    REACH,
    REACH_FAR,
    SMALL_MEAN,
    SURE,
    WORTH_SERIES,
)
from isocalc.numerics.special import Complex, log1p

Array = npt.NDArray[np.float64]


Masses = tuple[tuple[float, float], ...]


class Origin(NamedTuple):
    """The law of ``unit`` φ'(x)², x of variance q, for a share of gates; the others are closed."""

    act: Activation
    q: float
    share: float = 1.0
    unit: float = 1.0


@dataclass(frozen=True, eq=False)
class GateRule:
    """The law of d = φ'(x)² for normal x.

    Attributes
    ----------
    d, weights : arrays, shape (n,)
        ``E f(d) = sum(weights * f(d))`` for f(d) = 1/(1 - d t), d t/(1 - d t), d t/(1 - d t)², log(1 - d t)
        with Im t <= 0, and for polynomials f. Complex with Im d <= 0; float64 where the law is point masses.
    mean, mean_square : float
        E d and E d².
    masses : tuple of (float, float)
        Point masses as (value, mass), values ascending. Values of d that agree to rounding count as one, and
        values below 1e-300 as 0.
    largest, smallest : float
        Supremum (``math.inf`` where d is unbounded) and infimum of d.
    origin : Origin or None
        What d is the law of, ``None`` where that is point masses.
    """

    d: Array | Complex
    weights: Array | Complex
    mean: float
    mean_square: float
    masses: Masses
    largest: float
    smallest: float
    origin: Origin | None = None

    def scaled(self, factor: float) -> "GateRule":
        """Return the law of ``factor`` times d."""
        with np.errstate(over="ignore", under="ignore"):
            mean_square = 0.0
            if self.mean:
                relative = float((self.weights * (self.d / self.mean) ** 2).sum().real)
                mean_square = float(relative * np.square(self.mean * factor))
        return GateRule(
            self.d * factor,
            self.weights,
            self.mean * factor,
            mean_square,
            tuple((value * factor, mass) for value, mass in self.masses),
            self.largest * factor,
            self.smallest * factor,
            self.origin and self.origin._replace(unit=self.origin.unit * factor),
        )

    @property
    def in_its_unit(self) -> tuple["GateRule", float]:
        """The law and a unit: in units of the mean, where squares of d are no doubles otherwise."""
        if SMALL_MEAN < self.mean < 1 / SMALL_MEAN:
            return self, 1.0
        return self.scaled(1 / self.mean), self.mean

    def among(self, share: float) -> "GateRule":
        """Return the law of gates of which all but a share in (0, 1] are closed besides."""
        if share == 1:
            return self
        closed = 1 - share * (1 - self.zero_mass)
        return GateRule(
            np.append(self.d, complex(0.0, -0.0) if np.iscomplexobj(self.d) else 0.0),
            np.append(share * self.weights, 1 - share),
            share * self.mean,
            share * self.mean_square,
            ((0.0, closed), *((value, share * mass) for value, mass in self.masses if value)),
            self.largest,
            0.0,
            self.origin and self.origin._replace(share=self.origin.share * share),
        )

    @property
    def zero_mass(self) -> float:
        """P(d = 0)."""
        return self.masses[0][1] if self.masses and self.masses[0][0] == 0 else 0.0


def gate_rule(act: Activation, q: float) -> GateRule:
    """Return the law of φ'(x)² for x of mean 0 and variance q.

    Parameters
    ----------
    act : Activation
    q : float
        At least 0; 0 stands for the limit q → 0+.

    Returns
    -------
    GateRule
        Sums are within 1e-12, relatively, or as good as rounding x, d and t allows, where E 1/(1 - d t) is at
        least 1e-9 and |1 - d t| at least 1e-10 wherever d turns or jumps.

    Raises
    ------
    NoAnswerError
        φ'⁴ overflows, or φ'² has more than 200 monotone pieces where x is likely to be.
    """
    if act.slopes is not None:
        return _of_masses(act.gate_masses(q))
    if q == 0:
        return _of_masses(_limit(act))
    degree = _degree(act)
    if degree and q != 1:
        if degree * math.log(q) > FAR:
            raise NoAnswerError(f"φ'⁴ of {act.name} overflows at q = {q!r}")
        return gate_rule(act, 1.0).scaled(q**degree)
    known = None
    if act.steep or act.centres or math.isfinite(act.longest):
        known = averages(act, q)
        if not known.gate_squared < math.inf:
            raise NoAnswerError(f"φ'⁴ of {act.name} overflows at q = {q!r}")
    sigma = math.sqrt(q)
    pieces = gate_pieces(act)
    path = _paths(act, round(PATHS_AN_OCTAVE * math.log2(min(sigma, act.period))))
    weights = path.dx * _density(path.x, sigma, act.period)
    if pieces.mirror == 0:
        weights *= 2
    elif pieces.mirror is not None:
        weights += path.dx * _density(2 * pieces.mirror - path.x, sigma, act.period)
    with np.errstate(over="ignore", invalid="ignore"):
        kept = np.abs(weights) * (np.maximum(1.0, np.abs(path.d)) ** 2 if act.steep else 1.0) > DROPPED
    flats = [(flat.value, mass) for flat in pieces.flats if (mass := _mass(flat, pieces, sigma)) > DROPPED]
    # -0: products with real t from below are on the side of the cut of log(1 - d t) that the others are on.
    d = np.concatenate([path.d[kept], [complex(value, -0.0) for value, _ in flats]])
    weights = np.concatenate([weights[kept], [mass for _, mass in flats]])
    moments = _moments(act, q, d, weights)
    nothing = GATE_ACCURACY * float(np.abs(d).max(initial=0.0))
    if known is not None and not math.isclose(moments[0], known.gate, rel_tol=SURE, abs_tol=nothing):
        raise NoAnswerError(f"not all of φ'² of {act.name} is found at q = {q!r}")
    return GateRule(d, weights, *moments, _point_masses(flats), *_range(pieces), Origin(act, q))


def _degree(act: Activation) -> float:
    """Return p where φ'(k x) = k^p φ'(x) for every k > 0, so that d scales with q^p, else 0."""
    if math.isfinite(act.scale) or math.isfinite(act.period) or any(act.breakpoints):
        return 0.0
    x = np.array([-3.0, -1.0, 1.0, 3.0])
    slopes, further = act.dphi(x), act.dphi(2 * x)
    if act.steep or not slopes.any():
        return 0.0
    degree = math.log2(np.abs(further).max() / np.abs(slopes).max())
    return degree if np.allclose(further, 2**degree * slopes, rtol=1e-14, atol=0) else 0.0


@lru_cache(maxsize=128)
def _paths(act: Activation, octave: int) -> Path:
    """Return the paths on all pieces for standard deviations near 2^(octave/2), one after another."""
    low, high = (2.0 ** ((octave + part) / PATHS_AN_OCTAVE) for part in (-0.5, 0.5))
    high *= float(reach_of(act, np.array([high * high]))[0]) / REACH
    pieces = gate_pieces(act)
    reach = REACH * high
    near = [piece for piece in pieces.pieces if piece.low.place < reach and piece.high.place > -reach]
    if len(near) > MOST_PIECES or reach > pieces.known_to:
        raise NoAnswerError(
            f"φ'² of {act.name} has too many monotone pieces to be averaged at variance {high * high:.3g}"
        )
    nothing = np.empty(0, complex)
    paths = [path for piece in near if (path := gate_path(act, piece, low, high))]
    return Path(*(np.concatenate(parts) for parts in zip((nothing,) * 3, *paths, strict=True)))


def _density(x: Complex, sigma: float, period: float) -> Complex:
    """Return the normal density, wrapped around a period."""
    if math.isinf(period):
        z = x / sigma
        return np.asarray(np.exp(-0.5 * z * z) / (math.sqrt(2 * math.pi) * sigma))
    if sigma < period / 2:
        turns = math.ceil(REACH * sigma / period + 1)
        images = np.add.outer(period * np.arange(-turns, turns + 1), x)
        return np.asarray(_density(images, sigma, math.inf).sum(axis=0))
    frequency = 2 * math.pi / period
    total = np.ones_like(x)
    for k in range(1, HARMONICS + 1):
        total += (
            2 * math.exp(-0.5 * (k * frequency * min(sigma, 10 * period)) ** 2) * np.cos(k * frequency * x)
        )
    return total / period


def _mass(flat: Flat, pieces: GatePieces, sigma: float) -> float:
    mass = normal_mass(flat.low / sigma / math.sqrt(2), flat.high / sigma / math.sqrt(2))
    return mass if pieces.mirror is None else 2 * mass


def _moments(act: Activation, q: float, d: Complex, weights: Complex) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        total, mean, mean_square = (float((weights * d**k).sum().real) for k in range(3))
    if not math.isfinite(mean_square):
        raise NoAnswerError(f"φ'⁴ of {act.name} overflows at q = {q!r}")
    if abs(total - 1) > GATE_ACCURACY:
        raise NoAnswerError(f"averages over the gate of {act.name} did not reach 1e-12 at q = {q!r}")
    return mean, mean_square


def _range(pieces: GatePieces) -> tuple[float, float]:
    values = [end.value for piece in pieces.pieces for end in piece] + [flat.value for flat in pieces.flats]
    return max(values), min(values)


def _limit(act: Activation) -> Masses:
    """Return the law of d for x → 0 from either side."""
    tiny = float(np.finfo(float).smallest_subnormal)
    return tuple((float(d), 0.5) for d in act.dphi(np.array([-tiny, tiny])) ** 2)


def _point_masses(masses: Masses | list[tuple[float, float]]) -> Masses:
    values = sorted({value for value, mass in masses if mass > EPS / 2})
    return tuple((value, math.fsum(mass for at, mass in masses if at == value)) for value in values)


def _of_masses(masses: Masses) -> GateRule:
    masses = _point_masses(masses)
    d, weights = np.array(masses).T.copy()
    mean, mean_square = (math.fsum(value**power * mass for value, mass in masses) for power in (1, 2))
    return GateRule(d, weights, mean, mean_square, masses, float(d[-1]), float(d[0]))


class GateSums(NamedTuple):
    """Sums over open gates, arrays of shape (gates, n), scaled so that none overflows.

    ``E_open 1/(1 − dt) = near passed``, ``E dt/(1 − dt) = far through``, and the derivative of both in u is
    ``far slope``.
    """

    passed: Complex
    through: Complex
    slope: Complex
    near: Complex
    far: Complex


class _Nodes:
    """Nodes of gates that have about as many, ascending in |d|, shape (gates, nodes).

    Parameters
    ----------
    gates : array of int
        Which gates these are.
    d, weights : arrays, shapes (gates, nodes) and (gates, 2, nodes)
        Open nodes, padded with the first ones, of no weight; w and w d.
    """

    def __init__(self, gates: npt.NDArray[np.intp], d: Complex, weights: Complex) -> None:
        self.gates, self.d, self.weights = gates, d, weights
        log_d = np.log(np.abs(d))
        self._block = block = max(1, d.shape[1] // FAR_BLOCKS)
        self._last_of_part, self._first_of_part = log_d[:, block - 1 :: block], log_d[:, ::block]
        self._small: dict[int, Complex] = {}
        self._large: dict[int, Complex] = {}

    def between(self, log_t: Array) -> tuple[int, int]:
        """Return the first node, and the last, where |dt| is neither small nor large for all points."""
        count = self.d.shape[1]
        if log_t.size * count < WORTH_SERIES:
            return 0, count
        small = self._last_of_part <= -log_t.max(axis=1)[:, None] - FAR_REACH
        large = self._first_of_part >= -log_t.min(axis=1)[:, None] + FAR_REACH
        first = int(np.count_nonzero(small.all(axis=0))) * self._block
        parts = large.shape[1] - int(np.count_nonzero(large.all(axis=0)))
        last = min(parts * self._block, count)
        return first, max(first, last)

    def sums(self, log_t: Array, near: Complex, far: Complex) -> Complex:
        """Return the scaled sums of `GateSums`, shape (3, gates, n)."""
        first, last = self.between(log_t)
        d, weights = self.d[:, first:last, None], self.weights[:, :, first:last]
        found = np.empty((3, *near.shape), complex)
        inverse = 1 / (near[:, None] - d * far[:, None])
        found[:2] = (weights @ inverse).swapaxes(0, 1)
        inverse *= near[:, None] * inverse
        found[2] = (weights[:, 1:] @ inverse)[:, 0]
        if first:
            found += self.of_small(first, near, far)
        if last < self.d.shape[1]:
            found += self.of_large(last, near, far)
        return found

    def of_small(self, first: int, near: Complex, far: Complex) -> Complex:
        """Return the sums over the nodes before one, by powers of dt: shape (3, gates, n)."""
        unit = self.d[:, first - 1, None]
        if first not in self._small:
            moments = self._moments(slice(first), self.d[:, :first] / unit)
            one, other = moments[:, :-1], unit * moments[:, 1:]
            self._small[first] = np.stack((one, other, other * np.arange(1, FAR_TERMS + 1)), axis=-1)
        return _series(unit * far / near, self._small[first]) / near

    def of_large(self, last: int, near: Complex, far: Complex) -> Complex:
        """Return the sums over one node and those after it, by powers of 1/(dt): shape (3, gates, n)."""
        unit = self.d[:, last, None]
        if last not in self._large:
            moments = self._moments(slice(last, None), unit / self.d[:, last:])
            one, other = moments[:, 1:] / unit, moments[:, :-1]
            self._large[last] = np.stack((-one, -other, other * np.arange(FAR_TERMS)), axis=-1)
        return _series(near / (unit * far), self._large[last]) / far

    def _moments(self, which: slice, shares: Complex) -> Complex:
        """Return Σ w share^k, shape (gates, terms + 1)."""
        weighted = self.weights[:, 0, which]
        moments = [weighted.sum(axis=1)]
        for _ in range(FAR_TERMS):
            weighted = weighted * shares
            moments.append(weighted.sum(axis=1))
        return np.stack(moments, axis=-1)


def _series(x: Complex, coefficients: Complex) -> Complex:
    """Return Σ coefficients[:, k] x^k: some series of shape (gates, terms, series), first in the result."""
    powers = np.empty((FAR_TERMS, *x.shape), complex)
    powers[0] = 1
    for k in range(1, FAR_TERMS):
        np.multiply(powers[k - 1], x, out=powers[k])
    return np.asarray((powers.transpose(1, 2, 0) @ coefficients).transpose(2, 0, 1))


class Gates:
    """The nodes of some gates, side by side.

    Where |dt| is small or large for all points asked for, averages are series in dt or 1/(dt) whose
    coefficients do not depend on t, and only nodes between are summed: a tenth of all where gates stretch
    over hundreds of decades.

    Parameters
    ----------
    rules : sequence of GateRule

    Attributes
    ----------
    closed : array, shape (gates, 1)
        Masses of closed gates.
    origins : list of (Origin or None)
        What they are the laws of.
    """

    def __init__(self, rules: Sequence[GateRule]) -> None:
        self.closed = np.array([[rule.zero_mass] for rule in rules])
        self.origins = [rule.origin for rule in rules]
        self._parts: list[_Nodes] = []
        opened = [np.flatnonzero(rule.d) for rule in rules]
        sizes = np.array([kept.size for kept in opened])
        left = np.argsort(sizes, kind="stable")
        while left.size:
            alike = left[sizes[left] <= ALIKE_NODES * sizes[left[0]]]
            left = left[alike.size :]
            alike.sort()
            self._parts.append(_side_by_side(alike, [rules[k] for k in alike], [opened[k] for k in alike]))

    def sums(self, u: Complex, poles: Array | None = None) -> GateSums:
        """Return averages at u, shape (gates, n).

        On the axis, Im u = 0 or −π, they may be principal values with other imaginary parts: ``poles``.
        """
        above = u.imag < -np.pi - ON_AXIS
        u = np.where(above, u.conj() - 2j * np.pi, u)
        # Beyond all gates that are doubles t counts no more.
        log_t = np.minimum(u.real, 2 * FAR)
        near = np.exp(np.where(u.real > 0, -log_t - 1j * u.imag, 0))
        far = np.exp(np.where(u.real > 0, 0, u))
        found = np.empty((3, *u.shape), complex)
        for nodes in self._parts:
            block = max(POINTS_AT_ONCE, CACHED_NUMBERS // (2 * nodes.d.shape[1] + 1))
            for start in range(0, u.shape[1], block):
                at = nodes.gates, slice(start, start + block)
                found[:, *at] = nodes.sums(log_t[at], near[at], far[at])
        if above.any():
            found[:, above] = found[:, above].conj()
            near, far = np.where(above, near.conj(), near), np.where(above, far.conj(), far)
        if poles is not None:
            near.imag, far.imag, found.imag = 0.0, 0.0, 0.0
            found[0].imag, found[1].imag = poles / near.real, poles / far.real
        return GateSums(found[0], found[1], found[2], near, far)

    def log_mean(self, u: Complex) -> Complex:
        """Return E log(1 − dt) at u, shape (gates, n)."""
        above = u.imag < -np.pi
        u = np.where(above, u.conj() - 2j * np.pi, u)
        mean = np.empty_like(u)
        for nodes in self._parts:
            log_dt = np.log(nodes.d)[..., None] + u[nodes.gates, None]
            # Limits from below; at a point mass itself, dt = 1.
            log_dt.imag = np.minimum(log_dt.imag, -NOTHING)
            logs = np.where(log_dt.real > REACH_FAR, log_dt + 1j * np.pi, 0)
            near = log_dt.real <= REACH_FAR
            logs[near] = log1p(-np.exp(log_dt[near]))
            np.maximum(logs.real, LEAST_LOG, out=logs.real)
            mean[nodes.gates] = (nodes.weights[:, 0, :, None] * logs).sum(axis=1)
        mean.imag[above] *= -1
        return mean


def _side_by_side(gates: npt.NDArray[np.intp], rules: Sequence[GateRule], opened: Sequence[Any]) -> _Nodes:
    """Return the open nodes of some gates, padded with their first ones, of no weight."""
    shape = len(rules), max(kept.size for kept in opened)
    d, weights = np.empty(shape, complex), np.zeros((shape[0], 2, shape[1]), complex)
    for row, (rule, kept) in enumerate(zip(rules, opened, strict=True)):
        order = kept[np.argsort(np.abs(rule.d[kept]), kind="stable")]
        padding = shape[1] - order.size
        d[row, :padding], d[row, padding:] = rule.d[order[0]], rule.d[order]
        weights[row, 0, padding:] = rule.weights[order]
    weights[:, 1] = weights[:, 0] * d
    # The side of the cut of log(1 − dt) that limits from below are on.
    d.imag[d.imag == 0] = -0.0
    return _Nodes(gates, d, weights)


def gate_mean_log(gate: GateRule) -> float:
    """Return E log d, −inf where gates can be closed."""
    if gate.zero_mass:
        return -math.inf
    # A d that underflows has next to no weight.
    open_ = gate.d != 0
    return float((gate.weights[open_] * np.log(gate.d[open_])).sum().real)


def lowest_open(gate: GateRule) -> float:
    """Return the lower end of the law of gates that are not closed."""
    if math.isclose(sum(mass for _, mass in gate.masses), 1):
        return min(value for value, _ in gate.masses if value > 0)
    return gate.smallest


def last_real(gate: GateRule) -> float:
    """Return log 1/d at the upper end of a continuous law of gates, ``inf`` where there is no such end."""
    if gate.largest == math.inf or any(value == gate.largest for value, _ in gate.masses):
        return math.inf
    return -math.log(gate.largest)
