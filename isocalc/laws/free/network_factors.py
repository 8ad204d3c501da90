"""From a network to the factors of its law: one for each layer that differs, with how often it occurs.

A network's law depends on its layers through sums over them of functions that are analytic in log q, with
singularities 2 to 3 away from the real axis. Sums over the layers whose q lie within a factor of e⁶ are
replaced by the Gauss quadrature of the discrete measure that those layers are, exact for polynomials in log
q: a few layers stand for many. Where φ is as good as straight on either side of 0 they are analytic in √q,
and where it bends next to 0 only, seen from far out, in 1/√q: one quadrature does for all such layers.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import Activation
from isocalc.activations.tolerances import FAR
from isocalc.errors import LimitWarning, NoAnswerError, NoFixedPointError
from isocalc.laws.free.factors import Factor
from isocalc.laws.free.layer_factors import Layer, ResidualLayer, Rotation
from isocalc.laws.gates.contours import unit_length
from isocalc.laws.gates.nodes import GateRule, gate_rule
from isocalc.laws.tolerances import NOTHING
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.signal.propagation import Propagation, propagate

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]

_SPAN = 6.0
_STRIP = 2.0
_DIGITS = math.log(1e15)
# Nodes for a √q up to where φ is straight: the next singularity is 8 times as far away.
_NODES_NEAR_ZERO = 7
_SAME = 4 * np.finfo(float).eps


def few_layers(
    q: Array,
    straight: float = 0.0,
    far: float = math.inf,
    to_keep: Callable[[Array], Whole] | None = None,
) -> tuple[Array, Array]:
    """Return variances and how many layers each stands for.

    Parameters
    ----------
    q : array, shape (L,)
        Variances of all layers, at least 0.
    straight : float
        Up to this √q sums are polynomials in √q.
    far : float
        From this √q on they are polynomials in 1/√q.
    to_keep : callable or None
        Picks out of an array of distinct variances those that are to stand for themselves.

    Returns
    -------
    q, counts : arrays
        The distinct variances, or fewer and fractional counts where there are many.
    """
    q, counts = _distinct(np.sort(q))
    kept = np.zeros(q.size, dtype=bool)
    kept[q == 0] = True
    if to_keep is not None and q.size > nodes_for(_SPAN):
        kept[to_keep(q)] = True
    parts = [(q[kept], counts[kept])]
    near = ~kept & (q < straight * straight)
    if near.any():
        sigma, weights = gauss_of(np.sqrt(q[near]), counts[near], _NODES_NEAR_ZERO)
        parts.append((sigma**2, weights))
    beyond = ~kept & ~near & (q > far * far)
    if beyond.any():
        bends, weights = gauss_of(1 / np.sqrt(q[beyond][::-1]), counts[beyond][::-1], _NODES_NEAR_ZERO)
        parts.append((1 / bends / bends, weights))
    between = ~kept & ~near & ~beyond
    log_q, its_counts = np.log(q[between]), counts[between]
    for cluster in _clusters(log_q):
        few, weights = gauss_of(log_q[cluster], its_counts[cluster], nodes_for(float(np.ptp(log_q[cluster]))))
        parts.append((np.exp(few), weights))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def nodes_for(span: float) -> int:
    """Return the nodes that leave an error of 1e-15 for log q in an interval of this length."""
    # The error falls with the sum of the semi-axes of the largest ellipse that the strip lets in.
    return 1 + math.ceil(0.5 * _DIGITS / math.asinh(2 * _STRIP / span)) if span else 1


def gauss_of(x: Array, weights: Array, count: int) -> tuple[Array, Array]:
    """Return the Gauss quadrature of a discrete measure: itself where it is short enough already.

    Parameters
    ----------
    x, weights : arrays, shape (n,)
        Distinct points, ascending, and their masses.
    count : int
        Nodes.
    """
    if x.size <= count:
        return x, weights
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    matrix = _jacobi((x - middle) / half, weights, count)
    nodes, vectors = np.linalg.eigh(matrix)
    return middle + half * nodes, weights.sum() * vectors[0] ** 2


def _jacobi(x: Array, weights: Array, count: int) -> Array:
    """Return the Jacobi matrix of a measure, by Lanczos with full reorthogonalisation."""
    basis = np.empty((count, x.size))
    matrix = np.zeros((count, count))
    basis[0] = np.sqrt(weights / weights.sum())
    for k in range(count):
        vector = x * basis[k]
        matrix[k, k] = vector @ basis[k]
        if k + 1 < count:
            for _ in range(2):
                vector -= basis[: k + 1].T @ (basis[: k + 1] @ vector)
            matrix[k, k + 1] = matrix[k + 1, k] = np.linalg.norm(vector)
            basis[k + 1] = vector / matrix[k, k + 1]
    return matrix


def _distinct(q: Array) -> tuple[Array, Array]:
    """Return the distinct values of a sorted array, up to rounding, and how often each occurs."""
    first = np.concatenate(([True], np.diff(q) > _SAME * q[1:]))
    starts = np.flatnonzero(first)
    return q[starts], np.diff(np.append(starts, q.size)).astype(float)


def _clusters(log_q: Array) -> list[slice]:
    """Cut a sorted array of log q into pieces of bounded span."""
    pieces, start = [], 0
    while start < log_q.size:
        stop = int(np.searchsorted(log_q, log_q[start] + _SPAN, side="right"))
        pieces.append(slice(start, stop))
        start = stop
    return pieces


_NO_EFFECT = 1e-18
_LARGEST_SCALE = 1e154
"""Whose square is a double"""
_SKIP_IS_NOTHING = 1e40
"""Least λ of a branch without its weights: next to it a skip connection of 1 moves a mass of 1e-20"""
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


Pairs = tuple[tuple[float, float], ...]


class OneGate(NamedTuple):
    """An activation, the variance of its argument, and the share of singular values that are such gates."""

    act: Activation
    q: float
    share: float


@dataclass(frozen=True, eq=False)
class Layers:
    """The factors of a network's JᵀJ.

    Attributes
    ----------
    factors : tuple of Factor
        Distinct factors that are not a number.
    counts : tuple of float
        How often each occurs; a fraction where a factor stands for a range of layers.
    centre : tuple of (float, float)
        The rest, a number: singular values are those of the factors' product times base^power of each pair.
    vanishes : bool
        Whether some factor is 0.
    gate : OneGate, optional
        The gate, where the law is that of one, which is not point masses, and closed singular values.
    """

    factors: tuple[Factor, ...]
    counts: tuple[float, ...]
    centre: Pairs
    vanishes: bool = False
    gate: OneGate | None = None

    @cached_property
    def depth(self) -> float:
        """Number of layers with a factor."""
        return math.fsum(self.counts)


def residual_layers(network: ResNet, gates: Sequence[tuple[GateRule, float]], skips: Pairs) -> Layers:
    """Return the factors of a residual network over its skip connections.

    Parameters
    ----------
    network : ResNet
        With weights that are not 0.
    gates : sequence of (GateRule, float)
        Its distinct gates and how many layers have each.
    skips : tuple of (float, float)
        Weights of the skip connections, and how often each occurs.

    Raises
    ------
    NoAnswerError
        The variance of the weights is no double, or c of two matrices too small.
    """
    if network.branch.has_hidden_layer:
        parts = list(two_matrices(network, gates[0][0], propagate(network)))
    else:
        variance = _variance(network)
        parts = [Part(gate, variance, count) for gate, count in gates]
    return layers_of(network, parts, skips)


def layers_of(network: ResNet, parts: Sequence[Part], skips: Pairs) -> Layers:
    """Return the factors of layers of a residual network over its skip connections."""
    orthogonal = network.weights == "orthogonal"
    factors: list[Factor] = []
    counts, scales = [], list(skips)
    for part in _that_matter(parts):
        c = part.variance * part.gate.mean
        if part.gate.mean < NOTHING or not c > 0:
            continue
        constant = orthogonal and part.hidden is None and part.gate.smallest == part.gate.largest
        scaled, unit = part.gate.in_its_unit
        if part.hidden is None and part.variance * part.gate.smallest > _SKIP_IS_NOTHING:
            scales.append((math.sqrt(part.variance) * math.sqrt(unit), part.times))
            if constant:
                scales.append((math.sqrt(scaled.mean), part.times))
                continue
            factors.append(Layer(scaled, orthogonal))
        else:
            layer = ResidualLayer(scaled, orthogonal, part.variance * unit, part.hidden)
            factors.append(Rotation(c) if constant else layer)
        counts.append(part.times)
    return Layers(tuple(factors), tuple(counts), tuple(scales))


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
    """Return the layers without those that together change Var λ by less than rounding, relatively."""
    with np.errstate(over="ignore", under="ignore"):
        variance = np.array([part.variance for part in parts])
        c = np.array([part.gate.mean for part in parts]) * variance
        share = variance / (1 + c)
        spread = np.array([abs(part.gate.mean_square) for part in parts]) * share * share
        effect = np.array([part.times for part in parts]) * (2 * np.minimum(c, 1) + spread)
    order = np.argsort(effect, kind="stable")
    least = np.searchsorted(np.cumsum(effect[order]), _NO_EFFECT * effect.sum())
    return [parts[k] for k in np.sort(order[least:])]


GatePart = tuple[GateRule, float, float, float, bool]

# Layers whose gates are closed most often decide what happens near 0: so many keep a factor each.
_KEPT = 4
_SIGMAS = 8.5
# Standard deviations this small, in lengths over which φ varies, are 0.
_NEGLIGIBLE = 1e-75
# Lengths over which smooth gates may approach their limits, as far as any t can tell.
_BENDS = 2000.0
_PERIODS = 100.0
# Standard deviations at which gates that close far out are as good as closed, in lengths over which φ varies.
_CLOSED = 1e20


def layers(network: ResNet | FeedForward) -> Layers:
    """Return the factors of a network at its depth, for width N → ∞.

    Parameters
    ----------
    network : ResNet or FeedForward
        A feed-forward network without ``input_variance`` stays at its smallest stable fixed point.

    Returns
    -------
    Layers

    Raises
    ------
    NoAnswerError
        The signal or its averages overflow.
    NoFixedPointError
        A feed-forward network has no fixed point to start from, and φ'² no limit.

    Warns
    -----
    LimitWarning
        There is no fixed point: the gates are those of q → ∞.
    """
    if isinstance(network, ResNet):
        skips = ((abs(network.skip), float(network.depth)),)
        return (
            residual_layers(network, _gates(network), skips) if network.has_weights else Layers((), (), skips)
        )
    try:
        return _of_feed_forward(network)
    except NoFixedPointError as error:
        from isocalc.signal.fixed_points import limit_network  # noqa: PLC0415 - few networks need it

        limit = limit_network(network)
        if limit is None:
            raise
        warnings.warn(f"{error}; its law is that of q -> infinity", LimitWarning, stacklevel=2)
        return _of_feed_forward(limit)


def _of_feed_forward(network: FeedForward) -> Layers:
    if network.sigma_w == 0:
        return Layers((), (), (), vanishes=True)
    if gate := _one_gate(network):
        return Layers((), (), ((network.sigma_w, 1.0),), gate=gate)
    widths, orthogonal = network.layer_widths or (), network.weights == "orthogonal"
    scale = ((network.sigma_w, float(network.depth)),)
    if len(set(widths)) > 1:
        return feed_forward_layers(_rectangular(network, widths), scale)
    square = ((gate, count, 1.0, 1.0, orthogonal) for gate, count in _gates(network))
    return feed_forward_layers(square, scale)


def _one_gate(network: FeedForward) -> OneGate | None:
    """Return the gate of a network of one orthogonal layer that does not widen, where it has a density."""
    if network.depth > 1 or network.weights != "orthogonal" or network.act.slopes is not None:
        return None
    before, after = network.layer_widths or (1, 1)
    q = float(propagate(network).q[0])
    if after > before or not q or gate_rule(network.act, q).mean < NOTHING:
        return None
    return OneGate(network.act, q, after / before)


def _gates(network: ResNet | FeedForward) -> list[tuple[GateRule, float]]:
    """Return the distinct gates and how many layers have each."""
    act = network.act
    if act.scale_free:
        return [(gate_rule(act, 1.0), float(network.depth))]
    constant = _changes_up_to(act)
    variances = np.minimum(propagate(network).q, constant * constant)
    if not np.isfinite(variances).all():
        raise NoAnswerError(
            f"the signal overflows, so that the gates of {act.name} are not known at all depths"
        )
    if math.isfinite(act.scale):
        negligible = _NEGLIGIBLE * act.scale
        variances = np.where(variances < negligible * negligible, 0.0, variances)
    # Where all gates close, how far the others have closed is what t depends on.
    far = _flat_from(act) if isinstance(network, ResNet) else math.inf
    q, counts = few_layers(variances, _straight_up_to(act), far, _first_to_keep(act))
    return [(gate_rule(act, float(value)), float(count)) for value, count in zip(q, counts, strict=True)]


def _straight_up_to(act: Activation) -> float:
    """Return a √q up to which φ is straight on either side of 0 for all but 1e-16 of its inputs, or 0."""
    tiny = np.array([-1.0, 1.0]) * np.finfo(float).tiny
    length = min((act.scale, *(abs(point) for point in act.breakpoints if point)))
    if act.slopes is None and (math.isinf(length) or not act.dphi(tiny).all()):
        return 0.0
    return length / _SIGMAS


def _changes_up_to(act: Activation) -> float:
    """Return a √q from which the law of the gate stays what it is, to rounding; inf if there is none."""
    if math.isfinite(act.period):
        return _PERIODS * act.period
    if act.far_slopes is None:
        return math.inf
    # Closed ever more often, where both slopes are 0: next to always.
    return FAR * act.length_range[1] if any(act.far_slopes) else _CLOSED * unit_length(act)


def _flat_from(act: Activation) -> float:
    """Return a √q from which on φ is straight on either side of 0 for all but a few inputs, or inf."""
    if act.slopes is not None:
        return _SIGMAS * max(act.lengths)
    is_flat = math.isinf(act.period) and math.isfinite(_changes_up_to(act))
    return _BENDS * unit_length(act) if is_flat else math.inf


def _first_to_keep(act: Activation) -> Callable[[Array], Whole] | None:
    """Return what picks the variances whose gates are closed most often, where gates can be closed."""
    if act.slopes is None or 0.0 not in act.slopes:
        return None

    def most_closed(q: Array) -> Whole:
        closed = np.array([dict(act.gate_masses(value)).get(0.0, 0.0) for value in q.tolist()])
        return np.argsort(-closed, kind="stable")[:_KEPT]

    return most_closed


def feed_forward_layers(parts: Iterable[GatePart], scales: Pairs) -> Layers:
    """Return the factors of feed-forward layers.

    Parameters
    ----------
    parts : iterable of (GateRule, float, float, float, bool)
        Of each layer the gate, how often it occurs, N_0/N_l, N_l/N_{l-1}, and whether weights are orthogonal.
    scales : tuple of (float, float)
        σ_w of the layers, and how often each occurs.
    """
    centre = list(scales)
    factors: list[Factor] = []
    counts = []
    for gate, count, share, growth, orthogonal in parts:
        if gate.mean < NOTHING:
            return Layers((), (), (), vanishes=True)
        if growth != 1 and (not orthogonal or growth < 1):
            centre.append((math.sqrt(growth), count))
        if orthogonal and growth >= 1 and gate.smallest == gate.largest:
            centre.append((math.sqrt(gate.largest), count))
        else:
            scaled, unit = gate.in_its_unit
            if unit != 1:
                centre.append((math.sqrt(unit), count))
            factors.append(Layer(scaled, orthogonal, share, growth))
            counts.append(count)
    return Layers(tuple(factors), tuple(counts), tuple(centre))


def _rectangular(network: FeedForward, widths: Sequence[int]) -> Iterator[GatePart]:
    """Yield the layers of a chain of widths, alike ones counted."""
    variances = [1.0] * network.depth if network.act.scale_free else propagate(network).q.tolist()
    alike = Counter(zip(variances, widths, widths[1:], strict=False))
    gates = {q: gate_rule(network.act, q) for q, _, _ in alike}
    for (q, before, width), count in alike.items():
        orthogonal = network.weights == "orthogonal"
        yield gates[q], float(count), widths[0] / width, width / before, orthogonal
