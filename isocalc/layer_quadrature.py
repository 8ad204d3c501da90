"""A few layers that stand for many: Gauss quadrature of the variances of a network's pre-activations.

A network's law depends on its layers through sums over them of functions that are analytic in log q, with
singularities 2 to 3 away from the real axis. Sums over the layers whose q lie within a factor of e⁶ are
replaced by the Gauss quadrature of the discrete measure that those layers are, exact for polynomials in log
q. Where φ is as good as straight on either side of 0 they are analytic in √q, and where it bends next to 0
only, seen from far out, in 1/√q: one quadrature does for all such layers.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]

_SPAN = 6.0
_STRIP = 2.0
_DIGITS = math.log(1e15)
# Nodes for a √q up to where φ is straight: the next singularity is 8 times as far away.
_NODES_NEAR_ZERO = 7
_SAME = 4 * np.finfo(float).eps


def few_layers(
    q: Array,
    straight: float = 0.0,
    far: float = math.inf,
    to_keep: Callable[[Array], Whole] | None = None,
) -> tuple[Array, Array]:
    """Return variances and how many layers each stands for.

    Parameters
    ----------
    q : array, shape (L,)
        Variances of all layers, at least 0.
    straight : float
        Up to this √q sums are polynomials in √q.
    far : float
        From this √q on they are polynomials in 1/√q.
    to_keep : callable or None
        Picks out of an array of distinct variances those that are to stand for themselves.

    Returns
    -------
    q, counts : arrays
        The distinct variances, or fewer and fractional counts where there are many.
    """
    q, counts = _distinct(np.sort(q))
    kept = np.zeros(q.size, dtype=bool)
    kept[q == 0] = True
    if to_keep is not None and q.size > nodes_for(_SPAN):
        kept[to_keep(q)] = True
    parts = [(q[kept], counts[kept])]
    near = ~kept & (q < straight * straight)
    if near.any():
        sigma, weights = gauss_of(np.sqrt(q[near]), counts[near], _NODES_NEAR_ZERO)
        parts.append((sigma**2, weights))
    beyond = ~kept & ~near & (q > far * far)
    if beyond.any():
        bends, weights = gauss_of(1 / np.sqrt(q[beyond][::-1]), counts[beyond][::-1], _NODES_NEAR_ZERO)
        parts.append((1 / bends / bends, weights))
    between = ~kept & ~near & ~beyond
    log_q, its_counts = np.log(q[between]), counts[between]
    for cluster in _clusters(log_q):
        few, weights = gauss_of(log_q[cluster], its_counts[cluster], nodes_for(float(np.ptp(log_q[cluster]))))
        parts.append((np.exp(few), weights))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def nodes_for(span: float) -> int:
    """Return the nodes that leave an error of 1e-15 for log q in an interval of this length."""
    # The error falls with the sum of the semi-axes of the largest ellipse that the strip lets in.
    return 1 + math.ceil(0.5 * _DIGITS / math.asinh(2 * _STRIP / span)) if span else 1


def gauss_of(x: Array, weights: Array, count: int) -> tuple[Array, Array]:
    """Return the Gauss quadrature of a discrete measure: itself where it is short enough already.

    Parameters
    ----------
    x, weights : arrays, shape (n,)
        Distinct points, ascending, and their masses.
    count : int
        Nodes.
    """
    if x.size <= count:
        return x, weights
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    matrix = _jacobi((x - middle) / half, weights, count)
    nodes, vectors = np.linalg.eigh(matrix)
    return middle + half * nodes, weights.sum() * vectors[0] ** 2


def _jacobi(x: Array, weights: Array, count: int) -> Array:
    """Return the Jacobi matrix of a measure, by Lanczos with full reorthogonalisation."""
    basis = np.empty((count, x.size))
    matrix = np.zeros((count, count))
    basis[0] = np.sqrt(weights / weights.sum())
    for k in range(count):
        vector = x * basis[k]
        matrix[k, k] = vector @ basis[k]
        if k + 1 < count:
            for _ in range(2):
                vector -= basis[: k + 1].T @ (basis[: k + 1] @ vector)
            matrix[k, k + 1] = matrix[k + 1, k] = np.linalg.norm(vector)
            basis[k + 1] = vector / matrix[k, k + 1]
    return matrix


def _distinct(q: Array) -> tuple[Array, Array]:
    """Return the distinct values of a sorted array, up to rounding, and how often each occurs."""
    first = np.concatenate(([True], np.diff(q) > _SAME * q[1:]))
    starts = np.flatnonzero(first)
    return q[starts], np.diff(np.append(starts, q.size)).astype(float)


def _clusters(log_q: Array) -> list[slice]:
    """Cut a sorted array of log q into pieces of bounded span."""
    pieces, start = [], 0
    while start < log_q.size:
        stop = int(np.searchsorted(log_q, log_q[start] + _SPAN, side="right"))
        pieces.append(slice(start, stop))
        start = stop
    return pieces
