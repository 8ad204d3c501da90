"""Covariances of the squared gates φ'(x)², φ'(y)² of a neuron in two layers, x and y jointly Gaussian.

Smooth gates are series of Hermite polynomials, whose covariances are sums of powers of the correlation
(Mehler); steps and waves have closed forms; others are integrated in panels: theory (41).
"""

import math
from typing import Self

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import Activation
from isocalc.laws.tolerances import (
    COVARIANCE_ANGLES,
    COVARIANCE_ORDER,
    COVARIANCE_REACH,
    DIGITS,
    HERMITE_NODES,
    HERMITE_TERMS,
    LARGEST,
    NO_HARMONIC,
    PERIOD_SAMPLES,
    REACH,
    SERIES_ENOUGH,
    SERIES_MOST_MISSED,
    STRIP,
)
from isocalc.numerics.quadrature import legendre_rule, panel_rule

Array = npt.NDArray[np.float64]

# Panels in which 16 nodes follow a polynomial of so many zeros.
_EDGES = REACH / 15 * np.arange(-15, 16)


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
        count = 2 + math.ceil(DIGITS / math.asinh(2 * STRIP / span)) if span else 2
        # Polynomials of high degree turn as kinks move across them.
        count += math.ceil(
            span * math.sqrt(HERMITE_TERMS) * max(map(abs, act.breakpoints), default=0.0) / math.sqrt(low) / 3
        )
        if count > HERMITE_NODES:
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
        for n in range(HERMITE_TERMS):
            before, here = here, (z * here - math.sqrt(n) * before) / math.sqrt(n + 1)
            columns.append((weights * gate * here).sum(axis=1))
            left = left - columns[-1] ** 2
            if (left <= SERIES_ENOUGH * whole).all():
                break
        if (left > SERIES_MOST_MISSED * whole).any():
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
    in_x = np.concatenate((act.breakpoints, act.edges(reach * float(sigma.max()))))
    edges = np.clip(in_x / sigma[:, None], -reach, reach)
    edges = np.concatenate((np.broadcast_to(_EDGES, (sigma.size, _EDGES.size)), edges), axis=1)
    return panel_rule(np.sort(edges, axis=1))


_CENTRAL = np.linspace(-COVARIANCE_REACH, COVARIANCE_REACH, 9)
# The conditional mean of a kinked function bends within so many standard deviations.
_SMEAR = np.array([-4.0, -1.5, 0.0, 1.5, 4.0])


class GatePairs:
    """Covariances of φ'(x)² and φ'(y)² for one activation.

    Parameters
    ----------
    act : Activation
    low, high : float
        Variances between which all those of x and y are, greater than 0.
    series : bool
        Whether series of Hermite polynomials may be used, which are as good and faster for many pairs.
    """

    def __init__(self, act: Activation, low: float, high: float, *, series: bool = True) -> None:
        self.act = act
        direct = not series or act.slopes is not None or math.isfinite(act.period)
        self._series = None if direct else HermiteSeries.of(act, low, high)

    @property
    def slow(self) -> bool:
        """Whether each pair takes a millisecond."""
        return self._series is None and self.act.slopes is None and math.isinf(self.act.period)

    def covariances(self, q_x: Array, q_y: Array, correlation: Array, mean_x: Array, mean_y: Array) -> Array:
        """Return the covariances of pairs.

        Parameters
        ----------
        q_x, q_y : arrays, shape (n,)
            Variances.
        correlation : array, shape (n,)
            In [-1, 1].
        mean_x, mean_y : arrays, shape (n,)
            E φ'(x)² and E φ'(y)².

        Returns
        -------
        array, shape (n,)
            Within 1e-8 of the product of the gates' standard deviations; not finite where φ'⁴ overflows.
        """
        correlation = np.clip(correlation, -1.0, 1.0)
        if self._series is not None:
            return self._series.covariances(q_x, q_y, correlation)
        sigma_x, sigma_y = np.sqrt(q_x), np.sqrt(q_y)
        if self.act.slopes is not None:
            return _of_steps(self.act, sigma_x, sigma_y, correlation)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if math.isfinite(self.act.period):
                return _of_waves(self.act, sigma_x, sigma_y, correlation)
            pairs = zip(sigma_x.tolist(), sigma_y.tolist(), correlation.tolist(), mean_x, mean_y, strict=True)
            return np.array([_by_quadrature(self.act, x, y, r, means) for x, y, r, *means in pairs])


def _of_steps(act: Activation, sigma_x: Array, sigma_y: Array, correlation: Array) -> Array:
    """Add up P(x > b, y > b') − P(x > b) P(y > b'), its derivative in the correlation being the density.

    In the angle whose sine is the correlation that is e^(−(h² + k² − 2hk sin)/(2 cos²)) / 2π (Plackett 1954).
    """
    t, weights = legendre_rule(COVARIANCE_ANGLES)
    t = (1 - t) / 2
    end = np.arcsin(correlation)[:, None]
    # Dense at the end, where the density can be narrow.
    angle, weights = end * (1 - t * t), end * t * weights / (2 * math.pi)
    sine, twice = np.sin(angle), 2 * np.cos(angle) ** 2
    jumps = np.diff(np.square(act.slopes or ()))

    def places_of(point: float, sigma: Array) -> Array:
        return np.clip(point / sigma[:, None], -math.sqrt(LARGEST), math.sqrt(LARGEST))

    places = [
        (places_of(point, sigma_x), places_of(point, sigma_y), float(jump))
        for point, jump in zip(act.breakpoints, jumps, strict=True)
    ]
    total = np.zeros(correlation.size)
    with np.errstate(under="ignore", over="ignore"):
        for h, _, jump in places:
            for _, k, other in places:
                # h² + k² − 2hk sin, without cancellation where the sine is 1.
                spread = (h - k) ** 2 / twice + h * k / (1 + sine)
                total += jump * other * (weights * np.exp(-spread)).sum(axis=1)
    return total


def _of_waves(act: Activation, sigma_x: Array, sigma_y: Array, correlation: Array) -> Array:
    """Add up the covariances of e^(iαx) and e^(iβy), e^(−(α² + β²)/2) (e^(−αβr) − 1) for unit variances."""
    sampled = act.dphi(np.arange(float(PERIOD_SAMPLES)) * (act.period / PERIOD_SAMPLES)) ** 2
    parts = np.fft.fft(sampled) / PERIOD_SAMPLES
    heard = np.abs(parts) > NO_HARMONIC * np.abs(parts).max()
    harmonics = np.fft.fftfreq(PERIOD_SAMPLES, 1 / PERIOD_SAMPLES)[heard]
    parts, waves = parts[heard], 2 * math.pi / act.period * harmonics
    alpha, beta = waves[:, None, None] * sigma_x, waves[:, None] * sigma_y
    decay = -(alpha**2 + beta**2) / 2
    terms = np.exp(decay - alpha * beta * correlation) - np.exp(decay)
    return np.asarray(np.einsum("i,j,ijn->n", parts, parts, terms).real)


def _by_quadrature(
    act: Activation, sigma_x: float, sigma_y: float, correlation: float, means: list[float]
) -> float:
    """Integrate over z = x/σ_x and w, independent, y/σ_y = r z + √(1 − r²) w, in panels between kinks."""
    spread = math.sqrt((1 - correlation) * (1 + correlation))
    kinks = np.array(act.breakpoints)
    in_x, in_y = (
        np.concatenate((kinks, act.edges(COVARIANCE_REACH * sigma))) / sigma for sigma in (sigma_x, sigma_y)
    )
    if correlation:
        seen = in_y[:, None] / correlation + _SMEAR * (spread / abs(correlation))
        in_x = np.concatenate((in_x, seen.ravel() if kinks.size else in_y / correlation))
    z, weights = _normal_panels(np.concatenate((_CENTRAL, in_x)))
    gate = (act.dphi(sigma_x * z) ** 2 - means[0]) * weights
    edges = (in_y[: None if 2 * spread * sigma_y > act.scale else kinks.size] - correlation * z[:, None]) / (
        spread or 1.0
    )
    edges = np.concatenate((np.broadcast_to(_CENTRAL, (z.size, _CENTRAL.size)), edges), axis=1)
    w, inner = _normal_panels(edges)
    other = act.dphi(sigma_y * (correlation * z[:, None] + spread * w)) ** 2 - means[1]
    return float(gate @ (inner * other).sum(axis=1))


def _normal_panels(edges: Array) -> tuple[Array, Array]:
    """Return nodes and weights of the normal density in the panels between edges, shape (..., k)."""
    edges = np.sort(np.clip(edges, -COVARIANCE_REACH, COVARIANCE_REACH), axis=-1)
    x, weights = legendre_rule(COVARIANCE_ORDER)
    half = np.diff(edges)[..., None] / 2
    z = (edges[..., :-1, None] + half + half * x).reshape(*edges.shape[:-1], -1)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return z, (half * weights).reshape(z.shape) * density
