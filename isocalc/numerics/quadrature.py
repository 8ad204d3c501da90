"""Gauss-Legendre rules, and panels of the normal density that resolve a length."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_NODES = 16


@cache
def legendre_rule(count: int = _NODES) -> tuple[Array, Array]:
    """Return nodes and weights of Gauss-Legendre quadrature on [-1, 1]."""
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


def doubling_edges(scale: float, reach: float) -> Array:
    """Return ±scale, ±2 scale, ±4 scale ... up to ``reach``; nothing where the scale is beyond it."""
    if not scale < reach:
        return np.empty(0)
    steps = scale * 2.0 ** np.arange(math.ceil(math.log2(reach / scale)))
    return np.concatenate((-steps[::-1], steps))
