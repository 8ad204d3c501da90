"""The correlation maps of networks of one piecewise linear activation, by one-dimensional integrals.

φ' jumps by Δ_i at b_i, so that d/dc E φ'(u1) φ'(u2) = q Σ Δ_i Δ_j p(b_i, b_j), p the density of (u1, u2)
(Price's theorem); with c = cos t the root of 1 − c² in p cancels.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import averages, legendre_rule

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

# Exponents from which exp(-x) is 0; panels down to 2⁻⁴⁰.
_UNDERFLOW, _MOST_PANELS = 750.0, 40
# Share of E φ'² below which the mean of two gates is a difference that has lost digits, and of the largest
# φ'² below which E φ'² is small because gates are rare, and their law steep.
_DIFFERENCE, _RARE = 1e-2, 1e-2


class CorrelationKinks:
    """Means of φ and φ' over pairs of inputs at many variances q.

    Parameters
    ----------
    act : Activation
        Piecewise linear, without jumps.
    q : array, shape (n,)
        Variances greater than 0.
    """

    def __init__(self, act: Activation, q: Array) -> None:
        self._q, self._gate = q, averages(act, q).gate
        slopes = act.slopes or ()
        self._largest = max(slope * slope for slope in slopes)
        kinks = [
            (point, after - before)
            for point, (before, after) in zip(act.breakpoints, itertools.pairwise(slopes), strict=True)
        ]
        self._pairs = [
            (a, b, jump_a * jump_b * (1 if i == j else 2) / (2 * math.pi))
            for (i, (a, jump_a)), (j, (b, jump_b)) in itertools.combinations_with_replacement(
                enumerate(kinks), 2
            )
        ]

    def at(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return E (φ(u1) − φ(u2))² / 2q (1 − c) and E φ'(u1) φ'(u2) of the chosen, with 1 − c = ``gap``."""
        q, gate = self._q[chosen, None], self._gate[chosen]
        angle = 2 * np.arcsin(np.sqrt(gap / 2))[:, None]
        x, weights = self._panels(float(q.max()), float(angle.max()))
        t = angle * x
        density = np.zeros_like(t)
        cosine, square = np.cos(t), np.sin(t) ** 2
        with np.errstate(under="ignore"):
            for a, b, factor in self._pairs:
                # 1 − cos t = sin² t / (1 + cos t)
                exponent = (a - b) ** 2 / (2 * q * square) + a * b / (q * (1 + cosine))
                density += factor * np.exp(-exponent)
        share = np.sin((angle + t) / 2) * np.sin((angle - t) / 2) / np.sin(angle / 2) ** 2
        angle = angle[:, 0]
        return gate - angle * ((density * share) @ weights), gate - angle * (density @ weights)

    def _panels(self, q: float, angle: float) -> tuple[Array, Array]:
        """Return nodes and weights on [0, 1], in panels that halve towards 0 until the density is 0."""
        apart = min((abs(a - b) for a, b, _ in self._pairs if a != b), default=math.inf)
        count = 1 + math.log2(1 + angle * math.sqrt(2 * q * _UNDERFLOW) / apart)
        ends = np.concatenate(([0.0], 0.5 ** np.arange(min(math.ceil(count), _MOST_PANELS), -1, -1)))
        x, weights = legendre_rule()
        half = np.diff(ends)[:, None] / 2
        return (ends[:-1, None] + half * (1 + x)).ravel(), (half * weights).ravel()

    def first_gap(self, weight: Array) -> Array:
        """Return a gap to begin at."""
        return np.full(weight.size, 0.1)

    def holds(self, gap: Array) -> Flags:
        """Whether the means keep their digits at a gap, for each q."""
        _, slope = self.at(np.arange(gap.size), gap)
        return (slope > _DIFFERENCE * self._gate) & (self._gate > _RARE * self._largest)
