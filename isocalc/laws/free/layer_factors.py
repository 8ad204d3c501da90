"""Layers as factors of a free product: theory (24) to (30).

A feed-forward layer is a gate and weights, a residual one the free sum of the skip connection and a layer. Of
a linear activation and orthogonal weights that is 1 + √v O, whose law is known in full.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from isocalc.laws.free.factors import Array, Complex, Pairs, Place, Tangent, tangent_of_curve
from isocalc.laws.gates.law import poles
from isocalc.laws.gates.nodes import GateRule, Gates, gate_mean_log, last_real, lowest_open
from isocalc.laws.tolerances import FAR
from isocalc.numerics.special import log1p, log1p_like, log_one_plus_m, log_ratio, lower_log


class Gated:
    """What factors that are made of a gate have from it."""

    gate: GateRule

    @property
    def last_real(self) -> float:
        """Where t meets the continuous law of the gate."""
        return last_real(self.gate)

    @property
    def is_unbounded(self) -> bool:
        """Whether the gate is."""
        return self.gate.largest == math.inf


@dataclass(frozen=True)
class Layer(Gated):
    """A feed-forward layer, scaled so that ``log S`` has no constant from the weights; its unknown is log t.

    Parameters
    ----------
    gate : GateRule
        Law of φ'².
    orthogonal : bool
        Semi-orthogonal weights O, O Oᵀ or Oᵀ O the identity; else independent Gaussian entries of variance
        1/N_l.
    share : float
        Λ = N_0/N_l, the width of the network's input over that of the layer's output.
    growth : float
        κ = N_l/N_{l−1}.

    Notes
    -----
    Λm = E dt/(1 − dt), and S = t (1 + Λm)/(Λm) of the gate times that of the weights: 1/(1 + Λm), or 1 for
    orthogonal weights with κ >= 1, (1 + κΛm)/(1 + Λm) with κ < 1. Chhaibi, Daouda, Kahn, arXiv 2111.00841.
    """

    gate: GateRule
    orthogonal: bool
    share: float = 1.0
    growth: float = 1.0

    @property
    def group(self) -> Hashable:
        """What such factors have in common that stand side by side."""
        return Layer, self.orthogonal, self.growth < 1

    @staticmethod
    def side_by_side(factors: Sequence["Layer"]) -> "LayersAlike":
        """Return factors of the same kind for arrays of points."""
        return LayersAlike(factors)

    @property
    def log_mean(self) -> float:
        """−log S(0)."""
        return math.log(self.gate.mean)

    @property
    def relative_variance(self) -> float:
        """−(log S)'(0)."""
        own = max(0.0, self.gate.mean_square / self.gate.mean / self.gate.mean - 1)
        return self.share * (own + (max(0.0, 1 - self.growth) if self.orthogonal else 1.0))

    @property
    def mean_log(self) -> float | None:
        """E log λ, for square weights."""
        if self.share != 1 or self.growth != 1:
            return None
        return gate_mean_log(self.gate) - (0.0 if self.orthogonal else 1.0)

    @property
    def mass_at_zero(self) -> float:
        """What the rank leaves."""
        return 1 - min(1.0, (1 - self.gate.zero_mass) / self.share, 1 / (self.share * self.growth))

    @property
    def point_masses(self) -> Pairs:
        """Those of the gate, less what the shape of orthogonal weights takes; a mass below 0 is a debt."""
        if not self.orthogonal:
            return ()
        lost, scale = max(0.0, 1 / self.growth - 1), min(1.0, self.growth)
        masses = [pair for pair in self.gate.masses if pair[0] > 0]
        return tuple((math.log(value / scale), 1 - (1 - mass + lost) / self.share) for value, mass in masses)

    @property
    def rank(self) -> float:
        """Share of open gates, of the width of the network's input."""
        return (1 - self.gate.zero_mass) / self.share

    @property
    def keeps_rank(self) -> bool:
        """Whether it is invertible with a bounded inverse."""
        return self.orthogonal and self.growth == 1 and not self.gate.zero_mass

    @property
    def reaches_zero(self) -> bool:
        """Whether some open gates are next to closed."""
        return lowest_open(self.gate) == 0


def _poles(gates: Gates, u: Complex, place: Place) -> Array | None:
    return None if place.tail is None else -poles(gates, u) * place.tail


class LayersAlike:
    """Feed-forward layers side by side: with Gaussian weights, orthogonal ones, or ones that narrow."""

    unknowns = 1

    def __init__(self, factors: Sequence[Layer]) -> None:
        self._gates = Gates([factor.gate for factor in factors])
        self._orthogonal = factors[0].orthogonal and factors[0].growth >= 1
        self._narrows = factors[0].orthogonal and factors[0].growth < 1
        self._share, self._per_input, self._own_zero, self._start = np.array(
            [(f.share, f.share * f.growth, 1 - f.rank, math.log(f.share / f.gate.mean)) for f in factors]
        ).T[..., None]

    def start(self, log_m: Complex) -> Complex:
        """Return log t to leading order at m → 0."""
        return np.asarray(log_m + self._start)[None]

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factors at log t and at a place."""
        passed, through, slope, near, far = self._gates.sums(u[0], _poles(self._gates, u[0], place))
        own = np.log(passed / through) - u[0]
        own_slope = far * slope / (near * passed) - slope / through
        if not self._orthogonal:
            log_s = np.where(u[0].real > 0, u[0], 0) - lower_log(through), 1 - slope / through
        else:
            everything = near * passed + self._gates.closed
            of_closed = u[0] + log_ratio(far * through, everything)
            its_slope = 1 + far * slope / everything - slope / through
            is_open = self._gates.closed == 0
            log_s = (
                np.where(is_open, own + u[0], of_closed),
                np.where(is_open, 1 + own_slope, its_slope),
            )
        found = tangent_of_curve(place.seen_with(self._own_zero), (own, own_slope), log_s)
        if not self._narrows:
            return found
        # 1 + κΛm, with the digits it has where the width of the weights is what limits the rank.
        above = place.rest + (1 / self._per_input - (1 - place.at_zero))
        rate = -place.m * place.rest / ((1 - place.at_zero) * above)
        return found._replace(log_s=found.log_s + lower_log(self._per_input * above), rate=found.rate + rate)

    def keep_on_side(self, u: Complex) -> None:
        """Take log t back below the real axis."""
        u[0].imag = np.minimum(u[0].imag, 0.0)

    def potential(self, u: Complex, zeta: Complex) -> Complex:  # noqa: ARG002 - other factors need it
        """Return ∫ m d log S from m = 0."""
        passed, through, _, near, far = self._gates.sums(u[0])
        b = far * through
        integral = -self._gates.log_mean(u[0]) - b
        if self._orthogonal:
            # In units of e^−reach, which may be no double.
            reach = np.where(self._gates.closed == 0, np.maximum(u[0].real, 0), 0)
            turned = near * np.exp(np.minimum(reach, 2 * FAR))
            integral += b + reach - lower_log(turned * passed + self._gates.closed)
        elif self._narrows:
            growth = self._per_input / self._share
            integral += b - lower_log(1 + growth * b) / growth
        return np.asarray(integral / self._share)


# A miss that changes log m(1+m) so little is one that log S follows linearly.
_NEAR = 1e-6
# A large m_a this close to m − m_X is taken for it.
_NEXT = 0.1


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
        Variance v of the weights, over the square of the weight of the skip connection; greater than 0. Of
        two matrices the product of their gains: v E φ'² is the mean square of a singular value of X.
    hidden : float or None
        ρ of X = W₂ D W₁, ρN neurons between two matrices; at least 1 where they are semi-orthogonal.
        ``None``: one matrix and the gate.

    Notes
    -----
    m = m_a + m_X with m_a (1 + m_a) = T = m_X (1 + m_X) S_X(m_X) and S = T/(m (1 + m)). The square root of T
    lies in the lower half-plane, but neither m_a nor m_X need to, and either can be where it is no
    coordinate: so both are unknowns.

    With b = E dt/(1 − dt) of the gate m_X = κb and T = κt(1 + b)^k/v, κ = ρ or 1. The power k is 1 of one
    Gaussian matrix and 2 of orthogonal ones. Of two Gaussian matrices, S_X = S_D²(m/ρ)/(v(1 + m/ρ)(1 + m))
    (Chhaibi, Daouda, Kahn, arXiv 2111.00841), it is 0; of semi-orthogonal ones that widen and narrow
    S_X = S_D²(m/ρ)(1 + m/ρ)/(v(1 + m)), and it is 2.
    """

    gate: GateRule
    orthogonal: bool
    variance: float
    hidden: float | None = None

    @property
    def power(self) -> int:
        """K of 1 + b in T."""
        return 2 if self.orthogonal else 1 if self.hidden is None else 0

    @property
    def kappa(self) -> float:
        """κ, the number of gates over N."""
        return 1.0 if self.hidden is None else self.hidden

    @property
    def log_scale(self) -> float:
        """Logarithm of v/κ, which t is over T where b is small."""
        return math.log(self.variance) - math.log(self.kappa)

    @property
    def group(self) -> Hashable:
        """What such factors have in common that stand side by side."""
        return ResidualLayer, self.power

    @staticmethod
    def side_by_side(factors: Sequence["ResidualLayer"]) -> "ResidualLayersAlike":
        """Return factors of the same kind for arrays of points."""
        return ResidualLayersAlike(factors)

    @property
    def log_mean(self) -> float:
        """−log S(0) = log(1 + v E d)."""
        return math.log1p(self.variance * self.gate.mean)

    @property
    def relative_variance(self) -> float:
        """−(log S)'(0)."""
        c = self.variance * self.gate.mean
        own = max(0.0, self.gate.mean_square / self.gate.mean / self.gate.mean - 1) + 1 - self.power
        return 2 * (c / (1 + c)) / (1 + c) + (1 + own / self.kappa) * (c / (1 + c)) ** 2

    @property
    def mean_log(self) -> float:
        """E log λ = 2 E log max(1, |x|), x the eigenvalues of X; S_X has their law (Haagerup, Larsen)."""
        if self.variance * self.gate.mean <= 1:
            return 0.0
        largest = self.gate.largest if self.gate.largest < math.inf else self.gate.mean
        low, high = -60.0 - math.log(largest) - max(0.0, math.log(self.variance)), 700.0
        if self._log_s_of_x(high) < 0:
            weights = 0.0 if self.orthogonal else 1.0
            return gate_mean_log(self.gate) + math.log(self.variance) - weights
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if self._log_s_of_x(middle) < 0 else (low, middle)
        a, b = self._averages(low)
        # Where S_X is 1; so close to m_X = −1 its 1 + m_X has more digits than 1 − κ + κa.
        log_above = low - self.log_scale + self.power * math.log(a) - math.log(-self.kappa * b)
        logs = log_above - self.kappa * self.power * math.log(a)
        log_mean = float(self._alone.log_mean(np.array([[complex(low, -math.pi)]])).real[0, 0])
        return self.kappa * (log_mean + (2 - self.power) * b) - logs

    @cached_property
    def _alone(self) -> Gates:
        return Gates([self.gate])

    def _averages(self, log_t: float) -> tuple[float, float]:
        """Return E 1/(1 − dt) and E dt/(1 − dt) at a negative t."""
        sums = self._alone.sums(np.array([[complex(log_t, -math.pi)]]))
        a = (sums.near * sums.passed).real[0, 0] + self.gate.zero_mass
        return float(a), float((sums.far * sums.through).real[0, 0])

    def _above(self, a: float) -> float:
        """Return 1 + m_X."""
        return 1 - self.kappa + self.kappa * a

    def _log_s_of_x(self, log_t: float) -> float:
        """Return log S_X at a negative t, infinite beyond m_X = −1."""
        a, b = self._averages(log_t)
        above = self._above(a)
        if above <= 0:
            return math.inf
        log_m = math.log(-self.kappa * b) + math.log(above)
        return log_t - self.log_scale + self.power * math.log(a) - log_m

    @property
    def mass_at_zero(self) -> float:
        """None."""
        return 0.0

    @property
    def point_masses(self) -> Pairs:
        """Where closed gates leave the skip connection alone; a mass below 0 is a debt."""
        return ((0.0, 1 - 2 * self.kappa * (1 - self.gate.zero_mass)),)

    @property
    def reaches_zero(self) -> bool:
        """Whether −1 is in the spectrum of X, a ring from 1/√(E 1/x²) to √(E x²)."""
        if self.variance * self.gate.mean < 1:
            return False
        if not self.orthogonal or self.kappa != 1 or lowest_open(self.gate) == 0 or self.gate.zero_mass:
            return True
        return self.variance <= float((self.gate.weights / self.gate.d).sum().real)


class ResidualLayersAlike:
    """Residual layers side by side, of the same power."""

    unknowns = 2

    def __init__(self, factors: Sequence[ResidualLayer]) -> None:
        self._gates, self._power = Gates([factor.gate for factor in factors]), factors[0].power
        self._kappa, self._log_scale, self._log_mean = np.array(
            [(factor.kappa, factor.log_scale, factor.log_mean) for factor in factors]
        ).T[..., None]

    def start(self, log_m: Complex) -> Complex:
        """Return the unknowns to leading order at m → 0."""
        return np.stack((log_m + self._log_scale - self._log_mean, self._log_mean - log_m))

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factors at their unknowns and at a place."""
        passed, through, own_slope, near, far = self._gates.sums(u[0], _poles(self._gates, u[0], place))
        a, own_slope = near * passed + self._gates.closed, far * own_slope
        b, slope = self._kappa * far * through, self._kappa * own_slope
        beyond, m_a = -1 / np.expm1(-u[1]), 1 / np.expm1(u[1])
        (zeta, seen_slope), m, one_plus_m = place.seen_with(0.0), place.m, place.rest + place.at_zero
        t_before = beyond * m_a
        xi, moved = self._summed(u[1], m_a, m - b)
        m_a, beyond = m_a + moved, beyond + moved
        t, coth, product = beyond * m_a, beyond + m_a, m * one_plus_m
        # Of m, m_a and m_X, or of what they are more than −1, those that are small.
        is_small = np.abs(b) < 0.5
        above = np.where(is_small | (self._kappa != 1), beyond + b, m_a + a)
        miss = np.where(np.abs(m) < 0.5, m_a + b - m, above - one_plus_m)
        log_t = _log_t(xi)
        tie = u[0] - self._log_scale + self._power * np.log(a) - log_t
        tie.imag -= 2 * np.pi * np.rint(tie.imag / (2 * np.pi))
        growth = 1 + self._power * own_slope / a
        common = t * growth + coth * slope
        drift = np.stack((-tie * t - miss * coth, miss * growth - tie * slope)) / common
        # S = T(ξ)/T(ζ), by the sum of m_a and m_X where that has more digits.
        exact = log_t - _log_t(zeta)
        excess = miss * (1 + 2 * m) / product
        log_s = excess - log1p_like(b * (m_a + above) / t, excess - exact)
        log_s = np.where(np.abs(excess) < _NEAR, log_s, exact)
        rate = 1 + 2 * m - coth * growth * product / common
        direction = np.stack((-coth, growth)) * (product / common * seen_slope)
        log_s = log_s - coth * drift[1]
        drift[1] -= moved / t_before
        cancels = np.where(self._kappa == 1, self._gates.closed + np.abs(a), self._kappa + np.abs(b))
        rounding = np.where(is_small, np.abs(b), cancels) * np.abs(growth / common)
        return Tangent(log_s, rate * seen_slope, drift, direction, (np.abs(coth) * rounding, rounding))

    @staticmethod
    def _summed(xi: Complex, m_a: Complex, wanted: Complex) -> tuple[Complex, Complex]:
        """Return ξ, and by what m_a moves, where a large m_a is next to the one that is wanted."""
        moved = wanted - m_a
        near = (np.abs(m_a) > 1) & (np.abs(moved) < _NEXT * np.abs(m_a))
        moved = np.where(near, moved, 0)
        return xi + log1p(-moved / ((m_a + moved) * (1 + m_a))), moved

    def keep_on_side(self, u: Complex) -> None:
        """Take log t back below the real axis."""
        u[0].imag = np.minimum(u[0].imag, 0.0)

    def potential(self, u: Complex, zeta: Complex) -> Complex:
        """Return ∫ m d log S from m = 0."""
        sums = self._gates.sums(u[0])
        a, b = sums.near * sums.passed + self._gates.closed, sums.far * sums.through
        beyond, m_a = -1 / np.expm1(-u[1]), 1 / np.expm1(u[1])
        log_a = log1p_like(b, _sided_log(a, u[0].imag >= -np.pi))
        own = -self._kappa * (self._gates.log_mean(u[0]) + (2 - self._power) * b)
        own += (1 - self._kappa * self._power) * log_a
        log = log_one_plus_m(zeta) - _sided_log(beyond, u[1].imag <= np.pi) - log_a
        return np.asarray(own) + log1p_like((self._kappa - 1 - m_a) * b / (beyond * a), log)


def _log_t(xi: Complex) -> Complex:
    """Return log m(1+m) = −2 log(2 sinh(ξ/2)), ξ = log((1+m)/m) with 0 < Im ξ < 2π."""
    return -2 * _sided_log(2 * np.sinh(xi / 2), np.zeros(xi.shape, dtype=bool))


def _sided_log(x: Complex, below: npt.NDArray[np.bool_]) -> Complex:
    """Return log x, x in the lower half-plane where ``below`` and else in the upper one, but for rounding."""
    flipped = x.copy()
    flipped.imag[~below] *= -1
    log = lower_log(flipped)
    log.imag[~below] *= -1
    return log


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

    last_real: ClassVar[float] = math.inf
    is_unbounded: ClassVar[bool] = False
    mass_at_zero: ClassVar[float] = 0.0
    point_masses: ClassVar[Pairs] = ()

    variance: float

    @property
    def group(self) -> Hashable:
        """What such factors have in common that stand side by side."""
        return Rotation

    @staticmethod
    def side_by_side(factors: Sequence["Rotation"]) -> "RotationsAlike":
        """Return factors of the same kind for arrays of points."""
        return RotationsAlike(np.array([[factor.variance] for factor in factors]))

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
    def ends(self) -> tuple[float, float]:
        """Ends of the law of log λ, where its density is infinite."""
        root_v = math.sqrt(self.variance)
        return 2 * math.log(abs(1 - root_v)) if root_v != 1 else -math.inf, 2 * math.log1p(root_v)

    @property
    def reaches_zero(self) -> bool:
        """Whether −1 is an eigenvalue of √v O."""
        return self.variance == 1


class RotationsAlike:
    """Layers 1 + √v O side by side."""

    unknowns = 1

    def __init__(self, variance: Array) -> None:
        self._variance = variance

    def start(self, log_m: Complex) -> Complex:
        """Return the unknown to leading order at m → 0."""
        return np.asarray(np.log1p(self._variance) - log_m)[None]

    def _roots(self, x: Complex) -> tuple[Complex, Complex, Complex]:
        """Return z − 1, √(z − a) and √(z − b)."""
        beyond, root_v = np.expm1(x), np.sqrt(self._variance)
        beyond.imag = np.maximum(beyond.imag, 0.0)
        centred, z = beyond - self._variance, np.exp(x)
        z.imag = np.maximum(z.imag, 0.0)
        # From 0 or from 1, whichever z is next to.
        above_low = np.where(np.abs(z) < 0.5, z - (1 - root_v) ** 2, centred + 2 * root_v)
        return beyond, np.sqrt(above_low), np.sqrt(centred - 2 * root_v)

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factors at their unknown and at a place."""
        beyond, low, high = self._roots(u[0])
        z, square, v = np.exp(u[0]), low * high, self._variance
        z.imag = np.maximum(z.imag, 0.0)
        # m/(1 + m) = (z − √((z − a)(z − b)))/z, without cancellation at large z.
        centre = 2 * (1 + v) - (1 - v) ** 2 / z
        inverse = centre / (z + square)
        own = -lower_log(inverse)
        log_s = -log1p_like(v * (2 * beyond + 4 - v) / (beyond + square), u[0] - own)
        rate = square * inverse / (centre - (1 + v))
        return tangent_of_curve(place.seen_with(0.0), (own, 1 / rate), (log_s, 1 / rate - 1))

    def keep_on_side(self, u: Complex) -> None:
        """Take log z back above the real axis."""
        u[0].imag = np.maximum(u[0].imag, 0.0)

    def potential(self, u: Complex, zeta: Complex) -> Complex:
        """Return ∫ m d log S from m = 0: −log(1+m) − E log(1 − λ/z)."""
        _, low, high = self._roots(u[0])
        return np.asarray(-log_one_plus_m(zeta) - 2 * np.log((low + high) / 2) + u[0])
