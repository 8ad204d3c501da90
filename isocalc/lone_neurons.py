"""Residual networks in which few neurons respond: one of them can send a singular value beyond the edges."""

import numpy as np

from isocalc.gaussian import averages
from isocalc.network import FeedForward, ResNet
from isocalc.propagation import propagate

_LAYERS = 129
_SAFE = 1e300
_HALF_OPEN = 1 + 1e-9


def lone_neurons(network: ResNet | FeedForward) -> float:
    """Return how much the gates of a residual network vary between neurons.

    Returns
    -------
    float
        Relative variance of φ'², averaged over the layers with weights c_l², over the depth, and over ρ of a
        hidden layer; 0 where it is at most 1, and for feed-forward networks, whose law knows it.
    """
    if not isinstance(network, ResNet):
        return 0.0
    found = propagate(network)
    some = np.unique(np.linspace(0, network.depth - 1, _LAYERS).round().astype(int))
    gates = averages(network.act, np.minimum(found.q[some], _SAFE))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        squares = np.square(found.c_per_layer[some] / found.c_per_layer[some].max())
        relative = gates.gate_squared / gates.gate / gates.gate - 1
    known = np.isfinite(relative) & (squares > 0)
    mean = float(np.average(relative[known], weights=squares[known])) if known.any() else 0.0
    neurons = network.hidden_ratio if network.block == "preln" else 1.0
    # Gates that are 0 or 1 half of the time have 1, and none of them is far above the mean.
    return mean / (network.depth * neurons) if mean > _HALF_OPEN else 0.0
