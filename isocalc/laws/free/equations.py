"""The equations of a free product of factors and the path that leads Newton's iteration to the right root.

One equation ties ζ to log z, theory (22); each factor ties its unknowns to ζ. So the Jacobian is an arrow,
and the time of an iteration is in proportion to the number of distinct factors.

m is analytic in the strip 0 < Im log z < π. From far right, where m ≈ E λ/z, the path runs left along Im log
z = π/2 and then down to the real axis. A step is taken by three Newton iterations and kept if each is a tenth
of the one before or less: then (Kantorovich) the root is the only one near, for every log z between the ends
of the step, and so the continuation of the last one. Else the step is halved. Inside a band, where solutions
have no singularity, the real axis is a path too.
"""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.free.factors import Complex, Curve, Factor, FreeProductArrays, Place, Tangent, gate_arrays
from isocalc.numerics.special import log1p

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
            if "isocalc.laws.free.kernels" in sys.modules:
                from isocalc.laws.free.kernels import linearised_free  # noqa: PLC0415 - it is loaded already

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


HALF_PI = np.pi / 2
_CONTRACTION = 0.1
_LONGEST_STEP, _LONGEST_ALONG, _LONGEST_POLISH = 64.0, 1.0, 1e-2
# Im u this far from multiples of π, in units of that, is well inside a band.
_LIVE = 1e-7
# Im ζ on the right side of the cut of logarithms.
_BESIDE_AXIS = 1e-30
# Im ζ this far outside of [0, π] is rounding.
_BELOW = 1e-9
# Where two iterations agree to this rounding is all that is left, as where they do to what rounding can do.
_AGREE = 1e-13
_MOST_ROUNDING = 1e-3
# Steps this short end where m is infinite, and may leave so much.
_SHORTEST, _SINGULAR, _SINGULAR_NOISES = 1e-15, 1e-12, 1e3
_ROUNDS = 500
_ROUNDS_ALONG = 6
_STRIDE = 8
_FEW = 16
# Near an edge Newton ends at the square root of rounding.
# Newton's steps after the first two, which end when so short.
_MOST_STEPS, _CLOSE = 4, 1e-6
_MOST_POLISHING, _POLISHED, _SHRUNK = 40, 1e-5, 0.75
# ζ this small is that of an infinite m.
_INFINITE = 1e-6
_MOST_KNOWN = 4096
# Work that pays for loading Numba, in nodes of gates times points; a factor costs as much as so many nodes.
_NUMBA_FROM = 1_500_000
_A_FACTOR = 300
_work_so_far = Counter[str]()


class FreeSolver(FreeEquations):
    """Solutions of the equations of a free product, those on the real axis remembered to start from."""

    def __init__(self, factors: Sequence[Factor], counts: Sequence[float]) -> None:
        super().__init__(factors, counts)
        nothing = State(np.empty(0, complex), np.empty((self.rows[-1].stop, 0), complex))
        self._known = np.empty(0), nothing

    def solve(self, y: Array) -> State:
        """Return the solutions at real y, boundary values from the upper half-plane."""
        order = np.argsort(y, kind="stable")
        solve = self._solve_compiled if self.is_worth_compiling(y.size) else self._solve_ascending
        state = solve(y[order])
        back = np.empty_like(order)
        back[order] = np.arange(y.size)
        state = state.at(back)
        self._put_on_axis(state)
        return state

    def _put_on_axis(self, state: State) -> None:
        """Make real what rounding, times the number of layers, took to the other side of the real axis."""
        beyond = np.flatnonzero((state.zeta.imag < 0) | (state.zeta.imag > np.pi))
        zeta, inner = state.at(beyond)
        zeta.imag, inner.imag = (np.pi * np.rint(part.imag / np.pi) for part in (zeta, inner))
        zeta.imag = np.maximum(zeta.imag, _BESIDE_AXIS)
        inner.imag[self._sums] = np.maximum(inner.imag[self._sums], _BESIDE_AXIS)
        first = [rows.start for rows in self.rows]
        inner.imag[first] = np.minimum(inner.imag[first], -_BESIDE_AXIS)
        state.put(beyond, State(zeta, inner))

    def is_worth_compiling(self, points: int) -> bool:
        """Tell whether as many points more pay for loading Numba."""
        _work_so_far["done"] += points * self._size
        return "isocalc.laws.free.kernels" in sys.modules or _work_so_far["done"] > _NUMBA_FROM

    @cached_property
    def _size(self) -> int:
        return int(self.arrays.gates.log_d.size + _A_FACTOR * self.rows[-1].stop)

    def _solve_ascending(self, y: Array) -> State:
        """Solve along the real axis from known solutions inside bands, and by the path elsewhere."""
        if y.size > _FEW:
            known, states = y[::_STRIDE], self._solve_ascending(y[::_STRIDE])
        else:
            known, states = self._known
        starts = _neighbours(known, y) if known.size else ()
        state = State(np.empty(y.size, complex), np.empty((self.rows[-1].stop, y.size), complex))
        missing = np.arange(y.size)
        for start in starts:
            usable = missing[_is_live(states.at(start[missing]))]
            near = start[usable]
            found, failed = self._follow(
                states.at(near), known[near].astype(complex), y[usable].astype(complex), rounds=_ROUNDS_ALONG
            )
            arrived = _is_live(found)
            arrived[failed] = False
            state.put(usable[arrived], found.at(np.flatnonzero(arrived)))
            missing = np.setdiff1d(missing, usable[arrived])
        if missing.size:
            state.put(missing, self._descend(y[missing]))
        state = self._polish(state, y.astype(complex))
        self._remember(y, state)
        return state

    def _solve_compiled(self, y: Array) -> State:
        """Do what `_solve_ascending` does, compiled."""
        from isocalc.laws.free.kernels import solve_free  # noqa: PLC0415 - loading Numba takes half a second

        places, walked = self.walked
        known, states = self._known
        found = np.empty((y.size, self.rows[-1].stop + 1), complex)
        start, known_states = walked[0].stacked[0], states.stacked
        descending = np.ascontiguousarray(y[::-1])
        count = solve_free(self.arrays, places[0], start, known, known_states, descending, found)
        if count < y.size:
            raise _unsolved(float(descending[count]))
        state = State(found[::-1, 0].copy(), np.ascontiguousarray(found[::-1, 1:].T))
        self._remember(y, state)
        return state

    def _remember(self, y: Array, state: State) -> None:
        known, states = self._known
        if known.size + y.size > _MOST_KNOWN:
            return
        order = np.argsort(np.concatenate((known, y)), kind="stable")
        joined = (np.concatenate(parts, axis=-1) for parts in zip(states, state, strict=True))
        self._known = np.concatenate((known, y))[order], State(*joined).at(order)

    def _descend(self, y: Array) -> State:
        """Solve at each y by the path through the upper half-plane."""
        line, states = self._line(float(y.min()))
        nearest = np.minimum(np.searchsorted(line, y), line.size - 1)
        state = states.at(nearest)
        corner, above = _lifted(line[nearest]), _lifted(y)
        for start, stop in ((corner, above), (above, y.astype(complex))):
            state, missing = self._follow(state, start, stop, rounds=_ROUNDS)
            if missing.size:
                raise _unsolved(float(y[missing[0]]))
        return state

    def _line(self, leftmost: float) -> tuple[Array, State]:
        """Solutions along Im log z = π/2 from the start to beyond ``leftmost``: real parts, ascending."""
        places, states = self.walked
        step = 1.0 if len(places) < 2 else places[-2] - places[-1]
        while places[-1] > leftmost:
            step *= 2 if self._walk(places[-1] - step) else 0.25
            if step < _SHORTEST:
                raise _unsolved(places[-1])
        joined = State(*(np.concatenate(parts, axis=-1)[..., ::-1] for parts in zip(*states, strict=True)))
        return np.array(places[::-1]), joined

    def _walk(self, place: float) -> bool:
        """Go on from the leftmost known solution on the line; tell whether that was possible in one step."""
        places, states = self.walked
        moved, kept, _ = self.move(states[-1], np.array([complex(place, HALF_PI)]))
        if kept[0]:
            places.append(place)
            states.append(moved)
        return bool(kept[0])

    @cached_property
    def walked(self) -> tuple[list[float], list[State]]:
        """The line Im log z = π/2 as far as needed so far, from where every factor is linear in m."""
        zeta = _lifted(np.array([25 + math.log1p(self.relative_variance)]))
        log_m = math.log(1 - self.mass_at_zero) - zeta
        state = State(zeta, np.concatenate([factor.start(log_m) for factor in self.factors]))
        target = self.log_mean - log_m
        for _ in range(8):
            state = self.newton(state, target).state
        if not np.isfinite(state.zeta).all():
            raise NoAnswerError("the law is not solved: a number in its equations overflows")
        return [float(target[0].real)], [state]

    def _follow(self, state: State, start: Complex, stop: Complex, rounds: int) -> tuple[State, Whole]:
        """Move solutions along straight lines from ``start`` to ``stop``; tell which did not arrive."""
        done, step, away = np.where(start == stop, 1.0, 0.0), np.ones(start.size), np.abs(stop - start)
        state = State(state.zeta.copy(), state.inner.copy())
        active = np.flatnonzero(done < 1)
        for _ in range(rounds):
            if not active.size:
                break
            reach = np.minimum(done[active] + step[active], 1.0)
            target = start[active] + (stop - start)[active] * reach
            target[reach == 1] = stop[active][reach == 1]
            moved, kept, noise = self.move(state.at(active), target, _LONGEST_ALONG)
            state.put(active[kept], moved.at(np.flatnonzero(kept)))
            done[active[kept]] = reach[kept]
            step[active] *= np.where(kept, 2.0, 0.5)
            left = (1 - done[active]) * away[active]
            ends = step[active] * away[active] <= np.maximum(_SHORTEST, noise)
            beside = left <= _SINGULAR * np.maximum(1, np.abs(stop[active])) + _SINGULAR_NOISES * noise
            done[active[ends & beside]] = 1.0
            active = active[~ends & (done[active] < 1)]
        return state, np.flatnonzero(done < 1)

    def _polish(self, state: State, target: Complex) -> State:
        """Newton until its steps stop shrinking: the solution to rounding."""
        size = np.full(target.size, 2 * _LONGEST_POLISH)
        active = np.arange(target.size)
        for _ in range(_MOST_POLISHING):
            better, new_size, rounding, _ = self.newton(state.at(active), target[active])
            # The last step, no shorter than rounding, still takes an imaginary part to that of a real
            # solution.
            fine = np.flatnonzero(new_size <= np.minimum(size, _LONGEST_POLISH))
            state.put(active[fine], better.at(fine))
            close_enough = np.maximum(_POLISHED, rounding)
            # At an edge Newton halves what is missing.
            shrinks = new_size < np.where(new_size <= close_enough, _SHRUNK * size, size)
            shrinks &= new_size < _LONGEST_POLISH
            settled = np.fmin(size, new_size) <= close_enough
            # At a point mass m is infinite, and has no digits.
            unfinished = ~shrinks & ~settled & (np.abs(state.zeta[active]) > _INFINITE)
            if unfinished.any():
                raise _unsolved(float(target[active][unfinished][0].real))
            active, size = active[shrinks], new_size[shrinks]
            if not active.size:
                break
        return state

    def move(
        self, state: State, target: Complex, longest: float = _LONGEST_STEP
    ) -> tuple[State, npt.NDArray[np.bool_], Array]:
        """Take three Newton iterations towards ``target``, more where the last is still long.

        Tells which solutions are the continuation, and rounding in log z where they came from.
        """
        state, size, _, noise = self.newton(state, target)
        sizes = [size]
        for more in range(_MOST_STEPS + 1):
            if more > 1 and not (sizes[-1] > _CLOSE).any():
                break
            state, size, rounding, _ = self.newton(state, target)
            sizes.append(size)
        with np.errstate(invalid="ignore"):
            agree = np.maximum(_AGREE * np.minimum(1, np.abs(state.zeta) + np.abs(target)), rounding)
            agree = np.minimum(agree, _MOST_ROUNDING)
            kept = sizes[0] < longest
            for before, size in pairwise(sizes):
                kept &= (size <= _CONTRACTION * np.minimum(1, before)) | (size < agree)
        kept &= (state.zeta.imag > -_BELOW) & (state.zeta.imag < np.pi + _BELOW)
        return state, kept, noise


def _unsolved(y: float) -> NoAnswerError:
    """Return the error of a law that the solver does not reach at y = log λ less the law's centre."""
    return NoAnswerError(
        f"the equations of the law were not solved at log λ = {y:.6g} (less a constant of the law)",
        ("ask for other values", "simulate"),
    )


def _is_live(state: State) -> npt.NDArray[np.bool_]:
    """Tell which solutions are well inside a band: from there to there the real axis is a path too."""
    height = state.inner[0].imag / np.pi
    return np.asarray(np.abs(height - np.rint(height)) > _LIVE)


def _lifted(y: Array) -> Complex:
    return np.asarray(y + 1j * HALF_PI, dtype=complex)


def _neighbours(known: Array, y: Array) -> tuple[Whole, Whole]:
    """Return the places of the nearest value of an ascending array and of the one on the other side."""
    right = np.minimum(np.searchsorted(known, y), known.size - 1)
    left = np.maximum(right - 1, 0)
    is_left = np.abs(y - known[left]) < np.abs(known[right] - y)
    return np.where(is_left, left, right), np.where(is_left, right, left)
