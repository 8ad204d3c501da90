"""The law of a gate d = φ'(x)², x normal, as nodes and weights good for E 1/(1 - d t) at every t.

Where |dt| is small or large, averages over nodes are series in t or 1/t with coefficients that do not depend
on t. So nodes are kept in order of |d|, and an average takes only those between: a tenth of all where gates
stretch over hundreds of decades.

Where d is not constant nodes are complex: the path of integration over x runs where Im d < 0, so that sums
over the nodes are averages for Im t <= 0 (`contours`); at real t they are limits from below.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import Activation
from isocalc.activations.definition import normal_mass
from isocalc.errors import NoAnswerError
from isocalc.laws.gates.contours import Flat, GatePieces, Path, gate_path, gate_pieces
from isocalc.laws.tolerances import (
    DROPPED,
    EPS,
    FAR,
    GATE_ACCURACY,
    HARMONICS,
    LEAST_INVERTIBLE_LOG,
    MOST_PIECES,
    PATHS_AN_OCTAVE,
    REACH,
    REACH_FAR,
    REACH_NEAR,
    SMALL_MEAN,
)

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
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
    sigma = math.sqrt(q)
    pieces = gate_pieces(act)
    path = _paths(act, round(PATHS_AN_OCTAVE * math.log2(min(sigma, act.period))))
    weights = path.dx * _density(path.x, sigma, act.period)
    if pieces.mirror == 0:
        weights *= 2
    elif pieces.mirror is not None:
        weights += path.dx * _density(2 * pieces.mirror - path.x, sigma, act.period)
    kept = np.abs(weights) > DROPPED
    flats = [(flat.value, mass) for flat in pieces.flats if (mass := _mass(flat, pieces, sigma)) > DROPPED]
    # -0: products with real t from below are on the side of the cut of log(1 - d t) that the others are on.
    d = np.concatenate([path.d[kept], [complex(value, -0.0) for value, _ in flats]])
    weights = np.concatenate([weights[kept], [mass for _, mass in flats]])
    return GateRule(d, weights, *_moments(act, q, d, weights), _point_masses(flats), *_range(pieces))


def _degree(act: Activation) -> float:
    """Return p where φ'(k x) = k^p φ'(x) for every k > 0, so that d scales with q^p, else 0."""
    if math.isfinite(act.scale) or math.isfinite(act.period) or any(act.breakpoints):
        return 0.0
    x = np.array([-3.0, -1.0, 1.0, 3.0])
    slopes, further = act.dphi(x), act.dphi(2 * x)
    degree = math.log2(np.abs(further).max() / np.abs(slopes).max())
    return degree if np.allclose(further, 2**degree * slopes, rtol=1e-14, atol=0) else 0.0


@lru_cache(maxsize=128)
def _paths(act: Activation, octave: int) -> Path:
    """Return the paths on all pieces for standard deviations near 2^(octave/2), one after another."""
    low, high = (2.0 ** ((octave + part) / PATHS_AN_OCTAVE) for part in (-0.5, 0.5))
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
