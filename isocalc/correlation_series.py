"""The correlation maps of networks of one activation as power series of the correlation.

With b_n the coefficients of φ'(√q z) in normalised Hermite polynomials, E φ'(u1) φ'(u2) = Σ b_n² cⁿ (Mehler),
and E (φ(u1) − φ(u2))² / 2q = Σ b_n² (1 − cⁿ⁺¹)/(n + 1): no term is negative, nothing cancels as c → 1.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Self

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import doubling_edges, panel_rule

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

# How many degrees there can be, and the panels of 16 nodes each that follow the polynomials' turns.
_PANELS = {128: 13, 384: 18, 1024: 26, 4096: 52, 16384: 104}
DEGREES = tuple(_PANELS)
_AT_A_TIME = 64
# Beyond, a normalised Hermite polynomial times the normal density is below 1e-18.
_REACH = 13.0
# Shares of the whole: of a last term, where those left out fall like it, and of all left out.
_LAST_TERM, _LEFT_OUT = 1e-19, 1e-16
# Least gap over which the rounding of all terms less those known, some 1e-15, may be divided.
_FAR = 2e-2
# exp(-40) is nothing beside 1, exp(-745) nothing at all.
_ENOUGH, _UNDERFLOW = 40.0, -745.0


class CorrelationSeries:
    """Means of φ and φ' over pairs of inputs at many variances q.

    Parameters
    ----------
    squares : array, shape (n, terms)
        b_n² at each q, of degrees 0, 1, 2 ... or 0, 2, 4 ...
    step : {1, 2}
        From one degree to the next.
    variance : array, shape (n,), or None
        Σ b_n²/(n + 1) over all degrees, to which terms left out are added; ``None`` where there are none.
    """

    def __init__(self, squares: Array, step: int, variance: Array | None) -> None:
        self._squares, self._step = squares, step
        self._degrees = np.arange(0.0, step * squares.shape[1], step)
        shares = squares / (self._degrees + 1)
        sums = np.cumsum(shares[:, ::-1], axis=1)[:, ::-1]
        # 1 − cⁿ⁺¹ over 1 − c is 1 + c (1 + ... + cⁿ⁻¹), at even n 1 + c (1 + c) (1 + c² + ... + cⁿ⁻²).
        self._first, self._later = sums[:, 0], np.zeros_like(sums)
        self._later[:, :-1] = sums[:, 1:]
        self._last = squares[:, -_AT_A_TIME // step :].max(axis=1) / squares.sum(axis=1)
        if variance is not None:
            ends = squares[:, -8:].max(axis=1) / squares.sum(axis=1)
            left_out = np.where(ends > _LEFT_OUT, variance - self._first, 0.0)
            self._first = self._first + left_out
            self._later += left_out[:, None]

    @classmethod
    def of(cls, act: Activation, q: Array, most: int = DEGREES[-1]) -> Self:
        """Return the series at variances q > 0, shape (n,), of an activation with no breakpoint but 0."""
        sigma = np.sqrt(q)
        narrow = doubling_edges(act.scale / float(sigma.max()), _REACH)
        wide = np.linspace(0, _REACH, 1 + _PANELS[most])
        z, weights = panel_rule(np.sort(np.concatenate((wide, narrow[narrow > 0]))))
        with np.errstate(over="ignore", under="ignore"):
            right = act.dphi(sigma[:, None] * z)
            left = right if act.odd else act.dphi(-sigma[:, None] * z)
        gate = (right * right + left * left) @ weights
        parities = (
            [(right + left) * weights] if act.odd else [(right + left) * weights, (right - left) * weights]
        )
        step, blocks = 2 // len(parities), []
        polynomials = _hermite_polynomials(z)
        for _ in range(0, most, _AT_A_TIME):
            rows = np.stack([next(polynomials) for _ in range(_AT_A_TIME)])
            block = np.empty((q.size, _AT_A_TIME // step))
            for parity, part in enumerate(parities):
                block[:, parity :: len(parities)] = part @ rows[parity::2].T
            blocks.append(block * block)
            if (blocks[-1] <= _LAST_TERM * gate[:, None]).all():
                return cls(np.concatenate(blocks, axis=1), step, None)
        return cls(np.concatenate(blocks, axis=1), step, _variance(act, sigma, z, weights))

    def at(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return E (φ(u1) − φ(u2))² / 2q (1 − c) and E φ'(u1) φ'(u2) of the chosen, with 1 − c = ``gap``."""
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log1p(-gap), _UNDERFLOW)
        enough = min(-_ENOUGH / min(float(logs.max()), -1e-9), self._degrees[-1])
        terms = 1 + math.ceil(enough / self._step)
        with np.errstate(under="ignore"):
            powers = np.exp(np.maximum(logs[:, None] * self._degrees[:terms], _UNDERFLOW))
        later = np.einsum("ij,ij->i", self._later[chosen, :terms], powers)
        slope = np.einsum("ij,ij->i", self._squares[chosen, :terms], powers)
        c = 1 - gap
        return self._first[chosen] + (c if self._step == 1 else c * (1 + c)) * later, slope

    def first_gap(self, weight: Array) -> Array:
        """Return a gap below that where σ_w² times the ratio is 1: a step of Newton's from 0."""
        excess = weight * self._squares.sum(axis=1) - 1
        return np.asarray(excess / (weight * (self._squares @ self._degrees / 2)))

    def holds(self, gap: Array) -> Flags:
        """Whether the terms left out are nothing at a gap, for each q."""
        terms = self._degrees[-1] + 1
        with np.errstate(divide="ignore", under="ignore"):
            power = np.exp(np.maximum(terms * np.log1p(-gap), _UNDERFLOW))
        far = (terms * self._last * power <= _LEFT_OUT) & (gap >= max(_FAR, 25 / terms))
        return np.asarray((self._last <= _LAST_TERM) | far)


def _hermite_polynomials(z: Array) -> Iterator[Array]:
    """Yield the values of the normalised Hermite polynomials, of degree 0 on."""
    before, here = np.zeros_like(z), np.ones_like(z)
    for n in itertools.count():
        yield here
        before, here = here, (z * here - math.sqrt(n) * before) / math.sqrt(n + 1)


def _variance(act: Activation, sigma: Array, z: Array, weights: Array) -> Array:
    """Return the variance of φ over q, from nodes of z > 0."""
    with np.errstate(over="ignore", under="ignore"):
        right, left = act.phi(sigma[:, None] * z), act.phi(-sigma[:, None] * z)
    mean = ((right + left) @ weights)[:, None]
    return np.asarray(((right - mean) ** 2 + (left - mean) ** 2) @ weights / sigma**2)
