"""From a residual network's gates to the factors of its law."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from isocalc.errors import NoAnswerError
from isocalc.gates import NOTHING, GateRule
from isocalc.layer_quadrature import few_layers
from isocalc.network import ResNet
from isocalc.propagation import Propagation, propagate
from isocalc.residual_transform import ResidualLayer
from isocalc.rotation_transform import Rotation
from isocalc.transforms import Factor

_NO_EFFECT = 1e-18
_LARGEST_SCALE = 1e154
"""Whose square is a double"""
_LEAST_C = 1e-15
"""Narrower laws of two matrices lose the digits of their distribution function"""


class Part(NamedTuple):
    """Layers that are alike."""

    gate: GateRule
    variance: float
    """v, over the square of the skip connection's weight"""
    times: float
    hidden: float | None = None
    """ρ between two matrices"""


def residual_factors(
    network: ResNet, gates: Sequence[tuple[GateRule, float]]
) -> tuple[tuple[Factor, ...], tuple[float, ...]]:
    """Return the factors of a residual network over its skip connections, and how often each occurs.

    Parameters
    ----------
    network : ResNet
        With weights that are not 0.
    gates : sequence of (GateRule, float)
        Its distinct gates and how many layers have each.

    Raises
    ------
    NoAnswerError
        The variance of the weights is no double, or c of two matrices too small.
    """
    if network.block == "preln":
        parts = list(two_matrices(network, gates[0][0], propagate(network)))
    else:
        variance = _variance(network)
        parts = [Part(gate, variance, count) for gate, count in gates]
    return factors_of(network, parts)


def factors_of(network: ResNet, parts: Sequence[Part]) -> tuple[tuple[Factor, ...], tuple[float, ...]]:
    """Return the factors of layers of a residual network, and how often each occurs."""
    orthogonal = network.weights == "orthogonal"
    factors: list[Factor] = []
    counts = []
    for part in _that_matter(parts):
        c = part.variance * part.gate.mean
        if part.gate.mean >= NOTHING and c > 0:
            constant = orthogonal and part.hidden is None and part.gate.smallest == part.gate.largest
            scaled, unit = part.gate.in_its_unit
            layer = ResidualLayer(scaled, orthogonal, part.variance * unit, part.hidden)
            factors.append(Rotation(c) if constant else layer)
            counts.append(part.times)
    return tuple(factors), tuple(counts)


def _variance(network: ResNet) -> float:
    """Return v of a layer."""
    scale = abs(network.sigma_w / network.skip)
    if scale > _LARGEST_SCALE:
        raise NoAnswerError(f"c of {network.act.name} overflows: sigma_w / skip is {scale:.3g}")
    return scale * scale / network.depth


def two_matrices(network: ResNet, gate: GateRule, signal: Propagation) -> Iterator[Part]:
    """Yield the layers of a preln network: its hidden gates are the same in all, their scales differ."""
    if 0 < signal.c < _LEAST_C:
        raise NoAnswerError(
            f"the law of preln blocks is computed for c from {_LEAST_C:g}; here c is {signal.c:.3g}: log s "
            "shrinks like sigma_w2, so take the law of a larger one"
        )
    c_per_layer, counts = few_layers(signal.c_per_layer / network.depth)
    hidden: float | None = network.hidden_ratio
    if network.weights == "orthogonal" and network.hidden_ratio <= 1:
        # W₂ D W₁ is then a square matrix W D, D with closed gates besides.
        gate, hidden = gate.among(network.hidden_ratio), None
    if gate.mean >= NOTHING:
        for c, count in zip(c_per_layer.tolist(), counts.tolist(), strict=True):
            yield Part(gate, c / gate.mean, count, hidden)


def _that_matter(parts: Sequence[Part]) -> list[Part]:
    """Return the layers without those that together change Var λ by less than rounding."""
    with np.errstate(over="ignore", under="ignore"):
        variance = np.array([part.variance for part in parts])
        c = np.array([part.gate.mean for part in parts]) * variance
        spread = np.array([abs(part.gate.mean_square) for part in parts]) * variance**2
        effect = np.array([part.times for part in parts]) * (2 * c + spread)
    order = np.argsort(effect, kind="stable")
    least = np.searchsorted(np.cumsum(effect[order]), _NO_EFFECT * effect.sum())
    return [parts[k] for k in np.sort(order[least:])]
