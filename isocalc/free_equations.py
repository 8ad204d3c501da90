"""The equations of a product of free factors, and Newton's iteration for them.

One equation ties ζ to log z; each factor ties its unknowns to ζ. So the Jacobian is an arrow, and the time of
an iteration is in proportion to the number of distinct factors.
"""

import math
import sys
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.complex_logs import log1p
from isocalc.factor_kinds import FreeProductArrays, gate_arrays
from isocalc.transforms import Complex, Curve, Factor, Place, Tangent

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]

_ROUNDING = 2e-15


class State(NamedTuple):
    """Solutions: ζ, shape (n,), and the factors' unknowns, one after another, shape (k, n)."""

    zeta: Complex
    inner: Complex

    def at(self, chosen: Whole) -> "State":
        """Return some of the solutions."""
        return State(self.zeta[chosen], self.inner[:, chosen])

    @property
    def stacked(self) -> Complex:
        """Solutions as compiled code has them: ζ and the unknowns, shape (n, 1 + k)."""
        return np.ascontiguousarray(np.concatenate((self.zeta[None], self.inner)).T)

    def put(self, chosen: Whole, found: "State") -> None:
        """Replace some of the solutions."""
        self.zeta[chosen], self.inner[:, chosen] = found


class Linearised(NamedTuple):
    """The equation at one point: log z and its slope in ζ, steps of the unknowns there and per ζ."""

    y: complex
    slope: complex
    drift: Complex
    direction: Complex


class Iteration(NamedTuple):
    """A Newton iteration: arrays of shape (n,)."""

    state: State
    """What it found"""
    size: Array
    """Largest change of ζ and the unknowns"""
    rounding: Array
    """What of that rounding may make"""
    noise: Array
    """Rounding in log z"""


class FreeEquations:
    """The equations that ζ and the unknowns of the factors solve.

    Parameters
    ----------
    factors : sequence of Factor
        Distinct factors.
    counts : sequence of float
        How often each occurs; fractions are allowed where factors stand for a range of layers.
    """

    def __init__(self, factors: Sequence[Factor], counts: Sequence[float]) -> None:
        # The first unknown is that of the narrowest layer: what happens near 0 is up to that.
        order = sorted(range(len(factors)), key=lambda k: -factors[k].mass_at_zero)
        self.factors = tuple(factors[k] for k in order)
        self.counts = tuple(counts[k] for k in order)
        ends = list(accumulate((factor.unknowns for factor in self.factors), initial=0))
        self.rows = [slice(start, stop) for start, stop in pairwise(ends)]

    @cached_property
    def log_mean(self) -> float:
        """Logarithm of the mean of λ."""
        return math.fsum(n * factor.log_mean for n, factor in zip(self.counts, self.factors, strict=True))

    @cached_property
    def relative_variance(self) -> float:
        """Relative variance of λ."""
        parts = zip(self.counts, self.factors, strict=True)
        return math.fsum(n * factor.relative_variance for n, factor in parts)

    @cached_property
    def mass_at_zero(self) -> float:
        """Mass at λ = 0."""
        return max(factor.mass_at_zero for factor in self.factors)

    @cached_property
    def arrays(self) -> FreeProductArrays:
        """The product for compiled code."""
        parts = [factor.arrays for factor in self.factors]
        return FreeProductArrays(
            np.array([part.kind for part in parts]),
            np.array([(part.first, part.second, part.closed, part.at_zero) for part in parts]),
            gate_arrays([part.gate for part in parts]),
            np.cumsum([1, *(factor.unknowns for factor in self.factors)]),
            np.array(self.counts, dtype=float),
            self.mass_at_zero,
            self._is_alone,
        )

    @cached_property
    def _is_alone(self) -> bool:
        u = self.factors[0].start(np.array([-25 - 1j]))[0]
        return len(self.factors) == 1 and self.factors[0].alone(u, 1.0) is not None

    @cached_property
    def _sums(self) -> Whole:
        """Unknowns that are log((1+m)/m) of a term of a free sum, whose m add up."""
        return np.array([rows.start + 1 for rows in self.rows if rows.stop - rows.start == 2], dtype=np.intp)

    def equation(self, state: State) -> tuple[Complex, Complex, list[Tangent]]:
        """Return log((1+m)/m) with its derivative in ζ, and every factor linearised at the same ζ."""
        place = Place.of(state.zeta, self.mass_at_zero)
        tangents = [
            factor.tangent(state.inner[rows], place)
            for factor, rows in zip(self.factors, self.rows, strict=True)
        ]
        return *place.seen_with(0.0), tangents

    def linearised(self, state: State) -> Linearised:
        """Return the equation and the factors' ties at one point, linear in ζ."""
        with np.errstate(all="ignore"):
            if "isocalc._kernels" in sys.modules:
                from isocalc._kernels import linearised_free  # noqa: PLC0415 - it is loaded already

                drift, direction = np.empty_like(state.inner[:, 0]), np.empty_like(state.inner[:, 0])
                y, slope = linearised_free(self.arrays, state.stacked[0], drift, direction)
                return Linearised(y, slope, drift, direction)
            base, slopes, tangents = self.equation(state)
            total, rate = base[0], slopes[0]
            for tangent, count in zip(tangents, self.counts, strict=True):
                total -= count * tangent.log_s[0]
                rate -= count * tangent.rate[0]
            ties = (
                np.concatenate([getattr(t, name)[:, 0] for t in tangents]) for name in ("drift", "direction")
            )
            return Linearised(total, rate, *ties)

    def newton(self, state: State, target: Complex) -> Iteration:
        """Take a Newton iteration towards log z = ``target``."""
        with np.errstate(all="ignore"):  # a step that overflows is refused by its size
            curve = self.factors[0].alone(state.inner[0], self.counts[0]) if self._is_alone else None
            if curve is not None:
                return self._newton_alone(curve, state, target)
            base, slope, tangents = self.equation(state)
            rest, sum_of_sizes = target - base, np.abs(target)
            for tangent, count, rows in zip(tangents, self.counts, self.rows, strict=True):
                slope = slope - count * tangent.rate
                rest += count * tangent.log_s
                sum_of_sizes += count * (
                    np.abs(tangent.log_s) + np.abs(state.inner[rows][0]) + np.abs(state.zeta)
                )
            change = rest / slope
            drift = np.concatenate([tangent.drift for tangent in tangents])
            direction = np.concatenate([tangent.direction for tangent in tangents])
            step = drift + direction * change
            size = np.maximum(np.abs(change), np.abs(step).max(axis=0))
            noise_of_y = _ROUNDING * sum_of_sizes
            noise = noise_of_y / np.abs(slope) + _ROUNDING * (1 + np.abs(state.zeta))
            own = sum((tangent.rounding for tangent in tangents), np.zeros(base.size))
            rounding = np.maximum(own + noise, noise * np.abs(direction).max(axis=0))
            inner = state.inner + step
            inner[self._sums] = _stepped(state.inner[self._sums], step[self._sums])
            for factor, rows in zip(self.factors, self.rows, strict=True):
                inner[rows.start] = factor.on_its_side(inner[rows.start])
            all_sums = 2 * self._sums.size == len(inner)
            zeta = _stepped(state.zeta, change) if all_sums else state.zeta + change
            return Iteration(State(zeta, inner), size, rounding, noise_of_y)

    def _newton_alone(self, curve: Curve, state: State, target: Complex) -> Iteration:
        """Do what `newton` does for one factor of one unknown: ζ follows from that."""
        (factor,), (count,), u = self.factors, self.counts, state.inner[0]
        step = (target - curve.y) / curve.slope
        sizes = np.abs(curve.log_s) + np.abs(u) + np.abs(curve.zeta)
        noise = _ROUNDING * (np.abs(target) + count * sizes)
        rounding = noise / np.abs(curve.slope) + _ROUNDING * (1 + np.abs(u))
        moved = State(curve.zeta + curve.zeta_slope * step, factor.on_its_side(u + step)[None])
        return Iteration(moved, np.abs(step), rounding, noise)


def _stepped(zeta: Complex, step: Complex) -> Complex:
    """Move ζ = log((1+m)/m), linearly in m where that is large: sums of such m are solved in one step."""
    moved = np.asarray(zeta + step)
    close = np.abs(zeta.real) + np.abs(zeta.imag) <= 1
    m = 1 / np.expm1(zeta[close])
    moved[close] = log1p(1 / (m - m * (1 + m) * step[close]))
    return moved
