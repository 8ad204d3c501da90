"""Nodes and masses that stand for a continuous law: Gauss quadrature on panels that resolve it."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from isocalc.gaussian import legendre_rule

Array = npt.NDArray[np.float64]

_NODES = 16
_FIRST_PANELS = 4
_ROUNDS = 40
_ACCURACY = 1e-12
# The mean of λ, which rounding far in the upper tail reaches, in units of that.
_ACCURACY_OF_MEAN = 1e-2
_SMALLEST, _MOST_PANELS = 1e-8, 1000
_BESIDE = 1e-15


def mass_rule(
    density_at: Callable[[Array], Array],
    survival_at: Callable[[Array], Array],
    intervals: Sequence[tuple[float, float]],
    knots: Array,
    log_mean: float,
) -> tuple[Array, Array]:
    """Return nodes y and the masses they carry.

    Parameters
    ----------
    density_at : callable
        y to the density at y.
    survival_at : callable
        y to the mass of the density above y, asked for beside places where that is infinite.
    intervals : sequence of (float, float)
        Where the density is; square roots and their inverses at the ends do no harm.
    knots : array
        Values of y between which mass is, however narrow the place: ends of panels to begin with.
    log_mean : float
        The mean of e^(y − log_mean) is resolved as well as the mass.

    Returns
    -------
    y, masses : arrays
    """
    x, weights = legendre_rule(_NODES)
    last_terms = weights * _legendre(x)[-2:] * (2 * np.arange(_NODES - 2, _NODES)[:, None] + 1) / 2
    panels = np.array([(*ends, *part) for ends in intervals for part in pairwise(_angles(ends, knots))])
    nodes, masses = [], []
    for _ in range(_ROUNDS):
        low, high, start, stop = panels.T[:, :, None]
        angle = (start + stop) / 2 + (stop - start) / 2 * x
        y = _place((low, high), angle)
        density = density_at(y.ravel()).reshape(y.shape)
        values = density * (high - low) / 2 * np.sin(angle) * (stop - start) / 2
        felt = values * np.maximum(1, _ACCURACY_OF_MEAN * np.exp(np.minimum(y - log_mean, 100)))
        unresolved = np.abs(felt @ last_terms.T).sum(axis=1) > _ACCURACY
        smallest = unresolved & ((stop - start)[:, 0] <= _SMALLEST)
        if unresolved.sum() > _MOST_PANELS:  # a density of rounding
            smallest = unresolved.copy()
        unresolved &= ~smallest
        if smallest.any():
            nodes.append(y[smallest].mean(axis=1))
            ends = _around(panels[smallest], np.array(intervals)[:, 0])
            masses.append(-np.diff(survival_at(ends.ravel()).reshape(ends.shape), axis=0)[0])
        done = ~unresolved & ~smallest
        nodes.append(y[done].ravel())
        masses.append((values * weights)[done].ravel())
        if not unresolved.any():
            break
        low, high, start, stop = panels[unresolved].T
        middle = (start + stop) / 2
        halves = (low, high, start, middle), (low, high, middle, stop)
        panels = np.concatenate([np.stack(half, axis=1) for half in halves])
    return np.concatenate(nodes), np.concatenate(masses)


def _angles(ends: tuple[float, float], knots: Array) -> Array:
    """Return where panels begin and end on an interval."""
    low, high = ends
    inside = knots[(knots > low) & (knots < high)]
    even = np.linspace(0.0, np.pi, _FIRST_PANELS + 1)
    return np.unique(np.append(even, 2 * np.arctan2(np.sqrt(inside - low), np.sqrt(high - inside))))


def _place(ends: Sequence[Array], angle: Array) -> Array:
    """Return where between the ends of an interval an angle from 0 to π stands for."""
    low, high = ends
    from_low, from_high = np.sin(angle / 2) ** 2, np.cos(angle / 2) ** 2
    place: Array = np.where(from_low < 0.5, low + (high - low) * from_low, high - (high - low) * from_high)
    return place


def _around(panels: Array, lows: Array) -> Array:
    """Return the ends of panels, shape (2, n), those at the end of an interval a little outside of it.

    Where two intervals touch, both end below that place.
    """
    low, high, start, stop = panels.T
    beside = _BESIDE * np.maximum(1, np.abs(panels.T[:2]))
    first, last = _place((low, high), start), _place((low, high), stop)
    outside = np.where(np.isin(high, lows), -1, 1) * (stop == np.pi)
    return np.stack((first - beside[0] * (start == 0), last + beside[1] * outside))


def _legendre(x: Array) -> Array:
    """Return the Legendre polynomials of degree 0 to len(x) − 1, one a row."""
    rows = [np.ones_like(x), x]
    for k in range(2, x.size):
        rows.append(((2 * k - 1) * x * rows[-1] - (k - 1) * rows[-2]) / k)
    return np.stack(rows)
