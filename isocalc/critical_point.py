"""A feed-forward network at the edge of chaos."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isocalc.activations import Activation
from isocalc.critical_line import gate_variance
from isocalc.feedforward import FixedPoint, fixed_points
from isocalc.limits import MAX_DEPTH
from isocalc.network import WEIGHTS, FeedForward, Weights, require_choice, require_whole


@dataclass(frozen=True)
class CriticalPoint:
    """A feed-forward network at the edge of chaos, χ = σ_w² E φ'² = 1, at a stable fixed point.

    Attributes
    ----------
    activation : Activation
    sigma_w, sigma_b : float
        Scale of the weights and standard deviation of the biases.
    q_star : float or None
        Variance of the pre-activations; ``None`` where every q is a fixed point.
    """

    activation: Activation
    sigma_w: float
    sigma_b: float
    q_star: float | None

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
        points = fixed_points(self.network(1))
        return min(points, key=lambda point: abs((point.q_star or 0.0) - (self.q_star or 0.0)))

    def network(self, depth: int, weights: Weights = "gaussian") -> FeedForward:
        """Return the network of a depth, from 1 to 10⁷."""
        return FeedForward(
            self.activation, depth=depth, weights=weights, sigma_w=self.sigma_w, sigma_b=self.sigma_b
        )

    @property
    def shown(self) -> str:
        """Its scales, for messages."""
        return f"sigma_w = {self.sigma_w:.6g}, sigma_b = {self.sigma_b:.6g}"
