"""A law that is costly to solve, tabulated: Chebyshev interpolation on panels that resolve it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.numerics.tolerances import FIRST_PANELS, MOST_PANELS, PANEL_ACCURACY, PANEL_NODES

Array = npt.NDArray[np.float64]
Solver = Callable[[Array], tuple[Array, Array]]


class _Rule(NamedTuple):
    """Nodes in [−1, 1], the matrix from values to Chebyshev coefficients, and weights of integration."""

    nodes: Array
    coefficients: Array
    weights: Array


def _rule() -> _Rule:
    angle = np.pi * (np.arange(PANEL_NODES, 0, -1) - 0.5) / PANEL_NODES
    order = np.arange(PANEL_NODES)
    matrix = 2 / PANEL_NODES * np.cos(order[:, None] * angle)
    matrix[0] /= 2
    integrals = np.where(order % 2, 0.0, 2 / (1.0 - order**2 + (order % 2)))
    return _Rule(np.cos(angle), matrix, integrals @ matrix)


class PanelTable:
    """Density and survival function of y on an interval that carries a density.

    Panels are of the angle γ from 0 to π with y = low + (high − low) sin²(γ/2), in which densities that end
    in square roots are smooth. Panels on which a density is not resolved are halved.

    Parameters
    ----------
    solver : callable
        y, falling, to the density at y and the mass above it.
    low, high : float
        Ends of the interval.

    Attributes
    ----------
    missed : float
        Mass by which the table may be off where panels were not halved any further.
    """

    def __init__(self, solver: Solver, low: float, high: float) -> None:
        self.low, self.high = low, high
        self._solver, self._rule = solver, _rule()
        self.missed = 0.0
        edges = np.linspace(0.0, np.pi, FIRST_PANELS + 1)
        wanted = np.column_stack((edges[:-1], edges[1:]))
        found: list[Array] = []
        for left in range(40, 0, -1):  # halves of panels are points before
            density, survival, tail = self._solved(wanted)
            done: npt.NDArray[np.bool_] = tail <= PANEL_ACCURACY
            if left == 1 or sum(map(len, found)) + len(wanted) > MOST_PANELS:
                self.missed += float(tail[~done].sum())
                done[:] = True
            found.append(np.column_stack((wanted, density, survival))[done])
            if done.all():
                break
            start, stop = wanted[~done].T
            middle = (start + stop) / 2
            wanted = np.concatenate((np.column_stack((start, middle)), np.column_stack((middle, stop))))
        panels = np.concatenate(found)
        self._panels = panels[np.argsort(panels[:, 0])]

    @property
    def ends(self) -> tuple[float, float]:
        """Masses above the lower and above the upper end."""
        low, high = self(np.array([self.low, self.high]))[1].tolist()
        return low, high

    def _solved(self, panels: Array) -> tuple[Array, Array, Array]:
        """Return values at the nodes of panels, shape (k, nodes), and the mass that is not resolved."""
        y, growth = self._places(panels)
        order = np.argsort(-y, axis=None)
        values = np.empty((2, y.size))
        values[:, order] = self._solver(y.ravel()[order])
        density, survival = values.reshape(2, *y.shape)
        tail = np.abs((density * growth) @ self._rule.coefficients[-2:].T).sum(axis=1)
        return density, survival, tail

    def _places(self, panels: Array) -> tuple[Array, Array]:
        """Return y at the nodes of panels and dy over the nodes' variable, shape (k, nodes)."""
        start, stop = panels[:, :2].T[..., None]
        length = self.high - self.low
        angle = (start + stop) / 2 + (stop - start) / 2 * self._rule.nodes
        from_low, from_high = np.sin(angle / 2) ** 2, np.cos(angle / 2) ** 2
        y = np.where(from_low < from_high, self.low + length * from_low, self.high - length * from_high)
        return y, length / 2 * np.sin(angle) * (stop - start) / 2

    def masses(self) -> tuple[Array, Array]:
        """Return nodes y and the masses that they stand for."""
        y, growth = self._places(self._panels)
        masses = self._panels[:, 2 : 2 + PANEL_NODES] * growth * self._rule.weights
        return y.ravel(), masses.ravel()

    def __call__(self, y: Array) -> tuple[Array, Array]:
        """Return density and survival at y, shape (n,), all inside the interval."""
        above, below = np.maximum(y - self.low, 0.0), np.maximum(self.high - y, 0.0)
        angle = 2 * np.arctan2(np.sqrt(above), np.sqrt(below))
        place = np.searchsorted(self._panels[:, 0], angle, side="right") - 1
        panels = self._panels[np.maximum(place, 0)]
        start, stop = panels[:, 0], panels[:, 1]
        x = np.clip((2 * angle - start - stop) / (stop - start), -1.0, 1.0)
        values = panels[:, 2:].reshape(y.size, 2, PANEL_NODES) @ self._rule.coefficients.T
        density, survival = _clenshaw(values, x)
        return np.maximum(density, 0.0), survival


def _clenshaw(series: Array, x: Array) -> Array:
    """Return Σ series[i, k, j] T_j(x_i), shape (2, n)."""
    last = before = np.zeros(series.shape[:2])
    for j in range(PANEL_NODES - 1, 0, -1):
        last, before = 2 * x[:, None] * last - before + series[..., j], last
    return np.asarray((x[:, None] * last - before + series[..., 0]).T)
