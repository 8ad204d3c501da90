"""From a network to the factors of its law: one for each layer that differs, with how often it occurs."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.errors import NoAnswerError
from isocalc.gate_pieces import unit_length
from isocalc.gates import NOTHING, GateRule, gate_rule
from isocalc.layer_quadrature import Whole, few_layers
from isocalc.layer_transform import Layer
from isocalc.network import FeedForward, ResNet
from isocalc.propagation import propagate
from isocalc.residual_factors import residual_factors
from isocalc.transforms import Factor

Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]
Part = tuple[GateRule, float, float, float, bool]

# Layers whose gates are closed most often decide what happens near 0: so many keep a factor each.
_KEPT = 4
_SIGMAS = 8.5
_FAR, _FARTHEST = 1e17, 1e300
# Standard deviations this small, in lengths over which φ varies, are 0.
_NEGLIGIBLE = 1e-75
# Lengths over which smooth gates may approach their limits, as far as any t can tell.
_BENDS = 2000.0
_PERIODS = 100.0
# Standard deviations at which gates that close far out are as good as closed, in lengths over which φ varies.
_CLOSED = 1e20


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
        The signal or its averages overflow, or a feed-forward network has no fixed point to start from.
    """
    if isinstance(network, ResNet):
        found = residual_factors(network, _gates(network)) if network.has_weights else ((), ())
        return Layers(*found, ((abs(network.skip), float(network.depth)),))
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
    far = np.array([-1.0, 1.0]) * min(_FAR * max((1.0, *map(abs, act.breakpoints))), _FARTHEST)
    slopes = act.dphi(far)
    if not np.array_equal(slopes, act.dphi(1e3 * far)):
        return math.inf
    # Closed ever more often, where both slopes are 0: next to always.
    return float(far[1]) if slopes.any() else _CLOSED * unit_length(act)


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


def feed_forward_layers(parts: Iterable[Part], scales: Pairs) -> Layers:
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


def _rectangular(network: FeedForward, widths: Sequence[int]) -> Iterator[Part]:
    """Yield the layers of a chain of widths, alike ones counted."""
    variances = [1.0] * network.depth if network.act.scale_free else propagate(network).q.tolist()
    alike = Counter(zip(variances, widths, widths[1:], strict=False))
    gates = {q: gate_rule(network.act, q) for q, _, _ in alike}
    for (q, before, width), count in alike.items():
        orthogonal = network.weights == "orthogonal"
        yield gates[q], float(count), widths[0] / width, width / before, orthogonal
