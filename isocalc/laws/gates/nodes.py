"""The law of a gate d = φ'(x)², x normal, as nodes and weights good for E 1/(1 - d t) at every t; averages.

Where |dt| is small or large, averages over nodes are series in t or 1/t with coefficients that do not depend
on t. So nodes are kept in order of |d|, and an average takes only those between: a tenth of all where gates
stretch over hundreds of decades.

Where d is not constant nodes are complex: the path of integration over x runs where Im d < 0, so that sums
over the nodes are averages for Im t <= 0 (`contours`); at real t they are limits from below. S-transforms are
made of averages at u = log t, t off the positive real axis, 0 >= Im u >= −2π: above, Im u < −π, they are the
conjugates of those at the conjugate.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, reach_of
from isocalc.activations.catalogue import Activation
from isocalc.activations.definition import normal_mass
from isocalc.errors import NoAnswerError
from isocalc.laws.gates.contours import Flat, GatePieces, Path, gate_path, gate_pieces
from isocalc.laws.tolerances import (
    CACHED_NUMBERS,
    DROPPED,
    EPS,
    FAR,
    GATE_ACCURACY,
    HARMONICS,
    LEAST_INVERTIBLE_LOG,
    LEAST_LOG,
    MOST_PIECES,
    NOTHING,
    PATHS_AN_OCTAVE,
    REACH,
    REACH_FAR,
    REACH_NEAR,
    SAFE_LOG,
    SMALL_MEAN,
    SURE,
)
from isocalc.numerics.special import Complex, log1p

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]  # real or complex


class SortedGate(NamedTuple):
    """Open gates, ascending in |d|."""

    log_d: Array
    """log |d|, shape (n,)"""
    d: Complex
    weights: Complex
    below: Complex
    """Sums of w, w d and w d² over the nodes before each, shape (3, n + 1)"""
    beyond: Complex
    """Sums of w, w/d, w/d² and w log d over each and the nodes after it, shape (4, n + 1)"""

    def between(self, low: float, high: float) -> tuple[int, int]:
        """Return where nodes begin and end that are neither small nor large for log |t| in [low, high]."""
        reach = REACH_FAR if high >= FAR else REACH_NEAR
        first, last = np.searchsorted(self.log_d, (-high - reach, -low + reach))
        return int(first), int(last)


def sorted_gate(d: Numbers, weights: Numbers) -> SortedGate:
    """Sort the nodes of a gate, closed ones left out.

    Parameters
    ----------
    d, weights : arrays, shape (n,)
        Im d <= 0.
    """
    order = np.argsort(np.abs(d), kind="stable")
    order = order[d[order] != 0]
    d, weights = d[order].astype(complex), weights[order].astype(complex)
    # The side of the cut of log(1 − dt) that limits from below are on.
    d.imag[d.imag == 0] = -0.0
    log_d = np.log(np.abs(d))
    inverse = np.zeros_like(d)
    np.divide(1, d, out=inverse, where=log_d > LEAST_INVERTIBLE_LOG)
    inverse_square = np.where(log_d > -FAR, inverse, 0) ** 2
    below = np.zeros((3, d.size + 1), dtype=complex)
    below[:, 1:] = np.cumsum([weights, weights * d, weights * d * d], axis=1)
    beyond = np.zeros((4, d.size + 1), dtype=complex)
    after = weights, weights * inverse, weights * inverse_square, weights * np.log(d)
    beyond[:, :-1] = np.cumsum([part[::-1] for part in after], axis=1)[:, ::-1]
    return SortedGate(log_d, d, weights, below, beyond)


Masses = tuple[tuple[float, float], ...]


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
    """

    d: Array | Complex
    weights: Array | Complex
    mean: float
    mean_square: float
    masses: Masses
    largest: float
    smallest: float

    @cached_property
    def sorted(self) -> SortedGate:
        """Nodes of gates that are not closed, ready for sums."""
        return sorted_gate(self.d, self.weights)

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
    return GateRule(d, weights, *moments, _point_masses(flats), *_range(pieces))


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


Flags = npt.NDArray[np.bool_]


def gate_averages(gate: GateRule, u: Complex) -> tuple[Complex, Complex, Complex]:
    """Return E 1/(1 − dt), E dt/(1 − dt) and the derivative of both in u."""
    passed, b, slope = open_averages(gate, u)
    return passed + gate.zero_mass, b, slope


def open_averages(gate: GateRule, u: Complex) -> tuple[Complex, Complex, Complex]:
    """Return what `gate_averages` does, the first without closed gates."""
    sums = np.empty((3, u.size), dtype=complex)
    for points, shift in _near_and_far(u):
        t, above = _below(u[points], shift)
        first, last = _between(gate, u[points])
        nodes, scale = gate.sorted, math.exp(shift)
        d, weights = nodes.d[first:last] * scale, nodes.weights[first:last, None]
        part = np.empty((3, t.size), dtype=complex)
        for block in _blocks(d.size, t):
            dt = np.multiply.outer(d, t[block])
            inverse = 1 / (1 - dt)
            # Sums, not products of matrices: BLAS would wake its threads for these.
            terms = weights * inverse
            part[0, block] = terms.sum(axis=0)
            terms *= dt
            part[1, block] = terms.sum(axis=0)
            terms *= inverse
            part[2, block] = terms.sum(axis=0)
        below, beyond = nodes.below[:, first], nodes.beyond[:, last]
        small, large = below[1] * scale * t, beyond[1] / scale / t
        smaller, larger = (0, 0) if shift else (below[2] * t * t, beyond[2] / t / t)
        part[0] += below[0] + small + smaller - large - larger
        part[1] += small + smaller - beyond[0] - large - larger
        part[2] += small + 2 * smaller + large + 2 * larger
        part.imag[:, above] *= -1
        sums[:, points] = part
    return sums[0], sums[1], sums[2]


def gate_log_mean(gate: GateRule, u: Complex) -> Complex:
    """Return E log(1 − dt)."""
    mean = np.empty(u.size, dtype=complex)
    for points, shift in _near_and_far(u):
        t, above = _below(u[points], shift)
        first, last = _between(gate, u[points])
        nodes, scale = gate.sorted, math.exp(shift)
        d, weights = nodes.d[first:last] * scale, nodes.weights[first:last, None]
        part = np.empty(t.size, dtype=complex)
        for block in _blocks(d.size, t):
            logs = log1p(-np.multiply.outer(d, t[block]))
            # At a point mass itself, dt = 1.
            np.maximum(logs.real, LEAST_LOG, out=logs.real)
            part[block] = (weights * logs).sum(axis=0)
        below, beyond = nodes.below[:, first], nodes.beyond[:, last]
        part -= below[1] * scale * t + beyond[1] / scale / t
        if not shift:
            part -= (below[2] * t * t + beyond[2] / t / t) / 2
        part += beyond[0] * (np.log(-t) + shift) + beyond[3]
        part.imag[above] *= -1
        mean[points] = part
    return mean


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


def _near_and_far(u: Complex) -> Iterator[tuple[Flags, float]]:
    """Yield which points have a t whose square is a number and which do not, with what to take off log t."""
    far = u.real >= FAR
    if not far.all():
        yield ~far, 0.0
    if far.any():
        yield far, SAFE_LOG


def _between(gate: GateRule, u: Complex) -> tuple[int, int]:
    return gate.sorted.between(float(u.real.min()), float(u.real.max()))


def _below(u: Complex, shift: float) -> tuple[Complex, Flags]:
    """Return t or its conjugate, whichever is below the real axis, and where it is the conjugate."""
    t, above = np.exp(u - shift), u.imag < -np.pi
    t.imag[above] *= -1
    # On the side of the cut of log(1 − dt) that limits from below are on.
    t.imag = np.minimum(t.imag, -NOTHING * np.abs(t.real))
    return t, above


def _blocks(nodes: int, t: Complex) -> Iterator[slice]:
    """Cut points into parts whose tables stay in the processor's cache."""
    size = max(1, CACHED_NUMBERS // max(nodes, 1))
    return (slice(start, start + size) for start in range(0, t.size, size))
