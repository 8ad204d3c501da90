"""A law solved once: Chebyshev series of the solutions on a band, from which all else is read.

The table is of ζ, not of the density: that is smooth up to edges, hard ones and point masses included, in a
variable x from −1 to 1 that takes out the square roots at the ends.
"""

import math
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.free.factors import Complex
from isocalc.laws.free.product import End, FreeProduct
from isocalc.laws.free.solver import PI, Array, Flags
from isocalc.numerics.quadrature import legendre_rule

_Number = TypeVar("_Number", np.float64, np.complex128)

# Nodes of a panel to begin with, and three times as many.
_FEW, _MANY = 17, 51
# Where series end: over their largest coefficient; where next to no mass is.
_ACCURACY, _THIN, _TINY = 2e-14, 1e-9, 1e-99
# Coefficients of series that halves of a panel do not make smaller, by which factor they should be.
_COARSEST, _GAINED = 1e-10, 4.0
# What many nodes may be expected to miss, over what is small enough, to be tried.
_HOPEFUL = 1e-2
_POLISHING, _POLISHED, _BESIDE_AXIS = 6, 1e-8, 1e-9
# One node in so many may be lost; so close to an infinite density, over the band's length, they are, or may
# be solved for from their neighbours only.
_MOST_LOST, _AT_END, _NEAR_END = 8, 1e-8, 1e-6
_SHORTEST, _MOST_PANELS = 1e-8, 200
# Steps of paths to points from above, and along the real axis.
_ROUNDS, _ROUNDS_ALONG = 150, 40
# Im ζ of a solution with a density that counts.
_DEAD = 1e-12
# Nodes at which rounding is looked at.
_NOISY = 5
_NODES = 16
# Length in y of the pieces that moments of λ are summed over.
_PIECE, _MOST_PIECES = 1.5, 64
# Mass that integrals may miss; how often their nodes may double for that.
_INTEGRATED, _DOUBLINGS = 1e-13, 5


class _Panel(NamedTuple):
    """A part [start, stop] of x and the series of all unknowns there, shape (1 + unknowns, n)."""

    start: float
    stop: float
    series: Complex
    state: Complex
    """The states at the nodes"""
    lost: Flags
    """Where they are not solved, but continued"""
    missed: float
    """Size of the last coefficients of ζ"""
    enough: float
    """Size at which they are small enough"""

    @property
    def size(self) -> float:
        """Size of the largest coefficient of ζ."""
        return float(np.abs(self.series[0]).max())

    @property
    def nodes(self) -> Array:
        """The nodes, in x."""
        angle = PI * (np.arange(self.state.shape[1]) + 0.5) / self.state.shape[1]
        return np.asarray((self.start + self.stop) / 2 + (self.stop - self.start) / 2 * np.cos(angle))

    def missed_of(self, count: int) -> float:
        """Return about the size of the last coefficients of so many nodes."""
        return self.size * math.pow(self.missed / self.size, count / self.series.shape[1])

    def at(self, x: Array) -> Complex:
        """Return the states at x by the series."""
        angle = np.arccos(np.clip((2 * x - self.start - self.stop) / (self.stop - self.start), -1.0, 1.0))
        return np.asarray(self.series @ np.cos(np.outer(np.arange(self.series.shape[1]), angle)))


class Table:
    """The law on one band.

    Parameters
    ----------
    product : FreeProduct
    low, high : End
        The band.
    empty : list of float
        A place in a gap is added to it.
    whole : bool
        Whether to give up there.

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
        most = max(panel.series.shape[1] for panel in panels)
        self._states = np.zeros((panels[0].series.shape[0], len(panels), most), complex)
        for k, panel in enumerate(panels):
            self._states[:, k, : panel.series.shape[1]] = panel.series
        self._zeta = self._states[0]
        self._above = self._integrated()

    @cached_property
    def _stretch(self) -> tuple[float, float]:
        """Length over which the law varies, and how much more slowly x does than y far from ends."""
        scale = math.sqrt(math.log1p(self.product.relative_variance))
        return scale, 2 * math.asinh(math.sqrt((self.high.y - self.low.y) / scale / 2))

    def place(self, x: Array) -> Array:
        """Return y of x."""
        low, high, length = self.low, self.high, self.high.y - self.low.y
        scale, stretch = self._stretch
        if low.turns and high.turns:
            # From the nearer end, whose digits count.
            from_low, from_high = np.sin(PI / 4 * (1 + x)) ** 2, np.sin(PI / 4 * (1 - x)) ** 2
            return np.where(x < 0, low.y + length * from_low, high.y - length * from_high)
        share = (1 - x if high.turns else 1 + x) / 2
        if (high if high.turns else low).power == 2:
            far = 2 * scale * np.sinh(stretch * share / 2) ** 2
        else:
            far = length * share**3
        return high.y - far if high.turns else low.y + far

    def _slope(self, x: Array) -> Array:
        """Return dy/dx."""
        low, high, length = self.low, self.high, self.high.y - self.low.y
        scale, stretch = self._stretch
        if low.turns and high.turns:
            return length * PI / 4 * np.cos(PI / 2 * x)
        share = (1 - x if high.turns else 1 + x) / 2
        if (high if high.turns else low).power == 2:
            return scale * stretch / 2 * np.sinh(stretch * share)
        return length * 1.5 * share**2

    def x_of(self, y: Array) -> Array:
        """Return x of y inside the band."""
        low, high, length = self.low, self.high, self.high.y - self.low.y
        scale, stretch = self._stretch
        above, below = np.maximum(y - low.y, 0.0), np.maximum(high.y - y, 0.0)
        if low.turns and high.turns:
            return 4 / PI * np.arctan2(np.sqrt(above), np.sqrt(below)) - 1
        far = below if high.turns else above
        if (high if high.turns else low).power == 2:
            share = 2 / stretch * np.arcsinh(np.sqrt(far / scale / 2))
        else:
            share = np.cbrt(far / length)
        return 1 - 2 * share if high.turns else 2 * share - 1

    def _panels(self) -> list[_Panel]:
        """Return panels on which series of all unknowns have died: nodes triple, then panels halve."""
        done: list[_Panel] = []
        work: list[tuple[float, float, _Panel | None, float]] = [(-1.0, 1.0, None, math.inf)]
        while work:
            start, stop, parent, coarser = work.pop()
            found = self._panel(start, stop, parent, _FEW)
            # Coefficients fall as powers: those of many nodes are known from those of few.
            if found.enough < found.missed and found.missed_of(_MANY) < _HOPEFUL * found.enough:
                found = self._panel(start, stop, found, _MANY)
            length = abs(float(np.diff(self.place(np.array([start, stop])))[0]))
            is_short = length <= _SHORTEST * max(1.0, abs(self.low.y), abs(self.high.y))
            # Where halves are no better, what is left is rounding.
            is_noise = found.missed < _COARSEST * found.size and _GAINED * found.missed > coarser
            if found.missed <= found.enough or is_short or is_noise or len(done) + len(work) > _MOST_PANELS:
                done.append(found)
            else:
                middle = (start + stop) / 2
                work += [(start, middle, found, found.missed), (middle, stop, found, found.missed)]
        return done

    def _panel(self, start: float, stop: float, known: _Panel | None, count: int) -> _Panel:
        """Return a panel with so many nodes; three times as many as another has on it are its and others."""
        angle = PI * (np.arange(count) + 0.5) / count
        x = (start + stop) / 2 + (stop - start) / 2 * np.cos(angle)
        if known is not None and (known.start, known.stop) == (start, stop):
            new = np.arange(count) % 3 != 1
            state, lost = np.empty((known.state.shape[0], count), complex), np.empty(count, dtype=bool)
            state[:, ~new], lost[~new] = known.state, known.lost
            state[:, new], lost[new] = self._solved(self.place(x[new]), known)
        else:
            state, lost = self._solved(self.place(x), known)
        terms = np.cos(np.outer(angle, np.arange(count)))
        if lost.any():
            # A few beside a singular end are those of the series through the others.
            fewer = count - np.count_nonzero(lost)
            fit = np.linalg.lstsq(terms[~lost, :fewer], state[:, ~lost].T, rcond=None)[0]
            state[:, lost] = (terms[lost, :fewer] @ fit).T
        series = 2 / count * (state @ terms)
        series[:, 0] /= 2
        found = self.product.equation(state[:, :: count // _NOISY])
        noise = float(np.median(found.noise / np.abs(found.slope)))
        weight = float(np.abs(1 / np.sinh(state[0] / 2) ** 2).max()) / 4
        enough = max(_ACCURACY * np.abs(series[0]).max(), noise, min(_ACCURACY / max(weight, _TINY), _THIN))
        missed = float(np.abs(series[0, -max(3, count // 8) :]).max())
        return _Panel(start, stop, series, state, lost, missed, enough)

    def _solved(self, y: Array, known: _Panel | None) -> tuple[Complex, Flags]:
        """Return solutions, by Newton from those of a panel where that is good, and which are not solved."""
        if known is None:
            state, reached = self.product.solved(y, _ROUNDS)
            lost = ~reached
        else:
            state, size = self.product.polish(known.at(self.x_of(y)), y.astype(complex), _POLISHING)
            lost = ~(size < _POLISHED)
            lost |= (state[0].imag < -_BESIDE_AXIS) | (state[0].imag > PI + _BESIDE_AXIS)
            for solve, near in ((self._from_neighbours, _AT_END), (self._from_above, _NEAR_END)):
                tried = lost & ~self._is_at_singular_end(y, near)
                if tried.any():
                    found, reached = solve(known, y[tried])
                    places = np.flatnonzero(tried)[reached]
                    state[:, places], lost[places] = found[:, reached], False
        if np.count_nonzero(lost) > y.size // _MOST_LOST:
            self.product.solve(y[lost])  # it says what is not solved
        live = lost | ((state[0].imag > _DEAD) & (state[0].imag < PI - _DEAD))
        inside = np.flatnonzero(live)
        if self._is_whole and inside.size:
            none, first, last = y[~live], y[live].min(), y[live].max()
            beside = ((none > first) | self.low.diverges) & ((none < last) | self.high.diverges)
            if beside.any():
                self.empty.append(float(none[beside][np.count_nonzero(beside) // 2]))
                raise NoAnswerError("the band has a gap")
        return state, lost

    def _is_at_singular_end(self, y: Array, near: float) -> Flags:
        found = np.zeros(y.size, dtype=bool)
        for end in (self.low, self.high):
            found |= end.diverges & (np.abs(y - end.y) < near * (self.high.y - self.low.y))
        return found

    def _from_neighbours(self, known: _Panel, y: Array) -> tuple[Complex, Flags]:
        """Follow solutions along the real axis from the nodes of a panel; tell where they arrived."""
        places = self.place(known.nodes)
        nearest = np.abs(y[:, None] - places).argmin(axis=1)
        start, stop = (np.asarray(at, complex) for at in (places[nearest], y))
        found, reached = self.product.follow(known.state[:, nearest], start, stop, _ROUNDS_ALONG)
        found, size = self.product.polish(found, stop)
        return found, reached & (size < _POLISHED)

    def _from_above(self, _: _Panel, y: Array) -> tuple[Complex, Flags]:
        return self.product.solved(y, _ROUNDS)

    def _integrated(self) -> Array:
        """Return series of the mass above x within panels."""
        count = 2 * self._zeta.shape[1]
        half = (self._stops - self._starts)[:, None] / 2
        middle = (self._starts + self._stops)[:, None] / 2
        for _ in range(_DOUBLINGS):
            angle = PI * (np.arange(count) + 0.5) / count
            x = middle + half * np.cos(angle)
            zeta = self._zeta @ np.cos(np.outer(np.arange(self._zeta.shape[1]), angle))
            values = self.product.density_of(zeta) * self._slope(x) * half
            series = 2 / count * values @ np.cos(np.outer(angle, np.arange(count)))
            series[:, 0] /= 2
            if np.abs(series[:, -count // 8 :]).max() < _INTEGRATED:
                break
            # Beside a point mass densities have a peak that ζ does not have.
            count *= 2
        whole = -np.polynomial.chebyshev.chebint(series, lbnd=1, axis=1)
        masses = whole @ (-1.0) ** np.arange(whole.shape[1])
        whole[:, 0] += np.append(np.cumsum(masses[::-1])[::-1][1:], 0.0)
        return np.asarray(whole)

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

    def density_and_above(self, y: Array, *, thin: bool) -> tuple[Array, Array]:
        """Return the density at y inside the band, thin tails right or left out, and the mass of it above."""
        panel, at = self._places(y)
        zeta = _clenshaw(self._zeta, panel, at)
        density = self.product.density_of(zeta)
        if thin and (where := np.flatnonzero(self.product.is_thin(zeta))).size:
            state = np.stack([_clenshaw(part, panel[where], at[where]) for part in self._states])
            density[where] = self.product.density_at(state, y[where])
        return density, np.maximum(_clenshaw(self._above, panel, at), 0.0)

    def _places(self, y: Array) -> tuple[npt.NDArray[np.intp], Array]:
        """Return the panels of places, and where on these they are, from −1 to 1."""
        x = self.x_of(y)
        panel = np.searchsorted(self._starts[1:], x, side="right")
        start, stop = self._starts[panel], self._stops[panel]
        return panel, np.clip((2 * x - start - stop) / (stop - start), -1.0, 1.0)

    def masses(self) -> tuple[Array, Array]:
        """Return nodes y and the masses that stand for the density, also where that is weighed with λ."""
        nodes, weights = legendre_rule(_NODES)
        counts = []
        for start, stop in zip(self._starts, self._stops, strict=True):
            low, high = self.place(np.array([start, stop]))
            counts.append(min(math.ceil(max(2.0, (high - low) / _PIECE)), _MOST_PIECES))
        for doubling in range(_DOUBLINGS):
            pieces = zip(self._starts, self._stops, counts, strict=True)
            edges = [np.linspace(start, stop, (k << doubling) + 1)[:-1] for start, stop, k in pieces]
            edge = np.append(np.concatenate(edges), 1.0)
            half = np.diff(edge)[:, None] / 2
            x = (edge[:-1, None] + half + half * nodes).ravel()
            y = self.place(x)
            masses = self.density_and_above(y, thin=False)[0] * self._slope(x) * (half * weights).ravel()
            if abs(masses.sum() - self.mass) < _INTEGRATED:
                break
        return y, masses


def _clenshaw(series: npt.NDArray[_Number], rows: npt.NDArray[np.intp], x: Array) -> npt.NDArray[_Number]:
    """Return Σ series[row, k] T_k(x)."""
    last = before = np.zeros(x.shape, series.dtype)
    for k in range(series.shape[1] - 1, 0, -1):
        last, before = 2 * x * last - before + series[rows, k], last
    return np.asarray(x * last - before + series[rows, 0])
