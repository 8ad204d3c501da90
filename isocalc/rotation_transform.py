"""The residual layer of a linear activation and orthogonal weights: 1 + √v O, whose law is known in full."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isocalc.complex_logs import log1p_like, log_one_plus_m, lower_log
from isocalc.factor_kinds import ROTATION, FactorArrays
from isocalc.transforms import Complex, Curve, Pairs, Place, Tangent, tangent_of_curve


@dataclass(frozen=True)
class Rotation:
    """The layer 1 + √v O, O Haar orthogonal: λ = 1 + v + 2√v cos θ, θ uniform.

    Its unknown is x = log z, z its own spectral parameter, in the upper half-plane as that of the product is.

    Parameters
    ----------
    variance : float
        v, greater than 0.

    Notes
    -----
    1 + m = z/√((z − a)(z − b)), a and b = (1 ∓ √v)², and log S = log((1+m)/m) − log z.
    """

    unknowns: ClassVar[int] = 1
    last_real: ClassVar[float] = math.inf
    is_unbounded: ClassVar[bool] = False
    mass_at_zero: ClassVar[float] = 0.0
    point_masses: ClassVar[Pairs] = ()

    variance: float

    def start(self, log_m: Complex) -> Complex:
        """Return the unknown to leading order at m → 0."""
        return self.log_mean - log_m[None]

    def _roots(self, x: Complex) -> tuple[Complex, Complex, Complex]:
        """Return z − 1, √(z − a) and √(z − b)."""
        beyond, root_v = np.expm1(x), math.sqrt(self.variance)
        beyond.imag = np.maximum(beyond.imag, 0.0)
        centred = beyond - self.variance
        return beyond, np.sqrt(centred + 2 * root_v), np.sqrt(centred - 2 * root_v)

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factor at its unknown and at a place."""
        own, rate, log_s = self._curve(u[0])
        return tangent_of_curve(place.seen_with(0.0), (own, 1 / rate), (log_s, 1 / rate - 1))

    def alone(self, u: Complex, count: float) -> Curve:
        """Return its power as a curve in log z of one."""
        own, rate, log_s = self._curve(u)
        # log z is the unknown itself where there is one factor.
        slope = 1 / rate if count != 1 else np.zeros_like(rate)
        return Curve(own, slope, u + (1 - count) * log_s, slope * (1 - count) + count, log_s)

    def _curve(self, x: Complex) -> tuple[Complex, Complex, Complex]:
        """Return ζ, the derivative of log z in it, and log S."""
        beyond, low, high = self._roots(x)
        z, square, v = 1 + beyond, low * high, self.variance
        # m/(1 + m) = (z − √((z − a)(z − b)))/z, without cancellation at large z.
        centre = 2 * (1 + v) - (1 - v) ** 2 / z
        inverse = centre / (z + square)
        own = -lower_log(inverse)
        log_s = -log1p_like(v * (2 * beyond + 4 - v) / (beyond + square), x - own)
        return own, square * inverse / (centre - (1 + v)), log_s

    def on_its_side(self, u: Complex) -> Complex:
        """Return log z in the upper half-plane."""
        return np.asarray(u.real + 1j * np.maximum(u.imag, 0.0))

    def potential(self, u: Complex, zeta: Complex) -> Complex:
        """Return ∫ m d log S from m = 0: −log(1+m) − E log(1 − λ/z)."""
        _, low, high = self._roots(u[0])
        return np.asarray(-log_one_plus_m(zeta) - 2 * np.log((low + high) / 2) + u[0])

    @property
    def arrays(self) -> FactorArrays:
        """The factor for compiled code."""
        return FactorArrays(ROTATION, self.variance)

    @property
    def log_mean(self) -> float:
        """log(1 + v)."""
        return math.log1p(self.variance)

    @property
    def relative_variance(self) -> float:
        """2v/(1 + v)²."""
        return 2 * self.variance / (1 + self.variance) / (1 + self.variance)

    @property
    def mean_log(self) -> float:
        """E log λ."""
        return max(0.0, math.log(self.variance))

    @property
    def reaches_zero(self) -> bool:
        """Whether −1 is an eigenvalue of √v O."""
        return self.variance == 1
