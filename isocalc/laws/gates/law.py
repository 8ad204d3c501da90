"""The law of a gate d = φ'(x)², x normal: that of one orthogonal layer, square or narrowing.

Nodes and masses that stand for it are Gauss quadrature on panels that resolve it.
"""

import math
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import Activation
from isocalc.laws.gates.contours import Piece, gate_pieces, slope_and_bend
from isocalc.laws.gates.nodes import Gates, gate_mean_log, gate_rule
from isocalc.laws.support import Band, Scan
from isocalc.laws.tolerances import REACH, SAME
from isocalc.numerics.quadrature import legendre_rule
from isocalc.numerics.special import Complex, erf
from isocalc.numerics.tolerances import NORMAL_IS_0

Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]

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
    reach : float
        Standard deviations of x beyond which there is no mass.
    """

    resolves_tails = True

    def __init__(self, act: Activation, q: float, share: float = 1.0, reach: float = REACH) -> None:
        self._act, self._sigma, self._share, self._reach = act, math.sqrt(q), share, reach
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
        turns = math.ceil(self._reach * min(self._sigma / period, _UNIFORM_FROM) + 1)
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

    def _ends(self, piece: Piece, reach: float | None = None) -> tuple[float, float]:
        reach = (reach or self._reach) * self._sigma
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
                low, high = self._ends(piece, NORMAL_IS_0)
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

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of all bands."""
        return self.bands[0].low, self.bands[-1].high

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


def poles(gates: Gates, u: Complex) -> Array:
    """Return −Im E 1/(1 − dt) of continuous laws at real t: π times the density of log d at 1/t.

    Parameters
    ----------
    gates : Gates
    u : array, shape (gates, n)
        log t, on the axis.
    """
    found = np.zeros(u.shape)
    for k, origin in enumerate(gates.origins):
        positive = np.abs(u[k].imag) < np.pi / 2
        if origin is not None and positive.any():
            law = GateLaw(origin.act, origin.q, origin.share)
            found[k, positive] = np.pi * law.density(-u[k, positive].real - math.log(origin.unit))
    return found
