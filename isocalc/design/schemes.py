"""Initialisations in use, as scales of the weights of residual networks, and what they do to a signal."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import AverageTable
from isocalc.design.tolerances import MOST_LAYERS
from isocalc.errors import InvalidInputError, NoAnswerError, require_network
from isocalc.laws.free.law import LayeredLaw
from isocalc.laws.free.network_factors import Part, layers_of, two_matrices
from isocalc.laws.gates.nodes import gate_rule
from isocalc.laws.law import Law
from isocalc.laws.spectrum import Choice
from isocalc.laws.universal import UniversalLaw
from isocalc.networks.descriptions import ResNet
from isocalc.signal.propagation import Propagation, Recursion, gains, hidden_variance, propagate

Array = npt.NDArray[np.float64]


class BranchScale(NamedTuple):
    """A scheme that scales residual branches, of two matrices the last one."""

    name: str
    formula: str
    """The factor of block l of L, as people write it"""
    factors: Callable[[int], Array]
    """L to the factor of each block, shape (L,)"""


BRANCH_SCALES: tuple[BranchScale, ...] = (
    BranchScale("none", "1", np.ones),
    BranchScale("inverse_sqrt_depth", "1/sqrt(L)", lambda L: np.full(L, 1 / math.sqrt(L))),
    BranchScale("gpt2", "1/sqrt(2 L)", lambda L: np.full(L, 1 / math.sqrt(2 * L))),
    BranchScale("inverse_sqrt_layer", "1/sqrt(2 l)", lambda L: 1 / np.sqrt(2 * np.arange(1.0, L + 1))),
    BranchScale("fixup", "0 (last matrix of a branch)", np.zeros),
    BranchScale("rezero", "0 (factor of the branch)", np.zeros),
)


class Initialisation(NamedTuple):
    """An initialisation in use: N times the variance of a matrix's entries, of matrices of two shapes."""

    name: str
    gain: Callable[[float, float], float]
    """Fan-in and fan-out over N to N times the variance of an entry"""
    branch: Callable[[int], float] = lambda _: 1.0
    """L to the factor of the first matrix of a block's branch"""
    last: float = 1.0
    """Factor of the branch"""


INITIALISATIONS: tuple[Initialisation, ...] = (
    Initialisation("he", lambda fan_in, _: 2 / fan_in),
    Initialisation("glorot", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    Initialisation("lecun", lambda fan_in, _: 1 / fan_in),
    # Uniform between ±1/√fan_in; the biases' variance 1/(3 N) is 0 as N → ∞.
    Initialisation("pytorch_linear", lambda fan_in, _: 1 / (3 * fan_in)),
    Initialisation("fixup_like", lambda fan_in, _: 2 / fan_in, lambda L: 1 / math.sqrt(L)),
    Initialisation("rezero", lambda fan_in, _: 2 / fan_in, last=0.0),
    Initialisation("skipinit", lambda fan_in, _: 2 / fan_in, last=0.0),
)


def initialised(network: ResNet, scheme: Initialisation) -> ResNet:
    """Return a network with the weights of an initialisation and no biases.

    Parameters
    ----------
    network : ResNet
        Its scales are replaced.
    scheme : Initialisation
        One of `INITIALISATIONS`.
    """
    require_network(network, ResNet)
    root, branch = math.sqrt(network.depth), scheme.branch(network.depth)
    widths = (1, network.hidden_ratio, 1) if network.branch.has_hidden_layer else (1, 1)
    sigmas = [math.sqrt(scheme.gain(before, after) * before) for before, after in pairwise(widths)]
    sigmas[0] *= branch
    sigmas[-1] *= scheme.last * root
    changed: dict[str, Any] = dict(zip(network.branch.scales, sigmas, strict=True))
    return replace(network, **changed, sigma_b=0.0)


def scaled(network: ResNet, factors: npt.ArrayLike) -> ResNet | None:
    """Return the network of weights times the factors, ``None`` where these are not one number."""
    squares = np.asarray(factors, dtype=float) ** 2
    if squares.min() != squares.max():
        return None
    return network.with_branch_scale(network.branch_scale * math.sqrt(squares[0] * network.depth))


def propagate_scaled(network: ResNet, factors: npt.ArrayLike) -> Propagation:
    """Follow the signal through a network each of whose branches has a factor of its own.

    Parameters
    ----------
    network : ResNet
    factors : array_like, shape (L,)
        The weights of block l, of two matrices the last ones, are those of the network times factor l √L:
        of entries ``(sigma_w * factor)**2 / N``.

    Returns
    -------
    Propagation
        c is the mean of σ_w² L f_l² E φ'²/a², theory (10): the sum over blocks of what each adds.

    Raises
    ------
    InvalidInputError
        ``factors`` are not L finite numbers.
    NoAnswerError
        c overflows.
    """
    require_network(network, ResNet)
    squares = np.asarray(factors, dtype=float) ** 2
    if squares.shape != (network.depth,) or not np.isfinite(squares).all():
        raise InvalidInputError("factors", f"{network.depth} finite numbers", factors)
    if uniform := scaled(network, factors):
        return propagate(uniform)
    with np.errstate(over="ignore", invalid="ignore"):
        rows = (_follow_normalised if network.branch.normalises else _follow)(network, squares)
        q, c, p, m = np.array(rows).T
    if not np.isfinite(c).all():
        raise NoAnswerError(
            f"c of {network.act.name} overflows at layer {int(np.argmin(np.isfinite(c))) + 1}"
        )
    skips = 2 * network.depth * math.log(abs(network.skip))
    return Propagation(q, c, p, m, skips + math.fsum(np.log1p(c / network.depth)))


def _follow(network: ResNet, squares: Array) -> list[tuple[float, float, float, float]]:
    """Return q, c, and the mean square and mean of the output of each block."""
    table, variance = AverageTable(network.act), network.sigma_w * network.sigma_w
    bias, skip, pre = network.sigma_b * network.sigma_b, network.skip, network.branch.acts_on_stream
    p, m, rows = network.input_variance, 0.0, []
    for square in squares.tolist():
        block = Recursion(variance * square, bias, skip, pre)
        q = block.variance(p)
        mean, second, gate = table.at(q)
        p, m = block.output(p, m, mean, second)
        c = network.depth * (variance / skip / skip) * square * gate if block.weight else 0.0
        rows.append((q, c, p, m))
    return rows


def _follow_normalised(network: ResNet, squares: Array) -> list[tuple[float, float, float, float]]:
    """Do what `_follow` does for blocks with LayerNorm."""
    q, (first, second) = hidden_variance(network), gains(network)
    _, image, gate = AverageTable(network.act).at(q)
    p, depth, skip, rows = network.input_variance, network.depth, network.skip, []
    for square in squares.tolist():
        gain = second * depth * square
        c = depth * gain * first * gate / (skip * skip * p) if gain and first else 0.0
        p = skip * skip * p + (gain * image if gain else 0.0)
        rows.append((q, c, p, 0.0))
    return rows


def law_scaled(network: ResNet, factors: npt.ArrayLike, signal: Propagation, choice: Choice) -> Law:
    """Return the law of a network each of whose branches has a factor of its own.

    Parameters
    ----------
    network, factors
        As of `propagate_scaled`.
    signal : Propagation
        What that returns.
    choice : Choice
        What fits the signal.

    Raises
    ------
    NoAnswerError
        It is neither the universal nor the layered law, or has more than 256 different layers (after
        LayerNorm, where gates are the same: any number).
    """
    if choice.law == "universal":
        law: Law = UniversalLaw(signal.c, depth=network.depth, skip=network.skip, error=choice.error)
        return law
    if choice.law == "exact" or (not network.branch.normalises and network.depth > MOST_LAYERS):
        raise NoAnswerError(
            f"{choice.why}, and blocks of different scales have no exact law, nor, without LayerNorm, the "
            f"layered one beyond depth {MOST_LAYERS}"
        )
    if network.branch.has_hidden_layer:
        parts = list(two_matrices(network, gate_rule(network.act, signal.q_first), signal))
    else:
        squares = (np.asarray(factors, dtype=float) * network.sigma_w / network.skip) ** 2
        gates = [gate_rule(network.act, 1.0 if network.act.scale_free else float(q)) for q in signal.q]
        parts = [Part(gate, float(square), 1.0) for gate, square in zip(gates, squares, strict=True)]
    skips = (abs(network.skip), float(network.depth))
    return LayeredLaw(layers_of(network, parts, (skips,)), error=choice.error)
