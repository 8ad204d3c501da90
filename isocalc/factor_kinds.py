"""What compiled code knows of a free product: numbers and arrays. Imports nothing but numpy."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]  # real or complex

GAUSSIAN, ORTHOGONAL, NARROWING, RESIDUAL_GAUSSIAN, RESIDUAL_ORTHOGONAL = range(5)
UNIVERSAL, SMOOTH, BERNOULLI, ROTATION = range(5, 9)
_NO_NODES = np.empty((4, 0))


class FactorArrays(NamedTuple):
    """A factor for compiled code."""

    kind: int
    """One of the constants of this module"""
    first: float
    second: float = 0.0
    """Its parameters: of a layer share and growth, of a residual layer log variance, of a closed form c"""
    nodes: Array = _NO_NODES
    """Re d, Im d, Re and Im of the weights of open gates, shape (4, n)"""
    closed: float = 0.0
    """Share of closed gates"""
    at_zero: float = 0.0
    """Mass at 0 of the law that its unknown is one-to-one with"""


class FreeProductArrays(NamedTuple):
    """Factors one after another."""

    kinds: Whole
    parameters: Array
    """First, second, closed and at_zero of each, shape (factors, 4)"""
    nodes: Array
    """Of all gates, shape (4, n)"""
    ends: Whole
    """Where the nodes of each factor begin, and where the last end"""
    rows: Whole
    """Where the unknowns of each factor begin in a state, after ζ, and where the last end"""
    counts: Array
    at_zero: float
    """Mass at λ = 0"""


def gate_nodes(d: Numbers, weights: Numbers) -> Array:
    """Return the nodes of a gate as `FactorArrays` has them."""
    return np.stack((d.real, d.imag + 0.0, weights.real, weights.imag + 0.0))
