"""Feed-forward networks at the edge of chaos, χ = 1, with a given fixed point, biases, weights or spectrum.

A network with χ = 1 at the fixed point q has σ_w² = 1/E_q φ'², and q = σ_w² E_q φ² + σ_b² gives σ_b²: the
critical line of an activation is a curve with the parameter q. Schoenholz et al., arXiv 1611.01232;
Pennington, Schoenholz, Ganguli, arXiv 1802.09979: theory (18) and (19).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, normal_rule, second_moment_and_slope
from isocalc.activations.catalogue import Activation, activation
from isocalc.errors import NoAnswerError, require_choice, require_number, require_whole
from isocalc.limits import (
    LEAST_BIAS,
    LEAST_Q,
    LEAST_SPREAD,
    LEAST_WEIGHT,
    MAX_DEPTH,
    MOST_BIAS,
    MOST_Q,
    MOST_SPREAD,
    MOST_WEIGHT,
)
from isocalc.networks.descriptions import WEIGHTS, FeedForward, Weights
from isocalc.numerics.roots import all_roots, turning_points
from isocalc.numerics.tolerances import EPS, LARGEST_DOUBLE
from isocalc.signal.fixed_points import FixedPoint, fixed_point_at, fixed_points
from isocalc.signal.tolerances import (
    BESIDE,
    CANCELS,
    CRITICAL,
    LARGEST_SIGMA,
    LINE_NOISE,
    NEXT_TO_ZERO,
    SAME,
    SEARCHED,
    STEPS_PER_DECADE,
)

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


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
        known = (self.weight <= LARGEST_SIGMA**2) & np.isfinite(self.bias)
        return known & (self.bias >= -LINE_NOISE * self.q)

    @property
    def are_networks(self) -> Flags:
        """Where there is a network whose fixed point is stable."""
        return self.exist & (self.slope < 1 - LINE_NOISE)

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
        low, high = act.length_range[0] ** 2 / SEARCHED, act.length_range[1] ** 2 * SEARCHED
        count = math.ceil(STEPS_PER_DECADE * math.log10(high / low)) + 1
        self.grid = self.places(np.geomspace(low, high, count))

    def places(self, q: Array) -> Places:
        """Return the points of the line at values of q > 0, shape (n,)."""
        found = averages(self.act, q)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            weight = 1 / found.gate
            return Places(q, weight, q - weight * found.second, weight * found.curvature / (2 * q))

    def holding(self, places: Places) -> Flags:
        """Return where there is a network whose fixed point is stable, or half-stable: the map touches q."""
        found = places.exist & (np.abs(places.slope - 1) <= LINE_NOISE)
        if found.any():
            q = places.q[found]
            beside = second_moment_and_slope(self.act, np.concatenate((q / BESIDE, q * BESIDE)))[1]
            before, after = places.weight[found] * beside.reshape(2, -1) - 1
            found[found] = (before * after < 0) & (np.minimum(abs(before), abs(after)) > LINE_NOISE)
        return np.asarray(found | places.are_networks)

    def solve(self, deviation: Quantity) -> list[Places]:
        """Return every network at which a deviation, of order 1 at most, vanishes, by ascending q."""
        return self._held(self._zeros(deviation))

    def _held(self, q: list[float]) -> list[Places]:
        places = self.places(np.array(q))
        return [places.at([i]) for i in np.flatnonzero(self.holding(places)).tolist()]

    def _zeros(self, deviation: Quantity) -> list[float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = deviation(self.grid)
        clear = np.isfinite(values) & (np.abs(values) > LINE_NOISE)
        return all_roots(lambda q: deviation(self.places(q)), self.grid.q[clear], values[clear])

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
        i = int((sign * values).argmin())
        place = places.at([i])
        if 0 < i < values.size - 1:
            ends = places.q[[i - 1]], places.q[[i + 1]]
            q, value = turning_points(lambda q: quantity(self.places(q)), *ends, np.array([sign]))
            place = self.places(q) if sign * value[0] < sign * values[i] else place
        return Bound(float(quantity(place)[0]), place)

    def is_at_end(self, place: Places) -> bool:
        """Whether the values of q that are searched end there."""
        return bool(place.q[0] == self.grid.q[0] or place.q[0] == self.grid.q[-1])


def gate_variance(act: Activation, q: Array) -> Array:
    """Return the relative variance of φ'² at variances q >= 0, at 0 the limit; arrays of shape (n,)."""
    q = np.maximum(q, NEXT_TO_ZERO * act.length_range[0] ** 2)
    if act.slopes is not None:
        return np.array([_of_masses(act.gate_masses(float(value))) for value in q])
    gates = averages(act, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = gates.gate_squared / gates.gate / gates.gate - 1
    small = variance < CANCELS
    if small.any():
        z, weights = normal_rule(act, q[small])
        gate = act.dphi(np.sqrt(q[small])[:, None] * z) ** 2
        mean = (weights * gate).sum(axis=1)
        variance[small] = (weights * (gate - mean[:, None]) ** 2).sum(axis=1) / mean**2
    return variance


def _of_masses(masses: tuple[tuple[float, float], ...]) -> float:
    mean = math.fsum(mass * gate for gate, mass in masses)
    # Its square is no double beside the largest one's: gates never open.
    if mean < max(gate for gate, _ in masses) / math.sqrt(LARGEST_DOUBLE):
        return math.inf
    return math.fsum(mass * (gate / mean - 1) ** 2 for gate, mass in masses)


Stability = Literal["stable", "half-stable", "neutral"]


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
        return tuple(point for point in self._all_stable if abs((point.q_star or 0.0) - q) > SAME * q)

    @cached_property
    def side(self) -> Literal["below", "above"] | None:
        """From which side the variance tends to a half-stable q*; ``None`` where it is not half-stable."""
        if self.stability != "half-stable" or self.q_star is None:
            return None
        slope = second_moment_and_slope(self.activation, np.array([self.q_star * BESIDE]))[1][0]
        # There the map is above the diagonal on both sides, or below it.
        return "below" if self.sigma_w * self.sigma_w * slope > 1 else "above"

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


def at_q_star(act: str | Activation, q_star: float) -> CriticalPoint:
    """Return the critical network with a given fixed point: σ_w² = 1/E φ'², σ_b² = q* − σ_w² E φ².

    Theory (19).

    Parameters
    ----------
    act : str or Activation
    q_star : float
        Variance of the pre-activations, from 1e-100 to 1e20.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        There is none: σ_b² would be negative, or the fixed point is unstable.

    Examples
    --------
    >>> point = at_q_star("hardtanh", 1.0)
    >>> round(point.sigma_w, 12), round(point.sigma_b, 12)
    (1.210287062433, 0.494044665729)
    """
    q_star = _within("q_star", q_star, LEAST_Q, MOST_Q)
    phi = activation(act)
    if phi.scale_free:
        return _of_scale_free(phi, q_star)
    line = CriticalLine(phi)
    place = line.places(np.array([q_star]))
    if line.holding(place)[0]:
        return _point(phi, place)
    where = f"{phi.name} cannot be critical at q* = {q_star!r}"
    weight, bias = float(place.weight[0]), float(place.bias[0])
    if not math.isfinite(weight):
        raise NoAnswerError(f"{where}: all gates are closed there")
    if not place.exist[0]:
        raise NoAnswerError(
            f"{where}: chi = 1 takes sigma_w = {math.sqrt(weight):.6g}, and sigma_b^2 = {bias:.6g}"
        )
    if abs(place.slope[0] - 1) <= CRITICAL:
        raise NoAnswerError(f"{where}: the map of q is the identity to rounding, which hides if q* is stable")
    text = (
        f"{where}: q* is not stable at {_point(phi, place).shown}, where chi = 1: small deviations do not "
        "shrink from layer to layer"
    )
    ends = " and ".join(repr(float(turn.q[0])) for turn in line.turns)
    raise NoAnswerError(f"{text}; the stable part of the critical line ends at q* = {ends}" if ends else text)


def at_sigma_b(act: str | Activation, sigma_b: float = 0.0) -> tuple[CriticalPoint, ...]:
    """Return every critical network with a given standard deviation of the biases, by ascending q*.

    Parameters
    ----------
    act : str or Activation
    sigma_b : float
        0, or from 1e-6 to 1e6.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        There is none; the message says which ``sigma_b`` can be reached.

    Examples
    --------
    >>> [(point.sigma_w, point.q_star) for point in at_sigma_b("tanh")]
    [(1.0, 0.0)]
    """
    rule = f"0, or a number from {LEAST_BIAS:g} to {MOST_BIAS:g}"
    fits = LEAST_BIAS, MOST_BIAS
    sigma_b = require_number("sigma_b", sigma_b, rule, lambda x: x == 0 or fits[0] <= x <= fits[1])
    phi = activation(act)
    if phi.scale_free:
        if sigma_b == 0:
            return (_of_scale_free(phi),)
        raise NoAnswerError(_only_without_biases(phi))
    line, square = CriticalLine(phi), sigma_b * sigma_b

    def deviation(places: Places) -> Array:
        return (places.bias - square) / (places.q + square)

    points = [_point(phi, place, sigma_b=sigma_b) for place in line.solve(deviation)]
    if sigma_b == 0:
        points = [*_origin(line), *points]
    if points:
        return tuple(points)
    raise NoAnswerError(
        _out_of_reach(line, "sigma_b", sigma_b, lambda places: np.sqrt(np.maximum(places.bias, 0.0)))
    )


def at_sigma_w(act: str | Activation, sigma_w: float) -> tuple[CriticalPoint, ...]:
    """Return every critical network with a given scale of the weights, by ascending q*.

    Parameters
    ----------
    act : str or Activation
    sigma_w : float
        From 1e-10 to 1e10.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        There is none; the message says which ``sigma_w`` can be reached.
    """
    sigma_w = _within("sigma_w", sigma_w, LEAST_WEIGHT, MOST_WEIGHT)
    phi, square = activation(act), sigma_w * sigma_w
    if phi.scale_free:
        if abs(square * float(averages(phi, 1.0).gate) - 1) <= CRITICAL:
            return (CriticalPoint(phi, sigma_w, 0.0, None, "neutral"),)
        raise NoAnswerError(_only_without_biases(phi))
    line = CriticalLine(phi)

    def deviation(places: Places) -> Array:
        return np.asarray(np.log(square / places.weight))

    points = [_point(phi, place, sigma_w=sigma_w) for place in line.solve(deviation)]
    points = [*(point for point in _origin(line) if abs(square / point.sigma_w**2 - 1) <= CRITICAL), *points]
    if points:
        return tuple(points)
    raise NoAnswerError(_out_of_reach(line, "sigma_w", sigma_w, lambda places: np.sqrt(places.weight)))


def at_sigma2_jjt(
    act: str | Activation, sigma2_jjt: float, *, depth: int, weights: Weights = "orthogonal"
) -> tuple[CriticalPoint, ...]:
    """Return every critical network whose λ has a given variance at a depth, by ascending q*.

    Parameters
    ----------
    act : str or Activation
    sigma2_jjt : float
        σ²_JJᵀ, from 1e-10 to 1e10; the mean of λ is 1.
    depth : int
        Layers L, from 1 to 10⁷.
    weights : {"gaussian", "orthogonal"}

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        There is none; the message says what can be reached, and where.

    Notes
    -----
    L (E φ'⁴ / (E φ'²)² − 1 − s₁) with s₁ = 0 for orthogonal and −1 for Gaussian weights: Pennington et al.,
    eq. (22), theory (18), and the isometry at any depth of their Section 4.
    """
    target = _within("sigma2_jjt", sigma2_jjt, LEAST_SPREAD, MOST_SPREAD)
    depth = require_whole("depth", depth, 1, MAX_DEPTH)
    require_choice("weights", weights, WEIGHTS)
    phi, own = activation(act), float(weights == "gaussian")
    if phi.scale_free:
        point = _of_scale_free(phi)
        if abs(point.sigma2_jjt(depth, weights) / target - 1) <= math.sqrt(EPS):
            return (point,)
        raise NoAnswerError(
            f"{phi.name} cannot have sigma2_jjt = {target:.6g}: critical networks of {depth} layers with "
            f"{weights} weights have {point.sigma2_jjt(depth, weights):.6g}, all of them ({point.shown})"
        )
    line = CriticalLine(phi)

    def spread(places: Places) -> Array:
        return np.asarray(depth * (gate_variance(phi, places.q) + own))

    points = tuple(_point(phi, place) for place in line.solve(lambda places: np.log(spread(places) / target)))
    if points:
        return points
    about = f" at depth {depth} with {weights} weights"
    raise NoAnswerError(_out_of_reach(line, "sigma2_jjt", target, spread, about))


def _within(parameter: str, value: float, least: float, most: float) -> float:
    return require_number(
        parameter, value, f"a number from {least:g} to {most:g}", lambda x: least <= x <= most
    )


def _point(
    phi: Activation, place: Places, sigma_w: float | None = None, sigma_b: float | None = None
) -> CriticalPoint:
    """Return the network at one place of the line, with the number that was given as it was given."""
    return CriticalPoint(
        phi,
        math.sqrt(place.weight[0]) if sigma_w is None else sigma_w,
        math.sqrt(max(place.bias[0], 0.0)) if sigma_b is None else sigma_b,
        float(place.q[0]),
        "stable" if place.are_networks[0] or not place.q[0] else "half-stable",
    )


def _origin(line: CriticalLine) -> list[CriticalPoint]:
    return [] if line.origin is None else [CriticalPoint(line.act, line.origin, 0.0, 0.0)]


def _of_scale_free(phi: Activation, q_star: float | None = None) -> CriticalPoint:
    return CriticalPoint(phi, 1 / math.sqrt(float(averages(phi, 1.0).gate)), 0.0, q_star, "neutral")


def _only_without_biases(phi: Activation) -> str:
    sigma_w = _of_scale_free(phi).sigma_w
    return f"{phi.name} is critical only at sigma_w = {sigma_w!r} with sigma_b = 0, at every q"


def _out_of_reach(line: CriticalLine, name: str, target: float, quantity: Quantity, about: str = "") -> str:
    """Say what critical networks reach on either side of a target, and where."""
    act = line.act.name
    stretches = list(line.reached(quantity))
    if not stretches:
        return f"{act} has no critical network: where chi = 1, sigma_b^2 < 0 or q* is not stable"
    lower, upper = zip(*stretches, strict=True)
    value = attrgetter("value")
    below = max((most for most in upper if most.value < target), key=value, default=None)
    above = min((least for least in lower if least.value > target), key=value, default=None)
    text = f"{act} has no critical network with {name} = {target!r}{about}"
    at_most = _told(line, below, "ROUND_FLOOR") if below else ""
    at_least = _told(line, above, "ROUND_CEILING") if above else ""
    if at_most and at_least:
        return f"{text}: there are some with at most {at_most} and with at least {at_least}"
    if at_most:
        return f"{text}: the most is {at_most}; ask for at most that"
    if at_least:
        return f"{text}: the least is {at_least}; ask for at least that"
    return f"{text}: none was found, although others have less and more"


def _told(line: CriticalLine, bound: Bound, rounding: str) -> str:
    """Return a bound, rounded to where there are networks, and the network that has it."""
    from decimal import Context  # noqa: PLC0415 - of this message alone

    value = float(Context(prec=12, rounding=rounding).create_decimal_from_float(bound.value))
    point = _point(line.act, bound.place)
    marginal = ", half-stable" if point.stability == "half-stable" else ""
    end = ", where the search ends" if line.is_at_end(bound.place) else ""
    return f"{value:.12g} ({point.shown}, q* = {point.q_star:.6g}{marginal}{end})"
