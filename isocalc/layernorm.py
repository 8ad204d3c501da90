"""Pre-LayerNorm blocks of two matrices, x' = a x + W₂ φ(W₁ LN(x) + b), as N → ∞."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.average_table import AverageTable
from isocalc.errors import NoAnswerError
from isocalc.network import ResNet

Array = npt.NDArray[np.float64]


class Gains(NamedTuple):
    """Factors by which the two matrices of a block change the mean square of a signal."""

    first: float
    """N times the variance of an entry of W₁"""
    second: float
    """ρN times that of W₂"""


class LayerNormSignal(NamedTuple):
    """The signal in the order of `isocalc.propagation.Propagation`."""

    q: Array
    """Variance of the hidden pre-activations, the same in every layer, shape (L,)"""
    c_per_layer: Array
    """L g₁ g₂ E φ'² / (a² p), g the gains, p the mean square of the layer's input"""
    second_moment: Array
    mean: Array
    log_mean_lambda: float


def gains(network: ResNet) -> Gains:
    """Return the gains of a preln network's matrices.

    Semi-orthogonal matrices keep the length of a signal where they widen: as they lead to more neurons, or
    come from fewer, than N, they gain less.
    """
    widens = network.hidden_ratio if network.weights == "orthogonal" else 1.0
    second = network.sigma_w2 * network.sigma_w2 / network.depth
    return Gains(network.sigma_w * network.sigma_w * min(1.0, 1 / widens), second * min(1.0, widens))


def hidden_variance(network: ResNet) -> float:
    """Return the variance q of the hidden pre-activations: LN(x) has mean square 1."""
    return gains(network).first + network.sigma_b * network.sigma_b


def follow_layer_norm(network: ResNet) -> LayerNormSignal:
    """Follow the signal through a preln network: p' = a² p + g₂ E φ², E at the hidden variance.

    Raises
    ------
    NoAnswerError
        c overflows: the signal vanishes, or scales have squares that are no doubles.
    """
    q, (first, second) = hidden_variance(network), gains(network)
    _, image, gate = AverageTable(network.act).at(q)
    layers, rate = np.arange(network.depth + 1), 2 * math.log(abs(network.skip))
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        p = network.input_variance * np.exp(layers * rate)
        if second and image:
            p += second * image * (np.expm1(layers * rate) / np.expm1(rate) if rate else layers)
        c = np.zeros(network.depth)
        if network.has_weights:
            c += network.depth * second / np.float64(network.skip) ** 2 * (first * gate) / p[:-1]
    if not np.isfinite(c).all():
        number = int(np.argmin(np.isfinite(c))) + 1
        raise NoAnswerError(f"c of {network.act.name} overflows at layer {number}: the signal vanishes")
    log_mean = network.depth * rate + math.fsum(np.log1p(c / network.depth))
    return LayerNormSignal(np.full(network.depth, q), c, p[1:], np.zeros(network.depth), log_mean)
