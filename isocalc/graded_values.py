"""Singular values of diag(e^d)·T to high relative accuracy, whatever the range of d."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError

Array = npt.NDArray[np.float64]

# In units of d: singular values so far apart do not see one another, and e^±(KEPT/2 + MARGIN) is a double.
_KEPT, _MARGIN = 400.0, 60.0
_BLOCK = 64


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
    packed, _, _, _ = dgeqrf(right[order].T, lwork=_BLOCK * scale.size, overwrite_a=True)
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
    if rising[-1] - rising[0] <= _KEPT + 2 * _MARGIN:
        yield slice(0, count), slice(0, count)
        return
    start = 0
    while start < count:
        stop = int(np.searchsorted(rising, rising[start] + _KEPT, side="right"))
        before = int(np.searchsorted(rising, rising[start] - _MARGIN, side="left"))
        after = int(np.searchsorted(rising, rising[stop - 1] + _MARGIN, side="right"))
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
