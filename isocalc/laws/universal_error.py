"""How wrong the universal and the layered law of a residual network are, without solving for either.

Two errors of the distribution function, as Kolmogorov-Smirnov distances: theory (39) to (43). Finite depth:
to first order in 1/L the S-transform of the free product of layers is that of the universal law times e^δ,

    δ(m) = (1/L) mean_l c_l² [(1 + 2m)²/2 + M + (1 − r_l) M (1 + 2m)],   M = m (1 + m),

r_l the relative variance of the squared singular values of a layer without its skip; at fixed λ the mass
above it changes by Im ∫_0^m δ / π. Correlated gates, of pre-activation blocks: layers are not free, the
relative variance of λ is not 2c but 2c + κ, and the distance is about (κ/2π) h(c).

κ is a sum over pairs of layers, made of a few of them. A sum over layers of a function that is smooth in
√number is replaced by an interpolatory rule: exact for polynomials in √number, the nodes whole numbers.
Behind a first panel, panels double, for sequences that settle within few layers of a deep network.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages
from isocalc.errors import NoAnswerError
from isocalc.laws import universal
from isocalc.laws.tolerances import (
    ALL_PAIRS,
    COMMUTING,
    KAPPA_SAFETY,
    LARGEST,
    MOST_EXCESS,
    PAIR_NODES,
    SAMPLES_OF_Q,
    SETTLED,
    SLOW_PAIR_NODES,
    STRONG,
    SUMMED_ALONE,
)
from isocalc.limits import MOST_C
from isocalc.networks.descriptions import ResNet
from isocalc.numerics.quadrature import legendre_rule
from isocalc.signal.propagation import Propagation, propagate

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]


def sum_rule(count: int, first_panel: int, nodes: int) -> tuple[Whole, Array]:
    """Return numbers of 1..count and weights for sums over all of them.

    Parameters
    ----------
    count : int
        Terms of the sum, at least 0.
    first_panel : int
        Terms up to which the function is smooth, at least 1.
    nodes : int
        Of each panel.

    Returns
    -------
    numbers, weights : arrays, shape (n,)
        All of them, with weights 1, where there are few.
    """
    parts, low, high = [], 1, min(count, max(first_panel, nodes))
    while low <= count:
        parts.append(_panel(low, high, nodes))
        low, high = high + 1, min(count, 2 * high)
    if not parts:
        return np.empty(0, np.intp), np.empty(0)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _panel(low: int, high: int, nodes: int) -> tuple[Whole, Array]:
    if high - low < nodes + nodes // 2:
        numbers = np.arange(low, high + 1)
        return numbers, np.ones(numbers.size)
    start, stop = math.sqrt(low), math.sqrt(high)
    middle, half = (start + stop) / 2, (stop - start) / 2
    angle = np.pi * np.arange(nodes) / (nodes - 1)
    numbers = np.array(sorted(set(np.rint((middle - half * np.cos(angle)) ** 2).astype(np.intp).tolist())))

    def polynomials(number: Array) -> Array:
        x = np.clip((np.sqrt(number) - middle) / half, -1.0, 1.0)
        return np.asarray(np.cos(np.outer(np.arange(numbers.size), np.arccos(x))))

    split = min(high, low + SUMMED_ALONE)
    sums = polynomials(np.arange(low, split + 1.0)).sum(axis=1)
    if high > split:
        x, weights = legendre_rule(2 * nodes)
        root, end = math.sqrt(split + 0.5), math.sqrt(high + 0.5)
        root, reach = (root + end) / 2, (end - root) / 2
        r = root + reach * x
        sums += polynomials(r * r) @ (2 * r * reach * weights)
    return numbers, np.linalg.solve(polynomials(numbers.astype(float)), sums)


def pair_rule(
    count: int, first_panel: int, nodes: int, stride: int = 1
) -> Iterator[tuple[int, Whole, Array]]:
    """Yield distances, layers and weights for sums over all pairs k < l of 1..count.

    Parameters
    ----------
    count : int
        Layers.
    first_panel, nodes : int
        As in `sum_rule`, for the layers and for the distances.
    stride : int
        2 where terms of even and of odd distances are not one function of the distance.

    Yields
    ------
    distance : int
        l − k.
    k : array, shape (n,)
        The earlier layer of pairs of this distance.
    weights : array, shape (n,)
    """
    for offset in range(1, stride + 1):
        steps, outer = sum_rule((count - 1 - offset) // stride + 1, max(1, first_panel // stride), nodes)
        for step, weight in zip(steps.tolist(), outer.tolist(), strict=True):
            distance = offset + stride * (step - 1)
            k, inner = sum_rule(count - distance, first_panel, nodes)
            yield distance, k, weight * inner


class LawErrors(NamedTuple):
    """Predicted distances of laws from that of a network, N → ∞, at most 1.

    Attributes
    ----------
    kappa : float
        What correlated gates add to the relative variance of λ as L → ∞; 0 where gates are not correlated.
    correlated : float or None
        Of the law of free layers, from κ: to about a quarter for deep networks. ``None`` where some layer
        alone has c_l/L above 0.3: κ is of first order in it.
    commuting : float
        Of the law of free layers, by gates of different layers that commute: in blocks of one matrix, where
        layers are few.
    depth : float or None
        Of the universal law from that of free layers; ``None`` where c is beyond 10⁶, up to which the
        universal law is computed.
    """

    kappa: float
    correlated: float | None
    commuting: float
    depth: float | None

    @property
    def layered(self) -> float | None:
        """Of the law of free layers."""
        return None if self.correlated is None else min(1.0, self.correlated + self.commuting)

    @property
    def universal(self) -> float | None:
        """Of the universal law."""
        if self.layered is None or self.depth is None:
            return None
        return min(1.0, self.layered + self.depth)


def law_errors(network: ResNet, signal: Propagation | None = None, *, own_gates: bool = True) -> LawErrors:
    """Return how wrong the universal and the layered law are for a network.

    Parameters
    ----------
    network : ResNet
    signal : Propagation, optional
        Of the network, where it is known.
    own_gates : bool
        Whether gates are those of the network, not independent ones.

    Returns
    -------
    LawErrors

    Raises
    ------
    NoAnswerError
        The signal or averages over gates overflow.

    Notes
    -----
    Theory (39) to (43).

    The depth's part is good to a few per cent where it is small. Where the relative variance of a layer, skip
    included, is of order 1 it only says that the universal law is far off.
    """
    signal = propagate(network) if signal is None else signal
    if not signal.c:
        return LawErrors(0.0, 0.0, 0.0, 0.0)
    if not (network.act.scale_free or np.isfinite(signal.q).all()):
        raise NoAnswerError(f"the signal explodes, so that the gates of {network.act.name} are not known")
    kappa = kappa_of(network, signal) if own_gates else 0.0
    kurtosis = _kurtosis(network, signal.q)
    strongest = float(signal.c_per_layer.max()) / network.depth
    known = strongest <= STRONG or not (own_gates and has_correlated_gates(network))
    return LawErrors(
        kappa,
        min(1.0, error_of_kappa(kappa, signal.c)) if known else None,
        commuting_error(network, signal, kurtosis),
        depth_error(network, signal, kurtosis) if signal.c <= MOST_C else None,
    )


def commuting_error(network: ResNet, signal: Propagation, kurtosis: Array) -> float:
    """Return about how far the law of free layers is off by gates of several layers that commute.

    They stand at the entries of x, on either side of the matrix: transposed, pre-activation blocks with
    independent gates are post-activation ones in the opposite order. An estimate from above: 3 to 4 times
    the distance found for most networks of ReLU and hard tanh of 2 to 10 layers, 1 to 9 times for the others
    (tests/bench/commuting_gates.py).
    """
    if network.branch.hides_gates or network.depth == 1:
        return 0.0
    spread = min(float(kurtosis.mean()) - 1, MOST_EXCESS)
    return min(1.0, COMMUTING * spread * spread * (1 + signal.c) / network.depth**2)


def error_of_kappa(kappa: float, c: float) -> float:
    """Return the distance that correlated gates make, from κ and c > 0: theory (42)."""
    h = (0.25 / c + 0.16 + 0.09 * c * c / (c * c + 10)) / c
    return KAPPA_SAFETY * abs(kappa) / (2 * math.pi) * h


def has_free_layers(network: ResNet) -> bool:
    """Whether the law of free layers is the network's at any depth: gates meet no other layer's."""
    return network.depth == 1 or network.branch.hides_gates or network.act.is_linear


def has_correlated_gates(network: ResNet) -> bool:
    """Whether the gates of a neuron in different layers know of each other."""
    return network.branch.acts_on_stream and network.depth > 1 and not network.act.is_linear


def depth_error(network: ResNet, signal: Propagation, kurtosis: Array | None = None) -> float:
    """Return the distance of the universal law from that of free layers, to first order in 1/L: theory (40).

    ``kurtosis`` is that of the gates, E d⁴/(E d²)², where it is known.
    """
    kurtosis = _kurtosis(network, signal.q) if kurtosis is None else kurtosis
    curve = universal.Curve.trace(signal.c)
    mean = float(np.square(signal.c_per_layer).mean())
    rest = mean - _mean_relative_variance(network, signal, kurtosis)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        m = 1 / np.expm1(curve.x + 1j * curve.t)
        product = m * (1 + m)
        # The integral of δ, in parts that are even and odd in y: the curve is traced for y >= 0.
        even = mean * ((1 + 2 * m) ** 3 / 12 + m**2 / 2 + m**3 / 3).imag
        odd = rest * (product**2).imag / 2
        moved = (np.abs(even) + np.abs(odd)) / (math.pi * network.depth)
    moved = moved[np.isfinite(moved)]
    return min(1.0, float(moved.max())) if moved.size else 1.0


def _mean_relative_variance(network: ResNet, signal: Propagation, kurtosis: Array) -> float:
    """Return the mean of c_l² r_l over the layers."""
    squares = np.square(signal.c_per_layer)
    spread = squares * kurtosis
    orthogonal = network.weights == "orthogonal"
    if not network.branch.has_hidden_layer:
        return float((spread - squares).mean() if orthogonal else spread.mean())
    # W₂ D W₁ with hidden_ratio N hidden neurons; orthogonal matrices project between the two widths.
    hidden = network.hidden_ratio
    rest = 1.0 if not orthogonal else -1.0 if hidden <= 1 else 1 - 2 / hidden
    return float((spread / hidden + rest * squares).mean())


def _kurtosis(network: ResNet, q: Array) -> Array:
    """Return E d⁴/(E d²)² of the gates of layers, interpolated in log q; 1 where all gates are closed."""
    act = network.act
    if act.scale_free:
        q = q[:1]
    q = np.clip(q, 1 / LARGEST, LARGEST)
    low, high = float(q.min()), float(q.max())
    log_q = np.linspace(math.log(low), math.log(high), SAMPLES_OF_Q if high > low else 1)
    found = averages(act, np.exp(log_q))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = found.gate_squared / found.gate / found.gate
    ratio = np.where(np.isnan(ratio), 1.0, ratio)
    return np.asarray(np.interp(np.log(q), log_q, ratio))


def kappa_of(network: ResNet, signal: Propagation) -> float:
    """Return κ = 2 Σ_{k<l} (v/a²)² Cov(d_k², d_l²) e^(−(C_l − C_k)), theory (41).

    Parameters
    ----------
    network : ResNet
    signal : Propagation
        Of the network.

    Returns
    -------
    float
        To a relative 1e-6 for sums over smooth gates and piecewise linear ones; 0 where gates are not
        correlated.

    Raises
    ------
    NoAnswerError
        The averages overflow.
    """
    if not has_correlated_gates(network):
        return 0.0
    from isocalc.laws.gates.covariances import GatePairs  # noqa: PLC0415

    act, skip = network.act, network.skip
    unit = network.sigma_w / skip
    scale = unit * unit
    if not np.isfinite(signal.q).all():
        raise NoAnswerError(f"kappa of {act.name} overflows: the signal explodes")
    q, gate = np.clip(signal.q, 1 / LARGEST, LARGEST), signal.c_per_layer / scale
    half_log, pairs = np.log(q) / 2, GatePairs(act, float(q.min()), float(q.max()))
    total = np.concatenate(([0.0], np.cumsum(signal.c_per_layer / network.depth)))
    nodes = network.depth if network.depth <= ALL_PAIRS else SLOW_PAIR_NODES if pairs.slow else PAIR_NODES
    stride = 2 if skip < 0 and not act.odd else 1
    parts = []
    for distance, layers, weights in pair_rule(network.depth, _first_panel(signal), nodes, stride):
        k, after = layers - 1, layers - 1 + distance
        with np.errstate(under="ignore", over="ignore"):
            correlation = np.exp(distance * math.log(abs(skip)) + half_log[k] - half_log[after])
            correlation *= math.copysign(1.0, skip) ** distance
            decay = np.exp(total[layers] - total[layers + distance])
        found = pairs.covariances(q[k], q[after], correlation, gate[k], gate[after])
        parts.append(float(weights @ (found * decay)))
    per_layer = scale / network.depth
    kappa = 2 * per_layer * per_layer * math.fsum(parts)
    if not math.isfinite(kappa):
        raise NoAnswerError(f"kappa of {act.name} overflows")
    return kappa


def _first_panel(signal: Propagation) -> int:
    """Return up to which layer the variance is that of the first, within a factor of 8."""
    moved = np.abs(np.log(signal.q) - math.log(signal.q_first)) > math.log(SETTLED)
    return int(np.argmax(moved)) if moved.any() else signal.q.size
