"""Where a gate d = φ'(x)² rises and falls, and paths in the complex x plane to average it along.

Turning points of d are zeros of φ' and of φ''. They are found by sampling and refined to the last digit; φ''
is exact, by a complex step of φ'.

On a path through the complex x plane averages of 1/(1 - d t) converge fast for every t. On a monotone piece
of d choose an analytic F that rises from one end to the other. The path is the curve Im F = -π/2, on the side
of the real axis where Im d < 0, and nodes are equidistant in Re F. With 1/t in the closed upper half-plane
the integrand is analytic at least for -π < Im F < 0: its poles lie on the real axis, where Im F = 0, or
beyond it, or beyond the next curve on which d is real, where Im F < -π if F' is nowhere less than the
derivative of log((d - d_min)/(d_max - d)). So the trapezoidal rule of step h has an error of exp(-π²/h),
however near a pole comes to the real axis.

F has a logarithm at each end of the piece, so that the path is a ray there. Nodes reach down to a smallest
distance from the end and then, in steps that grow exponentially, to 0.
"""

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import Activation
from isocalc.activations.tolerances import LEAST_STEP
from isocalc.errors import NoAnswerError
from isocalc.laws.tolerances import (
    BRANCH_SEEN,
    BRANCH_STEP,
    COMPLEX_STEP,
    ENDS_REACH,
    EPS,
    FAR_OUT,
    LARGEST,
    LAST_SAMPLE,
    LAST_TURN,
    LEAST_ORDER,
    MOST_ROUNDS,
    NEGLIGIBLE,
    NOTHING,
    PATH_MARGIN,
    PATH_SAMPLES,
    PATH_STEP,
    REACH,
    RESOLVED_POLE,
    SAME,
    SMALLEST_ORDER,
    TURN_STEP,
    WIDEST,
    ZERO_GATE,
)

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Numbers = npt.NDArray[Any]  # real or complex

_OFFSETS = np.concatenate(
    [
        np.geomspace(1e-3, TURN_STEP, 8)[:-1],
        np.arange(TURN_STEP, 60.0, TURN_STEP),
        np.geomspace(60.0, LAST_SAMPLE, 100),
    ]
)
# Samples about a centre, in units of its length.
_CLOSE = np.linspace(-12.0, 12.0, 241)
_PLACES_BETWEEN = np.linspace(0, 1, 401)[1:-1]


class End(NamedTuple):
    """The end of a piece: |d - value| is coefficient * distance**order near it."""

    place: float
    """x, infinite where the piece has no end"""
    value: float
    """Limit of d; inf where d is unbounded"""
    order: float = 0.0
    coefficient: float = 0.0
    critical: bool = True
    """Whether 1/value is a singular point of averages; else d is constant, to rounding, from here on"""


class Piece(NamedTuple):
    """An interval of x on which d is monotone."""

    low: End
    high: End


class Flat(NamedTuple):
    """An interval of x on which d is constant, to rounding or by underflow."""

    low: float
    high: float
    value: float


class GatePieces(NamedTuple):
    """Intervals of x on which d is monotone or constant; their images in the mirror are the rest."""

    pieces: tuple[Piece, ...]
    flats: tuple[Flat, ...]
    mirror: float | None
    """Centre about which d is even, an end of the first interval"""
    known_to: float
    """|x| up to which this holds"""


def _slope(act: Activation, x: Numbers) -> Complex:
    return np.asarray(act.dphi(x), dtype=np.complex128)


def gate_values(act: Activation, x: Complex) -> Complex:
    """Return d at complex x, continued from the piece on which Re x lies."""
    slope = _slope(act, x)
    return slope * slope


def slope_and_bend(act: Activation, x: Array) -> tuple[Array, Array]:
    """Return φ' and φ'' at real x."""
    step = COMPLEX_STEP * min(1.0, unit_length(act), act.period)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        slope = _slope(act, x + 1j * step)
        return slope.real, slope.imag / step


def unit_length(act: Activation) -> float:
    """Return the length in x over which φ varies."""
    if math.isfinite(act.scale):
        return act.scale
    return max([abs(point) for point in act.breakpoints if point], default=1.0)


@lru_cache(maxsize=64)
def gate_pieces(act: Activation) -> GatePieces:
    """Return the monotone and the constant pieces of d for an activation that is not piecewise linear."""
    if math.isfinite(act.period):
        return _of_a_period(act)
    unit = unit_length(act)
    even = _is_even(act, unit)
    edges = [0.0 if even else -math.inf, *(b for b in act.breakpoints if b > 0 or not even), math.inf]
    pieces: list[Piece] = []
    flats: list[Flat] = []
    known_to = math.inf
    for low, high in pairwise(edges):
        x = _finite(act, _with_centres(act, _samples(low, high, unit), low, high))
        turns = [turn for turn in _turning_points(act, x) if _is_seen(act, turn, 1e-3 * unit)]
        if turns and max(-turns[0], turns[-1]) > LAST_TURN * unit:
            known_to = LAST_TURN * unit
            first, last = np.searchsorted(turns, (-known_to, known_to)).tolist()
            turns = turns[max(first - 1, 0) : last + 1]
        for ends in pairwise([low, *turns, high]):
            piece, flat = _between(act, *ends, x[(x > ends[0]) & (x < ends[1])])
            pieces += piece
            flats += flat
    return GatePieces(tuple(pieces), tuple(flats), 0.0 if even else None, known_to)


def _of_a_period(act: Activation) -> GatePieces:
    """Return the pieces of half a period of d, between the two points next to 0 about which it is even."""
    half = act.period / 2
    x = half * (np.arange(800) + 0.5) / 400 - 1.37 * half
    turns = _turning_points(act, x)
    centre = max((turn for turn in turns if turn <= 0 and _is_mirror(act, turn, half)), default=None)
    if centre is None:
        raise NoAnswerError(f"the gate of {act.name} is periodic without a symmetry, which is not supported")
    edges = [centre, *(turn for turn in turns if centre < turn < centre + half * (1 - 1e-9)), centre + half]
    pieces: list[Piece] = []
    for low, high in pairwise(edges):
        pieces += _between(act, low, high, low + (high - low) * _PLACES_BETWEEN)[0]
    return GatePieces(tuple(pieces), (), centre, math.inf)


def _is_mirror(act: Activation, centre: float, half: float) -> bool:
    x = half * np.array([0.013, 0.137, 0.31, 0.44, 0.61, 0.79, 0.93])
    return np.allclose(act.dphi(centre + x) ** 2, act.dphi(centre - x) ** 2, rtol=1e-9, atol=1e-9)


def _is_even(act: Activation, unit: float) -> bool:
    if sorted(-point for point in act.breakpoints) != list(act.breakpoints):
        return False
    x = _finite(act, unit * _OFFSETS[1::7])
    right, left = act.dphi(x), act.dphi(-x)
    return bool(np.all(np.abs(np.abs(right) - np.abs(left)) <= 4 * np.finfo(float).eps * np.abs(right)))


def _samples(low: float, high: float, unit: float) -> Array:
    if math.isinf(low) and math.isinf(high):
        return unit * np.concatenate([-_OFFSETS[::-1], _OFFSETS])
    if math.isinf(high):
        return low + unit * _OFFSETS
    if math.isinf(low):
        return high - unit * _OFFSETS[::-1]
    return low + (high - low) * _PLACES_BETWEEN


def _with_centres(act: Activation, x: Array, low: float, high: float) -> Array:
    """Return samples with more about the centres of φ that are between two places."""
    close = np.array([place + length * _CLOSE for place, length in act.centres if length]).ravel()
    return np.union1d(x, close[(close > low) & (close < high)]) if close.size else x


def _finite(act: Activation, x: Array) -> Array:
    """Return the places at which d is a double."""
    if not act.steep:
        return x
    with np.errstate(over="ignore"):
        return x[np.isfinite(act.dphi(x) ** 2) & np.isfinite(act.dphi(-x) ** 2)]


def _turning_points(act: Activation, x: Array) -> list[float]:
    """Return the zeros of φ' and φ'' between samples, ascending and distinct."""
    found: list[float] = []
    for which, values in enumerate(slope_and_bend(act, x)):
        signs = np.sign(values)
        places = np.flatnonzero(signs)
        changes = np.flatnonzero(signs[places[1:]] != signs[places[:-1]])
        found += [_sign_change(act, which, *x[places[k : k + 2]].tolist()) for k in changes]
    found.sort()
    spacing = 1e-9 * unit_length(act)
    return [turn for k, turn in enumerate(found) if not k or turn - found[k - 1] > spacing]


def _is_seen(act: Activation, turn: float, step: float) -> bool:
    """Whether d changes about a turning point by more than the rounding or underflow of a user's own φ'."""
    with np.errstate(over="ignore", under="ignore"):
        d = act.dphi(turn + step * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])) ** 2
    return bool(d.max() >= NOTHING and d.max() - d.min() > SAME * d.max())


def _sign_change(act: Activation, which: int, low: float, high: float) -> float:
    """Return the place, to rounding, at which φ' (0) or φ'' (1) changes its sign."""
    left = np.sign(slope_and_bend(act, np.array([low]))[which][0])
    smallest = 1e-17 * (high - low)
    while high - low > max(smallest, 3e-16 * abs(low)):
        x = np.linspace(low, high, 17)
        k = int(np.argmax(np.sign(slope_and_bend(act, x)[which]) != left))
        low, high = float(x[max(k, 1) - 1]), float(x[max(k, 1)])
    return (low + high) / 2 if low * high > 0 else 0.0


def _between(act: Activation, low: float, high: float, x: Array) -> tuple[list[Piece], list[Flat]]:
    """Return the piece between two turning points, if any, and where d is constant; x are samples."""
    if x.size < 3:
        x = low + (high - low) * _PLACES_BETWEEN
    with np.errstate(over="ignore", under="ignore"):
        d = act.dphi(x) ** 2
    if d.max() < NOTHING or d.max() - d.min() <= EPS * d.max():
        return [], [Flat(low, high, float(d[0]) if d.max() >= NOTHING else 0.0)]
    step = 1e-3 * min(unit_length(act), high - low)
    left, right = _end(act, low, step), _end(act, high, -step)
    flats = []
    if math.isinf(low) and (flat := _flat_from(d[::-1], left.value)):
        left = End(float(x[::-1][flat]), left.value, 1.0, 1.0, critical=False)
        flats.append(Flat(low, left.place, left.value))
    if math.isinf(high) and (flat := _flat_from(d, right.value)):
        right = End(float(x[flat]), right.value, 1.0, 1.0, critical=False)
        flats.append(Flat(right.place, high, right.value))
    return [Piece(left, right)], flats


def _end(act: Activation, place: float, step: float) -> End:
    with np.errstate(over="ignore", under="ignore"):
        if math.isinf(place):
            near, far = (act.dphi(np.copysign([FAR_OUT, FAR_OUT**2], place)) ** 2).tolist()
            return End(place, far if far <= 2 * near else math.inf)
        inside, steps = place, [step]
        if place in act.branches:
            # Nearer, what is raised to a power may underflow. Farther, one power is left alone.
            inside, steps = place + math.copysign(LEAST_STEP, step), [step * BRANCH_STEP, step]
        if inside == place in act.breakpoints:
            inside = np.nextafter(place, math.copysign(math.inf, step))
        for each in steps:
            x = np.array([inside, place + each, place + 2 * each])
            value, *near = (float(d) for d in act.dphi(x) ** 2)
            if value < ZERO_GATE * near[1]:
                value = 0.0
            if abs(near[0] - value) > BRANCH_SEEN * value:
                break
        if value in near:
            raise NoAnswerError(f"the gate of {act.name} is not resolved near x = {place!r}")
        order = math.log2(abs(near[1] - value) / abs(near[0] - value))
        order = max(1, round(order)) if each == step else max(LEAST_ORDER, order)
        return End(place, value, order, abs(near[0] - value) / abs(each) ** order)


def _flat_from(d: Array, limit: float) -> int:
    """Return the sample from which on d is constant; 0 if it never is."""
    if math.isinf(limit):
        return 0
    apart = np.flatnonzero(np.abs(d - limit) > (EPS / 2 * limit or NOTHING))
    last = int(apart[-1])
    return last + 1 if last + 1 < d.size else 0


class Path(NamedTuple):
    """Nodes, their steps and d at them."""

    x: Complex
    dx: Complex
    d: Complex


class _Span(NamedTuple):
    """The part of a piece in reach, in y = sign * x: if only one end is in reach, it is the lower one."""

    low: float
    high: float
    left: End | None
    right: End | None
    sign: float
    rising: bool


class _Tail(NamedTuple):
    """A part of F, of derivative constant + linear s + square s² + log_weight/(s + log_length)."""

    constant: float
    linear: float = 0.0
    square: float = 0.0
    log_weight: float = 0.0
    log_length: float = 1.0

    def value(self, s: Numbers) -> Numbers:
        polynomial = (self.constant + (self.linear / 2 + self.square / 3 * s) * s) * s
        return polynomial + self.log_weight * np.log1p(s / self.log_length)

    def slope(self, s: Numbers) -> Numbers:
        return self.constant + (self.linear + self.square * s) * s + self.log_weight / (s + self.log_length)


class _Frame(NamedTuple):
    """F = left log s - right log(length - s) + tail, s = y - low, as a function of g.

    g is s without ends, log s with a left one, log(s/(length - s)) with both.
    """

    length: float
    left: float
    right: float
    tail: _Tail

    def at(self, g: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Return F, dF/dg, s and ds/dg."""
        if not self.left:
            s, slope = g, np.ones_like(g)
            value, rate = 0.0 * g, 0.0 * g
        elif not self.right:
            s = slope = np.exp(g)
            value, rate = self.left * g, np.full_like(g, self.left)
        else:
            negative = g.real < 0
            log_s = math.log(self.length) - np.log1p(np.exp(np.where(negative, g, -g)))
            log_s += np.where(negative, g, 0)
            s, rest = np.exp(log_s), np.exp(log_s - g)
            value = (self.left - self.right) * log_s + self.right * g
            rate, slope = (self.left * rest + self.right * s) / self.length, s * rest / self.length
        return value + self.tail.value(s), rate + self.tail.slope(s) * slope, s, slope

    def value_at(self, g: float) -> float:
        """Return F at a real g."""
        return float(self.at(np.array([g]))[0][0])


def gate_path(act: Activation, piece: Piece, sigma_low: float, sigma_high: float) -> Path | None:
    """Return the path on a piece for averages over normal x, mean 0, of any standard deviation in a range.

    None where the piece is out of reach. NoAnswerError where Im d > 0 on every path tried, which is not known
    to happen.
    """
    span = _span(piece, sigma_high)
    if span is None:
        return None
    need = _need(act, piece, span)
    inside = np.nextafter(piece.low.place, math.inf), np.nextafter(piece.high.place, -math.inf)
    for slack in (1.1, 1.6, 2.4, 3.6, 5.0):
        frame = _frame(span, need, slack, math.pi / (WIDEST * sigma_low))
        s, ds = _nodes(frame, _smallest(act, frame, span, sigma_low))
        if not span.rising:
            s, ds = s.conj(), ds.conj()
        x = span.sign * (span.low + s)
        x = np.clip(x.real, *inside) + 1j * x.imag
        with np.errstate(over="ignore", invalid="ignore"):
            d = gate_values(act, x)
        size = np.abs(d)
        # Where d overflows the density is 0, or what is left out shows in the sum of the weights.
        known = size < LARGEST
        if not known.all():
            x, ds, d, size = x[known], ds[known], d[known], size[known]
        if (d.imag <= 1e-14 * size + 1e-15 * np.sqrt(size) * math.sqrt(size.max())).all():
            return Path(x, ds, d.real + 1j * np.minimum(d.imag, -0.0))
    raise NoAnswerError(f"no path of integration was found for the gate of {act.name}")


def _span(piece: Piece, sigma: float) -> _Span | None:
    reach, beyond = REACH * sigma, ENDS_REACH * sigma
    low, high = piece
    if low.place > reach or high.place < -reach:
        return None
    left, right = low if low.place > -beyond else None, high if high.place < beyond else None
    start, stop = low.place if left else -reach, high.place if right else reach
    rising = high.value > low.value
    if right and not left:
        return _Span(-stop, -start, right, None, -1.0, not rising)
    return _Span(start, stop, left, right, 1.0, rising)


def _need(act: Activation, piece: Piece, span: _Span) -> tuple[Array, Array]:
    """Return s and the least derivative of F there, that of the logarithms of the ends taken off."""
    length = span.high - span.low
    if span.right:
        s = length / (1 + np.exp(-np.linspace(-7, 7, PATH_SAMPLES)))
    elif span.left:
        s = np.geomspace(min(1e-3 * unit_length(act), 1e-2 * length), length, PATH_SAMPLES)
    else:
        s = np.linspace(0, length, PATH_SAMPLES)
    slope, bend = slope_and_bend(act, span.sign * (span.low + s))
    low, high = sorted(end.value for end in piece)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        d = slope * slope
        need = 1 / (np.abs(d - low) + 1e-14 * low + NOTHING)
        if math.isfinite(high):
            need += 1 / (np.abs(high - d) + 1e-14 * high)
        need *= 2 * np.abs(slope * bend)
    need = np.where(d > NOTHING, need, 0.0)
    if span.left:
        need -= _weight(span.left) / s
    if span.right:
        need -= _weight(span.right) / (length - s)
    return s, np.maximum(need, 0.0)


def _weight(end: End | None) -> float:
    return max(end.order, SMALLEST_ORDER) if end else 0.0


def _frame(span: _Span, need: tuple[Array, Array], slack: float, least: float) -> _Frame:
    """Return the F of fewest nodes among some simple ones with derivatives no less than needed."""
    s, rate = need[0], slack * need[1]
    top, length = float(rate.max()), span.high - span.low
    tails = [_Tail(max(top, least))]
    with np.errstate(over="ignore"):
        tails += _curved_tails(s, rate, length, least) if span.left else []
        tail = min(tails, key=lambda tail: float(tail.value(np.array(length))))
    return _Frame(length, _weight(span.left), _weight(span.right), tail)


def _curved_tails(s: Array, rate: Array, length: float, least: float) -> list[_Tail]:
    """Return tails that fall with the distance from the end on the left."""
    top, tails = float(rate.max()), []
    for part in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7):
        constant = max(part * top, least)
        tails.append(_Tail(constant, linear=max(0.0, float(((rate - constant) / s).max()))))
        tails.append(_Tail(constant, square=max(0.0, float(((rate - constant) / s / s).max()))))
    for log_length in np.geomspace(s[0], length, 16).tolist():
        log_weight = float((rate * (s + log_length)).max())
        tails.append(_Tail(least, log_weight=log_weight, log_length=log_length))
    return tails


def _smallest(act: Activation, frame: _Frame, span: _Span, sigma: float) -> tuple[float, float]:
    """Return the distances from the ends down to which poles are resolved, 0 without an end."""
    unit = min(unit_length(act), frame.length)

    def distance(end: End | None, s: float) -> float:
        if end is None:
            return 0.0
        if not end.critical:
            return min(0.05 * unit, 1 / float(frame.tail.slope(np.array(s))))
        if end.value == 0:
            return RESOLVED_POLE * min(sigma, unit)
        change = end.coefficient * (2 * sigma) ** end.order
        scale = change if change < 1e-3 * end.value else end.value
        apart = max(RESOLVED_POLE * scale, SAME * end.value)
        return min(math.pow(apart / end.coefficient, 1 / end.order), 0.05 * unit)

    return distance(span.left, 0.0), distance(span.right, frame.length)


def _nodes(frame: _Frame, nearest: tuple[float, float]) -> tuple[Complex, Complex]:
    """Return s on the path below the real axis and its steps, poles resolved so near to the ends."""
    low, turn_low, start = _approach(frame, nearest[0], -1.0) if frame.left else _cut(frame, 0.0)
    high, turn_high, stop = _approach(frame, nearest[1], 1.0) if frame.right else _cut(frame, frame.length)
    v = np.arange(start, stop + PATH_STEP, PATH_STEP)
    with np.errstate(under="ignore"):
        to_low, to_high = np.exp(turn_low - v), np.exp(v - turn_high)
    target = v - to_low + to_high - 0.5j * math.pi
    table = np.linspace(low, high, 400)
    g = np.interp(target.real, frame.at(table)[0], table)
    g = g - 0.5j * math.pi / frame.at(g)[1]
    for _ in range(MOST_ROUNDS):
        value, rate, s, slope = frame.at(g)
        step = (target - value) / rate
        g = g + step / np.maximum(1.0, np.abs(step))
        if np.abs(step).max() < 1e-9:
            break
    value, rate, s, slope = frame.at(g)
    return s, slope / rate * (1 + to_low + to_high) * PATH_STEP


def _cut(frame: _Frame, s: float) -> tuple[float, float, float]:
    """Return g, the place of no turn and F where the normal density cuts the path off."""
    g = math.log(s) if frame.left else s
    return g, math.copysign(math.inf, s - frame.length / 2), frame.value_at(g)


def _approach(frame: _Frame, nearest: float, side: float) -> tuple[float, float, float]:
    """Return the last g at an end, Re F from which steps grow, and where they stop."""
    rest = math.log(frame.length - nearest) if frame.right else 0.0
    g = side * (rest - math.log(nearest))
    fall = max(5.0, math.log(nearest / frame.length / NEGLIGIBLE))
    weight = frame.left if side < 0 else frame.right
    turn = frame.value_at(g) + side * PATH_MARGIN
    return g + side * (fall + PATH_MARGIN), turn, turn + side * math.log(weight * fall)
