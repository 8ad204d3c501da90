"""The law of y = log λ of a free product of positive factors: density, edges and bands."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from isocalc.errors import NoAnswerError
from isocalc.laws.free.factors import Complex, Factor, Pairs, Place
from isocalc.laws.free.layer_factors import Layer, ResidualLayer, Rotation
from isocalc.laws.free.solver import PI, Array, Flags, FreeSolver
from isocalc.laws.tolerances import NOTHING
from isocalc.numerics.special import log_one_plus_m

# Mass beyond the ends of a law that is left aside, and the most that may be.
_NO_MASS, _LITTLE_MASS, _MOST_MISSED = 1e-11, 1e-8, 0.1
# Im ζ of a solution without a density.
_REAL = 1e-9
# Density times the length of a law from which on it has one.
_LIVE = 1e-9
# How far inside the half-planes unknowns are put for principal values, in units of ζ.
_INSIDE = 1e-14
# Steps that tie unknowns to ζ: how many, from which length on the next is rounding, and the most allowed;
# below the inverse of _FLATTEST slopes of log z are those of shorter steps.
_TIES, _SETTLED, _TIED, _STRAIGHT, _FLATTEST = 8, 1e-8, 1e-7, 1e-6, 1e4
# Steps of a walk to an edge in units of ζ: far from it, while d log z/dζ is above _STEEP, near it, in a gap.
_FAR, _TOWARDS, _NEAR, _BESIDE, _STEEP, _STEEPEST = 0.5, 0.3, 0.12, 0.02, 0.9, 1.01
# What a step may miss of log z by the mean of both slopes, over that, where these are the same.
_SMOOTH = 1e-4
_STEPS, _SHORTEST, _SECANTS, _CLOSE = 200, 1e-9, 20, 1e-8
# Halvings of a way on which a density dies out, and those in which its end is walked to.
_HALVINGS, _WALKS = 24, 8
# Where the ends of a band are checked, as a share of the way to points that are known.
_BESIDE_END = 0.01
# Steps to places that may be singular.
_ROUNDS = 100
_SCANNED = 48
_BESIDE_ATOMS = (1e-2, 1e-4, 1e-6, 0.0)
_ROUNDING_OF_TIES = 1e-14
# Imaginary parts that are linear to rounding, and far above it.
_TINY = 1e-9
# Im ζ, or what it lacks of π, below which densities are those of principal values: off by its square.
_THIN = 3e-6
# Laws of log λ longer than this have so much lower densities.
_LONG = 100.0
# ζ this small, in units of the law's width, is that of an infinite m.
_INFINITE = 1e-4
# A turn this much nearer to ζ = 0 than the places it is between is there.
_NEARER = 0.01
# Slopes of log z in ζ this small at an infinite m are those of an edge, not of a point mass.
_FLAT = 1e-3
_NO_SLOPE = 1e-8
# How far beyond the place where its slope should be 0 a walk goes.
_BEYOND = 1.2
# Ranks that differ by less are one, but for gates that are no doubles.
_SAME = 1e-12
# Point masses that are rounding, and that are next to none: their peaks are too narrow to be told.
LEAST_MASS, _NEXT_TO_BIRTH = 1e-15, 1e-8
# Ends at an infinite m this close to where a point mass is born are there, in widths of the law.
_AT_BIRTH = 1e-6


class End(NamedTuple):
    """An end of a band: where it is, and whether the density ends there as a square root does."""

    y: float
    turns: bool = True
    diverges: bool = False
    power: int = 2
    """log z is as good as this power of ζ there; 3 where two turns meet"""


class FreeProduct(FreeSolver):
    """The law of y = log λ of a free product of positive factors.

    Parameters
    ----------
    factors : sequence of Factor
        Distinct factors.
    counts : sequence of float
        How often each occurs; fractions are allowed where factors stand for a range of layers.
    """

    def solve(self, y: Array) -> Complex:
        """Return the solutions at real y, boundary values from the upper half-plane.

        Raises
        ------
        NoAnswerError
            A path did not arrive.
        """
        with np.errstate(all="ignore"):
            state, reached = self.solved(y)
        if not reached.all():
            raise NoAnswerError(
                f"the layered law was not solved: its equations at log λ = {float(y[~reached][0]):.6g} (less "
                "a constant of the law)",
                ("ask for other values", "simulate"),
            )
        return state

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density of y and the mass above y, atoms of that included, solved at each y."""
        state = self.solve(y)
        return self.density_of(state[0]), self.survival(state)

    def density_of(self, zeta: Complex) -> Array:
        """Return the density of y at solutions; 0 at a point mass, where m is infinite."""
        with np.errstate(all="ignore"):
            height = -((1 - self.mass_at_zero) / np.expm1(zeta)).imag / PI
        return np.maximum(np.nan_to_num(height, nan=0.0, posinf=0.0, neginf=0.0), 0.0)

    def is_thin(self, zeta: Complex) -> Flags:
        """Tell where densities are so small that principal values give them."""
        low, high = self.ends
        height = np.minimum(np.abs(zeta.imag), np.abs(PI - zeta.imag))
        return height * max(1.0, (high.y - low.y) / _LONG) < _THIN

    def density_at(self, state: Complex, y: Array) -> Array:
        """Return the density at y by the solutions there, however small it is."""
        density = self.density_of(state[0])
        thin = self.is_thin(state[0])
        if thin.any():
            density[thin] = self._density_of_tail(state[:, thin], y[thin])
        return density

    def _density_of_tail(self, state: Complex, y: Array) -> Array:
        """Return the density at y by solutions whose imaginary parts are lost in rounding.

        Unknowns are real but for multiples of iπ. Newton solves for them with principal values; what gates of
        a continuous law add at their poles is then all that is imaginary, and so little that it is linear.
        """
        with np.errstate(all="ignore"):
            state = state.real + 1j * PI * np.rint(state.imag / PI)
            none = np.zeros(y.size)
            for _ in range(_TIES):
                found = self.equation(state, none)
                step = found.drift.real + found.direction.real * ((y - found.y.real) / found.slope.real)
                state = state + step
                if not np.abs(step).max() > _ROUNDING_OF_TIES * (1 + np.abs(state).max()):
                    break
            tangents = zip(self._parts, self.tangents(state, none + 1), strict=True)
            largest = [np.abs(tangent.drift.imag).max(axis=(0, 1)) for _, (_, tangent) in tangents]
            unit = _TINY / np.maximum(np.max(largest, axis=0), NOTHING)
            found = self.equation(state, unit)
            height = found.y.imag - PI * np.rint(found.y.imag / PI)
            zeta = -height / found.slope.real / unit
            place = Place.of(state[0], self.mass_at_zero)
            density = np.abs((place.m * place.rest).real * zeta) / PI / (1 - self.mass_at_zero)
        return np.where(np.isfinite(density), density, np.nan)

    def survival(self, state: Complex) -> Array:
        """Return the mass above solutions on the real axis: Im −∫ m dlog z from m = 0, over π."""
        with np.errstate(all="ignore"):
            zeta, _ = Place.of(state[0], self.mass_at_zero).seen_with(0.0)
            potential = -log_one_plus_m(zeta)
            for part in self._parts:
                own = part.alike.potential(self._of(part, state), zeta)
                potential = potential - (part.counts * own).sum(axis=0)
        return np.clip(potential.imag / PI, 0.0, 1.0)

    @cached_property
    def left(self) -> float:
        """A y below which there is less mass than rounding, that at λ = 0 left aside, or `missed`."""
        return self._reached[0]

    @cached_property
    def right(self) -> float:
        """A y beyond which there is less mass than rounding."""
        return float(self.line(math.inf)[0][0])

    @property
    def missed(self) -> float:
        """Mass below `left`, that at λ = 0 left aside, for which the law was not solved."""
        return self._reached[1]

    @cached_property
    def _reached(self) -> tuple[float, float]:
        """Where the law ends on the left, or can be solved no further, and the mass beyond."""
        with np.errstate(all="ignore"):
            places, walked = self.line(tiny=_NO_MASS)
            for y, above in zip(places[::-1], walked[::-1], strict=True):
                state, reached = self.solved(np.array([y]))
                if reached[0]:
                    missed = max(0.0, 1 - self.mass_at_zero - float(self.survival(state)[0]))
                    missed = 0.0 if self.rest(above) <= _LITTLE_MASS else missed
                    break
            else:
                missed = 1.0
        if missed > _MOST_MISSED:
            raise NoAnswerError(
                f"the layered law was not solved: for {missed:.0e} of its mass, near λ = 0", ("simulate",)
            )
        return float(y), missed

    @cached_property
    def ends(self) -> tuple[End, End]:
        """Both ends of the law, walked to from outside; at an open end where next to no mass is beyond."""
        with np.errstate(all="ignore"):
            if isinstance(self.factors[0], Rotation) and self.counts == (1.0,):
                low, high = (End(y, diverges=True) for y in self.factors[0].ends)
                return (low if low.y > -math.inf else End(self.left, turns=False)), high
            low, high = self._outer_end(-1), self._outer_end(1)
        if not low.y < high.y:
            raise NoAnswerError("the layered law was not solved: its ends were not found", ("simulate",))
        return low, high

    @cached_property
    def has_certain_ends(self) -> bool:
        """Whether there is a density just inside those ends that are edges, and none just outside."""
        low, high = self.ends
        beside = _BESIDE_END * (high.y - low.y)
        sides = [side for end, side in ((low, 1), (high, -1)) if end.turns]
        if not sides:
            return True
        y = [(low if side > 0 else high).y + way * side * beside for side in sides for way in (1, -1)]
        with np.errstate(all="ignore"):
            state, reached = self.solved(np.array(y))
        live = (state[0].imag > _REAL) & (state[0].imag < PI - _REAL)
        return bool(reached.all()) and live.tolist() == [True, False] * len(sides)

    def bands(
        self, atoms: Sequence[float] = (), points: int = _SCANNED, born: Sequence[float] = ()
    ) -> list[tuple[End, End]]:
        """Return the ends of the intervals that carry the density, ascending.

        Parameters
        ----------
        atoms : sequence of float
            Places of point masses, around which there are gaps.
        points : int
            How many places between the ends of the law are looked at for gaps.
        born : sequence of float
            Those of the places where a point mass is about to be born: ends of gaps are there or elsewhere.
        """
        low, high = self.ends
        with np.errstate(all="ignore"):
            share = np.cos(PI * (np.arange(points)[::-1] + 0.5) / points)
            y = low.y + (high.y - low.y) * (1 + np.sin(PI / 2 * share)) / 2
            offsets = np.array([*_BESIDE_ATOMS, *(-x for x in _BESIDE_ATOMS)]) * (high.y - low.y)
            beside = np.add.outer(np.array(atoms), offsets).ravel()
            y = np.unique(np.concatenate((y, beside[(beside > low.y) & (beside < high.y)])))
            state, reached = self.solved(y, _ROUNDS)
            y, state = y[reached], state[:, reached]
            live = self.density_of(state[0]) * (high.y - low.y) > _LIVE
            found, begin = [], low
            for k in np.flatnonzero(live[1:] != live[:-1]):
                if live[: k + 1].any() and live[k + 1 :].any():
                    inside, dead = (k, k + 1) if live[k] else (k + 1, k)
                    at = [End(place, diverges=True) for place in born if y[k] < place < y[k + 1]]
                    end = (at or [self._end_between(float(y[inside]), float(y[dead]), state[:, [dead]])])[0]
                    if live[k]:
                        found.append((begin, end))
                    else:
                        begin = end
        return [*found, (begin, high)]

    @cached_property
    def possible_atoms(self) -> Pairs:
        """Where point masses can be, of y, and their masses: a debt where there is none."""
        return possible_atoms(self.factors, self.counts)

    @property
    def singular(self) -> tuple[tuple[float, int], ...]:
        """Where point masses are, or about to be born, that at λ = 0 left aside, and `End.power` there."""
        places = ((y, mass) for y, mass in self.possible_atoms if y > -math.inf)
        return tuple((y, 3 if mass < _NEXT_TO_BIRTH else 2) for y, mass in places if mass > -_NEXT_TO_BIRTH)

    def _outer_end(self, side: int) -> End:
        """Return the lower (−1) or the upper end (1) of the law."""
        places, walked = self.line(tiny=_NO_MASS)
        y = self.right if side > 0 else self.left
        if is_unbounded(self) if side > 0 else reaches_zero(self):
            return End(y, turns=False)
        k = int(np.flatnonzero(places == y)[0])
        state, _ = self.follow(walked[k].copy(), np.array([complex(y, PI)]), np.array([complex(y, 0)]))
        if state[0, 0].imag > _REAL and state[0, 0].imag < PI - _REAL:
            return End(y, turns=False)
        return self._edge(state, -side, far=True)

    def _end_between(self, live: float, dead: float, state: Complex) -> End:
        """Return the end of a band between a point with a density and one without."""
        for halving in range(_HALVINGS):
            if halving < _WALKS:
                end = self._edge(state, np.sign(live - dead))
                slack = 1e-12 * max(1.0, abs(live)) + 1e-3 * abs(dead - live)
                if end.turns and min(live, dead) - slack <= end.y <= max(live, dead) + slack:
                    beside = self.solve(end.y + _BESIDE_END * (np.array([live, dead]) - end.y))[0].imag
                    if np.array_equal((beside > _REAL) & (beside < PI - _REAL), [True, False]):
                        return end
            middle = (live + dead) / 2
            nearer = self.solve(np.array([middle]))
            if _REAL < nearer[0, 0].imag < PI - _REAL:
                live = middle
            else:
                dead, state = middle, nearer
        return End(live, turns=False)

    def _tied(
        self, state: Complex, zeta: Complex, steps: int = _TIES
    ) -> tuple[Complex, complex, complex, float]:
        """Return the state tied to a ζ, log z and its slope there, and the last step's length."""
        size = math.inf
        for _ in range(steps):
            y, slope, drift, direction, *_ = self.equation(state)
            y, step = y + slope * (zeta - state[0]), (drift + direction * (zeta - state[0])).real
            state, size = state + step, float(np.abs(step).max() / (1 + np.abs(state).max()))
            enough = _SETTLED * min(1.0, _FLATTEST * abs(slope[0]), float(abs(zeta[0])))
            if size < max(_ROUNDING_OF_TIES, enough):
                break
        return state, y[0], slope[0], size

    def _beside_axis(self, state: Complex, *, far: bool) -> tuple[Callable[[Complex], Complex], Array]:
        """Return what moves unknowns a little inside of the axis they are on, and how far they are real."""
        height = np.rint(state.imag / PI)
        is_log_t = np.zeros((state.shape[0], 1), dtype=bool)
        last = np.full((state.shape[0], 1), math.inf)
        for part in self._parts:
            if isinstance(self.factors[part.first], Layer | ResidualLayer):
                count = part.counts.size
                is_log_t[part.rows.start : part.rows.start + count] = True
                own = [factor.last_real for factor in self.factors[part.first : part.first + count]]
                last[part.rows.start : part.rows.start + count, 0] = own
        # Where t meets a continuous law of gates unknowns are no more real; between two bands there may be a
        # tail of it that is too thin to tell.
        last[(height != 0) | (not far)] = math.inf
        inward = np.where(is_log_t, np.where(height == 0, -1.0, 1.0), np.where(height == 0, 1.0, -1.0))

        def beside(state: Complex) -> Complex:
            inside = _INSIDE * min(1.0, abs(float(state[0, 0].real)))
            return np.asarray(state.real + 1j * (PI * height + inside * inward), complex)

        return beside, last

    def _edge(self, state: Complex, toward: float, *, far: bool = False) -> End:
        """Walk the real axis from a solution without density, log z ``toward`` ±1, until log z turns.

        ζ halves while it is far from the edge, then moves evenly. It passes 0, where m is infinite, at a
        point mass; a turn there is an edge where the density is infinite. Real parts are all that is needed,
        so no logarithm's branch matters: they are taken a little inside of where unknowns are.
        """
        beside, last = self._beside_axis(state, far=far)
        state = beside(state)
        state, y, slope, _ = self._tied(state, state[0])
        way, step = toward * np.sign(slope.real), (_FAR if far else _BESIDE) * abs(state[0, 0])
        infinite = _INFINITE * min(1.0, math.sqrt(self.relative_variance))
        for _ in range(_STEPS):
            zeta = state[0] + way * step
            ahead, y1, slope1, size = self._tied(state, zeta)
            steepest = max(abs(slope1.real), abs(slope.real))
            straight = abs(slope1.imag) < _STRAIGHT * max(steepest, _FLAT)
            good = size < _TIED and straight and not (ahead.real > last).any()
            # Two slopes tell how far log z went, unless a step jumped over turns or to another branch.
            missed = abs(y1 - y - way * step * (slope + slope1).real / 2)
            bends = abs((slope1 - slope).real) / (2 if far and slope1.real > _STEEP else 4)
            good &= bool(missed <= (_SMOOTH * steepest + bends) * step)
            # Outside of the law slopes fall from 1 to 0.
            good &= not far or slope1.real < _STEEPEST
            if good:
                if slope1.real * slope.real <= 0:
                    return self._turn(
                        [state, ahead], [(state[0, 0], y, slope), (zeta[0], y1, slope1)], infinite
                    )
                here = float(abs(zeta[0]))
                if here < infinite and abs(slope1) < _FLAT:
                    return self._end_at_infinite_m(ahead, infinite)
                if abs(slope1.real) < _NO_SLOPE:  # the edge is at m = 0 or −1, and ζ has no end
                    decay = math.log(slope1.real / slope.real) / (zeta[0] - state[0, 0]).real
                    return End(float(y1.real - slope1.real / decay))
                far = far and slope1.real > _STEEP
                step = _next_step(step, here, (slope.real, slope1.real), infinite, far=far)
                state, y, slope = beside(ahead), y1, slope1
            else:
                step *= 0.3
                if step < _SHORTEST * abs(state[0, 0]):
                    break
        return End(float(y.real), turns=False)

    def _turn(
        self, states: list[Complex], points: list[tuple[complex, complex, complex]], infinite: float
    ) -> End:
        """Return where the slope of log z in ζ is 0, between states; points are ζ, log z and its slope."""
        weights, last = [1.0, 1.0], -1
        infinite = min(infinite, _NEARER * min(abs(points[0][0]), abs(points[1][0])))
        for _ in range(_SECANTS):
            (z0, _, f0), (z1, _, f1) = points
            low, high = weights[0] * f0, weights[1] * f1
            zeta = z1 - high * (z1 - z0) / (high - low)
            nearer = int(abs(zeta - z1) < abs(zeta - z0))
            state, y, slope, _ = self._tied(states[nearer], np.array([zeta]))
            known = points[nearer]
            # An end that stays twice counts half: the Illinois variant of the secant method.
            end = int(slope.real * f1.real > 0)
            weights[end], weights[1 - end] = 1.0, weights[1 - end] / 2 if last == end else 1.0
            last = end
            points[end], states[end] = (zeta, y, slope), state
            if not slope.real or abs(zeta - known[0]) < _CLOSE * abs(zeta) or abs(zeta) < infinite:
                break
        if abs(zeta) < infinite:
            return self._end_at_infinite_m(state, infinite)
        return End(float(y.real))

    def _end_at_infinite_m(self, state: Complex, infinite: float) -> End:
        """Return the end at ζ = 0 by the slopes of log z at two ζ beside it: to third order."""
        side = math.copysign(infinite, state[0, 0].real)
        state, far, far_slope, _ = self._tied(state, np.array([3 * side]))
        _, near, near_slope, _ = self._tied(state, np.array([side]))
        # Without their parts of second order, those of third are as 27 to 1.
        far, near = far - 1.5 * side * far_slope, near - 0.5 * side * near_slope
        power = 3 if abs(near_slope / far_slope) < 3**-1.5 else 2
        end = float((near + (near - far) / 26).real)
        # There log z is known; next to a mass about to be born it has logarithms of ζ.
        reach = _AT_BIRTH * math.sqrt(self.relative_variance)
        born = [y for y, _ in self.singular if abs(y - end) < reach]
        end = min(born, key=lambda y: abs(y - end), default=end)
        return End(end, diverges=True, power=power)


def _next_step(step: float, here: float, slopes: tuple[float, float], infinite: float, *, far: bool) -> float:
    """Return how far to go in ζ from one of size ``here``, by the slopes before and after the last step."""
    if here < infinite:  # over to the other side of a point mass
        return 2 * here + infinite
    if far:
        return _FAR * here
    before, after = slopes
    if after and before / after > 1:
        return min(_BEYOND * step * after / (before - after), _TOWARDS * here + infinite)
    return _NEAR * here


def cut(
    low: End, high: End, singular: Sequence[tuple[float, int]], gap: float = 0.0
) -> list[tuple[End, End]]:
    """Return a band in parts: at `FreeProduct.singular` places, with gaps there; and between cubes."""
    beside = _BESIDE_ATOMS[-2] * (high.y - low.y)
    parts = []
    for y, power in sorted(singular):
        if low.y + beside < y < high.y - beside:
            below, above = (End(end, not gap, not gap, power) for end in (y - gap, y + gap))
            parts.append((low, below))
            low = above
    parts.append((low, high))
    for k, (left, right) in reversed(list(enumerate(parts))):
        if 3 in {left.power, right.power} and left.turns and right.turns:
            middle = End((left.y + right.y) / 2, turns=False)
            parts[k : k + 1] = [(left, middle), (middle, right)]
    return parts


def possible_atoms(factors: Sequence[Factor], counts: Sequence[float]) -> Pairs:
    """Return where a free product can have point masses, as (y, mass), and their masses, below 0 a debt.

    A product of free positive laws has a point mass at Π a_l where Σ (1 − w_l) < 1, w_l the mass of factor
    l at a_l, and none elsewhere but at 0; its mass is 1 − Σ (1 − w_l) (Bercovici and Voiculescu 1998;
    Belinschi 2003). At most one factor can then be at a place that has not its largest mass, since two
    would miss 1/2 each.
    """
    found = {-math.inf: max((factor.mass_at_zero for factor in factors), default=0.0)}
    if all(factor.point_masses for factor in factors):
        tops = [max(factor.point_masses, key=lambda pair: pair[1]) for factor in factors]
        missing = sum(count * (1 - top[1]) for count, top in zip(counts, tops, strict=True))
        place = sum(count * top[0] for count, top in zip(counts, tops, strict=True))
        found[place] = 1 - missing
        for factor, top in zip(factors, tops, strict=True):
            for y, mass in factor.point_masses:
                if y != top[0]:
                    found[place - top[0] + y] = 1 - missing - top[1] + mass
    return tuple(sorted(found.items()))


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
