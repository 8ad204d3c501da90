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
from isocalc.network import FeedForward
from isocalc.variance_roots import VarianceMaps, variance_roots

Array = npt.NDArray[np.float64]
Answer = tuple[FixedPoint, ...] | IsocalcError

# Networks of one activation from which solving them together pays, and how many fill some ten megabytes.
_FEW, _TOGETHER = 4, 8192


def fixed_points_of(networks: Sequence[FeedForward]) -> list[Answer]:
    """Return what :func:`isocalc.fixed_points` returns or raises for each network.

    ``q_star`` and ``chi`` agree with those to the same accuracy, the depth scales to 1e-12 times the
    conditioning of the problem. Networks of one activation share their Gaussian averages.
    """
    answers: list[Answer] = [()] * len(networks)
    together: dict[int, list[int]] = {}
    for i, network in enumerate(networks):
        together.setdefault(id(network.act), []).append(i)
    for members in together.values():
        act = networks[members[0]].act
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
    last = dict(zip(roots.network.tolist(), roots.q.tolist(), strict=True))
    escapes = [last.get(i) if grows else None for i, grows in enumerate(roots.grows.tolist())]
    chosen = ~alone[roots.network]
    network, q = roots.network[chosen], roots.q[chosen]
    layer = one_layer(act, q)
    stable = weight[network] * layer.slope < 1
    network, *numbers = (array[stable] for array in (network, q, *layer))
    solved = _correlations(act, numbers[0], weight[network], bias[network], numbers[2])
    found: list[list[FixedPoint]] = [[] for _ in networks]
    for i, pair, *point in zip(network.tolist(), solved, *(array.tolist() for array in numbers), strict=True):
        found[i].append(described(networks[i], *point, escape=escapes[i], correlation=pair))
    return [
        _alone(one) if apart else tuple(points) or no_fixed_point(one)
        for one, apart, points in zip(networks, alone.tolist(), found, strict=True)
    ]


def _correlations(
    act: Activation, q: Array, weight: Array, bias: Array, gate: Array
) -> list[tuple[float, float] | None]:
    """Return c* of chaotic networks and the slope there, where they can be solved for together."""
    pairs = np.full((q.size, 2), np.nan)
    chosen = (q > 0) & (weight > 0) & ((bias > 0) | (not act.odd))
    weight, q = weight[chosen], q[chosen]
    pairs[chosen] = np.stack(stable_correlations(act, q, weight, weight * gate[chosen]), axis=1)
    return [None if math.isnan(c_star) else (c_star, slope) for c_star, slope in pairs.tolist()]
