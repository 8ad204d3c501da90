"""Paths through the complex x plane on which averages of 1/(1 - d t) over a gate converge fast for every t.

On a monotone piece of d = φ'(x)² choose an analytic F that rises from one end to the other. The path is the
curve Im F = -π/2, on the side of the real axis where Im d < 0, and nodes are equidistant in Re F. With 1/t in
the closed upper half-plane the integrand is analytic at least for -π < Im F < 0: its poles lie on the real
axis, where Im F = 0, or beyond it, or beyond the next curve on which d is real, where Im F < -π if F' is
nowhere less than the derivative of log((d - d_min)/(d_max - d)). So the trapezoidal rule of step h has an
error of exp(-π²/h), however near a pole comes to the real axis.

F has a logarithm at each end of the piece, so that the path is a ray there. Nodes reach down to a smallest
distance from the end and then, in steps that grow exponentially, to 0.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.errors import NoAnswerError
from isocalc.gate_pieces import NOTHING, End, Piece, gate_values, slope_and_bend, unit_length

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Numbers = npt.NDArray[Any]  # real or complex

_STEP = 0.28
# Standard deviations beyond which the normal law has a mass of 1e-25, and up to which ends are left in place.
REACH, _BEYOND = 10.5, 14.0
# exp(-z²/2) grows off the real axis: |Im z| stays below half of this.
_WIDEST = 3.0
# Kinks: a smaller order would let the path leave at right angles, where Re x does not tell the pieces apart.
_SMALLEST_ORDER = 1.25
# Poles are resolved where |1/t - d| > 1e-10 d at critical values d, and near d = 0 while P(d < 1/t) > 1e-10.
_RESOLUTION, _ROUNDING, _MASS_NEAR_0 = 1e-10, 1e-13, 1e-10
# What of Re F is spent beyond that, and the distance from an end at which nodes stop.
_MARGIN, _CLOSED = 2.5, 1e-18
_SAMPLES, _ITERATIONS = 200, 30


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
        frame = _frame(span, need, slack, math.pi / (_WIDEST * sigma_low))
        s, ds = _nodes(frame, _smallest(act, frame, span, sigma_low))
        if not span.rising:
            s, ds = s.conj(), ds.conj()
        x = span.sign * (span.low + s)
        x = np.clip(x.real, *inside) + 1j * x.imag
        with np.errstate(over="ignore", invalid="ignore"):
            d = gate_values(act, x)
        size = np.abs(d)
        if (d.imag <= 1e-14 * size + 1e-15 * np.sqrt(size) * math.sqrt(size.max())).all():
            return Path(x, ds, d.real + 1j * np.minimum(d.imag, -0.0))
    raise NoAnswerError(f"no path of integration was found for the gate of {act.name}")


def _span(piece: Piece, sigma: float) -> _Span | None:
    reach, beyond = REACH * sigma, _BEYOND * sigma
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
        s = length / (1 + np.exp(-np.linspace(-7, 7, _SAMPLES)))
    elif span.left:
        s = np.geomspace(min(1e-3 * unit_length(act), 1e-2 * length), length, _SAMPLES)
    else:
        s = np.linspace(0, length, _SAMPLES)
    slope, bend = slope_and_bend(act, span.sign * (span.low + s))
    low, high = sorted(end.value for end in piece)
    with np.errstate(over="ignore", under="ignore"):
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
    return max(end.order, _SMALLEST_ORDER) if end else 0.0


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
            return _MASS_NEAR_0 * min(sigma, unit)
        change = end.coefficient * (2 * sigma) ** end.order
        scale = change if change < 1e-3 * end.value else end.value
        apart = max(_RESOLUTION * scale, _ROUNDING * end.value)
        return min(math.pow(apart / end.coefficient, 1 / end.order), 0.05 * unit)

    return distance(span.left, 0.0), distance(span.right, frame.length)


def _nodes(frame: _Frame, nearest: tuple[float, float]) -> tuple[Complex, Complex]:
    """Return s on the path below the real axis and its steps, poles resolved so near to the ends."""
    low, turn_low, start = _approach(frame, nearest[0], -1.0) if frame.left else _cut(frame, 0.0)
    high, turn_high, stop = _approach(frame, nearest[1], 1.0) if frame.right else _cut(frame, frame.length)
    v = np.arange(start, stop + _STEP, _STEP)
    with np.errstate(under="ignore"):
        to_low, to_high = np.exp(turn_low - v), np.exp(v - turn_high)
    target = v - to_low + to_high - 0.5j * math.pi
    table = np.linspace(low, high, 400)
    g = np.interp(target.real, frame.at(table)[0], table)
    g = g - 0.5j * math.pi / frame.at(g)[1]
    for _ in range(_ITERATIONS):
        value, rate, s, slope = frame.at(g)
        step = (target - value) / rate
        g = g + step / np.maximum(1.0, np.abs(step))
        if np.abs(step).max() < 1e-9:
            break
    value, rate, s, slope = frame.at(g)
    return s, slope / rate * (1 + to_low + to_high) * _STEP


def _cut(frame: _Frame, s: float) -> tuple[float, float, float]:
    """Return g, the place of no turn and F where the normal density cuts the path off."""
    g = math.log(s) if frame.left else s
    return g, math.copysign(math.inf, s - frame.length / 2), frame.value_at(g)


def _approach(frame: _Frame, nearest: float, side: float) -> tuple[float, float, float]:
    """Return the last g at an end, Re F from which steps grow, and where they stop."""
    rest = math.log(frame.length - nearest) if frame.right else 0.0
    g = side * (rest - math.log(nearest))
    fall = max(5.0, math.log(nearest / frame.length / _CLOSED))
    weight = frame.left if side < 0 else frame.right
    turn = frame.value_at(g) + side * _MARGIN
    return g + side * (fall + _MARGIN), turn, turn + side * math.log(weight * fall)
