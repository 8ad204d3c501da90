"""The feed-forward layer as a factor: a gate and weights."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isocalc.complex_logs import log_ratio, lower_log
from isocalc.factor_kinds import GAUSSIAN, NARROWING, ORTHOGONAL, FactorArrays
from isocalc.gate_sums import gate_log_mean, gate_mean_log, last_real, lowest_open, open_averages
from isocalc.gates import GateRule
from isocalc.transforms import Complex, Curve, Pairs, Place, Tangent, tangent_of_curve


class Gated:
    """What factors that are made of a gate have from it."""

    gate: GateRule

    def on_its_side(self, u: Complex) -> Complex:
        """Return log t below the real axis."""
        return np.asarray(u.real + 1j * np.minimum(u.imag, 0.0))

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

    unknowns: ClassVar[int] = 1

    gate: GateRule
    orthogonal: bool
    share: float = 1.0
    growth: float = 1.0

    def start(self, log_m: Complex) -> Complex:
        """Return log t to leading order at m → 0."""
        return log_m[None] + math.log(self.share / self.gate.mean)

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factor at log t and at a place."""
        passed, b, slope = open_averages(self.gate, u[0])
        own = log_ratio(b, passed, 1 - self.gate.zero_mass), slope / passed - slope / b
        found = tangent_of_curve(place.seen_with(1 - self.rank), own, self._log_s(u[0], passed, b, slope))
        if not self.orthogonal or self.growth >= 1:
            return found
        # 1 + κΛm, with the digits it has where the width of the weights is what limits the rank.
        per_input = self.share * self.growth
        above = place.rest + (1 / per_input - (1 - place.at_zero))
        rate = -place.m * place.rest / ((1 - place.at_zero) * above)
        return found._replace(log_s=found.log_s + lower_log(per_input * above), rate=found.rate + rate)

    def alone(self, u: Complex, count: float) -> Curve | None:
        """Return the power of a square layer as a curve in log t."""
        if self.share != 1 or self.growth != 1:
            return None
        passed, b, slope = open_averages(self.gate, u)
        a = passed + self.gate.zero_mass
        own, own_slope = log_ratio(b, passed, 1 - self.gate.zero_mass), slope / passed - slope / b
        log_s, log_s_slope = self._log_s(u, passed, b, slope)
        y, y_slope = log_ratio(b, a) - count * log_s, slope / a - slope / b - count * log_s_slope
        return Curve(own, own_slope, y, y_slope, log_s)

    def log_s(self, u: Complex) -> Complex:
        """Return log S at log t, weights not narrowing."""
        return self._log_s(u[0], *open_averages(self.gate, u[0]))[0]

    def _log_s(self, u: Complex, passed: Complex, b: Complex, slope: Complex) -> tuple[Complex, Complex]:
        if not self.orthogonal or self.growth < 1:
            return u - lower_log(b), 1 - slope / b
        a = passed + self.gate.zero_mass
        return u + log_ratio(b, a), 1 + slope / a - slope / b

    def potential(self, u: Complex, zeta: Complex) -> Complex:  # noqa: ARG002 - other factors need it
        """Return ∫ m d log S from m = 0."""
        passed, b, _ = open_averages(self.gate, u[0])
        integral = -gate_log_mean(self.gate, u[0]) - b
        if self.orthogonal and self.growth >= 1:
            integral += b - lower_log(passed + self.gate.zero_mass)
        elif self.orthogonal:
            integral += b - lower_log(1 + self.growth * b) / self.growth
        return integral / self.share

    @property
    def arrays(self) -> FactorArrays:
        """The layer for compiled code."""
        kind = GAUSSIAN if not self.orthogonal else ORTHOGONAL if self.growth >= 1 else NARROWING
        return FactorArrays(
            kind, self.share, self.growth, self.gate.sorted, self.gate.zero_mass, 1 - self.rank
        )

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
