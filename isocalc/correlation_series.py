"""The correlation maps of networks of one activation as power series of the correlation.

With b_n the coefficients of φ'(√q z) in normalised Hermite polynomials, E φ'(u1) φ'(u2) = Σ b_n² cⁿ (Mehler),
and E (φ(u1) − φ(u2))² / 2q = Σ b_n² (1 − cⁿ⁺¹)/(n + 1): no term is negative, nothing cancels as c → 1.
"""

import math
from typing import Self

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import doubling_edges, panel_rule

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

# Polynomials of higher degree turn too fast for 16 nodes in a panel.
_TERMS, _AT_A_TIME = 1024, 64
# Beyond 13, a normalised Hermite polynomial times the normal density is below 1e-18.
_EDGES = 0.5 * np.arange(27)
# Shares of the whole: of a last term, where those left out fall like it, and of all left out.
_LAST_TERM, _LEFT_OUT = 1e-19, 1e-16
# exp(-40) is nothing beside 1, exp(-745) nothing at all.
_ENOUGH, _UNDERFLOW = 40.0, -745.0


class CorrelationSeries:
    """Means of φ and φ' over pairs of inputs at many variances q.

    Parameters
    ----------
    squares : array, shape (n, terms)
        b_n² at each q, of degree 0 on.
    variance : array, shape (n,), or None
        Σ b_n²/(n + 1) over all degrees, to which terms left out are added; ``None`` where there are none.
    """

    def __init__(self, squares: Array, variance: Array | None) -> None:
        self._squares, self._degrees = squares, np.arange(float(squares.shape[1]))
        shares = squares / (self._degrees + 1)
        # Of cᵏ in Σ b_n²/(n + 1) (1 + c + ... + cⁿ).
        self._sums = np.cumsum(shares[:, ::-1], axis=1)[:, ::-1]
        self._last = squares[:, -_AT_A_TIME:].max(axis=1) / squares.sum(axis=1)
        if variance is not None:
            left_out = np.where(self._last > _LAST_TERM, variance - self._sums[:, 0], 0.0)
            self._sums += left_out[:, None]

    @classmethod
    def of(cls, act: Activation, q: Array) -> Self:
        """Return the series at variances q > 0, shape (n,), of an activation with no breakpoint but 0."""
        sigma = np.sqrt(q)
        reach = float(_EDGES[-1])
        narrow = doubling_edges(act.scale / float(sigma.max()), reach)
        z, weights = panel_rule(np.sort(np.concatenate((_EDGES, narrow[narrow > 0]))))
        with np.errstate(over="ignore", under="ignore"):
            right, left = act.dphi(sigma[:, None] * z), act.dphi(-sigma[:, None] * z)
        gate = (right * right + left * left) @ weights
        even, odd = (right + left) * weights, (right - left) * weights
        squares = np.empty((q.size, 0))
        before, here = np.zeros_like(z), np.ones_like(z)
        for start in range(0, _TERMS, _AT_A_TIME):
            polynomials = []
            for n in range(start, start + _AT_A_TIME):
                polynomials.append(here)
                before, here = here, (z * here - math.sqrt(n) * before) / math.sqrt(n + 1)
            more = np.empty((q.size, _AT_A_TIME))
            more[:, ::2] = even @ np.stack(polynomials[::2], axis=1)
            more[:, 1::2] = odd @ np.stack(polynomials[1::2], axis=1)
            squares = np.concatenate((squares, more * more), axis=1)
            if (squares[:, -_AT_A_TIME:] <= _LAST_TERM * gate[:, None]).all():
                return cls(squares, None)
        return cls(squares, _variance(act, sigma, z, weights))

    def at(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return E (φ(u1) − φ(u2))² / 2q (1 − c) and E φ'(u1) φ'(u2) of the chosen, with 1 − c = ``gap``."""
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log1p(-gap), _UNDERFLOW)
        terms = min(self._degrees.size, 1 + math.ceil(min(_ENOUGH / -float(logs.max()), 1e9)))
        with np.errstate(under="ignore"):
            powers = np.exp(np.maximum(logs[:, None] * self._degrees[:terms], _UNDERFLOW))
            ratio = (self._sums[chosen, :terms] * powers).sum(axis=1)
            return ratio, (self._squares[chosen, :terms] * powers).sum(axis=1)

    def first_gap(self, weight: Array) -> Array:
        """Return a gap below that where σ_w² times the ratio is 1: a step of Newton's from 0."""
        falls = self._sums @ self._degrees
        return np.asarray((weight * self._sums.sum(axis=1) - 1) / (weight * falls))

    def holds(self, gap: Array) -> Flags:
        """Whether the terms left out are nothing at a gap, for each q."""
        terms = self._degrees.size
        with np.errstate(divide="ignore", under="ignore"):
            power = np.exp(np.maximum(terms * np.log1p(-gap), _UNDERFLOW))
        return (self._last <= _LAST_TERM) | (terms * self._last * power <= _LEFT_OUT)


def _variance(act: Activation, sigma: Array, z: Array, weights: Array) -> Array:
    """Return the variance of φ over q, from nodes of z > 0."""
    with np.errstate(over="ignore", under="ignore"):
        right, left = act.phi(sigma[:, None] * z), act.phi(-sigma[:, None] * z)
    mean = ((right + left) @ weights)[:, None]
    return np.asarray(((right - mean) ** 2 + (left - mean) ** 2) @ weights / sigma**2)
