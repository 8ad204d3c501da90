"""Squared gates φ'(√q z)² as series of Hermite polynomials of z, for their covariances (Mehler)."""

import math
from typing import Self

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import doubling_edges, panel_rule

Array = npt.NDArray[np.float64]

_TERMS = 1000
# Share of the variance beyond the last term: enough, and still bearable after all terms. Sums over pairs of
# layers have another factor of 1/n in their terms, so that 5 % beyond 1000 terms are 5e-5 of a sum.
_ENOUGH, _MOST_MISSED = 1e-7, 0.05
# Panels in which 16 nodes follow a polynomial of so many zeros.
_EDGES = 0.7 * np.arange(-15, 16)
# Averages over gates are analytic in log q up to 2 away from the real axis.
_STRIP, _DIGITS = 2.0, math.log(1e9)
_MOST_NODES = 100


class HermiteSeries:
    """φ'(√q z)² for variances q in an interval, interpolated in log q.

    Parameters
    ----------
    low, high : float
        Variances between which the series are known.
    table : array, shape (nodes, terms)
        Chebyshev coefficients in log q of the coefficients of normalised Hermite polynomials, of degree 1 on.
    """

    def __init__(self, low: float, high: float, table: Array) -> None:
        self._middle, self._half = math.log(low * high) / 2, max(math.log(high / low) / 2, 1e-9)
        self._table = table

    @classmethod
    def of(cls, act: Activation, low: float, high: float) -> Self | None:
        """Return the series of a smooth activation, ``None`` where that would need too many terms."""
        span = math.log(high / low)
        count = 2 + math.ceil(_DIGITS / math.asinh(2 * _STRIP / span)) if span else 2
        # Polynomials of high degree turn as kinks move across them.
        count += math.ceil(
            span * math.sqrt(_TERMS) * max(map(abs, act.breakpoints), default=0.0) / math.sqrt(low) / 3
        )
        if count > _MOST_NODES:
            return None
        angle = math.pi * (np.arange(count) + 0.5) / count
        q = np.exp(math.log(low * high) / 2 + span / 2 * np.cos(angle))
        z, weights = _nodes(act, np.sqrt(q))
        with np.errstate(over="ignore", invalid="ignore"):
            gate = act.dphi(np.sqrt(q)[:, None] * z) ** 2
            left = (weights * (gate - (weights * gate).sum(axis=1)[:, None]) ** 2).sum(axis=1)
        if not np.isfinite(left).all():
            return None
        whole, before, here = np.maximum(left, np.finfo(float).tiny), np.zeros_like(z), np.ones_like(z)
        columns = []
        for n in range(_TERMS):
            before, here = here, (z * here - math.sqrt(n) * before) / math.sqrt(n + 1)
            columns.append((weights * gate * here).sum(axis=1))
            left = left - columns[-1] ** 2
            if (left <= _ENOUGH * whole).all():
                break
        if (left > _MOST_MISSED * whole).any():
            return None
        to_chebyshev = np.cos(np.outer(np.arange(count), angle)) * 2 / count
        to_chebyshev[0] /= 2
        return cls(low, high, to_chebyshev @ np.stack(columns, axis=1))

    def covariances(self, q_x: Array, q_y: Array, correlation: Array) -> Array:
        """Return the covariances of pairs of gates, arrays of shape (n,)."""
        powers = np.cumprod(
            np.broadcast_to(correlation[:, None], (correlation.size, self._table.shape[1])), 1
        )
        return np.asarray((self._at(q_x) * self._at(q_y) * powers).sum(axis=1))

    def _at(self, q: Array) -> Array:
        angle = np.arccos(np.clip((np.log(q) - self._middle) / self._half, -1.0, 1.0))
        return np.asarray(np.cos(np.outer(angle, np.arange(len(self._table)))) @ self._table)


def _nodes(act: Activation, sigma: Array) -> tuple[Array, Array]:
    """Return nodes and weights of the normal law for each standard deviation, shape (n, k)."""
    reach = float(_EDGES[-1])
    in_x = np.concatenate((act.breakpoints, doubling_edges(act.scale, reach * float(sigma.max()))))
    edges = np.clip(in_x / sigma[:, None], -reach, reach)
    edges = np.concatenate((np.broadcast_to(_EDGES, (sigma.size, _EDGES.size)), edges), axis=1)
    return panel_rule(np.sort(edges, axis=1))
