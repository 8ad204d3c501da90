"""How many singular values of a network of finite width are not 0."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from isocalc.gates import gate_rule
from isocalc.network import FeedForward, ResNet
from isocalc.propagation import propagate

# Variances this close to each other are one: chances of gates to open that differ by as little do not count.
_SAME = 1e6


class Rank(NamedTuple):
    """The rank of a Jacobian as a random number, over N_0.

    Attributes
    ----------
    mean : float
        Expected share of the singular values that are not 0, in [0, 1].
    deviation : float
        Standard deviation of that share from one network to the next.
    """

    mean: float
    deviation: float


FULL = Rank(1.0, 0.0)


def expected_rank(network: ResNet | FeedForward, width: int | None) -> Rank:
    """Return the rank of J at finite width, for gates that open independently of each other.

    The rank is that of the narrowest layer, counted in open gates: the minimum of N_0 and of one binomial
    count for each layer. Where many layers open with the same probability p it falls short of the limit p N
    by a part of √N (ReLU, N = 300, L = 10: 0.456 N instead of N/2). A residual network has full rank.

    Parameters
    ----------
    network : ResNet or FeedForward
    width : int or None
        N of every layer; of no consequence where the network has ``layer_widths``.

    Returns
    -------
    Rank

    Raises
    ------
    NoAnswerError
        There is no fixed point to start from.
    """
    if isinstance(network, ResNet):
        return FULL
    if network.sigma_w == 0:
        return Rank(0.0, 0.0)
    widths = network.layer_widths or (width or 0,) * (network.depth + 1)
    layers = Counter(zip(widths[1:], _opening(network), strict=True))
    return least_rank(widths[0], layers)


def _opening(network: FeedForward) -> list[float]:
    """Return the probability that φ' ≠ 0, for each layer."""
    if network.act.scale_free:
        return [1 - gate_rule(network.act, 1.0).zero_mass] * network.depth
    variances = propagate(network).q.tolist()
    alike = {_rounded(q): q for q in variances}
    opening = {key: 1 - gate_rule(network.act, q).zero_mass for key, q in alike.items()}
    return [opening[_rounded(q)] for q in variances]


def _rounded(q: float) -> float:
    return round(_SAME * math.log(q)) if q > 0 else -math.inf


def least_rank(inputs: int, layers: Counter[tuple[int, float]]) -> Rank:
    """Return the rank of a chain of layers, counted by width and by the probability that a gate is open."""
    from scipy.special import bdtrc  # noqa: PLC0415 - most networks do not need it

    fewest = min(inputs, *(width for width, _ in layers))
    if all(opening == 1 for _, opening in layers):
        return Rank(fewest / inputs, 0.0)
    counts = np.arange(fewest)
    above = np.ones(fewest)
    for (width, opening), times in layers.items():
        if opening < 1:
            above *= bdtrc(counts, width, opening) ** times
    mean = float(above.sum())
    variance = float(((2 * counts + 1) * above).sum()) - mean * mean
    return Rank(mean / inputs, math.sqrt(max(variance, 0.0)) / inputs)
