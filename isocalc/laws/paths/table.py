"""The solutions on one band of a law that paths of gates tell, tabulated: density, mass and states.

The table is of ζ = log((1 + m)/m), which stays smooth where densities are infinite, in a variable x from −1
to 1 that takes out the square roots at the ends.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.paths.equations import Equations
from isocalc.laws.tolerances import (
    DEAD,
    MOST_PANELS,
    SERIES_COARSEST,
    SERIES_ENOUGH_AT,
    SERIES_FIRST,
    SERIES_HOPELESS,
    SERIES_MOST,
    SHORTEST_PANEL,
    SOLVED_IN_TABLES,
)
from isocalc.numerics.quadrature import legendre_rule

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

_PI = math.pi
# Gauss nodes of a piece, and the length in y of one over which moments are summed.
_NODES, _PIECE, _MOST_PIECES = 16, 1.5, 64


class UnsolvedError(NoAnswerError):
    """The equations are not solved at one place, while at others they may be."""

    def __init__(self, y: float) -> None:
        super().__init__(
            f"the equations of the exact law were not solved at log lambda = {y:.6g} (less that of the skip "
            "connections)",
            ("take the layered law", "simulate"),
        )


class Knot(NamedTuple):
    """A solution on the real axis."""

    y: float
    zeta: complex
    state: Complex

    @property
    def snap(self) -> float:
        """The argument of ζ, 0 or π, in the gap nearest to it."""
        return _PI if self.zeta.imag > _PI / 2 else 0.0

    @property
    def depth(self) -> float:
        """How far ζ is from being real."""
        return abs(self.zeta.imag - self.snap)

    @property
    def is_live(self) -> bool:
        """Whether there is a density that counts."""
        return self.depth > DEAD


class End(NamedTuple):
    """An end of a band.

    Attributes
    ----------
    y : float
    turns : bool
        Whether the density ends like a square root there, or is singular: nodes crowd there.
    knot : Knot or None
        The solution there, where it is an edge.
    """

    y: float
    turns: bool = True
    knot: Knot | None = None


class _Panel(NamedTuple):
    """A part [start, stop] of x and the series of ζ and the states there, shape (n, 1 + 2G)."""

    start: float
    stop: float
    series: Complex

    @classmethod
    def through(cls, start: float, stop: float, angle: Array, values: Complex) -> "_Panel":
        """Return the series through values at cosines of angles."""
        terms = np.cos(np.outer(angle, np.arange(angle.size)))
        return cls(start, stop, np.asarray(np.linalg.solve(terms, values), complex))

    def at(self, x: Array) -> Complex:
        """Return what the series says at x."""
        angle = np.arccos(np.clip((2 * x - self.start - self.stop) / (self.stop - self.start), -1.0, 1.0))
        return np.asarray(np.cos(np.outer(angle, np.arange(self.series.shape[0]))) @ self.series)


class Table:
    """The law on one band.

    Parameters
    ----------
    equations : Equations
    low, high : End
    known : list of Knot
        Some solutions in between.

    Raises
    ------
    NoAnswerError
        The equations are not solved somewhere.
    """

    def __init__(self, equations: Equations, low: End, high: End, known: list[Knot]) -> None:
        self.equations, self.low, self.high = equations, low, high
        ends = [end.knot._replace(y=end.y) for end in (low, high) if end.knot is not None]
        knots = sorted([*known, *ends], key=lambda knot: knot.y)
        self._known_x = self.x_of(np.array([knot.y for knot in knots]))
        self._known = np.array([np.append(knot.zeta, knot.state) for knot in knots])
        self.missed = 0.0
        panels = sorted(self._panels(), key=lambda panel: panel.start)
        self._parts = panels
        self._starts = np.array([panel.start for panel in panels])
        self._stops = np.array([panel.stop for panel in panels])
        self._zeta = np.zeros((len(panels), max(panel.series.shape[0] for panel in panels)), complex)
        for row, panel in zip(self._zeta, panels, strict=True):
            row[: panel.series.shape[0]] = panel.series[:, 0]
        self._above = self._integrated()
        self.mass = float(self._above[0] @ (-1.0) ** np.arange(self._above.shape[1]))

    def place(self, x: Array) -> Array:
        """Return y of x from −1 to 1."""
        low, length = self.low.y, self.high.y - self.low.y
        if self.low.turns and self.high.turns:  # from the nearer end, whose digits count
            from_low, from_high = np.sin(_PI / 4 * (1 + x)) ** 2, np.sin(_PI / 4 * (1 - x)) ** 2
            return np.where(x < 0, low + length * from_low, self.high.y - length * from_high)
        if self.high.turns:
            return np.asarray(self.high.y - length * ((1 - x) / 2) ** 2)
        return np.asarray(low + length * ((1 + x) / 2) ** (2 if self.low.turns else 1))

    def _slope(self, x: Array) -> Array:
        """Return dy/dx."""
        length = self.high.y - self.low.y
        if self.low.turns and self.high.turns:
            return length * _PI / 4 * np.cos(_PI / 2 * x)
        if self.high.turns:
            return length * (1 - x) / 2
        return length * (1 + x) / 2 if self.low.turns else np.full_like(x, length / 2)

    def x_of(self, y: Array) -> Array:
        """Return x of y inside the band."""
        above, below = np.maximum(y - self.low.y, 0.0), np.maximum(self.high.y - y, 0.0)
        length = self.high.y - self.low.y
        if self.low.turns and self.high.turns:
            return np.asarray(4 / _PI * np.arctan2(np.sqrt(above), np.sqrt(below)) - 1)
        if self.high.turns:
            return np.asarray(1 - 2 * np.sqrt(below / length))
        return np.asarray(2 * (np.sqrt(above / length) if self.low.turns else above / length) - 1)

    def _panels(self) -> list[_Panel]:
        """Return panels on which the series have died: nodes double, then panels halve."""
        done: list[_Panel] = []
        ends, singular = [-1.0, 1.0], math.nan
        if self.low.y < 0 < self.high.y:  # gates that are hardly open change the law most at y = 0
            singular = float(self.x_of(np.zeros(1))[0])
            ends = [-1.0, (singular - 1) / 2, singular, (singular + 1) / 2, 1.0]
        work: list[tuple[float, float, _Panel | None]] = [(*pair, None) for pair in pairwise(ends)]
        while work:
            start, stop, guess = work.pop()
            panel, tail = self._panel(start, stop, guess)
            length = abs(float(np.diff(self.place(np.array([start, stop])))[0]))
            if tail <= SERIES_ENOUGH_AT:
                done.append(panel)
            elif length < SHORTEST_PANEL * (self.high.y - self.low.y) or len(done) + len(work) > MOST_PANELS:
                self.missed += tail if tail > SERIES_COARSEST else 0.0
                done.append(panel)
            else:
                share = 0.25 if start == singular else 0.75 if stop == singular else 0.5
                middle = start + share * (stop - start)
                work += [(start, middle, panel), (middle, stop, panel)]
        return done

    def _panel(self, start: float, stop: float, guess: _Panel | None) -> tuple[_Panel, float]:
        """Return the series on a panel, and the mass that its last coefficients stand for."""
        count, values, before = SERIES_FIRST, np.empty((0, 0), complex), math.inf
        while True:
            angle = _PI * np.arange(1, count + 1) / (count + 1)
            x = (start + stop) / 2 + (stop - start) / 2 * np.cos(angle)
            found = np.empty((count, self._known.shape[1]), complex)
            new = np.ones(count, dtype=bool)
            if values.size:
                found[1::2], new[1::2] = values, False
            found[new] = self._solved(x[new], guess)
            values = found
            panel = _Panel.through(start, stop, angle, values)
            size = np.abs(panel.series[-max(3, count // 8) :, 0]).max() / np.abs(values[:, 0]).max()
            weight = np.abs(self.density_of(values[:, 0]) * self._slope(x)).max() * (stop - start)
            tail = float(size * weight)
            missed = max(tail, size * 1e-3)
            hopeless = missed * (missed / before) ** 2 > SERIES_HOPELESS * SERIES_ENOUGH_AT
            if missed <= SERIES_ENOUGH_AT or 2 * count + 1 > SERIES_MOST or hopeless:
                return panel, tail
            before = missed
            ends = [
                (at, known)
                for x, at, end, known in (
                    (start, _PI, self.low, self._known[:1]),
                    (stop, 0.0, self.high, self._known[-1:]),
                )
                if abs(x) == 1 and end.knot is not None
            ]
            nodes = np.append(angle, [at for at, _ in ends])
            guess = _Panel.through(
                start, stop, nodes, np.concatenate((values, *(known for _, known in ends)))
            )
            count = 2 * count + 1

    def _solved(self, x: Array, guess: _Panel | None) -> Complex:
        """Return ζ and states at x, from guesses or from what is known."""
        y = self.place(x)
        beside = np.concatenate((x, x + 1e-4 * (1 - x * x), x - 1e-4 * (1 - x * x)))
        says = _interpolated(self._known_x, self._known, beside) if guess is None else guess.at(beside)
        states, up, down = np.split(says[:, 1:], 3)
        apart = np.diff(self.place(beside).reshape(3, -1)[[2, 1]], axis=0)[0]
        slope = (up - down) / apart[:, None]
        found = self.equations.polish(states, y.astype(complex), agree=SOLVED_IN_TABLES, slope=slope)[0]
        good = found.solved
        if not good.all():
            known = self.place(self._known_x)
            nearest = np.abs(known - y[~good][:, None]).argmin(axis=1)
            again = self.equations.follow(
                self._known[nearest, 1:], known[nearest].astype(complex), y[~good].astype(complex)
            )
            if not again.solved.all():
                far = y[~good][~again.solved]
                rest = self.equations.solve(far.astype(complex))
                if not rest.solved.all():
                    raise UnsolvedError(float(far[~rest.solved][0]))
                for whole, part in zip(again, rest, strict=True):
                    whole[~again.solved] = part
            for whole, part in zip(found, again, strict=True):
                whole[~good] = part
        return np.concatenate((found.zeta[:, None], found.states), axis=1)

    @staticmethod
    def density_of(zeta: Complex) -> Array:
        """Return −Im m/π, m = 1/(e^ζ − 1)."""
        return np.maximum(-(1 / np.expm1(zeta)).imag / _PI, 0.0)

    def _integrated(self) -> Array:
        """Return series of the mass above x within panels."""
        count = 2 * self._zeta.shape[1]
        angle = _PI * (np.arange(count) + 0.5) / count
        half = (self._stops - self._starts)[:, None] / 2
        x = (self._starts + self._stops)[:, None] / 2 + half * np.cos(angle)
        zeta = self._zeta @ np.cos(np.outer(np.arange(self._zeta.shape[1]), angle))
        values = self.density_of(zeta) * self._slope(x) * half
        series = 2 / count * values @ np.cos(np.outer(angle, np.arange(count)))
        series[:, 0] /= 2
        whole = -np.polynomial.chebyshev.chebint(series, lbnd=1, axis=1)
        masses = whole @ (-1.0) ** np.arange(count + 1)
        whole[:, 0] += np.append(np.cumsum(masses[::-1])[::-1][1:], 0.0)
        return np.asarray(whole)

    def _located(self, y: Array) -> tuple[npt.NDArray[np.intp], Array]:
        x = self.x_of(y)
        panel = np.searchsorted(self._starts[1:], x, side="right")
        start, stop = self._starts[panel], self._stops[panel]
        return panel, np.clip((2 * x - start - stop) / (stop - start), -1.0, 1.0)

    def density_and_above(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y inside the band, and the mass of the band above."""
        panel, at = self._located(y)
        density = self.density_of(_clenshaw(self._zeta, panel, at))
        return density, np.maximum(_clenshaw(self._above, panel, at).real, 0.0)

    def states(self, y: Array) -> Complex:
        """Return the states at y inside the band, shape (n, 2G)."""
        x, panel = self.x_of(y), self._located(y)[0]
        return np.concatenate([self._parts[k].at(x[i : i + 1])[:, 1:] for i, k in enumerate(panel)])

    def masses(self) -> tuple[Array, Array]:
        """Return nodes y and the masses that stand for the density, also where that is weighed with λ."""
        nodes, weights = legendre_rule(_NODES)
        ends = []
        for start, stop, zeta in zip(self._starts, self._stops, self._zeta, strict=True):
            low, high = self.place(np.array([start, stop]))
            used = max(1, np.count_nonzero(np.abs(zeta) > 1e-13 * np.abs(zeta[0])) / _NODES)
            pieces = min(math.ceil(max(2 * used, (high - low) / _PIECE)), _MOST_PIECES)
            ends.append(np.linspace(start, stop, pieces + 1)[:-1])
        edges = np.append(np.concatenate(ends), 1.0)
        half = np.diff(edges)[:, None] / 2
        x = (edges[:-1, None] + half + half * nodes).ravel()
        y = self.place(x)
        return y, self.density_and_above(y)[0] * self._slope(x) * (half * weights).ravel()


def _interpolated(known: Array, values: Complex, x: Array) -> Complex:
    """Return at x the polynomials through the four nearest of the known places."""
    found = np.empty((x.size, values.shape[1]), complex)
    for i, place in enumerate(x):
        near = np.argsort(np.abs(known - place))[:4]
        weights = [
            np.prod([(place - known[j]) / (known[k] - known[j]) for j in near if j != k]) for k in near
        ]
        found[i] = np.array(weights) @ values[near]
    return found


def _clenshaw(series: npt.NDArray[np.inexact], rows: npt.NDArray[np.intp], x: Array) -> Complex:
    """Return Σ series[row, k] T_k(x)."""
    last = before = np.zeros(x.shape, series.dtype)
    for k in range(series.shape[1] - 1, 0, -1):
        last, before = 2 * x * last - before + series[rows, k], last
    return np.asarray(x * last - before + series[rows, 0])
