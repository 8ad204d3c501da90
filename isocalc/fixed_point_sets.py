"""Fixed points of many feed-forward networks at once, as phase diagrams need them."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.correlation_maps import stable_correlations
from isocalc.errors import IsocalcError
from isocalc.feedforward import (
    LARGEST_SIGMA,
    SMALLEST_SIGMA,
    FixedPoint,
    described,
    fixed_points,
    no_fixed_point,
    one_layer,
)
from isocalc.gaussian import averages, second_moment_and_slope
from isocalc.network import FeedForward
from isocalc.variance_roots import VarianceMaps, variance_roots

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Answer = tuple[FixedPoint, ...] | IsocalcError

# Networks of one activation from which solving them together pays, and how many fill some ten megabytes.
_FEW, _TOGETHER = 8, 8192


def fixed_points_of(networks: Sequence[FeedForward]) -> list[Answer]:
    """Return what :func:`isocalc.fixed_points` returns or raises for each network.

    ``q_star`` and ``chi`` agree with those to the same accuracy, the depth scales to 1e-12 times the
    conditioning of the problem. Networks of one activation share their Gaussian averages.
    """
    answers: list[Answer] = [()] * len(networks)
    together: dict[Activation, list[int]] = {}
    for i, network in enumerate(networks):
        together.setdefault(network.act, []).append(i)
    for act, members in together.items():
        for start in range(0, len(members), _TOGETHER):
            chosen = members[start : start + _TOGETHER]
            some = [networks[i] for i in chosen]
            alone = act.scale_free or len(some) < _FEW
            for i, answer in zip(chosen, map(_alone, some) if alone else _together(act, some), strict=True):
                answers[i] = answer
    return answers


def _alone(network: FeedForward) -> Answer:
    try:
        return fixed_points(network)
    except IsocalcError as error:
        return error


def _together(act: Activation, networks: Sequence[FeedForward]) -> list[Answer]:
    sigmas = np.array([(network.sigma_w, network.sigma_b) for network in networks])
    inside = ((sigmas == 0) | ((sigmas >= SMALLEST_SIGMA) & (sigmas <= LARGEST_SIGMA))).all(axis=1)
    weight, bias = np.where(inside, sigmas.T, 1.0) ** 2
    roots = variance_roots(VarianceMaps(act, weight, bias))
    alone = ~inside | roots.unclear
    alone[roots.network[np.isnan(roots.q)]] = True
    escape = np.full(weight.size, np.nan)
    escape[roots.network] = roots.q  # of several the last
    escape[~roots.grows] = np.nan
    chosen = ~alone[roots.network]
    network, q = roots.network[chosen], roots.q[chosen]
    slope = weight[network] * _slopes(act, q)
    stable = slope < 1
    points = _points(act, networks, network[stable], q[stable], slope[stable], escape)
    return [
        _alone(one) if apart else tuple(found) or no_fixed_point(one)
        for one, apart, found in zip(networks, alone.tolist(), points, strict=True)
    ]


def _slopes(act: Activation, q: Array) -> Array:
    """Return dE φ²/dq at q >= 0."""
    slope = np.full(q.size, float(averages(act, 0.0).gate))
    slope[q > 0] = second_moment_and_slope(act, q[q > 0])[1]
    return slope


def _points(
    act: Activation, networks: Sequence[FeedForward], network: Indices, q: Array, slope: Array, escape: Array
) -> list[list[FixedPoint]]:
    """Return the fixed points of each network, from the numbers of the networks and q* of all of them."""
    gate, excess = one_layer(act, q)
    limits = [None if math.isnan(limit) else limit for limit in escape.tolist()]
    points: list[list[FixedPoint]] = [[] for _ in networks]
    chaotic: list[FixedPoint] = []
    for i, *numbers in zip(*(array.tolist() for array in (network, q, slope, gate, excess)), strict=True):
        point = described(networks[i], *numbers, limits[i])
        points[i].append(point)
        if point.phase == "chaotic" and point.q_star and not (act.odd and networks[i].sigma_b == 0):
            chaotic.append(point)
    _correlate(act, chaotic)
    return points


def _correlate(act: Activation, points: Sequence[FixedPoint]) -> None:
    """Solve for the stable correlations of all points, where that is possible together."""
    numbers = [(point.q_star or 0.0, point.network.sigma_w**2, point.chi) for point in points]
    c_star, slope = stable_correlations(act, *np.array(numbers).reshape(-1, 3).T)
    for point, *pair in zip(points, c_star.tolist(), slope.tolist(), strict=True):
        if not math.isnan(pair[0]):
            point.knows_correlation(*pair)
