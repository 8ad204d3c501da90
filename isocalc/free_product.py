"""The solver: the root m(z) of a product of free factors, on a path that cannot leave the right branch.

m is analytic in the strip 0 < Im log z < π. From far right, where m ≈ E λ/z, the path runs left along
Im log z = π/2 and then down to the real axis. A step is taken by three Newton iterations and kept if each
is a tenth of the one before or less: then (Kantorovich) the root is the only one near, for every log z
between the ends of the step, and so the continuation of the last one. Else the step is halved. Inside a
band, where solutions have no singularity, the real axis is a path too.
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

from isocalc.complex_logs import log1p, log_one_plus_m
from isocalc.errors import NoAnswerError
from isocalc.factor_kinds import FreeProductArrays, gate_arrays
from isocalc.transforms import Complex, Curve, Factor, Place, Tangent

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]

_HALF_PI = np.pi / 2
_CONTRACTION = 0.1
_LONGEST_STEP, _LONGEST_ALONG, _LONGEST_POLISH = 64.0, 1.0, 1e-2
# Im u this far from multiples of π, in units of that, is well inside a band.
_LIVE = 1e-7
# Im ζ this far outside of [0, π] is rounding.
_BELOW = 1e-9
# Where two iterations agree to this rounding is all that is left, as where they do to what rounding can do.
_AGREE = 1e-13
_ROUNDING, _MOST_ROUNDING = 2e-15, 1e-3
# Steps this short end where m is infinite, and may leave so much.
_SHORTEST, _SINGULAR, _SINGULAR_NOISES = 1e-15, 1e-12, 1e3
# A walk to where little mass is below stops before so little of that is.
_SHORTEST_OF_A_WALK, _TOO_FAR = 1e-9, 0.3
# A density this small, in units of the law's width, is rounding if Im u is as well; each layer adds some.
_NO_DENSITY = 1e-10
_REAL = 3e-12
_REAL_PER_LAYER = 1e-10
_ROUNDS = 500
_ROUNDS_ALONG = 6
_STRIDE = 8
_FEW = 16
# Near an edge Newton ends at the square root of rounding.
_MOST_POLISHING, _POLISHED = 40, 1e-5
_MOST_KNOWN = 4096
_MARGIN = 30.0
# Mass at which to look for a gap below, and masses to leave aside, the least for which the law can be solved.
_FEW_MASS, _LITTLE_MASS = 1e-4, (1e-12, 1e-11, 1e-10, 1e-9, 1e-8)
_POINTS_OF_A_WALK = 60
# Work that pays for loading Numba, in nodes of gates times points; a factor costs as much as so many nodes.
_NUMBA_FROM = 1_500_000
_A_FACTOR = 300
_work_so_far = Counter[str]()


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


class FreeProduct:
    """The law of y = log λ of a free product of positive factors.

    Solutions on the real axis are remembered: the nearest is where the next ones start from.

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
        self._known = np.empty(0), State(np.empty(0, complex), np.empty((ends[-1], 0), complex))

    @cached_property
    def log_mean(self) -> float:
        """Logarithm of the mean of λ."""
        return math.fsum(n * factor.log_mean for n, factor in zip(self.counts, self.factors, strict=True))

    @cached_property
    def relative_variance(self) -> float:
        """Relative variance of λ."""
        parts = zip(self.counts, self.factors, strict=True)
        return math.fsum(n * factor.relative_variance for n, factor in parts)

    @property
    def right(self) -> float:
        """A y beyond which there is less mass than rounding."""
        return self._walked[0][0]

    @cached_property
    def mass_at_zero(self) -> float:
        """Mass at λ = 0."""
        return max(factor.mass_at_zero for factor in self.factors)

    @cached_property
    def left(self) -> float:
        """A y below which there is less mass than rounding, that at λ = 0 left aside.

        On the path, 1 + m is the mean of z/(z − λ): it bounds the mass below |z|.

        Raises
        ------
        NoAnswerError
            The path ended before.
        """
        place, _ = self._walk_until(_FEW_MASS)
        # Below a gap there is nothing, which digits of 1 + m may not tell.
        if self._is_empty(place):
            return place
        for enough in _LITTLE_MASS:
            place, zeta = self._walk_until(enough)
            if self._missing(zeta) <= 2 * enough and self._solved(place):
                # Well inside of where rounding just lets it be solved.
                return self._walk_until(_MARGIN * enough)[0]
        raise NoAnswerError(f"the path of the solver ended at log z = {place!r} + iπ/2")

    def _walk_until(self, enough: float) -> tuple[float, Complex]:
        """Return how far left there is ``enough`` mass below, or the path ends, and ζ there."""
        step, (places, states) = 1.0, self._walked
        if self._is_worth_compiling(_POINTS_OF_A_WALK):
            from isocalc._kernels import walk_free  # noqa: PLC0415 - loading Numba takes half a second

            line = states[0].stacked[0]
            place = walk_free(self.arrays, places[0], line, enough)
            return place, line[:1]
        place, state = next(
            pair
            for pair in zip(reversed(places), reversed(states), strict=True)
            if self._missing(pair[1].zeta) > enough
        )
        while self._missing(state.zeta) > enough and step > _SHORTEST_OF_A_WALK * max(1.0, abs(place)):
            moved, kept, _ = self._move(state, np.array([complex(place - step, _HALF_PI)]))
            if kept[0] and self._missing(moved.zeta) > _TOO_FAR * enough:
                place, state = place - step, moved
                if place < places[-1]:
                    places.append(place)
                    states.append(state)
                step *= 2
            else:
                step /= 4
        return place, state.zeta

    def _is_empty(self, y: float) -> bool:
        """Tell whether there is neither density at y nor mass below it, that at λ = 0 left aside."""
        state = self._solved(y)
        if state is None:
            return False
        missing = abs(self.survival(state)[0] + self.mass_at_zero - 1)
        height = abs(Place.of(state.zeta, self.mass_at_zero).m.imag[0])
        return bool(missing < _LITTLE_MASS[0] and height < _LITTLE_MASS[0])

    def _solved(self, y: float) -> State | None:
        """Return the solution at y, ``None`` where it is not reached."""
        try:
            return self.solve(np.array([y]))
        except NoAnswerError:
            return None

    def _missing(self, zeta: Complex) -> float:
        return float(np.abs(Place.of(zeta, self.mass_at_zero).rest)[0])

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density of y and the mass above y, atoms of that included.

        Parameters
        ----------
        y : array, shape (n,)
            From `left` to `right`.

        Raises
        ------
        NoAnswerError
            A path did not arrive (not known to happen).
        """
        state = self.solve(y)
        return self.density(state), self.survival(state)

    def density(self, state: State) -> Array:
        """Return the density at solutions on the real axis."""
        first = state.inner[0]
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            height = -Place.of(state.zeta, self.mass_at_zero).m.imag
        # At a point mass m is infinite, and beside it there is no density.
        density = np.maximum(np.nan_to_num(height, nan=0.0, posinf=0.0, neginf=0.0) / np.pi, 0.0)
        real = max(_REAL, _REAL_PER_LAYER * sum(self.counts))
        is_real = np.abs(first.imag - np.pi * np.rint(first.imag / np.pi)) < real
        density[is_real & (density < _NO_DENSITY / self._width)] = 0.0
        return density

    @cached_property
    def _width(self) -> float:
        """Width of the law: were it log-normal, or of a tail that is longer than rounding makes it."""
        return max(math.sqrt(math.log1p(self.relative_variance)), (self.right - self.left) / 100 - 1)

    def survival(self, state: State) -> Array:
        """Return the mass above solutions on the real axis: Im −∫ m dlog z from m = 0, over π."""
        if "isocalc._kernels" in sys.modules:
            from isocalc._kernels import survival_free  # noqa: PLC0415 - it is loaded already

            survival = np.empty(state.zeta.size)
            survival_free(self.arrays, state.stacked, survival)
            return survival
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            zeta, _ = Place.of(state.zeta, self.mass_at_zero).seen_with(0.0)
            potential = -log_one_plus_m(zeta)
            for factor, count, rows in zip(self.factors, self.counts, self.rows, strict=True):
                potential -= count * factor.potential(state.inner[rows], zeta)
        return np.clip(potential.imag / np.pi, 0.0, 1.0)

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

    def solve(self, y: Array) -> State:
        """Return the solutions at real y, boundary values from the upper half-plane."""
        order = np.argsort(y, kind="stable")
        solve = self._solve_compiled if self._is_worth_compiling(y.size) else self._solve_ascending
        state = solve(y[order])
        back = np.empty_like(order)
        back[order] = np.arange(y.size)
        return state.at(back)

    def _is_worth_compiling(self, points: int) -> bool:
        _work_so_far["done"] += points * self._size
        return "isocalc._kernels" in sys.modules or _work_so_far["done"] > _NUMBA_FROM

    @cached_property
    def _is_alone(self) -> bool:
        u = self.factors[0].start(np.array([-25 - 1j]))[0]
        return len(self.factors) == 1 and self.factors[0].alone(u, 1.0) is not None

    @cached_property
    def _sums(self) -> Whole:
        """Unknowns that are log((1+m)/m) of a term of a free sum, whose m add up."""
        return np.array([rows.start + 1 for rows in self.rows if rows.stop - rows.start == 2], dtype=np.intp)

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
        from isocalc._kernels import solve_free  # noqa: PLC0415 - loading Numba takes half a second

        places, walked = self._walked
        known, states = self._known
        found = np.empty((y.size, self.rows[-1].stop + 1), complex)
        start, known_states = walked[0].stacked[0], states.stacked
        descending = np.ascontiguousarray(y[::-1])
        count = solve_free(self.arrays, places[0], start, known, known_states, descending, found)
        if count < y.size:
            raise NoAnswerError(f"the path of the solver ended before log z = {float(descending[count])!r}")
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
                raise NoAnswerError(f"the path of the solver to y = {float(y[missing[0]])!r} did not arrive")
        return state

    def _line(self, leftmost: float) -> tuple[Array, State]:
        """Solutions along Im log z = π/2 from the start to beyond ``leftmost``: real parts, ascending."""
        places, states = self._walked
        step = 1.0 if len(places) < 2 else places[-2] - places[-1]
        while places[-1] > leftmost:
            step *= 2 if self._walk(places[-1] - step) else 0.25
            if step < _SHORTEST:
                raise NoAnswerError(f"the path of the solver ended at log z = {places[-1]!r} + iπ/2")
        joined = State(*(np.concatenate(parts, axis=-1)[..., ::-1] for parts in zip(*states, strict=True)))
        return np.array(places[::-1]), joined

    def _walk(self, place: float) -> bool:
        """Go on from the leftmost known solution on the line; tell whether that was possible in one step."""
        places, states = self._walked
        moved, kept, _ = self._move(states[-1], np.array([complex(place, _HALF_PI)]))
        if kept[0]:
            places.append(place)
            states.append(moved)
        return bool(kept[0])

    @cached_property
    def _walked(self) -> tuple[list[float], list[State]]:
        """The line as far as it was needed so far, from where every factor is linear in m."""
        zeta = _lifted(np.array([25 + math.log1p(self.relative_variance)]))
        log_m = math.log(1 - self.mass_at_zero) - zeta
        state = State(zeta, np.concatenate([factor.start(log_m) for factor in self.factors]))
        target = self.log_mean - log_m
        for _ in range(8):
            state, _ = self._newton(state, target)
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
            moved, kept, noise = self._move(state.at(active), target, _LONGEST_ALONG)
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
            better, new_size = self._newton(state.at(active), target[active])
            # The last step, no shorter than rounding, still takes an imaginary part to that of a real
            # solution.
            fine = np.flatnonzero(new_size <= np.minimum(size, _LONGEST_POLISH))
            state.put(active[fine], better.at(fine))
            close_enough = np.maximum(_POLISHED, self._rounding)
            # At an edge Newton halves what is missing.
            shrinks = new_size < np.where(new_size <= close_enough, size / 2, size)
            shrinks &= new_size < _LONGEST_POLISH
            settled = np.fmin(size, new_size) <= close_enough
            unfinished = ~shrinks & ~settled
            if unfinished.any():
                raise NoAnswerError(
                    f"Newton did not settle at log z = {float(target[active][unfinished][0].real)!r}"
                )
            active, size = active[shrinks], new_size[shrinks]
            if not active.size:
                break
        return state

    def _move(
        self, state: State, target: Complex, longest: float = _LONGEST_STEP
    ) -> tuple[State, npt.NDArray[np.bool_], Array]:
        """Take three Newton iterations towards ``target``.

        Tells which solutions are the continuation, and rounding in log z where they came from.
        """
        sizes, noises = [], []
        for _ in range(3):
            state, size = self._newton(state, target)
            sizes.append(size)
            noises.append(self._noise)
        with np.errstate(invalid="ignore"):
            agree = np.maximum(_AGREE * np.minimum(1, np.abs(state.zeta) + np.abs(target)), self._rounding)
            agree = np.minimum(agree, _MOST_ROUNDING)
            kept = sizes[0] < longest
            for before, size in pairwise(sizes):
                kept &= (size <= _CONTRACTION * np.minimum(1, before)) | (size < agree)
        kept &= (state.zeta.imag > -_BELOW) & (state.zeta.imag < np.pi + _BELOW)
        return state, kept, noises[0]

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

    def _newton_alone(self, curve: Curve, state: State, target: Complex) -> tuple[State, Array]:
        """Do what `_newton` does for one factor of one unknown: ζ follows from that."""
        (factor,), (count,), u = self.factors, self.counts, state.inner[0]
        step = (target - curve.y) / curve.slope
        sizes = np.abs(curve.log_s) + np.abs(u) + np.abs(curve.zeta)
        self._noise = _ROUNDING * (np.abs(target) + count * sizes)
        self._rounding = self._noise / np.abs(curve.slope) + _ROUNDING * (1 + np.abs(u))
        moved = State(curve.zeta + curve.zeta_slope * step, factor.on_its_side(u + step)[None])
        return moved, np.abs(step)

    def _newton(self, state: State, target: Complex) -> tuple[State, Array]:
        """Return the solutions after a Newton iteration, and the size of the largest change of each.

        The Jacobian is an arrow: each factor ties its unknowns to ζ, and one equation ties that to log z.
        """
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
            self._noise = _ROUNDING * sum_of_sizes
            noise = self._noise / np.abs(slope) + _ROUNDING * (1 + np.abs(state.zeta))
            own = sum((tangent.rounding for tangent in tangents), np.zeros(base.size))
            self._rounding = np.maximum(own + noise, noise * np.abs(direction).max(axis=0))
            inner = state.inner + step
            inner[self._sums] = _stepped(state.inner[self._sums], step[self._sums])
            for factor, rows in zip(self.factors, self.rows, strict=True):
                inner[rows.start] = factor.on_its_side(inner[rows.start])
            all_sums = 2 * self._sums.size == len(inner)
            return State(_stepped(state.zeta, change) if all_sums else state.zeta + change, inner), size


def _stepped(zeta: Complex, step: Complex) -> Complex:
    """Move ζ = log((1+m)/m), linearly in m where that is large: sums of such m are solved in one step."""
    moved = np.asarray(zeta + step)
    close = np.abs(zeta.real) + np.abs(zeta.imag) <= 1
    m = 1 / np.expm1(zeta[close])
    moved[close] = log1p(1 / (m - m * (1 + m) * step[close]))
    return moved


def _is_live(state: State) -> npt.NDArray[np.bool_]:
    """Tell which solutions are well inside a band: from there to there the real axis is a path too."""
    height = state.inner[0].imag / np.pi
    return np.asarray(np.abs(height - np.rint(height)) > _LIVE)


def _lifted(y: Array) -> Complex:
    return np.asarray(y + 1j * _HALF_PI, dtype=complex)


def _neighbours(known: Array, y: Array) -> tuple[Whole, Whole]:
    """Return the places of the nearest value of an ascending array and of the one on the other side."""
    right = np.minimum(np.searchsorted(known, y), known.size - 1)
    left = np.maximum(right - 1, 0)
    is_left = np.abs(y - known[left]) < np.abs(known[right] - y)
    return np.where(is_left, left, right), np.where(is_left, right, left)
