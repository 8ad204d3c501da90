"""The law of y = log λ of a free product of positive factors: density, edges and bands.

An edge of the support is where log z turns back on the real axis. Beside the support all unknowns are real
but for a multiple of iπ, so real parts are all that is needed, and no logarithm's branch matters: they are
taken a little way inside, which changes real parts to second order only.
"""

import math
import sys
from functools import cached_property
from typing import NamedTuple

import numpy as np

from isocalc.errors import NoAnswerError
from isocalc.laws.free.equations import HALF_PI, Array, FreeSolver, State
from isocalc.laws.free.factors import Complex, Place
from isocalc.laws.free.layer_factors import Gated, Layer
from isocalc.laws.support import Band, Scan
from isocalc.numerics.special import log_one_plus_m

# A walk to where little mass is below stops before so little of that is.
_SHORTEST_OF_A_WALK, _TOO_FAR = 1e-9, 0.3
# A density this small, in units of the law's width, is rounding if Im u is as well; each layer adds some.
_NO_DENSITY = 1e-10
_REAL = 3e-12
_REAL_PER_LAYER = 1e-10
_MARGIN = 30.0
# Mass at which to look for a gap below, and masses to leave aside, the least for which the law can be solved.
_FEW_MASS, _LITTLE_MASS = 1e-4, (1e-12, 1e-11, 1e-10, 1e-9, 1e-8)
_MUCH_MASS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)
# log d below which gates go on to where they are no doubles.
_UNDERFLOW = -680.0
_POINTS_OF_A_WALK = 60


class FreeProduct(FreeSolver):
    """The law of y = log λ of a free product of positive factors.

    Parameters
    ----------
    factors : sequence of Factor
        Distinct factors.
    counts : sequence of float
        How often each occurs; fractions are allowed where factors stand for a range of layers.
    """

    @property
    def right(self) -> float:
        """A y beyond which there is less mass than rounding."""
        return self.walked[0][0]

    @property
    def left(self) -> float:
        """A y below which there is less mass than rounding, that at λ = 0 left aside, or `missed`."""
        return self._reached[0]

    @property
    def missed(self) -> float:
        """Mass below `left`, that at λ = 0 left aside, for which the law was not solved."""
        return self._reached[1]

    @cached_property
    def _reached(self) -> tuple[float, float]:
        """Where the law ends on the left, or can be solved no further, and the mass beyond.

        On the path, 1 + m is the mean of z/(z − λ): it bounds the mass below |z|.

        Raises
        ------
        NoAnswerError
            More than 10 % of the mass is beyond.
        """
        place, _ = self._walk_until(_FEW_MASS)
        # Below a gap there is nothing, which digits of 1 + m may not tell.
        if self._is_empty(place):
            return place, 0.0
        for enough in _LITTLE_MASS:
            place, zeta = self._walk_until(enough)
            if self._missing(zeta) <= 2 * enough and self._sound(place):
                # Well inside of where rounding just lets it be solved.
                return self._walk_until(_MARGIN * enough)[0], 0.0
        for enough in _MUCH_MASS:
            place, zeta = self._walk_until(enough)
            state = self._sound(place)
            if state is not None:
                return place, max(0.0, 1 - self.mass_at_zero - float(self.survival(state)[0]))
        raise NoAnswerError(f"the law is not solved for {self._missing(zeta):.0e} of its mass, near λ = 0")

    def _sound(self, y: float) -> State | None:
        """Return the solution at y where it is reached and no gates that are lost in underflow matter."""
        state = self._solved(y)
        if state is None or self.arrays.gates.log_d.min(initial=0.0) > _UNDERFLOW:
            return state
        first = state.inner[[rows.start for rows in self.rows]]
        return state if first.real.max() < -_UNDERFLOW else None

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density of y and the mass above y, atoms of that included.

        Parameters
        ----------
        y : array, shape (n,)
            From `left` to `right`.

        Raises
        ------
        NoAnswerError
            A path did not arrive: about one network in a hundred has points where rounding ends it.
        """
        state = self.solve(y)
        return self.density(state), self.survival(state)

    def density(self, state: State) -> Array:
        """Return the density at solutions on the real axis."""
        first = state.inner[0]
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            height = -((1 - self.mass_at_zero) / np.expm1(state.zeta)).imag
        # At a point mass m is infinite, and beside it there is no density.
        density = np.maximum(np.nan_to_num(height, nan=0.0, posinf=0.0, neginf=0.0) / np.pi, 0.0)
        real = max(_REAL, _REAL_PER_LAYER * sum(self.counts))
        is_real = np.abs(first.imag - np.pi * np.rint(first.imag / np.pi)) < real
        density[is_real & (density < _NO_DENSITY / self._width)] = 0.0
        return density

    def survival(self, state: State) -> Array:
        """Return the mass above solutions on the real axis: Im −∫ m dlog z from m = 0, over π."""
        if "isocalc.laws.free.kernels" in sys.modules:
            from isocalc.laws.free.kernels import survival_free  # noqa: PLC0415 - it is loaded already

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
    def _width(self) -> float:
        """Width of the law: were it log-normal, or of a tail that is longer than rounding makes it."""
        return max(math.sqrt(math.log1p(self.relative_variance)), (self.right - self.left) / 100 - 1)

    def _walk_until(self, enough: float) -> tuple[float, Complex]:
        """Return how far left there is ``enough`` mass below, or the path ends, and ζ there."""
        step, (places, states) = 1.0, self.walked
        if self.is_worth_compiling(_POINTS_OF_A_WALK):
            from isocalc.laws.free.kernels import walk_free  # noqa: PLC0415 - loading Numba takes half a second

            line = states[0].stacked[0]
            place = walk_free(self.arrays, places[0], line, enough * (1 - self.mass_at_zero))
            return place, line[:1]
        nearest = max(k for k, state in enumerate(states) if self._missing(state.zeta) > enough)
        place, state = places[nearest], states[nearest]
        while self._missing(state.zeta) > enough and step > _SHORTEST_OF_A_WALK * max(1.0, abs(place)):
            moved, kept, _ = self.move(state, np.array([complex(place - step, HALF_PI)]))
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
        return float(np.abs(Place.of(zeta, self.mass_at_zero).rest)[0]) / (1 - self.mass_at_zero)


_INSIDE = 1e-9
_BESIDE = 1e-6
_CLOSE = 1e-11
_FIRST_STEP, _LONGEST_STEP, _STEPS, _TIED = 0.05, 1.0, 200, 1e-8
# ζ this small, in units of the law's width, is that of an infinite m.
_INFINITE = 1e-6
_SECANTS = 60
_TIES = 40
# log t this close to log 1/d is there.
_AT_END = 1e-9
_HALVINGS = 70
_ROUNDING = 4e-16


class Edge(NamedTuple):
    """An edge at y, and whether the density may be infinite there."""

    y: float
    diverges: bool = False


def edge_between(product: FreeProduct, live: float, dead: float, last: float) -> Edge:
    """Return the edge between a point with a density and one without.

    Halves the distance until the turn that starts from the dead point lies between the two. A density that
    is only too thin there to be told from none may go on as far as ``last``.
    """
    states = product.solve(np.array([live, dead]))
    for _ in range(_HALVINGS):
        axis = _RealAxis(product, states)
        if axis.is_past_its_end:
            # A density too thin to be told from none.
            live, dead = dead, 2 * dead - live
            if abs(last - live) <= abs(dead - live):
                return Edge(last)
            states = product.solve(np.array([live, dead]))
            continue
        found = axis.turn(live)
        slack = 1e-12 * max(1.0, abs(live)) + 1e-3 * abs(dead - live)
        if found is not None and min(live, dead) - slack <= found.y <= max(live, dead) + slack:
            return found
        middle = (live + dead) / 2
        if abs(dead - live) <= _ROUNDING * max(1.0, abs(live)) or middle in {live, dead}:
            break
        state = product.solve(np.array([middle]))
        nearer = _joined(states.at(np.array([0])), state)
        if product.density(state)[0] > 0 or _RealAxis(product, nearer).is_past_its_end:
            live, states = middle, _joined(state, states.at(np.array([1])))
        else:
            dead, states = middle, nearer
    return Edge(live, diverges=True)


def open_end(product: FreeProduct) -> float | None:
    """Return the upper edge where a gate's continuous law ends before log z turns back, else None.

    So it is where the density of φ'² vanishes at its largest value faster than linearly (softplus).
    """
    limits = [factor.last_real for factor in product.factors]
    if math.inf in limits:
        return None
    beside, end = (_at_limits(product, [limit - less for limit in limits]) for less in (_BESIDE, 0.0))
    if beside is None or end is None:
        return None
    return end.y if beside.per_zeta > 0 else None


class _Point(NamedTuple):
    """A point of the real axis."""

    first: float
    """The first unknown"""
    zeta: float
    y: float
    slope: float
    """d(log z) by that of the first unknown"""
    per_zeta: float
    """d(log z)/dζ"""
    tied: bool
    """Whether the ties were solved"""


class _RealAxis:
    """The equation of the law beside its support, its unknowns next to those of a dead solution."""

    def __init__(self, product: FreeProduct, states: State) -> None:
        self._product = product
        live, dead = states.inner[:, 0], states.inner[:, 1]
        line = np.pi * np.rint(dead.imag / np.pi)
        self._height = line + _INSIDE * np.sign(live.imag - line)
        self._u = dead.real.copy()
        self._ends = np.full(self._u.size, math.inf)
        self._last = self._ends.copy()
        for factor, rows in zip(product.factors, product.rows, strict=True):
            is_positive = np.rint(line[rows.start] / np.pi) % 2 == 0
            if is_positive and isinstance(factor, Gated) and factor.gate.largest < math.inf:
                self._ends[rows.start] = -math.log(factor.gate.largest)
                self._last[rows.start] = factor.last_real
        self._zeta = float(states.zeta[1].real)
        zeta_line = np.pi * np.rint(states.zeta[1].imag / np.pi)
        self._zeta_height = float(zeta_line + _INSIDE * np.sign(states.zeta[0].imag - zeta_line))

    @property
    def is_past_its_end(self) -> bool:
        """Tell whether some positive t is past the least 1/d, where a thin tail of gates is."""
        return bool((self._u > self._last).any())

    def at(self, *, zeta: float | None = None, first: float | None = None) -> _Point:
        """Solve the ties where ζ, or the first unknown, has this real part."""
        if first is not None:
            self._u[0] = first
        if zeta is not None:
            self._zeta = zeta
        for _ in range(_TIES):
            there = np.array([complex(self._zeta, self._zeta_height)])
            found = self._product.linearised(State(there, (self._u + 1j * self._height)[:, None]))
            drift, direction = found.drift.real, found.direction.real
            change = 0.0
            if first is not None:
                # Along the curve back to the first unknown asked for.
                change = -drift[0] / direction[0]
            step = drift + direction * change
            self._u += np.clip(step, -1, 1)
            self._zeta += change
            size = max(np.abs(step).max(), abs(change)) / max(1.0, np.abs(self._u).max())
            if not size > 4 * _ROUNDING:
                break
        tied = bool(size < _TIED)
        slope = found.slope.real
        return _Point(
            float(self._u[0]), self._zeta, found.y.real, np.float64(slope) / direction[0], slope, tied=tied
        )

    def turn(self, live: float) -> Edge | None:
        """Return where log z turns back on the way from the dead point to y = ``live``, None if not found.

        Dead points lie on a real curve on which log z is monotone until it turns.
        """
        with np.errstate(all="ignore"):
            point = self.at()
            way = math.copysign(1.0, (live - point.y) * point.slope)
            step = _FIRST_STEP
            for _ in range(_STEPS):
                held = self._u.copy(), self._zeta
                further = self.at(first=point.first + way * step)
                if self._crossed(held[0]) or not _goes_on(point, further, live):
                    self._u, self._zeta = held
                    step /= 4
                    if step < _CLOSE * max(1.0, abs(point.first)):
                        return Edge(point.y) if self._is_at_its_end else None
                    continue
                if further.slope * point.slope <= 0:
                    return self._root(point, further)
                point, step = further, min(2 * step, _LONGEST_STEP)
        return None

    def _crossed(self, before: Array) -> bool:
        """Tell whether a step took some positive t past the least 1/d, where the curve is no more real."""
        return bool(((before < self._ends) != (self._u < self._ends)).any())

    @property
    def _is_at_its_end(self) -> bool:
        return bool((np.abs(self._u - self._last) < _AT_END).any())

    def _root(self, low: _Point, high: _Point) -> Edge:
        """Return the turn between two points, by the Illinois variant of the secant method."""
        infinite, point = _INFINITE * min(1.0, math.sqrt(self._product.relative_variance)), high
        for _ in range(_SECANTS):
            if low.slope == high.slope:
                break
            share = low.slope / (low.slope - high.slope)
            point = self.at(first=low.first + share * (high.first - low.first))
            if not math.isfinite(point.slope):
                break
            low = high if point.slope * high.slope <= 0 else low._replace(slope=low.slope / 2)
            high = point
            if abs(high.first - low.first) * min(abs(share), 1) <= _CLOSE or not point.slope:
                break
        return Edge(point.y, abs(point.zeta) < infinite)


def _goes_on(point: _Point, further: _Point, live: float) -> bool:
    """Tell whether a step stayed on the curve: log z came nearer, or turned as far as slopes allow."""
    moved, longest = further.y - point.y, abs(further.first - point.first)
    if not math.isfinite(further.slope) or not further.tied:
        return False
    steepest = max(abs(point.slope), abs(further.slope))
    if further.slope * point.slope > 0:
        return moved * (live - point.y) >= 0 and abs(moved) <= 2 * steepest * longest
    # Between slopes of either sign a pole leaves more.
    return abs(moved) <= steepest * longest


def _at_limits(product: FreeProduct, limits: list[float]) -> _Point | None:
    """Return the point where, as ζ falls, the first of the factors meets its limit, None if not found."""
    with np.errstate(all="ignore"):
        alone = [
            _above(FreeProduct([factor], [1.0]), [limit]).at(first=limit)
            for factor, limit in zip(product.factors, limits, strict=True)
        ]
        values_of_m = [
            (1 - factor.mass_at_zero) / np.expm1(point.zeta)
            for factor, point in zip(product.factors, alone, strict=True)
        ]
        if not all(point.tied for point in alone) or not min(values_of_m) > 0:
            return None
        found = _above(product, limits).at(zeta=math.log1p((1 - product.mass_at_zero) / min(values_of_m)))
    return found if found.tied and math.isfinite(found.y) else None


def _above(product: FreeProduct, limits: list[float]) -> _RealAxis:
    """Return the real axis above the support, the factors at their limits."""
    inside, there = (
        State(
            np.array([side]),
            np.concatenate([factor.start(np.array([-side])) for factor in product.factors]),
        )
        for side in (1 + 1j, 1 + 0j)
    )
    for rows, limit in zip(product.rows, limits, strict=True):
        inside.inner[rows.start] = complex(limit, -1)
        there.inner[rows.start] = limit
    return _RealAxis(product, _joined(inside, there))


def _joined(first: State, second: State) -> State:
    return State(*(np.concatenate(parts, axis=-1) for parts in zip(first, second, strict=True)))


_SAME = 1e-14


def bands_of(product: FreeProduct, scan: Scan) -> tuple[Band, ...]:
    """Return the bands of a free product, ascending, from a scan with dead points beyond all finite ends."""
    runs, found = scan.runs(), []
    for place, (first, last) in enumerate(runs):
        low, high = Edge(-math.inf, diverges=False), Edge(math.inf, diverges=False)
        # A density at the first point has no edge before it, whatever rounding makes of the ranks.
        if place > 0 or (first > 0 and not reaches_zero(product)):
            last_below = scan.between(runs[place - 1][1], first) if place > 0 else -math.inf
            low = edge_between(product, float(scan.y[first]), float(scan.y[first - 1]), last_below)
        is_top = place == len(runs) - 1
        end = open_end(product) if is_top else None
        if end is not None and scan.y[last] <= end <= scan.y[min(last + 1, scan.y.size - 1)]:
            high = Edge(end)
        elif not is_top or (last + 1 < scan.y.size and not is_unbounded(product)):
            last_above = math.inf if is_top else scan.between(last, runs[place + 1][0])
            high = edge_between(product, float(scan.y[last]), float(scan.y[last + 1]), last_above)
        if not low.y <= scan.y[first] <= scan.y[last] <= high.y:
            raise NoAnswerError(
                f"the ends of the support were not found beside log z = {float(scan.y[first])!r}; "
                "the distribution function is known there"
            )
        found.append(Band(low.y, high.y, low.diverges, high.diverges))
    return tuple(found)


def is_unbounded(product: FreeProduct) -> bool:
    """Tell whether λ has no upper bound."""
    return any(factor.is_unbounded for factor in product.factors)


def reaches_zero(product: FreeProduct) -> bool:
    """Tell whether the density reaches down to λ = 0.

    The rank of the product is that of its narrowest place: the input or the open gates of a layer. The
    smallest singular values are next to 0 if two places are as narrow, or if open gates of the one are next
    to closed.
    """
    rank = 1 - product.mass_at_zero
    narrowest = float(math.isclose(rank, 1, rel_tol=_SAME))
    for factor, count in zip(product.factors, product.counts, strict=True):
        if not isinstance(factor, Layer):
            if factor.reaches_zero:
                return True
        elif math.isclose(factor.rank, rank, rel_tol=_SAME):
            if factor.reaches_zero:
                return True
            narrowest += 0 if factor.keeps_rank else count
    return narrowest > 1
