"""Feed-forward networks at the edge of chaos, χ = 1: with given biases, weights, fixed point or spectrum.

Schoenholz et al., arXiv 1611.01232; Pennington, Schoenholz, Ganguli, arXiv 1802.09979: theory (18) and (19).
"""

import math

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation, activation
from isocalc.critical_line import CriticalLine, Places, gate_variance
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
        There is none: σ_b² would be negative, or the fixed point is not stable.

    Examples
    --------
    >>> point = at_q_star("hardtanh", 1.0)
    >>> round(point.sigma_w, 12), round(point.sigma_b, 12)
    (1.210287062433, 0.494044665729)
    """
    q_star = _within("q_star", q_star, LEAST_Q, MOST_Q)
    phi = activation(act)
    if phi.scale_free:
        return CriticalPoint(phi, _sigma_w_of_scale_free(phi), 0.0, q_star)
    place = CriticalLine(phi).places(np.array([q_star]))
    if place.are_networks[0]:
        return _point(phi, place)
    where = f"{phi.name} cannot be critical at q* = {q_star!r}"
    weight, bias = float(place.weight[0]), float(place.bias[0])
    if not math.isfinite(weight):
        raise NoAnswerError(f"{where}: all gates are closed there")
    if bias < 0:
        raise NoAnswerError(
            f"{where}: chi = 1 takes sigma_w = {math.sqrt(weight):.6g}, and sigma_b^2 = {bias:.6g}"
        )
    raise NoAnswerError(
        f"{where}: q* is not stable at {_point(phi, place).shown}, where chi = 1: small deviations do not "
        "shrink from layer to layer; isocalc init --critical --sigma-b finds where they do"
    )


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
            return (CriticalPoint(phi, _sigma_w_of_scale_free(phi), 0.0, None),)
        raise NoAnswerError(_only_without_biases(phi))
    line, square = CriticalLine(phi), sigma_b * sigma_b

    def deviation(places: Places) -> Array:
        return (places.bias - square) / (places.q + square)

    points = [_point(phi, line.places(np.array([q])), sigma_b=sigma_b) for q in line.solve(deviation)]
    if sigma_b == 0:
        points = [*_origin(line), *points]
    if points:
        return tuple(points)
    with np.errstate(invalid="ignore"):
        reached = np.sqrt(np.maximum(line.grid.bias, 0.0))
    raise NoAnswerError(_out_of_reach(line, "sigma_b", sigma_b, reached))


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
            return (CriticalPoint(phi, sigma_w, 0.0, None),)
        raise NoAnswerError(_only_without_biases(phi))
    line = CriticalLine(phi)

    def deviation(places: Places) -> Array:
        return np.asarray(np.log(square / places.weight))

    points = [_point(phi, line.places(np.array([q])), sigma_w=sigma_w) for q in line.solve(deviation)]
    points = [*(point for point in _origin(line) if abs(square / point.sigma_w**2 - 1) <= CRITICAL), *points]
    if points:
        return tuple(points)
    raise NoAnswerError(_out_of_reach(line, "sigma_w", sigma_w, np.sqrt(line.grid.weight)))


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
        point = CriticalPoint(phi, _sigma_w_of_scale_free(phi), 0.0, None)
        if abs(point.sigma2_jjt(depth, weights) / target - 1) <= _ACCURACY:
            return (point,)
        raise NoAnswerError(
            f"{phi.name} cannot have sigma2_jjt = {target:.6g}: critical networks of {depth} layers with "
            f"{weights} weights have {point.sigma2_jjt(depth, weights):.6g}, all of them ({point.shown})"
        )
    line = CriticalLine(phi)

    def deviation(places: Places) -> Array:
        return np.asarray(np.log((gate_variance(phi, places.q) + own) * (depth / target)))

    points = tuple(_point(phi, line.places(np.array([q]))) for q in line.solve(deviation))
    if points:
        return points
    reached = depth * (gate_variance(phi, line.grid.q) + own)
    about = f" at depth {depth} with {weights} weights"
    raise NoAnswerError(_out_of_reach(line, "sigma2_jjt", target, reached, about))


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
    )


def _origin(line: CriticalLine) -> list[CriticalPoint]:
    return [] if line.origin is None else [CriticalPoint(line.act, line.origin, 0.0, 0.0)]


def _sigma_w_of_scale_free(phi: Activation) -> float:
    return 1 / math.sqrt(float(averages(phi, 1.0).gate))


def _only_without_biases(phi: Activation) -> str:
    sigma_w = _sigma_w_of_scale_free(phi)
    return f"{phi.name} is critical only at sigma_w = {sigma_w!r} with sigma_b = 0, at every q"


def _out_of_reach(line: CriticalLine, name: str, target: float, values: Array, about: str = "") -> str:
    """Say what critical networks reach, and where."""
    name_of = line.act.name
    reached = line.reached(values)
    if reached is None:
        return f"{name_of} has no critical network: where chi = 1, sigma_b^2 < 0 or q* is not stable"
    (least, low), (most, high) = reached
    which, value, place = ("most", most, high) if target > most else ("least", least, low)
    searched = line.is_at_end(place)
    of = f", of those with q* from {line.grid.q[0]:.2g} to {line.grid.q[-1]:.2g}," if searched else ""
    text = f"{name_of} has no critical network with {name} = {target:.6g}{about}"
    if least <= target <= most:
        return f"{text}: stable ones have less or more, such as {least:.6g} and {most:.6g}; try another"
    limit = "at most" if which == "most" else "at least"
    return (
        f"{text}: the {which}{of} is about {value:.6g} ({_point(line.act, place).shown}); "
        f"ask for {limit} that"
    )
