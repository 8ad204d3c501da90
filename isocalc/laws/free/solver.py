"""Solutions of the equation of a free product of layers, all points together.

With m = zG(z) − 1 and ζ = log((1 + m − w)/m), w the mass at λ = 0, a law solves

    log((1 + m)/m) − Σ n log S(m) = log z,        ρ(y) = −Im m/π at log z = y.

A factor is a curve in unknowns of its own, tied to ζ, so Newton's matrix is an arrow. m is analytic in the
strip 0 < Im log z < π. Paths start far right on Im log z = π, where λ < 0: there unknowns are real but for
multiples of iπ and singularities are π away. One point walks that line leftwards; from it all others descend
to the real axis together, each with steps of its own.

States are arrays of shape (1 + unknowns, n): ζ, and the unknowns of the factors, alike ones side by side.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.free.factors import Alike, Complex, Factor, Place, Tangent
from isocalc.laws.tolerances import NOTHING
from isocalc.numerics.special import log1p

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PI = math.pi
_ROUNDING = 2e-15
# A step is kept if Newton's first is shorter than this, and the second by this factor shorter.
_LONGEST, _CONTRACTION, _LAST = 0.1, 0.1, 1e-3
# Where the second is that of rounding, in units of it, and the least and the most that may be.
_ROUNDINGS, _AGREE, _MOST_ROUNDING = 4.0, 1e-13, 1e-6
# Newton's first step to aim at, the second over it, and by what the next step of a path may differ.
_AIM, _RATIO, _SHRUNK, _SHORTER, _LONGER = 0.02, 0.03, 0.3, 0.5, 4.0
# Im ζ this far outside of [0, π] is rounding.
_BELOW = 1e-6
_ROUNDS, _FIRST_STEP = 400, 0.5
# dζ/dlog z from which on, next to edges, unknowns are tied to ζ before slopes are taken.
_TIED_FROM = 100.0
# Paths end this close to their ends, in units of log z where that is large, and with steps so short.
_ARRIVED, _SHORTEST = 1e-13, 1e-15
_POLISHING, _UNPOLISHED, _POLISHED, _AHEAD = 6, 1e-2, 1e-5, 1e-16
# Strides along the line.
_STRIDE, _SHORTEST_STRIDE = 4.0, 0.01
_FAR_RIGHT = 25.0
# Unknowns up to which gates are all doubles.
_FARTHEST = 660.0


class _Part(NamedTuple):
    """Alike factors, how often each occurs, where their unknowns are in a state, and the first of them."""

    alike: Alike
    counts: Array
    rows: slice
    first: int


class Equation(NamedTuple):
    """The equation at some states, linear in ζ: arrays of shape (n,) and (1 + unknowns, n)."""

    y: Complex
    """log z, were all unknowns tied to ζ"""
    slope: Complex
    """Its derivative in ζ"""
    drift: Complex
    """Steps of all that tie them, first that of ζ, 0"""
    direction: Complex
    """Their derivatives in ζ"""
    noise: Array
    """Rounding of log z"""
    loose: Array
    """Rounding of the unknowns"""


class FreeSolver:
    """The equations of a free product.

    Parameters
    ----------
    factors : sequence of Factor
        Distinct factors.
    counts : sequence of float
        How often each occurs; fractions are allowed where factors stand for a range of layers.
    """

    def __init__(self, factors: Sequence[Factor], counts: Sequence[float]) -> None:
        self.mass_at_zero = max(factor.mass_at_zero for factor in factors)
        groups: dict[Any, list[int]] = {}
        # The first unknown is that of the narrowest layer: what happens near 0 is up to that.
        for k in sorted(range(len(factors)), key=lambda k: -factors[k].mass_at_zero):
            groups.setdefault(factors[k].group, []).append(k)
        self.factors = tuple(factors[k] for group in groups.values() for k in group)
        self.counts = tuple(counts[k] for group in groups.values() for k in group)
        self._parts: list[_Part] = []
        start, done = 1, 0
        for group in groups.values():
            alike = factors[group[0]].side_by_side([factors[k] for k in group])
            rows = slice(start, start := start + alike.unknowns * len(group))
            self._parts.append(_Part(alike, np.array([[counts[k]] for k in group], float), rows, done))
            done += len(group)
        self._sums = [
            k
            for part in self._parts
            if part.alike.unknowns == 2
            for k in range((part.rows.start + part.rows.stop) // 2, part.rows.stop)
        ]
        if all(part.alike.unknowns == 2 for part in self._parts):
            self._sums.append(0)
        self._walked: list[tuple[float, Complex]] = []
        self._ahead: tuple[Complex, Complex]
        self._stride, self.calls = _STRIDE, 0

    @cached_property
    def log_mean(self) -> float:
        """Logarithm of the mean of λ."""
        return math.fsum(n * factor.log_mean for n, factor in zip(self.counts, self.factors, strict=True))

    @cached_property
    def relative_variance(self) -> float:
        """Relative variance of λ."""
        parts = zip(self.counts, self.factors, strict=True)
        return math.fsum(n * factor.relative_variance for n, factor in parts)

    def _of(self, part: _Part, state: Complex) -> Complex:
        """Return the unknowns of alike factors, a view of shape (unknowns, factors, n)."""
        return state[part.rows].reshape(part.alike.unknowns, part.counts.size, -1)

    def tangents(self, state: Complex, tail: Array | None = None) -> list[tuple[Array, Tangent]]:
        """Return every factor linearised at the same ζ, alike ones together, and how often they occur."""
        return self._tangents(state, Place.of(state[0], self.mass_at_zero)._replace(tail=tail))

    def _tangents(self, state: Complex, place: Place) -> list[tuple[Array, Tangent]]:
        return [(part.counts, part.alike.tangent(self._of(part, state), place)) for part in self._parts]

    def equation(self, state: Complex, tail: Array | None = None) -> Equation:
        """Return the equation at states, linear in ζ; with a ``tail`` as `Place` says."""
        self.calls += 1
        place = Place.of(state[0], self.mass_at_zero)
        y, slope = place.seen_with(0.0)
        size, drift, direction = np.abs(y), np.zeros_like(state), np.ones_like(state)
        loose = np.abs(state).max(axis=0)
        for part, (counts, tangent) in zip(
            self._parts, self._tangents(state, place._replace(tail=tail)), strict=True
        ):
            y, slope = y - (counts * tangent.log_s).sum(axis=0), slope - (counts * tangent.rate).sum(axis=0)
            drift[part.rows] = tangent.drift.reshape(-1, state.shape[1])
            direction[part.rows] = tangent.direction.reshape(-1, state.shape[1])
            scales = np.abs(tangent.log_s)
            if tangent.spread is not None:
                of_log_s, of_unknown = tangent.spread
                scales = scales + np.abs(self._of(part, state)[0]) + of_log_s
                loose = np.maximum(loose, of_unknown.max(axis=0))
            size = size + (counts * scales).sum(axis=0)
        return Equation(y, slope, drift, direction, _ROUNDING * size, _ROUNDING * (1 + loose))

    def newton(
        self, state: Complex, target: Complex, *, on_line: bool = False
    ) -> tuple[Complex, Array, Array, Complex]:
        """Take a Newton step towards log z = ``target``; on the line Im log z = π imaginary parts stay.

        Returns
        -------
        state, size, rounding, tangent
            Where it leads, its length, what of that rounding may make, and dstate/dlog z.
        """
        y, slope, drift, direction, noise, loose = self.equation(state)
        step = drift + direction * ((target - y) / slope)
        if on_line:
            step.imag = 0.0
        rounding = noise * np.abs(direction / slope).max(axis=0) + loose
        moved = state + step
        if self._sums:  # linear in m where that is large: sums of such m are solved in one step
            before = state[self._sums]
            m = 1 / np.expm1(before)
            in_m = log1p(1 / (m - m * (1 + m) * step[self._sums]))
            moved[self._sums] = np.where(np.abs(before) <= 1, in_m, moved[self._sums])
        self._keep_on_side(moved)
        return moved, np.abs(step).max(axis=0), rounding, direction / slope

    def _keep_on_side(self, state: Complex) -> None:
        for part in self._parts:
            part.alike.keep_on_side(self._of(part, state))

    def follow(
        self,
        state: Complex,
        start: Complex,
        stop: Complex,
        rounds: int = _ROUNDS,
        first: float = _FIRST_STEP,
        *,
        on_line: bool = False,
    ) -> tuple[Complex, Flags]:
        """Continue solutions along straight lines from log z = ``start`` to ``stop``; tell which arrived.

        On the line Im log z = π, unknowns are kept real but for multiples of iπ.

        A point predicts by its tangent and the change of that, then takes two Newton steps. By their lengths
        (Kantorovich) it keeps the result, or tries a shorter step.
        """
        state, _, _, tangent = self.newton(state, start, on_line=on_line)
        bend, at, length = np.zeros_like(tangent), start.copy(), np.abs(stop - start)
        done, step, active = np.zeros(at.size), np.full(at.size, first), np.arange(at.size)
        for _ in range(rounds):
            reach = np.minimum(done[active] + step[active], 1)
            target = np.where(reach == 1, stop[active], start[active] + (stop - start)[active] * reach)
            move = target - at[active]
            guess = state[:, active] + (tangent[:, active] + bend[:, active] * move / 2) * move
            self._keep_on_side(guess)
            flat = np.abs(tangent[0, active]) > _TIED_FROM
            if flat.any():
                guess[:, flat] += self.equation(guess[:, flat]).drift
                self._keep_on_side(guess)
            better, slope, size1, size2, agree, kept = self._corrected(guess, target, on_line=on_line)
            moved = active[kept]
            bend[:, moved] = (slope[:, kept] - tangent[:, moved]) / move[kept]
            state[:, moved], tangent[:, moved] = better[:, kept], slope[:, kept]
            at[moved], done[moved] = target[kept], reach[kept]
            growth = _growth(size1, size2, agree)
            step[active] *= np.where(kept, growth, _SHRUNK)
            scale = np.maximum(1, np.abs(target))
            done[active[np.abs(stop - at)[active] < _ARRIVED * scale]] = 1
            active = active[((step * length)[active] >= _SHORTEST * scale) & (done[active] < 1)]
            if not active.size:
                break
        return state, done >= 1

    def _corrected(
        self, guess: Complex, target: Complex, *, on_line: bool
    ) -> tuple[Complex, Complex, Array, Array, Array, Flags]:
        """Take two Newton steps: state, dstate/dlog z, both lengths, rounding, and which to keep."""
        better, size1, _, _ = self.newton(guess, target, on_line=on_line)
        better, size2, rounding, slope = self.newton(better, target, on_line=on_line)
        if on_line:
            better.imag, slope.imag = PI * np.rint(better.imag / PI), 0.0
        agree = np.minimum(np.maximum(_AGREE, _ROUNDINGS * rounding), _MOST_ROUNDING)
        kept = (size1 < _LONGEST) & ((size2 <= np.minimum(_LAST, _CONTRACTION * size1)) | (size2 < agree))
        kept &= (better[0].imag > -_BELOW) & (better[0].imag < PI + _BELOW)
        return better, slope, size1, size2, agree, kept

    def polish(self, state: Complex, target: Complex, steps: int = _POLISHING) -> tuple[Complex, Array]:
        """Newton until steps are as short as rounding, or shrink no more; return the last step's length too.

        The next step is about the square of the last, over how nearly the slope of log z in ζ is 0.
        """
        state, size = state.copy(), np.full(target.size, _UNPOLISHED)
        active = np.arange(target.size)
        for _ in range(steps):
            moved, new, rounding, _ = self.newton(state[:, active], target[active])
            shrinks = new < size[active]
            active, new, rounding, moved = active[shrinks], new[shrinks], rounding[shrinks], moved[:, shrinks]
            last, size[active], state[:, active] = size[active], new, moved
            ahead = np.maximum(new, new / last) * new
            active = active[(new > rounding) & ~(ahead < _AHEAD)]
            if not active.size:
                break
        return state, size

    def line(self, low: float = -math.inf, tiny: float = 0.0) -> tuple[Array, list[Complex]]:
        """Walk Im log z = π from far right to ``low``, or to where less than ``tiny`` of the mass is below.

        There 1 + m − w is the mean of z/(z − λ), the mass at 0 left aside: half the mass below |z| or more.
        """
        if not self._walked:
            y, state = self._start()
            self._walked.append((y, state))
            tangent = self.newton(state, np.array([complex(y, PI)]), on_line=True)[3]
            self._ahead = tangent, np.zeros_like(tangent)
        while (
            self._walked[-1][0] > low
            and self.rest(self._walked[-1][1]) > tiny
            and self._walked[-1][1].real.max() < _FARTHEST
        ):
            y, state = self._walked[-1]
            step = min(self._stride, max(y - low, 1.0))
            if tiny and len(self._walked) > 1:
                # log of the mass below, where ζ goes as y does.
                before, other = self._walked[-2]
                slope = (other[0, 0] - state[0, 0]).real / (before - y)
                step = min(step, max((math.log(self.rest(state) / tiny)) / slope, 0.0) + 1.0)
            tangent, bend = self._ahead
            guess = state - (tangent - bend * step / 2) * step
            self._keep_on_side(guess)
            target = np.array([complex(y - step, PI)])
            state, slopes, *sizes, kept = self._corrected(guess, target, on_line=True)
            if kept[0]:
                self._walked.append((y - step, state))
                self._ahead = slopes, (tangent - slopes) / step
                self._stride = step * float(_growth(*sizes)[0])
            elif step < _SHORTEST_STRIDE:
                break
            else:
                self._stride = _SHRUNK * step
        return np.array([y for y, _ in self._walked]), [state for _, state in self._walked]

    def rest(self, state: Complex) -> float:
        """Return the size of 1 + m − w over 1 − w at one state."""
        return float(np.abs(1 / np.expm1(-state[0, 0])))

    def _start(self) -> tuple[float, Complex]:
        """Return a y far right on the line, where all factors are linear in m, and the state there."""
        zeta = np.array([complex(_FAR_RIGHT + math.log1p(self.relative_variance), PI)])
        log_m = np.asarray(math.log(1 - self.mass_at_zero) - zeta, complex)
        y = self.log_mean - log_m[0].real
        state = np.concatenate(
            [zeta[None]] + [part.alike.start(log_m).reshape(-1, 1) for part in self._parts]
        )
        state, size = self.polish(state, np.array([complex(y, PI)]))
        if not size[0] < _UNPOLISHED:
            raise NoAnswerError("the law is not solved: averages over its gates overflow")
        state.imag = PI * np.rint(state.imag / PI)
        return float(y), state

    def solved(self, y: Array, rounds: int = _ROUNDS) -> tuple[Complex, Flags]:
        """Return solutions at real y, boundary values from the upper half-plane, and which were reached."""
        places, walked = self.line(float(y.min()))
        nearest = np.maximum(np.searchsorted(-places, -y, side="right") - 1, 0)
        state = np.concatenate([walked[k] for k in nearest], axis=1)
        above, there, corner = (np.asarray(x, complex) for x in (y + 1j * PI, y, places[nearest] + 1j * PI))
        state, along = self.follow(state, corner, above, rounds, first=1.0, on_line=True)
        state, down = self.follow(state, above, there, rounds)
        state, size = self.polish(state, there)
        return state, along & down & (size < _POLISHED)


def _growth(size1: Array, size2: Array, agree: Array) -> Array:
    """Return by what the next step may differ from one, by the lengths of its two Newton steps."""
    growth = np.cbrt(_AIM / np.maximum(size1, NOTHING))
    contracts = np.sqrt(_RATIO * size1 / np.maximum(size2, NOTHING))
    growth = np.where(size2 < agree, growth, np.minimum(growth, contracts))
    return np.clip(growth, _SHORTER, _LONGER)
