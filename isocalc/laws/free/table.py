"""A law solved once: Chebyshev series of the solutions on a band, from which all else is read.

The table is of ζ, not of the density: that is smooth up to edges, hard ones and point masses included, in a
variable x from −1 to 1 that takes out the square roots at the ends.
"""

import math
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.free.factors import Complex
from isocalc.laws.free.product import End, FreeProduct
from isocalc.laws.free.solver import PI, Array
from isocalc.numerics.quadrature import legendre_rule

_Number = TypeVar("_Number", np.float64, np.complex128)

_FIRST, _MOST = 17, 65
# Coefficients, in units of ζ, where series end, the most that may be left, what of rounding shows in them.
_ACCURACY, _COARSEST, _OF_ROUNDING = 1e-14, 1e-10, 0.2
_POLISHING, _POLISHED, _BARELY, _BESIDE_AXIS = 3, 1e-8, 1e-2, 1e-9
_DEPTH, _SHORTEST, _MOST_PANELS = 45, 1e-8, 200
# Steps of paths to points that neighbours did not lead to.
_ROUNDS = 300
# Im ζ of a solution with a density that counts.
_DEAD = 1e-12
_NODES = 16
# Length in y of the pieces that moments of λ are summed over.
_PIECE, _MOST_PIECES = 1.5, 64


class _Panel(NamedTuple):
    """A part [start, stop] of x and the series of all unknowns there, shape (1 + unknowns, n)."""

    start: float
    stop: float
    series: Complex


class Table:
    """The law on one band.

    Parameters
    ----------
    product : FreeProduct
    low, high : End
        The band.
    empty : list of float
        Places inside without a density are added to it: those of a gap, or of a thin tail.
    whole : bool
        Whether to give up at such a place.

    Raises
    ------
    NoAnswerError
        The law is not solved at some point, or there is a gap.
    """

    def __init__(
        self, product: FreeProduct, low: End, high: End, empty: list[float], *, whole: bool = False
    ) -> None:
        self.empty = empty
        self.product, self.low, self.high, self._is_whole = product, low, high, whole
        with np.errstate(all="ignore"):
            panels = sorted(self._panels(), key=lambda panel: panel.start)
        self._starts = np.array([panel.start for panel in panels])
        self._stops = np.array([panel.stop for panel in panels])
        self._zeta = np.zeros((len(panels), max(panel.series.shape[1] for panel in panels)), complex)
        for row, panel in zip(self._zeta, panels, strict=True):
            row[: panel.series.shape[1]] = panel.series[0]
        self._above = self._integrated()

    def place(self, x: Array) -> Array:
        """Return y of x."""
        low, length = self.low.y, self.high.y - self.low.y
        if self.low.turns and self.high.turns:
            # From the nearer end, whose digits count.
            from_low, from_high = np.sin(PI / 4 * (1 + x)) ** 2, np.sin(PI / 4 * (1 - x)) ** 2
            return np.where(x < 0, low + length * from_low, self.high.y - length * from_high)
        if self.high.turns:
            return self.high.y - length * ((1 - x) / 2) ** self.high.power
        return low + length * ((1 + x) / 2) ** (self.low.power if self.low.turns else 1)

    def _slope(self, x: Array) -> Array:
        """Return dy/dx."""
        length = self.high.y - self.low.y
        if self.low.turns and self.high.turns:
            return length * PI / 4 * np.cos(PI / 2 * x)
        power = self.high.power if self.high.turns else self.low.power if self.low.turns else 1
        return length * power / 2 * ((1 - x if self.high.turns else 1 + x) / 2) ** (power - 1)

    def x_of(self, y: Array) -> Array:
        """Return x of y inside the band."""
        above, below = np.maximum(y - self.low.y, 0.0), np.maximum(self.high.y - y, 0.0)
        length = self.high.y - self.low.y
        if self.low.turns and self.high.turns:
            return 4 / PI * np.arctan2(np.sqrt(above), np.sqrt(below)) - 1
        if self.high.turns:
            return 1 - 2 * (below / length) ** (1 / self.high.power)
        return 2 * (above / length) ** (1 / self.low.power if self.low.turns else 1.0) - 1

    def _panels(self) -> list[_Panel]:
        """Return panels on which series of all unknowns have died: nodes double, then panels halve."""
        done: list[_Panel] = []
        work: list[tuple[float, float, _Panel | None, int]] = [(-1.0, 1.0, None, _DEPTH)]
        while work:
            start, stop, known, left = work.pop()
            count = _FIRST
            while True:
                angle = PI * (np.arange(count) + 0.5) / count
                x = (start + stop) / 2 + (stop - start) / 2 * np.cos(angle)
                state = self._solved(self.place(x), None if known is None else _valued(known, x))
                found = self.product.equation(state)
                noise = _OF_ROUNDING * np.sqrt(np.mean((found.noise / np.abs(found.slope)) ** 2))
                series = 2 / count * (state[:, None] * np.cos(np.outer(np.arange(count), angle))).sum(axis=-1)
                series[:, 0] /= 2
                known = _Panel(start, stop, series)
                sizes = np.abs(series[0])
                tail = sizes[-max(3, count // 8) :].max() / sizes.max()
                resolved = tail < min(max(_ACCURACY, noise / sizes.max()), _COARSEST)
                if resolved or 2 * count - 1 > _MOST:
                    break
                count = 2 * count - 1
            length = abs(float(np.diff(self.place(np.array([start, stop])))[0]))
            left = left if length > _SHORTEST * max(1.0, abs(self.low.y), abs(self.high.y)) else 0
            if resolved or not left or len(done) + len(work) > _MOST_PANELS:
                done.append(known)
            else:
                middle = (start + stop) / 2
                work += [(start, middle, known, left - 1), (middle, stop, known, left - 1)]
        return done

    def _solved(self, y: Array, guess: Complex | None) -> Complex:
        """Return solutions, from guesses where Newton is good with those."""
        if guess is None:
            state, reached = self.product.solved(y)
            size = np.where(reached, 0.0, math.inf)
        else:
            state, size = self.product.polish(guess, y.astype(complex), _POLISHING)
            strayed = ~(size < _POLISHED)
            strayed |= (state[0].imag < -_BESIDE_AXIS) | (state[0].imag > PI + _BESIDE_AXIS)
            if strayed.any():
                again, reached = self.product.solved(y[strayed], _ROUNDS)
                places = np.flatnonzero(strayed)[reached]
                state[:, places], size[places] = again[:, reached], 0.0
        missing = ~(size < _BARELY)
        if guess is None and missing.any():
            self.product.solve(y[missing])  # it says what is not solved
        if (
            guess is not None and missing.any()
        ):  # beside a singular point, where all of the mass is what tells
            state[:, missing] = guess[:, missing]
        empty = y[~((state[0].imag > _DEAD) & (state[0].imag < PI - _DEAD))]
        self.empty.extend(empty.tolist())
        if self._is_whole and empty.size:
            raise NoAnswerError("the band may have a gap")
        return state

    def _integrated(self) -> Array:
        """Return series of the mass above x within panels, and check nothing."""
        count = 2 * self._zeta.shape[1]
        angle = PI * (np.arange(count) + 0.5) / count
        nodes = np.cos(angle)
        half = (self._stops - self._starts)[:, None] / 2
        x = (self._starts + self._stops)[:, None] / 2 + half * nodes
        zeta = self._zeta @ np.cos(np.outer(np.arange(self._zeta.shape[1]), angle))
        values = self.product.density_of(zeta) * self._slope(x) * half
        series = 2 / count * values @ np.cos(np.outer(angle, np.arange(count)))
        series[:, 0] /= 2
        whole = np.polynomial.chebyshev.chebint(series, lbnd=1, axis=1)
        whole = -whole
        masses = whole @ (-1.0) ** np.arange(count + 1)
        beyond = np.append(np.cumsum(masses[::-1])[::-1][1:], 0.0)
        whole[:, 0] += beyond
        return whole

    @property
    def mass(self) -> float:
        """Mass of the band."""
        return float(self._above[0] @ (-1.0) ** np.arange(self._above.shape[1]))

    @property
    def nodes(self) -> Array:
        """Places y that are as dense as the law is rich."""
        share = np.cos(PI * (np.arange(self._zeta.shape[1] // 2, 0, -1) - 0.5) / (self._zeta.shape[1] // 2))
        half = (self._stops - self._starts)[:, None] / 2
        return self.place((self._starts[:, None] + half * (1 + share)).ravel())

    def density_and_above(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y inside the band, and the mass of the band above."""
        x = self.x_of(y)
        panel = np.searchsorted(self._starts[1:], x, side="right")
        start, stop = self._starts[panel], self._stops[panel]
        at = np.clip((2 * x - start - stop) / (stop - start), -1.0, 1.0)
        density = self.product.density_of(_clenshaw(self._zeta, panel, at))
        return density, np.maximum(_clenshaw(self._above, panel, at), 0.0)

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
        masses = self.density_and_above(y)[0] * self._slope(x) * (half * weights).ravel()
        return y, masses


def _valued(panel: _Panel, x: Array) -> Complex:
    """Return a series at x."""
    at = (2 * x - panel.start - panel.stop) / (panel.stop - panel.start)
    angle = np.arccos(np.clip(at, -1.0, 1.0))
    terms = np.cos(np.outer(np.arange(panel.series.shape[1]), angle))
    return np.asarray((panel.series[:, :, None] * terms).sum(axis=1))


def _clenshaw(series: npt.NDArray[_Number], rows: npt.NDArray[np.intp], x: Array) -> npt.NDArray[_Number]:
    """Return Σ series[row, k] T_k(x)."""
    last = before = np.zeros(x.shape, series.dtype)
    for k in range(series.shape[1] - 1, 0, -1):
        last, before = 2 * x * last - before + series[rows, k], last
    return np.asarray(x * last - before + series[rows, 0])
