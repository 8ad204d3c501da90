"""Haar orthogonal matrices, applied without being formed."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from isocalc.numerics.tolerances import LAPACK_BLOCK

Floats = npt.NDArray[np.floating[Any]]


def times_haar(rows: Floats, rng: Generator, scale: float = 1.0, outputs: int | None = None) -> Floats:
    """Return ``scale`` rows Oᵀ for a Haar orthogonal or semi-orthogonal matrix O.

    O is the Q of a Gaussian matrix's QR, columns times the signs of R's diagonal. Its Householder vectors
    are independent Gaussian vectors of lengths N, N − 1, ... [1]_: they are drawn and applied, without a
    factorisation. A matrix with fewer rows than columns is the transpose of one with more.

    Parameters
    ----------
    rows : array, shape (k, N), float64 or float32
    rng : Generator
        Draws in the precision of the rows.
    scale : float
    outputs : int, optional
        Number of rows M of O; ``None``: N.

    Returns
    -------
    array, shape (k, M)

    References
    ----------
    .. [1] Stewart, SIAM J. Numer. Anal. 17 (1980) 403.
    """
    from scipy.linalg.lapack import dormqr, sormqr  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    count, inputs = rows.shape
    outputs = inputs if outputs is None else outputs
    vectors, tau, signs = _reflectors(min(inputs, outputs), max(inputs, outputs), rng, rows.dtype)
    signs *= scale
    if outputs < inputs:
        operands, transposed = rows.copy(), "T"
    else:
        operands, transposed = np.zeros((count, outputs), rows.dtype), "N"
        np.multiply(rows, signs, out=operands[:, :inputs])
    apply = dormqr if rows.dtype == np.float64 else sormqr
    work = LAPACK_BLOCK * (count + LAPACK_BLOCK + 1)
    image, _, _ = apply("L", transposed, vectors.T, tau, operands.T, work, overwrite_c=True)
    product: Floats = image.T
    return product[:, :outputs] * signs if outputs < inputs else product


def _reflectors(
    count: int, size: int, rng: Generator, dtype: "np.dtype[Any]"
) -> tuple[Floats, Floats, Floats]:
    """Return Householder vectors in rows (each 1 on the diagonal), their factors τ, and the signs of R."""
    vectors = np.triu(rng.standard_normal((count, size), dtype=dtype))
    head = vectors.diagonal().copy()
    beta = -np.copysign(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), head)
    vectors /= (head - beta)[:, None]
    return vectors, (beta - head) / beta, np.copysign(np.ones_like(beta), beta)
