"""Edges of the support of a free product: where log z turns back on the real axis.

Beside the support all unknowns are real but for a multiple of iπ, so real parts are all that is needed, and
no logarithm's branch matters: they are taken a little way inside, which changes real parts to second order
only.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.free_product import FreeProduct, State

Array = npt.NDArray[np.float64]

_INSIDE = 1e-9
_BESIDE = 1e-6
_CLOSE = 1e-9
# ζ this small, in units of the law's width, is that of an infinite m.
_INFINITE = 1e-6
_SECANTS = 24
_TIES = 40
_HALVINGS = 70
_ROUNDING = 4e-16


class Edge(NamedTuple):
    """An edge at y, and whether the density may be infinite there."""

    y: float
    diverges: bool = False


def edge_between(product: FreeProduct, live: float, dead: float) -> Edge:
    """Return the edge between a point with a density and one without.

    Halves the distance until the turn that starts from the live point lies between the two.
    """
    states = product.solve(np.array([live, dead]))
    for _ in range(_HALVINGS):
        found = _RealAxis(product, states).turn()
        slack = 1e-12 * max(1.0, abs(live)) + 1e-3 * abs(dead - live)
        if found is not None and min(live, dead) - slack <= found.y <= max(live, dead) + slack:
            return found
        middle = (live + dead) / 2
        if abs(dead - live) <= _ROUNDING * max(1.0, abs(live)) or middle in {live, dead}:
            break
        state = product.solve(np.array([middle]))
        if product.density(state)[0] > 0:
            live, states = middle, _joined(state, states.at(np.array([1])))
        else:
            dead, states = middle, _joined(states.at(np.array([0])), state)
    return Edge(live, diverges=True)


def open_end(product: FreeProduct) -> float | None:
    """Return the upper edge where a gate's continuous law ends before log z turns back, else None.

    So it is where the density of φ'² vanishes at its largest value faster than linearly (softplus).
    """
    limits = [factor.last_real for factor in product.factors]
    if math.inf in limits:
        return None
    slope = _at_limits(product, [limit - _BESIDE for limit in limits]).slope
    return _at_limits(product, limits).y if slope > 0 else None


class _Point(NamedTuple):
    """A point of the real axis."""

    zeta: float
    y: float
    slope: float
    """dy/dζ"""
    direction: float
    """d/dζ of the first unknown"""


class _RealAxis:
    """The equation of the law beside its support, its unknowns next to those of a dead solution."""

    def __init__(self, product: FreeProduct, states: State) -> None:
        self._product = product
        live, dead = states.inner[:, 0], states.inner[:, 1]
        line = np.pi * np.rint(dead.imag / np.pi)
        self._height = line + _INSIDE * np.sign(live.imag - line)
        self._apart = float(abs(live.imag[0] - line[0]))
        self._u = live.real.copy()
        self._zeta = float(states.zeta[0].real)
        zeta_line = np.pi * np.rint(states.zeta[1].imag / np.pi)
        self._zeta_height = float(zeta_line + _INSIDE * np.sign(states.zeta[0].imag - zeta_line))

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
            if not max(np.abs(step).max(), abs(change)) > 4 * _ROUNDING * np.abs(self._u).max():
                break
        return _Point(self._zeta, found.y.real, found.slope.real, float(direction[0]))

    def turn(self) -> Edge | None:
        """Return where log z turns back, by secants from the live point; None if they do not arrive."""
        infinite = _INFINITE * min(1.0, math.sqrt(self._product.relative_variance))
        x, step = float(self._u[0]), 0.25 * self._apart
        with np.errstate(all="ignore"):
            try:
                before = self._slope(x)
                for _ in range(_SECANTS):
                    x += step
                    slope = self._slope(x)
                    if not math.isfinite(slope) or slope == before:
                        return None
                    step, before = -slope * step / (slope - before), slope
                    if abs(step) <= _CLOSE * max(1.0, abs(x)):
                        beside = min(max(_BESIDE, 0.01 * self._apart), 0.01)
                        if not self._slope(x + beside) * self._slope(x - beside) < 0:
                            return None
                        point = self.at(first=x + step)
                        return Edge(point.y, abs(point.zeta) < infinite)
            except (ValueError, OverflowError, ZeroDivisionError):  # nan and inf in fsum
                return None
        return None

    def _slope(self, first: float) -> float:
        """Return d(log z)/du, u the first unknown."""
        point = self.at(first=first)
        return point.slope / point.direction


def _at_limits(product: FreeProduct, limits: list[float]) -> _Point:
    """Return the point where, as ζ falls, the first of the factors meets its limit."""
    with np.errstate(all="ignore"):
        least = min(
            (1 - factor.mass_at_zero)
            / np.expm1(_above(FreeProduct([factor], [1.0]), [limit]).at(first=limit).zeta)
            for factor, limit in zip(product.factors, limits, strict=True)
        )
        return _above(product, limits).at(zeta=math.log1p((1 - product.mass_at_zero) / least))


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
