"""How the variance of the signal travels through a random network, and the parameter that follows from it.

Residual blocks and feed-forward layers are followed layer by layer, theory (5) to (11); pre-LayerNorm blocks
of two matrices, x' = a x + W₂ φ(W₁ LN(x) + b), in closed form.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import AverageTable, averages
from isocalc.activations.tolerances import NO_MEAN, SMALLEST_Q
from isocalc.errors import NoAnswerError, require_network
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.numerics.special import exp_or_inf
from isocalc.signal.tolerances import NUMBA_FROM

Array = npt.NDArray[np.float64]


class Gains(NamedTuple):
    """Factors by which the two matrices of a block change the mean square of a signal."""

    first: float
    """N times the variance of an entry of W₁"""
    second: float
    """ρN times that of W₂"""


class LayerNormSignal(NamedTuple):
    """The signal in the order of `isocalc.signal.propagation.Propagation`."""

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


@dataclass(frozen=True, eq=False)
class Propagation:
    """Signal propagation through the layers of a network. Numbers beyond the range of a double are ``inf``.

    Attributes
    ----------
    q : array, shape (L,)
        Variance of the pre-activations of each layer, of a block of two matrices the hidden ones.
    c_per_layer : array, shape (L,)
        σ_w² E φ'² / a², of two matrices over the mean square of the layer's input and with σ_w2² too; in a
        feed-forward network σ_w² E φ'², the factor χ of the layer.
    second_moment, mean : arrays, shape (L,)
        E x² and E x of the entries of each layer's output.
    log_mean_lambda : float
        Logarithm of the mean squared singular value of the Jacobian at this depth.
    """

    q: Array
    c_per_layer: Array
    second_moment: Array
    mean: Array
    log_mean_lambda: float

    @cached_property
    def c(self) -> float:
        """The activation-dependent parameter (effective cumulant): the mean of ``c_per_layer``."""
        return math.fsum(self.c_per_layer / self.q.size)

    @property
    def q_first(self) -> float:
        """Variance of the pre-activations of the first layer."""
        return float(self.q[0])

    @property
    def q_last(self) -> float:
        """Variance of the pre-activations of the last layer."""
        return float(self.q[-1])

    @property
    def output_second_moment(self) -> float:
        """Mean square of the entries of the output."""
        return float(self.second_moment[-1])

    @property
    def mean_lambda(self) -> float:
        """Mean squared singular value of the Jacobian at this depth, ``inf`` where it overflows."""
        return exp_or_inf(self.log_mean_lambda)


def propagate(network: ResNet | FeedForward) -> Propagation:
    """Follow the variance of the signal from layer to layer, for width N → ∞.

    Parameters
    ----------
    network : ResNet or FeedForward
        A feed-forward network without ``input_variance`` stays at its smallest stable fixed point.

    Returns
    -------
    Propagation

    Raises
    ------
    InvalidInputError
        ``network`` is neither.
    NoAnswerError
        c overflows, or a feed-forward network has no fixed point and no input variance to start from.

    Notes
    -----
    Tarnowski et al., arXiv 1809.08848, eq. (13) to (16), with the cross term 2a m E φ of activations whose
    mean is not 0: theory (5) to (10). The mean squared singular value, theory (11), is exact at every depth.
    """
    require_network(network, ResNet, FeedForward)
    if isinstance(network, ResNet):
        return propagate_residual(network)
    return _propagate_feed_forward(network)


def propagate_residual(
    network: ResNet, table: AverageTable | None = None, numba_from: int = NUMBA_FROM
) -> Propagation:
    """Do what `propagate` does, with averages of earlier calls, and Numba from so many layers."""
    if network.branch.normalises:
        return Propagation(*follow_layer_norm(network))
    variance = network.sigma_w * network.sigma_w
    bias, pre = network.sigma_b * network.sigma_b, network.branch.acts_on_stream
    layer = Recursion(variance / network.depth, bias, network.skip, pre)
    table = table or AverageTable(network.act)
    trace = _follow(table, layer, network.input_variance, network.depth, numba_from)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        c_per_layer = _product((network.sigma_w / np.float64(network.skip)) ** 2, trace.gate)
    if not np.isfinite(c_per_layer).all():
        number = int(np.argmin(np.isfinite(c_per_layer))) + 1
        raise NoAnswerError(f"c of {network.act.name} overflows at layer {number}: the signal explodes")
    skips = 2 * network.depth * math.log(abs(network.skip))
    log_mean = skips + _sum_of_layers(np.log1p, c_per_layer / network.depth)
    return Propagation(trace.q, c_per_layer, trace.second_moment, trace.mean, log_mean)


def c_of_scales(network: ResNet, scales: Array, table: AverageTable) -> Array:
    """Return c of residual networks of one matrix a block that differ in σ_w alone; where it overflows, inf.

    Parameters
    ----------
    network : ResNet
    scales : array, shape (n,)
        σ_w of each.
    table : AverageTable
        Of its activation.
    """
    skip, bias, pre = network.skip, network.sigma_b * network.sigma_b, network.branch.acts_on_stream
    weights = scales * scales / network.depth
    p, m, gates = np.full(scales.size, network.input_variance), np.zeros(scales.size), np.zeros(scales.size)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for _ in range(network.depth):
            q = p if pre else weights * p + bias
            mean, second, gate = table.of_many(q)
            gates += gate
            if pre:
                p = skip * skip * p + weights * second + bias
            else:
                p = second + 2 * skip * m * mean + skip * skip * p
                m = mean + skip * m
                p = np.maximum(p, m * m)
            p = np.where(np.isfinite(p), p, np.inf)
            m = np.where(np.isfinite(p), m, np.inf)
        c = (scales / np.float64(skip)) ** 2 * (gates / network.depth)
    return np.where(np.isfinite(c), c, np.inf)


def _sum_of_layers(function: Callable[[Array], Array], values: Array) -> float:
    """Return the sum of a function over layers, at once over those that are alike at the end."""
    others = np.flatnonzero(values != values[-1])
    alike = values.size - (int(others[-1]) + 1 if others.size else 0)
    terms = function(np.append(values[: values.size - alike], values[-1])).tolist()
    return math.fsum([*terms[:-1], alike * terms[-1]])


def can_leave_law(network: ResNet | FeedForward, signal: Propagation | None = None) -> bool:
    """Return whether the signal's direction can have a singular value far outside of the law.

    Parameters
    ----------
    network : ResNet or FeedForward
    signal : Propagation, optional
        Of the network, where it is known.

    Returns
    -------
    bool
        Whether E φ is not 0 at the first or the last layer's variance: all neurons then share a mean, along
        which the gates know the weights. LayerNorm takes it out.

    Raises
    ------
    NoAnswerError
        As `propagate`.
    """
    act = network.act
    if act.odd or not network.has_weights or network.branch.normalises:
        return False
    if act.scale_free:
        return True
    signal = propagate(network) if signal is None else signal
    found = averages(act, np.clip([signal.q_first, signal.q_last], SMALLEST_Q, 1 / SMALLEST_Q))
    return bool((np.abs(found.mean) > NO_MEAN * np.sqrt(found.second)).any())


def _propagate_feed_forward(network: FeedForward) -> Propagation:
    from isocalc.signal.fixed_points import fixed_points  # noqa: PLC0415 - 4 ms that residual networks need not wait

    variance = network.sigma_w * network.sigma_w
    layer = Recursion(variance, network.sigma_b * network.sigma_b, skip=0.0, pre=False)
    table = AverageTable(network.act)
    if network.input_variance is None:
        q_star = fixed_points(network)[0].q_star
        if q_star is None:
            raise NoAnswerError("every q is a fixed point of this network: give an input variance")
        averages = table.at(q_star)
        start = averages.second
    else:
        start = network.input_variance
    if _widens(network):
        trace = _follow_widths(table, layer, start, network.layer_widths or ())
    elif network.input_variance is None:
        one_layer = (q_star, averages.gate, averages.second, averages.mean)
        trace = _Trace(*(np.full(network.depth, value) for value in one_layer))
    else:
        trace = _follow(table, layer, start, network.depth)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        chi = _product(variance, trace.gate)
        if np.isnan(chi).any():
            raise NoAnswerError(f"sigma_w = {network.sigma_w!r} is too large: its square is not a double")
        log_mean = _sum_of_layers(np.log, chi) if chi.all() else -math.inf
    return Propagation(trace.q, chi, trace.second_moment, trace.mean, log_mean)


def _widens(network: FeedForward) -> bool:
    """Tell whether some semi-orthogonal weights lead to more neurons than they come from."""
    widths = network.layer_widths or ()
    return network.weights == "orthogonal" and any(after > before for before, after in pairwise(widths))


def _follow_widths(table: AverageTable, layer: "Recursion", p: float, widths: Sequence[int]) -> "_Trace":
    """Follow the signal through semi-orthogonal weights, which keep its length where they widen."""
    traces = []
    for before, after in pairwise(widths):
        weight = layer.weight * min(1.0, before / after)
        traces.append(_follow(table, layer._replace(weight=weight), p, 1))
        p = float(traces[-1].second_moment[0])
    return _Trace(*(np.concatenate(parts) for parts in zip(*traces, strict=True)))


def _product(weight: float, gate: Array) -> Array:
    """Return weight times gate: 0 for weights of 0, where an infinite gate would give NaN."""
    return np.asarray(weight * gate) if weight else np.zeros_like(gate)


class Recursion(NamedTuple):
    """One layer's recursion; a feed-forward layer is a post-activation block with skip 0."""

    weight: float
    bias: float
    skip: float
    pre: bool

    def variance(self, p: float) -> float:
        """Variance q of the pre-activations, from the mean square of the layer's input."""
        if self.pre:
            return p
        return self.weight * p + self.bias if self.weight and p else self.bias

    def output(self, p: float, m: float, mean: float, second: float) -> tuple[float, float]:
        """Mean square and mean of the layer's output."""
        if self.pre:
            return self.skip * self.skip * p + self.weight * second + self.bias, 0.0
        output_mean = mean + self.skip * m
        output = second + 2 * self.skip * m * mean + self.skip * self.skip * p
        # Where a constant φ and the skip cancel, rounding can leave it below the mean's square, even below 0.
        return max(output, output_mean * output_mean), output_mean


class _Trace(NamedTuple):
    """Per layer: q, E φ'², and the mean square and mean of the output."""

    q: Array
    gate: Array
    second_moment: Array
    mean: Array


def _follow(
    table: AverageTable, layer: Recursion, input_variance: float, depth: int, numba_from: int = NUMBA_FROM
) -> _Trace:
    trace = _Trace(*(np.empty(depth) for _ in _Trace._fields))
    i, p, m = 0, input_variance, 0.0
    while i < depth:
        if depth >= numba_from:
            i, p, m = _follow_compiled(table, layer, trace, (i, p, m))
            if i == depth:
                break
        q = layer.variance(p)
        mean, second, gate = table.at(q)
        before = p, m
        p, m = layer.output(p, m, mean, second)
        if not math.isfinite(p):
            p = m = math.inf
        for array, value in zip(trace, (q, gate, p, m), strict=True):
            array[i] = value
        if (p, m) == before:
            for array in trace:
                array[i + 1 :] = array[i]
            break
        i += 1
    return trace


def _follow_compiled(
    table: AverageTable, layer: Recursion, trace: _Trace, state: tuple[int, float, float]
) -> tuple[int, float, float]:
    """Fill the trace octave by octave while tables reach; take and return the layers done, p and m."""
    from isocalc.numerics.kernels import follow_signal  # noqa: PLC0415 - loading Numba takes half a second

    done, p, m = state
    while done < trace.q.size:
        q = layer.variance(p)
        exponent = math.frexp(q)[1]
        octave = table.octave(exponent) if SMALLEST_Q <= q < math.inf else None
        if octave is None:
            break
        before = done
        done, p, m = follow_signal(*trace, done, p, m, *layer, exponent, octave.units, octave.coefficients)
        if done == before:
            break
    return done, p, m
