"""The correlation maps of networks of one piecewise linear activation, by one-dimensional integrals.

φ' jumps by Δ_i at b_i, so that d/dc E φ'(u1) φ'(u2) = q Σ Δ_i Δ_j p(b_i, b_j), p the density of (u1, u2)
(Price's theorem); with c = cos t the root of 1 − c² in p cancels. Where φ itself jumps, by J_i, its slope
has J_i δ(u − b_i) too: E φ'(u1) φ'(u2) gains 2 Σ J_i p(b_i) E[φ'(u2) | u1 = b_i] + Σ J_i J_j p(b_i, b_j), and
E (φ(u1) − φ(u2))² / 2q the integral of that over c.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isocalc._special import erfc
from isocalc.activations import Activation
from isocalc.gaussian import averages, legendre_rule

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

# Exponents from which exp(-x) is 0; panels down to 2⁻⁴⁰.
_UNDERFLOW, _MOST_PANELS = 750.0, 40
# Share of E φ'² below which the mean of two gates is a difference that has lost digits.
_DIFFERENCE = 1e-2


class CorrelationKinks:
    """Means of φ and φ' over pairs of inputs at many variances q.

    Parameters
    ----------
    act : Activation
        Piecewise linear.
    q : array, shape (n,)
        Variances greater than 0.
    """

    def __init__(self, act: Activation, q: Array) -> None:
        self._q, self._gate = q, averages(act, q).gate
        slopes = act.slopes or ()
        self._farthest = max(map(abs, act.breakpoints), default=0.0)
        kinks = [
            (point, after - before)
            for point, (before, after) in zip(act.breakpoints, itertools.pairwise(slopes), strict=True)
        ]
        self._kinks, self._first_slope = kinks, slopes[0] if slopes else 0.0
        self._jumps = [(point, _height(act, point)) for point in act.jumps]
        self._pairs, self._jump_pairs = _products(kinks), _products(self._jumps)

    def at(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return E (φ(u1) − φ(u2))² / 2q (1 − c) and E φ'(u1) φ'(u2) of the chosen, with 1 − c = ``gap``."""
        gate = self._gate[chosen]
        ratio, slope = self.beyond(chosen, gap)
        return gate + ratio, gate + slope

    def beyond(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return both less E φ'², which they have as c → 1 where φ does not jump, without cancellation."""
        q = self._q[chosen, None]
        angle = 2 * np.arcsin(np.sqrt(gap / 2))[:, None]
        x, weights = self._panels(q, float(angle.max()))
        t = angle * x
        density = _density(self._pairs, q, t)
        share = np.sin((angle + t) / 2) * np.sin((angle - t) / 2) / np.sin(angle / 2) ** 2
        angle = angle[:, 0]
        ratio, slope = -angle * ((density * share) @ weights), -angle * (density @ weights)
        if self._jumps:
            ratio += angle / gap * ((np.sin(t) * self._across(q, t)) @ weights)
            slope += self._across(q, 2 * np.arcsin(np.sqrt(gap / 2))[:, None])[:, 0]
        return ratio, slope

    def _across(self, q: Array, t: Array) -> Array:
        """Return what jumps of φ add to E φ'(u1) φ'(u2) at c = cos t; arrays of the shape of ``t``."""
        sine = np.sin(t)
        found = _density(self._jump_pairs, q, t) / (q * sine)
        with np.errstate(under="ignore"):
            for a, height in self._jumps:
                mean = np.full_like(t, self._first_slope)
                for b, change in self._kinks:
                    # cos(t) a - b, without cancellation where a is b
                    centre = a - b - 2 * a * np.sin(t / 2) ** 2
                    mean += change * erfc(-centre / (np.sqrt(2 * q) * sine)) / 2
                found += 2 * height * np.exp(-a * a / (2 * q)) / np.sqrt(2 * math.pi * q) * mean
        return found

    def _panels(self, q: Array, angle: float) -> tuple[Array, Array]:
        """Return nodes and weights on [0, 1], in panels that halve towards 0 until nothing changes there."""
        apart = min((abs(a - b) for a, b, _ in self._pairs if a != b), default=math.inf)
        steepest = max(
            math.sqrt(2 * float(q.max()) * _UNDERFLOW) / apart, self._farthest / math.sqrt(float(q.min()))
        )
        count = 1 + math.log2(1 + angle * steepest)
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
        return np.asarray(slope > _DIFFERENCE * self._gate)


def _height(act: Activation, point: float) -> float:
    """Return by how much φ jumps at a point."""
    below, above = act.phi(np.nextafter(point, [-math.inf, math.inf]))
    return float(above - below)


def _products(changes: Sequence[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """Return all pairs of places and the products of what changes there, over 2π, equal pairs once."""
    return [
        (a, b, change_a * change_b * (1 if i == j else 2) / (2 * math.pi))
        for (i, (a, change_a)), (j, (b, change_b)) in itertools.combinations_with_replacement(
            enumerate(changes), 2
        )
    ]


def _density(pairs: Sequence[tuple[float, float, float]], q: Array, t: Array) -> Array:
    """Return q sin t times the density of (u1, u2) at c = cos t, summed over pairs."""
    density = np.zeros_like(t)
    cosine, square = np.cos(t), np.sin(t) ** 2
    with np.errstate(under="ignore"):
        for a, b, factor in pairs:
            # 1 − cos t = sin² t / (1 + cos t)
            exponent = (a - b) ** 2 / (2 * q * square) + a * b / (q * (1 + cosine))
            density += factor * np.exp(-exponent)
    return density
