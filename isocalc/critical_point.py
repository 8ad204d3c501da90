"""A feed-forward network at the edge of chaos."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from isocalc.activations import Activation
from isocalc.critical_line import BESIDE, gate_variance
from isocalc.errors import NoAnswerError
from isocalc.feedforward import FixedPoint, fixed_point_at, fixed_points
from isocalc.limits import MAX_DEPTH
from isocalc.network import WEIGHTS, FeedForward, Weights, require_choice, require_whole
from isocalc.variance_map import VarianceMap

Stability = Literal["stable", "half-stable", "neutral"]
# Relative distance of fixed points that rounding does not make two of one.
_APART = 1e-6


@dataclass(frozen=True)
class CriticalPoint:
    """A feed-forward network at the edge of chaos, χ = σ_w² E φ'² = 1, at a fixed point that is not unstable.

    Attributes
    ----------
    activation : Activation
    sigma_w, sigma_b : float
        Scale of the weights and standard deviation of the biases.
    q_star : float or None
        Variance of the pre-activations; ``None`` where every q is a fixed point.
    stability : {"stable", "half-stable", "neutral"}
        Half-stable where the variance tends to q* from one side and leaves it on the other: the slope of its
        map is 1 too. Such are ends of critical lines. Neutral where every q is a fixed point.
    """

    activation: Activation
    sigma_w: float
    sigma_b: float
    q_star: float | None
    stability: Stability = "stable"

    @cached_property
    def gate_variance(self) -> float:
        """Relative variance of φ'², which every layer adds to that of λ."""
        q = 1.0 if self.q_star is None else self.q_star
        return float(gate_variance(self.activation, np.array([q]))[0])

    def relative_variance(self, weights: Weights = "gaussian") -> float:
        """Return what one layer adds to the relative variance of λ: that of its gates, and 1 if Gaussian."""
        require_choice("weights", weights, WEIGHTS)
        return self.gate_variance + (weights == "gaussian")

    def sigma2_jjt(self, depth: int, weights: Weights = "gaussian") -> float:
        """Return σ²_JJᵀ, the variance of λ, whose mean is 1, at a depth: theory (18)."""
        return require_whole("depth", depth, 1, MAX_DEPTH) * self.relative_variance(weights)

    @cached_property
    def fixed_point(self) -> FixedPoint:
        """The fixed point of signal propagation at q*."""
        # Without a stable fixed point the variance grows from a half-stable one on.
        escape = self._all_stable[0].escape if self._all_stable else self.q_star
        point = fixed_point_at(self.network(1), self.q_star, escape)
        return point if self.stability == "stable" else replace(point, xi_q=math.inf)

    @cached_property
    def others(self) -> tuple[FixedPoint, ...]:
        """Stable fixed points of the same network beside q*, smallest first."""
        q = self.q_star
        if q is None or self.activation.scale_free:
            return ()
        return tuple(point for point in self._all_stable if abs((point.q_star or 0.0) - q) > _APART * q)

    @cached_property
    def side(self) -> Literal["below", "above"] | None:
        """From which side the variance tends to a half-stable q*; ``None`` where it is not half-stable."""
        if self.stability != "half-stable" or self.q_star is None:
            return None
        variance_map = VarianceMap(self.network(1))
        # There the map is above the diagonal on both sides, or below it.
        return "below" if variance_map.slope_at(self.q_star * BESIDE) > 1 else "above"

    @cached_property
    def _all_stable(self) -> tuple[FixedPoint, ...]:
        try:
            return fixed_points(self.network(1))
        except NoAnswerError:  # beside a half-stable one there may be none
            return ()

    def network(self, depth: int, weights: Weights = "gaussian") -> FeedForward:
        """Return the network of a depth, from 1 to 10⁷."""
        return FeedForward(
            self.activation, depth=depth, weights=weights, sigma_w=self.sigma_w, sigma_b=self.sigma_b
        )

    @property
    def shown(self) -> str:
        """Its scales, for messages."""
        return f"sigma_w = {self.sigma_w:.6g}, sigma_b = {self.sigma_b:.6g}"
