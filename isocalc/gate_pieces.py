"""Where d = φ'(x)² rises, falls and stays: what a path of integration over x has to know about it.

Turning points of d are zeros of φ' and of φ''. They are found by sampling and refined to the last digit; φ''
is exact, by a complex step of φ'.
"""

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.errors import NoAnswerError

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Numbers = npt.NDArray[Any]  # real or complex

# Spacing of samples, |x| up to which turning points may lie, last sample, all in lengths over which φ varies.
_STEP, _LAST_TURN, _FAR = 0.05, 50.0, 1e4
_OFFSETS = np.concatenate(
    [np.geomspace(1e-3, _STEP, 8)[:-1], np.arange(_STEP, 60.0, _STEP), np.geomspace(60.0, _FAR, 100)]
)
_PLACES_BETWEEN = np.arange(1, 400) / 400
_COMPLEX_STEP = 1e-30
# A tail is flat where d is this close to its limit, relatively, or is this small.
_ROUNDING, NOTHING = 1.2e-16, 1e-300
_BUMP = 1e-13
_ZERO = 1e-24


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
    step = _COMPLEX_STEP * min(1.0, unit_length(act), act.period)
    with np.errstate(over="ignore", under="ignore"):
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
        x = _samples(low, high, unit)
        turns = [turn for turn in _turning_points(act, x) if _is_seen(act, turn, 1e-3 * unit)]
        if turns and max(-turns[0], turns[-1]) > _LAST_TURN * unit:
            known_to = _LAST_TURN * unit
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
    x = unit * _OFFSETS[1::7]
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
    return bool(d.max() >= NOTHING and d.max() - d.min() > _BUMP * d.max())


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
    if d.max() < NOTHING or d.max() - d.min() <= 2 * _ROUNDING * d.max():
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
            return End(place, float(act.dphi(np.array([math.copysign(1e300, place)]))[0] ** 2))
        inside = np.nextafter(place, math.copysign(math.inf, step)) if place in act.breakpoints else place
        value, *near = (float(d) for d in act.dphi(np.array([inside, place + step, place + 2 * step])) ** 2)
        if value < _ZERO * near[1]:
            value = 0.0
        if near[0] == value:
            raise NoAnswerError(f"the gate of {act.name} is not resolved near x = {place!r}")
        order = max(1, round(math.log2(abs(near[1] - value) / abs(near[0] - value))))
        return End(place, value, order, abs(near[0] - value) / abs(step) ** order)


def _flat_from(d: Array, limit: float) -> int:
    """Return the sample from which on d is constant; 0 if it never is."""
    if math.isinf(limit):
        return 0
    apart = np.flatnonzero(np.abs(d - limit) > (_ROUNDING * limit or NOTHING))
    last = int(apart[-1])
    return last + 1 if last + 1 < d.size else 0
