"""Feed-forward networks at the edge of chaos, χ = 1: with given biases, weights, fixed point or spectrum.

Schoenholz et al., arXiv 1611.01232; Pennington, Schoenholz, Ganguli, arXiv 1802.09979: theory (18) and (19).
"""

import math
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation, activation
from isocalc.critical_line import Bound, CriticalLine, Places, Quantity, gate_variance
from isocalc.critical_point import CriticalPoint
from isocalc.errors import NoAnswerError
from isocalc.gaussian import averages
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
from isocalc.network import WEIGHTS, Weights, require_choice, require_number, require_whole
from isocalc.variance_map import CRITICAL

Array = npt.NDArray[np.float64]

_ACCURACY = 1e-8


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
        if abs(point.sigma2_jjt(depth, weights) / target - 1) <= _ACCURACY:
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
