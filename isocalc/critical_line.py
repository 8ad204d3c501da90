"""The critical line of one activation as a curve with the parameter q: weights, biases, variance of gates.

A network with χ = 1 at the fixed point q has σ_w² = 1/E_q φ'², and q = σ_w² E_q φ² + σ_b² gives σ_b².
"""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.branches import all_roots, turning_point
from isocalc.errors import NoAnswerError
from isocalc.feedforward import fixed_points
from isocalc.gaussian import averages, normal_rule, second_moment_and_slope
from isocalc.network import FeedForward

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

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
# Factor from a fixed point to where the slope of the map tells on which side it is stable.
BESIDE = 1 + 1e-3


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
    def exist(self) -> Flags:
        """Where there is a network, whether its fixed point is stable or not."""
        known = (self.weight <= _MOST_WEIGHT) & np.isfinite(self.bias)
        return known & (self.bias >= -_NOISE * self.q)

    @property
    def are_networks(self) -> Flags:
        """Where there is a network whose fixed point is stable."""
        return self.exist & (self.slope < 1 - _NOISE)

    def at(self, index: npt.NDArray[np.intp] | Flags | slice | list[int]) -> "Places":
        """Return some of the points."""
        return Places(*(array[index] for array in self))


Quantity = Callable[[Places], Array]


class Bound(NamedTuple):
    """The least or the most of a quantity on a stretch of networks, and where it is."""

    value: float
    place: Places


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

    def holding(self, places: Places) -> Flags:
        """Return where there is a network whose fixed point is stable, or half-stable: the map touches q."""
        found = places.exist & (np.abs(places.slope - 1) <= _NOISE)
        if found.any():
            q = places.q[found]
            beside = second_moment_and_slope(self.act, np.concatenate((q / BESIDE, q * BESIDE)))[1]
            before, after = places.weight[found] * beside.reshape(2, -1) - 1
            found[found] = (before * after < 0) & (np.minimum(abs(before), abs(after)) > _NOISE)
        return np.asarray(found | places.are_networks)

    def solve(self, deviation: Quantity) -> list[Places]:
        """Return every network at which a deviation, of order 1 at most, vanishes, by ascending q."""
        return self._held(self._zeros(deviation))

    def _held(self, q: list[float]) -> list[Places]:
        places = self.places(np.array(q))
        return [places.at([i]) for i in np.flatnonzero(self.holding(places)).tolist()]

    def _zeros(self, deviation: Quantity) -> list[float]:
        def at(q: float) -> float:
            return float(deviation(self.places(np.array([q])))[0])

        with np.errstate(divide="ignore", invalid="ignore"):
            values = deviation(self.grid)
        clear = np.isfinite(values) & (np.abs(values) > _NOISE)
        return all_roots(at, self.grid.q[clear].tolist(), values[clear].tolist())

    @cached_property
    def turns(self) -> list[Places]:
        """Where the line turns from stable networks to others: half-stable, by ascending q."""
        return self._held(self._zeros(lambda places: places.slope - 1))

    @cached_property
    def stretches(self) -> list[Places]:
        """Stretches of the line whose networks hold their q, on the grid and with their ends, ascending."""
        ends = [*self.turns, *self._held(self._zeros(lambda places: places.bias / places.q))]
        line = Places(*map(np.concatenate, zip(self.grid, *ends, strict=True)))
        line = line.at(np.argsort(line.q))
        borders = np.flatnonzero(np.diff(self.holding(line), prepend=False, append=False))
        found = [line.at(slice(*ends)) for ends in borders.reshape(-1, 2).tolist()]
        if self.origin is not None:
            found.insert(0, Places(*np.array([[0.0], [self.origin**2], [0.0], [1.0]])))
        return found

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

    def reached(self, quantity: Quantity) -> Iterator[tuple[Bound, Bound]]:
        """Yield the least and the most of a quantity on each stretch of networks."""
        for stretch in self.stretches:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = quantity(stretch)
            known = np.isfinite(values)
            if known.any():
                places, values = stretch.at(known), values[known]
                least, most = (self._extreme(quantity, places, values, sign) for sign in (1.0, -1.0))
                yield least, most

    def _extreme(self, quantity: Quantity, places: Places, values: Array, sign: float) -> Bound:
        """Return where ``sign`` times a quantity is least, between points of the grid too."""

        def at(q: float) -> float:
            return sign * float(quantity(self.places(np.array([q])))[0])

        i = int((sign * values).argmin())
        place = places.at([i])
        if 0 < i < values.size - 1:
            q = turning_point(at, float(places.q[i - 1]), float(places.q[i + 1]))
            place = self.places(np.array([q])) if at(q) < sign * values[i] else place
        return Bound(float(quantity(place)[0]), place)

    def is_at_end(self, place: Places) -> bool:
        """Whether the values of q that are searched end there."""
        return bool(place.q[0] == self.grid.q[0] or place.q[0] == self.grid.q[-1])


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
