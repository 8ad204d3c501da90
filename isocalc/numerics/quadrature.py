"""Gauss-Legendre rules, and panels of the normal density that resolve a length."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from isocalc.numerics.tolerances import MOST_PANELS_OF_ONE_LENGTH

Array = npt.NDArray[np.float64]


@cache
def legendre_rule(count: int = 16) -> tuple[Array, Array]:
    """Return nodes and weights of Gauss-Legendre quadrature on [-1, 1].

    `numpy.polynomial` has them too, and takes some 5 ms to import, half of what averages take to compute.
    """
    x = np.cos(np.pi * (np.arange(count, 0, -1) - 0.25) / (count + 0.5))
    for _ in range(5):
        previous, value = np.ones_like(x), x
        for k in range(2, count + 1):
            previous, value = value, ((2 * k - 1) * x * value - (k - 1) * previous) / k
        slope = count * (previous - x * value) / (1 - x * x)
        x = x - value / slope
    return x, 2 / ((1 - x * x) * slope**2)


def panel_rule(edges: Array) -> tuple[Array, Array]:
    """Return nodes and weights of the normal density in the panels between sorted edges.

    Parameters
    ----------
    edges : array, shape (..., k + 1)
        Sorted along the last axis; panels may be empty.

    Returns
    -------
    z, weights : arrays, shape (..., 16 k)
    """
    x, weights = legendre_rule()
    half = np.diff(edges)[..., None] / 2
    z = (edges[..., :-1, None] + half + half * x).reshape(*edges.shape[:-1], -1)
    weights = (half * weights).reshape(z.shape) * np.exp(-z * z / 2)
    return z, weights / math.sqrt(2 * math.pi)


def central_edges(count: int) -> Array:
    """Return edges of so many panels on either side of 0, over each of which 16 nodes resolve the density.

    A panel is 1.5 long: six reach to where the normal density is below 1e-18, seven to 1e-24.
    """
    return 1.5 * np.arange(-float(count), count + 1)


def uniform_edges(length: float, reach: float) -> Array:
    """Return multiples of a length from −reach to ``reach``, but no more than 10,000 on either side."""
    count = math.ceil(min(reach / length, MOST_PANELS_OF_ONE_LENGTH))
    return np.asarray(length * np.arange(-count, count + 1))


def graded_edges(reach: float) -> Array:
    """Return ±reach/4, ±reach/16 ... down to 1e-16 of it: 16 nodes follow any power of x in such panels."""
    steps = reach * 4.0 ** -np.arange(1.0, 27.0)
    return np.concatenate((-steps, steps[::-1]))


def doubling_edges(scale: float, reach: float) -> Array:
    """Return ±scale, ±2 scale, ±4 scale ... up to ``reach``; nothing where the scale is beyond it."""
    if not scale < reach:
        return np.empty(0)
    steps = scale * 2.0 ** np.arange(math.ceil(math.log2(reach / scale)))
    return np.concatenate((-steps[::-1], steps))


def window_rule(longest: float, window: float) -> tuple[Array, Array]:
    """Return nodes and weights of a normal law of mean 0, good for waves that panels of a length resolve."""
    # The trapezoidal rule sees no wave of less than two steps a period, which such panels do not resolve.
    w = uniform_edges(0.375 * longest, 8.7 * window)
    density = np.exp(-0.5 * (w / window) ** 2)
    return w, density / density.sum()


def far_panels(near: float, reach: float) -> tuple[Array, Array]:
    """Return nodes and weights of panels from ``near``, quadrupling up to 1.5, to ``reach``."""
    growing = near * 4.0 ** np.arange(max(0, math.ceil(math.log(1.5 / near, 4))))
    even = np.arange(1.5, reach, 1.5)
    edges = np.concatenate((growing, even[even > growing[-1:].max(initial=near)], [reach]))
    edges = edges if growing.size else np.append(near, edges)
    x, weights = legendre_rule()
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half + half * x).ravel(), (half * weights).ravel()
