"""Edges of the support of a free product: where log z turns back on the real axis.

Beside the support all unknowns are real but for a multiple of iπ, so real parts are all that is needed, and
no logarithm's branch matters: they are taken a little way inside, which changes real parts to second order
only.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.free_equations import State
from isocalc.free_product import FreeProduct
from isocalc.layer_transform import Gated

Array = npt.NDArray[np.float64]

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
