"""A gate's nodes in order of |d|, with sums over the small and the large ones.

Where |dt| is small or large, averages over nodes are series in t or 1/t with coefficients that do not depend
on t. So an average takes only the nodes between: a tenth of all where gates stretch over hundreds of decades.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Numbers = npt.NDArray[Any]  # real or complex

# |log |dt|| from where on two terms of a series are enough, and one where squares of t overflow.
REACH, REACH_FAR = 18.5, 37.0
# log |t| from which on squares overflow, and what is then taken off it and added to log d.
FAR, SHIFT = 340.0, 300.0
_INVERTIBLE = -708.0


class SortedGate(NamedTuple):
    """Open gates, ascending in |d|."""

    log_d: Array
    """log |d|, shape (n,)"""
    d: Complex
    weights: Complex
    below: Complex
    """Sums of w, w d and w d² over the nodes before each, shape (3, n + 1)"""
    beyond: Complex
    """Sums of w, w/d, w/d² and w log d over each and the nodes after it, shape (4, n + 1)"""

    def between(self, low: float, high: float) -> tuple[int, int]:
        """Return where nodes begin and end that are neither small nor large for log |t| in [low, high]."""
        reach = REACH_FAR if high >= FAR else REACH
        first, last = np.searchsorted(self.log_d, (-high - reach, -low + reach))
        return int(first), int(last)


def sorted_gate(d: Numbers, weights: Numbers) -> SortedGate:
    """Sort the nodes of a gate, closed ones left out.

    Parameters
    ----------
    d, weights : arrays, shape (n,)
        Im d <= 0.
    """
    order = np.argsort(np.abs(d), kind="stable")
    order = order[d[order] != 0]
    d, weights = d[order].astype(complex), weights[order].astype(complex)
    # The side of the cut of log(1 − dt) that limits from below are on.
    d.imag[d.imag == 0] = -0.0
    log_d = np.log(np.abs(d))
    inverse = np.zeros_like(d)
    np.divide(1, d, out=inverse, where=log_d > _INVERTIBLE)
    inverse_square = np.where(log_d > -FAR, inverse, 0) ** 2
    below = np.zeros((3, d.size + 1), dtype=complex)
    below[:, 1:] = np.cumsum([weights, weights * d, weights * d * d], axis=1)
    beyond = np.zeros((4, d.size + 1), dtype=complex)
    after = weights, weights * inverse, weights * inverse_square, weights * np.log(d)
    beyond[:, :-1] = np.cumsum([part[::-1] for part in after], axis=1)[:, ::-1]
    return SortedGate(log_d, d, weights, below, beyond)
