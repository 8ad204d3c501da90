"""The residual layer as a factor: a free sum of the skip connection and a layer."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from isocalc.complex_logs import log1p_like, log_one_plus_m, lower_log
from isocalc.factor_kinds import RESIDUAL_GAUSSIAN, RESIDUAL_ORTHOGONAL, FactorArrays
from isocalc.gate_sums import gate_averages, gate_log_mean, gate_mean_log, lowest_open
from isocalc.gates import GateRule
from isocalc.layer_transform import Gated, Layer
from isocalc.transforms import Complex, Pairs, Place, Tangent

# A miss that changes log m(1+m) so little is one that log S follows linearly.
_NEAR = 1e-6
_ROUNDING = 2e-15


@dataclass(frozen=True)
class ResidualLayer(Gated):
    """A residual layer 1 + X, X rotation-invariant, made of a gate and weights: free sum of symmetrised laws.

    Its unknowns are u = log t of the gate and ξ = log((1 + m_a)/m_a): the logarithm of the square of the skip
    connection's subordination function, 0 < Im ξ < 2π.

    Parameters
    ----------
    gate : GateRule
        Law of φ'².
    orthogonal : bool
        Haar orthogonal or Gaussian weights.
    variance : float
        Variance v of the weights, over the square of the weight of the skip connection; greater than 0.

    Notes
    -----
    m = m_a + m_X with m_a (1 + m_a) = T = m_X (1 + m_X) S_X(m_X) and S = T/(m (1 + m)). The square root of T
    lies in the lower half-plane, but neither m_a nor m_X need to, and either can be where it is no
    coordinate: so both are unknowns.
    """

    unknowns: ClassVar[int] = 2

    gate: GateRule
    orthogonal: bool
    variance: float

    @property
    def _power(self) -> int:
        return 2 if self.orthogonal else 1

    def start(self, log_m: Complex) -> Complex:
        """Return the unknowns to leading order at m → 0."""
        log_share = math.log1p(self.variance * self.gate.mean)
        return np.stack((log_m + math.log(self.variance) - log_share, log_share - log_m))

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factor at its unknowns and at a place."""
        a, b, slope = gate_averages(self.gate, u[0])
        beyond, m_a = -1 / np.expm1(-u[1]), 1 / np.expm1(u[1])
        (zeta, seen_slope), m, one_plus_m = place.seen_with(0.0), place.m, place.rest + place.at_zero
        t, coth, product = beyond * m_a, beyond + m_a, m * one_plus_m
        miss = np.where(np.abs(m) < 0.5, m_a + b - m, beyond + b - one_plus_m)
        log_t = _log_t(u[1])
        tie = u[0] - math.log(self.variance) + self._power * np.log(a) - log_t
        tie.imag -= 2 * np.pi * np.rint(tie.imag / (2 * np.pi))
        growth = 1 + self._power * slope / a
        common = t * growth + coth * slope
        drift = np.stack((-tie * t - miss * coth, miss * growth - tie * slope)) / common
        # S = T(ξ)/T(ζ), by the sum of m_a and m_X where that has more digits.
        exact = log_t - _log_t(zeta)
        excess = miss * (1 + 2 * m) / product
        log_s = excess - log1p_like(b * (coth + b) / t, excess - exact)
        log_s = np.where(np.abs(excess) < _NEAR, log_s, exact)
        rate = 1 + 2 * m - coth * growth * product / common
        direction = np.stack((-coth, growth)) * (product / common * seen_slope)
        rounding = _ROUNDING * np.abs(b) * (np.abs(coth) + np.abs(growth)) / np.abs(common)
        return Tangent(log_s - coth * drift[1], rate * seen_slope, drift, direction, rounding)

    def potential(self, u: Complex, zeta: Complex) -> Complex:
        """Return ∫ m d log S from m = 0."""
        a, b, _ = gate_averages(self.gate, u[0])
        beyond, m_a = -1 / np.expm1(-u[1]), 1 / np.expm1(u[1])
        log_a = log1p_like(b, _sided_log(a, u[0].imag >= -np.pi))
        own = -gate_log_mean(self.gate, u[0]) - (log_a if self.orthogonal else b)
        log = log_one_plus_m(zeta) - _sided_log(beyond, u[1].imag <= np.pi) - log_a
        return own + log1p_like(-m_a * b / (beyond * a), log)

    def alone(self, u: Complex, count: float) -> None:
        """Return nothing: there are two unknowns."""

    @property
    def arrays(self) -> FactorArrays:
        """The layer for compiled code."""
        kind = RESIDUAL_ORTHOGONAL if self.orthogonal else RESIDUAL_GAUSSIAN
        return FactorArrays(kind, math.log(self.variance), 0.0, self.gate.sorted, self.gate.zero_mass)

    @property
    def log_mean(self) -> float:
        """−log S(0) = log(1 + v E d)."""
        return math.log1p(self.variance * self.gate.mean)

    @property
    def relative_variance(self) -> float:
        """−(log S)'(0)."""
        c = self.variance * self.gate.mean
        own = max(0.0, self.gate.mean_square / self.gate.mean**2 - 1) + (0.0 if self.orthogonal else 1.0)
        return (2 * c + own * c * c) / (1 + c) ** 2

    @property
    def mean_log(self) -> float:
        """E log λ = 2 E log max(1, |x|), x the eigenvalues of X; S_X has their law (Haagerup, Larsen)."""
        log_v = math.log(self.variance)
        if self.variance * self.gate.mean <= 1:
            return 0.0
        layer = Layer(self.gate, self.orthogonal)

        def excess(log_t: float) -> float:
            point = np.array([[complex(log_t, -math.pi)]])
            return float(layer.log_s(point)[0].real) - log_v

        low, high = -60.0 - log_v, 700.0
        if excess(high) < 0:
            return gate_mean_log(self.gate) + log_v - (0.0 if self.orthogonal else 1.0)
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if excess(middle) < 0 else (low, middle)
        point = np.array([[complex(low, -math.pi)]])
        return -float(layer.potential(point, point[0])[0].real)

    @property
    def mass_at_zero(self) -> float:
        """None."""
        return 0.0

    @property
    def point_masses(self) -> Pairs:
        """Where closed gates leave the skip connection alone."""
        return ((0.0, max(0.0, 2 * self.gate.zero_mass - 1)),)

    @property
    def reaches_zero(self) -> bool:
        """Whether −1 is in the spectrum of X, a ring from 1/√(E 1/x²) to √(E x²)."""
        if self.variance * self.gate.mean < 1:
            return False
        if not self.orthogonal or lowest_open(self.gate) == 0 or self.gate.zero_mass:
            return True
        return self.variance <= float((self.gate.weights / self.gate.d).sum().real)


def _log_t(xi: Complex) -> Complex:
    """Return log m(1+m) = −2 log(2 sinh(ξ/2)), ξ = log((1+m)/m) with 0 < Im ξ < 2π."""
    return -2 * _sided_log(2 * np.sinh(xi / 2), np.zeros(xi.size, dtype=bool))


def _sided_log(x: Complex, below: npt.NDArray[np.bool_]) -> Complex:
    """Return log x, x in the lower half-plane where ``below`` and else in the upper one, but for rounding."""
    flipped = x.copy()
    flipped.imag[~below] *= -1
    log = lower_log(flipped)
    log.imag[~below] *= -1
    return log
