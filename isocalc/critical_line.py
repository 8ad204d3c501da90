"""The critical line of one activation as a curve with the parameter q: weights, biases, variance of gates.

A network with χ = 1 at the fixed point q has σ_w² = 1/E_q φ'², and q = σ_w² E_q φ² + σ_b² gives σ_b².
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.branches import all_roots
from isocalc.errors import NoAnswerError
from isocalc.feedforward import fixed_points
from isocalc.gaussian import averages, normal_rule
from isocalc.network import FeedForward

Array = npt.NDArray[np.float64]

# Values of q that are searched, in units of the square of the lengths over which φ changes.
_LEAST_Q, _MOST_Q, _STEPS_PER_DECADE = 1e-14, 1e14, 8
# Relative rounding of E φ² / E φ'²; below, the sign of a deviation is not known.
_NOISE = 1e-13
# Relative variances below are computed without cancellation.
_SMALL = 1e-3
# Of the largest φ'²: a mean below is that of gates which never open.
_CLOSED = 1e-150
_MOST_WEIGHT = 1e20
# Stands for q = 0, in the same units.
_NEXT_TO_ZERO = 1e-30


class Places(NamedTuple):
    """Points of the line, arrays of one shape; not every one is a network."""

    q: Array
    """Variance of the pre-activations"""
    weight: Array
    """σ_w², infinite where all gates are closed"""
    bias: Array
    """σ_b², below 0 where there is no network"""
    slope: Array
    """Of the variance map: the fixed point is stable where it is below 1"""

    @property
    def are_networks(self) -> npt.NDArray[np.bool_]:
        """Where there is a network whose fixed point is stable."""
        known = (self.weight <= _MOST_WEIGHT) & np.isfinite(self.bias)
        return known & (self.bias >= -_NOISE * self.q) & (self.slope < 1 - _NOISE)


Deviation = Callable[[Places], Array]


class CriticalLine:
    """The critical line of an activation that is not scale-free.

    Parameters
    ----------
    act : Activation
    """

    def __init__(self, act: Activation) -> None:
        self.act = act
        lengths = [min(max(length, 1e-70), 1e70) ** 2 for length in act.lengths]
        low, high = _LEAST_Q * min(lengths), _MOST_Q * max(lengths)
        count = math.ceil(_STEPS_PER_DECADE * math.log10(high / low)) + 1
        self.grid = self.places(np.geomspace(low, high, count))

    def places(self, q: Array) -> Places:
        """Return the points of the line at values of q > 0, shape (n,)."""
        found = averages(self.act, q)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            weight = 1 / found.gate
            return Places(q, weight, q - weight * found.second, weight * found.curvature / (2 * q))

    def solve(self, deviation: Deviation) -> list[float]:
        """Return every q of a network at which a deviation, of order 1 at most, vanishes, ascending."""

        def at(q: float) -> float:
            return float(deviation(self.places(np.array([q])))[0])

        with np.errstate(divide="ignore", invalid="ignore"):
            values = deviation(self.grid)
        clear = np.isfinite(values) & (np.abs(values) > _NOISE)
        roots = np.array(all_roots(at, self.grid.q[clear].tolist(), values[clear].tolist()))
        return roots[self.places(roots).are_networks].tolist() if roots.size else []

    @property
    def origin(self) -> float | None:
        """σ_w of the critical network without biases that stays at q = 0, ``None`` where there is none."""
        at_zero = averages(self.act, 0.0)
        if at_zero.second or not at_zero.gate:
            return None
        sigma_w = 1 / math.sqrt(at_zero.gate)
        try:
            points = fixed_points(FeedForward(self.act, sigma_w=sigma_w))
        except NoAnswerError:
            return None
        return sigma_w if points[0].q_star == 0 else None

    def reached(self, values: Array) -> tuple[tuple[float, Places], tuple[float, Places]] | None:
        """Return the least and the greatest of values on the grid, among networks, and where they are."""
        fit = self.grid.are_networks & np.isfinite(values)
        if not fit.any():
            return None
        least = int(np.where(fit, values, np.inf).argmin())
        most = int(np.where(fit, values, -np.inf).argmax())
        return self._value_at(values, least), self._value_at(values, most)

    def is_at_end(self, place: Places) -> bool:
        """Whether the values of q that are searched end there."""
        return bool(place.q[0] == self.grid.q[0] or place.q[0] == self.grid.q[-1])

    def _value_at(self, values: Array, index: int) -> tuple[float, Places]:
        return float(values[index]), Places(*(array[index : index + 1] for array in self.grid))


def gate_variance(act: Activation, q: Array) -> Array:
    """Return the relative variance of φ'² at variances q >= 0, at 0 the limit; arrays of shape (n,)."""
    q = np.maximum(q, _NEXT_TO_ZERO * min(max(min(act.lengths), 1e-140), 1e150) ** 2)
    if act.slopes is not None:
        return np.array([_of_masses(act.gate_masses(float(value))) for value in q])
    gates = averages(act, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = gates.gate_squared / gates.gate / gates.gate - 1
    small = variance < _SMALL
    if small.any():
        z, weights = normal_rule(act, q[small])
        gate = act.dphi(np.sqrt(q[small])[:, None] * z) ** 2
        mean = (weights * gate).sum(axis=1)
        variance[small] = (weights * (gate - mean[:, None]) ** 2).sum(axis=1) / mean**2
    return variance


def _of_masses(masses: tuple[tuple[float, float], ...]) -> float:
    mean = math.fsum(mass * gate for gate, mass in masses)
    if mean < _CLOSED * max(gate for gate, _ in masses):
        return math.inf
    return math.fsum(mass * (gate / mean - 1) ** 2 for gate, mass in masses)
