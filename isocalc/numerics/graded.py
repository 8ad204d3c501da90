"""Products of many matrices, kept as Q·diag(e^d)·T, and all their singular values to high relative accuracy.

The stratification of quantum Monte Carlo: Bai, Lee, Li, Xu, Linear Algebra Appl. 435 (2011) 659.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.numerics.tolerances import KEPT, LAPACK_BLOCK, MARGIN, ROUNDINGS, UNEVEN

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

Found = tuple[Array, float, Callable[[], Array]]


@dataclass(frozen=True)
class Factors:
    """Xᵀ = Q R for the transposed product X of some layers, its rows in an order of falling size.

    Attributes
    ----------
    order : array of int, shape (k,)
        Which row of X each column of R stands for.
    log_sizes : array, shape (k,)
        Logarithm of the size of those rows of X together with what stands before them, falling.
    upper : array, shape (r, k)
        R for rows of length 1, upper trapezoidal.
    condition : float
        Of R, about its condition number; ``nan`` where it is not square.
    q_rows : callable
        Returns Qᵀ, shape (r, N).
    """

    order: npt.NDArray[np.intp]
    log_sizes: Array
    upper: Array
    condition: float
    q_rows: Callable[[], Array]


class GradedProduct:
    """Q·diag(e^d)·T, less the Q, which is part of the product that goes on.

    Parameters
    ----------
    inputs : int
        Number of columns N_0 of the whole product.

    Attributes
    ----------
    log_scale : array, shape (k,)
        d, about falling.
    right : array, shape (k, N_0) or None
        T, well conditioned; ``None``: the unit matrix.
    """

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.log_scale: Array = np.zeros(inputs)
        self.right: Array | None = None

    @property
    def rank(self) -> int:
        """Number of rows of T."""
        return self.log_scale.size

    @property
    def begun(self) -> bool:
        """Whether T is something other than the unit matrix."""
        return self.right is not None

    def factors(self, product: Array, open_gates: Mask | None, *, by_gram: bool) -> Factors | None:
        """Factorise the transposed product of the layers since the last `absorb`.

        Parameters
        ----------
        product : array, shape (k, N_l)
        open_gates : array of bool, shape (N_l,), or None
            Columns that are not zero by structure; ``None``: all.
        by_gram : bool
            Whether the Gram matrix serves, as it does at half the cost for condition numbers below 10⁷: Q is
            then well conditioned, and orthogonal less exactly.

        Returns
        -------
        Factors or None
            ``None`` where the Gram matrix does not serve, or the product is 0.
        """
        sizes = np.sqrt(np.einsum("ij,ij->i", product, product))
        if not sizes.any():
            return None
        with np.errstate(divide="ignore"):
            log_sizes = np.log(sizes) + self.log_scale
        order = np.argsort(-log_sizes, kind="stable")[: np.count_nonzero(sizes)]
        ordered = product[order] / sizes[order, None]
        found = _by_gram(ordered) if by_gram else _by_reflectors(ordered, open_gates)
        return found and Factors(order, log_sizes[order], *found)

    def vanish(self) -> None:
        """Make the product 0."""
        self.log_scale = np.empty(0)

    def narrow(self, product: Array, row_sizes: Array) -> Array | None:
        """Leave out the directions that one layer sends to 0, which its weights decide and no gate shows.

        Parameters
        ----------
        product : array, shape (k, N_l)
            Qᵀ sent through the layer.
        row_sizes : array, shape (N_l,)
            Lengths of the rows of its Jacobian: what remains of a zero is rounding of the weights beside it,
            however small the gate.

        Returns
        -------
        array, shape (r, N_l), or None
            Qᵀ of the r directions that are left, sent through the layer; ``None``: the rank is full.
        """
        seen = row_sizes > 0
        scaled = product[:, seen] / row_sizes[seen]
        noise = ROUNDINGS * max(product.shape)
        s = np.linalg.svd(scaled, compute_uv=False) if seen.any() else np.zeros(1)
        rank = int(np.count_nonzero(s > noise * s[0]))
        if rank == s.size:
            return None
        if rank == 0:
            return np.empty((0, product.shape[1]))
        basis = np.linalg.svd(scaled, full_matrices=False)[0][:, :rank]
        basis[np.sqrt(np.einsum("ij,ij->i", basis, basis)) <= noise] = 0.0
        found = self.factors(basis, None, by_gram=False)
        assert found is not None  # noqa: S101 - the basis is not 0
        sizes = found.log_sizes - self.log_scale[found.order]
        found.upper[np.abs(found.upper) * np.exp(sizes) <= noise] = 0.0
        self.absorb(found, 0.0)
        left: Array = found.q_rows() @ (basis.T @ product)
        return left

    def absorb(self, factors: Factors, log_factor: float) -> None:
        """Make the factors part of the product; what goes on is its Qᵀ.

        Parameters
        ----------
        factors : Factors
        log_factor : float
            Logarithm of what the product that was factorised had been divided by.
        """
        upper, sizes = factors.upper, factors.log_sizes
        with np.errstate(divide="ignore"):
            logs = np.log(np.abs(upper)) + sizes
        log_scale = logs.max(axis=1)
        with np.errstate(under="ignore"):
            triangle = np.copysign(np.exp(logs - log_scale[:, None]), upper)
        self.log_scale = log_scale + log_factor
        if self.right is None:
            self.right = np.zeros((len(triangle), self.inputs))
            self.right[:, factors.order] = triangle
        else:
            self.right = _triangle_times(triangle, self.right[factors.order])


def _by_gram(ordered: Array) -> Found | None:
    """Factorise by Cholesky, or return None where the Gram matrix is not positive in double precision."""
    from scipy.linalg.blas import dtrsm  # noqa: PLC0415 - loading SciPy takes a quarter of a second
    from scipy.linalg.lapack import dpotrf  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    upper, failed = dpotrf((ordered @ ordered.T).T, overwrite_a=True)
    if failed:
        return None

    def q_rows() -> Array:
        q: Array = dtrsm(1.0, upper, ordered.T, side=1, overwrite_b=True)
        return q.T

    return upper, _condition(upper), q_rows


def _by_reflectors(ordered: Array, open_gates: Mask | None) -> Found:
    """Factorise by Householder's QR; uneven columns are sorted, so that small ones keep their accuracy."""
    from scipy.linalg.lapack import dgeqrf, dorgqr  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    count, width = ordered.shape
    kept = np.arange(width) if open_gates is None else np.flatnonzero(open_gates)
    columns = np.abs(ordered).max(axis=0)
    if kept.size == width and columns.min() * UNEVEN > columns.max():
        matrix = ordered
    else:
        kept = kept[np.argsort(-columns[kept], kind="stable")]
        matrix = ordered[:, kept]
    packed, tau, _, _ = dgeqrf(matrix.T, lwork=LAPACK_BLOCK * count, overwrite_a=True)
    rank = tau.size
    upper = np.triu(packed[:rank])

    def q_rows() -> Array:
        q, _, _ = dorgqr(packed[:, :rank], tau, lwork=LAPACK_BLOCK * rank, overwrite_a=True)
        rows = np.zeros((rank, width))
        rows[:, kept] = q.T
        return rows

    return upper, _condition(upper) if rank == count else math.nan, q_rows


def _condition(upper: Array) -> float:
    """Return a condition number of a triangle of unit columns: of the 1-norm, whose excess is about k."""
    from scipy.linalg.lapack import dtrcon  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    reciprocal, _ = dtrcon(upper)
    return max(1.0, 1 / (reciprocal * len(upper))) if reciprocal else math.inf


def _triangle_times(triangle: Array, matrix: Array) -> Any:
    from scipy.linalg.blas import dtrmm  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    if triangle.shape[0] < triangle.shape[1]:
        return triangle @ matrix
    return dtrmm(1.0, triangle, matrix.T, side=1, trans_a=1, overwrite_b=True).T


def log_singular_values(log_scale: Array, right: Array) -> Array:
    """Return the logarithms of the singular values of diag(e^d)·T.

    T = L Q, rows in the order of falling d, leaves the triangle diag(e^d)·L, whose singular values depend on
    the rows of similar d only: within a window they are found by one-sided Jacobi rotations [1]_, which are
    accurate for a well-conditioned matrix times any diagonal one.

    Parameters
    ----------
    log_scale : array, shape (k,)
        d, finite, any range.
    right : array, shape (k, N)
        T, well conditioned, k ≤ N.

    Returns
    -------
    array, shape (k,)
        Ascending.

    Raises
    ------
    NoAnswerError
        The rotations did not converge.

    References
    ----------
    .. [1] Drmač, Veselić, SIAM J. Matrix Anal. Appl. 29 (2008) 1322 and 1343; LAPACK's dgejsv.
    """
    from scipy.linalg.lapack import dgeqrf  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    order = np.argsort(-log_scale, kind="stable")
    scale = log_scale[order]
    packed, _, _, _ = dgeqrf(right[order].T, lwork=LAPACK_BLOCK * scale.size, overwrite_a=True)
    transposed = np.triu(packed[: scale.size])
    log_s = np.empty(scale.size)
    for window, kept in _windows(scale):
        middle = (scale[window.start] + scale[window.stop - 1]) / 2
        graded = transposed[window, window] * np.exp(scale[window] - middle)
        log_s[kept] = _jacobi(graded)[kept.start - window.start : kept.stop - window.start] + middle
    return np.sort(log_s)


def _windows(falling: Array) -> Iterator[tuple[slice, slice]]:
    """Yield overlapping windows on falling numbers, each with the part that it decides."""
    rising, count = -falling, falling.size
    if rising[-1] - rising[0] <= KEPT + 2 * MARGIN:
        yield slice(0, count), slice(0, count)
        return
    start = 0
    while start < count:
        stop = int(np.searchsorted(rising, rising[start] + KEPT, side="right"))
        before = int(np.searchsorted(rising, rising[start] - MARGIN, side="left"))
        after = int(np.searchsorted(rising, rising[stop - 1] + MARGIN, side="right"))
        yield slice(before, after), slice(start, stop)
        start = stop


def _jacobi(matrix: Array) -> Array:
    """Return the logarithms of the singular values of a matrix of graded columns, descending."""
    from scipy.linalg.lapack import dgejsv  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    s, _, _, work, _, failed = dgejsv(matrix, joba=0, jobu=3, jobv=3, jobr=0, jobt=0, jobp=0)
    if failed:
        raise NoAnswerError("the singular values of a simulation were not found: Jacobi did not converge")
    with np.errstate(divide="ignore"):
        log_s: Array = np.log(s) + np.log(work[0]) - np.log(work[1])
    return log_s
