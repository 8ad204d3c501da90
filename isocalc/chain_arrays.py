"""Paths of gates as compiled code takes them."""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

# Paths that are computed side by side: their number is a multiple of it.
LANES = 32


class ChainArrays(NamedTuple):
    """A chain of G groups of layers and n paths through it; a group is so many layers with the same gates.

    Attributes
    ----------
    gates : array, shape (G, n)
        φ'² of each path in each group.
    weights : array, shape (n,)
        Probabilities of the paths, of sum 1.
    on_output : bool
        Whether gates stand after the weights (post-activation) or before them.
    variances : array, shape (G,)
        Variance v of the weights of a layer, over the square of the weight of the skip connection, times the
        number of layers in the group.
    counts : array, shape (G,)
        That number.
    orthogonal : bool
        Whether weights are orthogonal.
    """

    gates: Array
    weights: Array
    on_output: bool
    variances: Array
    counts: Array
    orthogonal: bool


class ChainRoom(NamedTuple):
    """Room for one pass over ``LANES`` paths at a time.

    Attributes
    ----------
    p, q : arrays, shape (G,)
        p/e² and q/d² of each group.
    r : array, shape (2, LANES)
        r at the output, real and imaginary part.
    memory : array, shape (4, G, LANES)
        r before the gates of each group and 1/(1 − q r), real and imaginary parts.
    state : array, shape (4, LANES)
        s and ω on the way back, real and imaginary parts.
    sums : array, shape (4, G + 1, LANES)
        Averages, lane by lane: e² s ω and d² r ω of each group, and in the last row ω at the output.
    """

    p: Complex
    q: Complex
    r: Array
    memory: Array
    state: Array
    sums: Array

    @classmethod
    def of(cls, chain: ChainArrays) -> Self:
        """Return room for the passes over a chain."""
        groups = chain.counts.size
        return cls(
            np.empty(groups, dtype=complex),
            np.empty(groups, dtype=complex),
            np.empty((2, LANES)),
            np.empty((4, groups, LANES)),
            np.empty((4, LANES)),
            np.empty((4, groups + 1, LANES)),
        )
