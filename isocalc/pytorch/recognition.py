"""Which network, of those that have a law, a PyTorch module is.

It is a `ResNet`, or a `LayerChain`: a feed-forward network whose layers each have an activation, scale and
width of their own. `Recognition` looks at one module after the other and says what they have in common.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import AverageTable
from isocalc.activations.catalogue import Activation
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.judging.width_law import Rank, least_rank
from isocalc.laws.free.law import LayeredLaw
from isocalc.laws.free.network_factors import Layers, OneGate, feed_forward_layers
from isocalc.laws.gates.nodes import gate_rule
from isocalc.networks.branches import Branch
from isocalc.networks.descriptions import ResNet, Weights
from isocalc.pytorch.layers import Block, Layer, Step, arguments, steps_of, verify
from isocalc.pytorch.module import Call, array
from isocalc.pytorch.tolerances import NEGLIGIBLE
from isocalc.pytorch.tracing import OpaqueError, traced
from isocalc.pytorch.weight_scales import (
    NoLawError,
    Scale,
    common_sigma,
    pooled,
    require_common_biases,
    require_independent,
    require_usual_biases,
    scale_of,
)
from isocalc.signal.propagation import propagate
from isocalc.simulation.forward import powers_kept

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayerChain:
    """A feed-forward network: layer l is ``φ_l(W_l x + b_l)``, at random initialisation, of widths N → ∞.

    Parameters
    ----------
    widths : tuple of int
        N_0, ..., N_L, of which only the ratios matter.
    acts : tuple of Activation
        φ_l.
    weights : tuple of {"gaussian", "orthogonal"}
    sigma_w : tuple of float
        Entries of W_l have variance ``sigma_w**2 / N_{l-1}``, or W_l is ``sigma_w`` times semi-orthogonal.
    sigma_b : tuple of float
        Standard deviations of the biases.
    input_variance : float
        Mean square of the input's entries, greater than 0.
    """

    widths: tuple[int, ...]
    acts: tuple[Activation, ...]
    weights: tuple[Weights, ...]
    sigma_w: tuple[float, ...]
    sigma_b: tuple[float, ...]
    input_variance: float

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return len(self.acts)

    @cached_property
    def q(self) -> Array:
        """Variance of the pre-activations of each layer, shape (L,).

        Raises
        ------
        NoAnswerError
            The signal overflows.
        """
        found, p = np.empty(self.depth), self.input_variance
        tables: dict[str, AverageTable] = {}
        for layer, act in enumerate(self.acts):
            before, after = self.widths[layer : layer + 2]
            # Semi-orthogonal weights that widen keep the length of the signal.
            kept = min(1.0, before / after) if self.weights[layer] == "orthogonal" else 1.0
            sigma_w, sigma_b = self.sigma_w[layer], self.sigma_b[layer]
            found[layer] = sigma_w * sigma_w * kept * p + sigma_b * sigma_b
            p = tables.setdefault(act.name, AverageTable(act)).at(float(found[layer])).second
            if not p < powers_kept()[1]:
                raise NoAnswerError(f"the signal explodes in layer {layer + 1}")
        return found

    @property
    def factors(self) -> Layers:
        """The factors of its law."""
        if 0.0 in self.sigma_w:
            return Layers((), (), (), vanishes=True)
        scales = tuple((sigma, 1.0) for sigma in self.sigma_w)
        gate = self._one_gate
        if gate is not None:
            return Layers((), (), scales, gate=gate)
        acts = {act.name: act for act in self.acts}
        named = ((act.name, q) for act, q in self._gates)
        alike = Counter(zip(named, self.widths, self.widths[1:], self.weights, strict=False))
        gates = {(name, q): gate_rule(acts[name], q) for (name, q), *_ in alike}
        return feed_forward_layers(
            (
                (gates[gate], float(count), self.widths[0] / after, after / before, kind == "orthogonal")
                for (gate, before, after, kind), count in alike.items()
            ),
            scales,
        )

    @property
    def _one_gate(self) -> OneGate | None:
        """The gate of square orthogonal layers of which one alone is no isometry, where it has a density."""
        square = set(self.weights) == {"orthogonal"} and len(set(self.widths)) == 1
        others = [
            layer for layer, act in enumerate(self.acts) if set(map(abs, act.slopes or (0.0,))) != {1.0}
        ]
        if not square or len(others) != 1 or self.acts[others[0]].slopes is not None:
            return None
        return OneGate(self.acts[others[0]], float(self.q[others[0]]), 1.0)

    @property
    def law(self) -> LayeredLaw:
        """The law of its singular values."""
        return LayeredLaw(self.factors, error=0.0)

    @property
    def rank(self) -> Rank:
        """How many singular values are not 0 at its widths."""
        if 0.0 in self.sigma_w:
            return Rank(0.0, 0.0)
        opening = (1 - gate_rule(act, q).zero_mass for act, q in self._gates)
        return least_rank(self.widths[0], Counter(zip(self.widths[1:], opening, strict=True)))

    @property
    def _gates(self) -> list[tuple[Activation, float]]:
        """The activation of each layer and the variance of its argument, 1 where that does not matter."""
        known = zip(self.acts, self.q.tolist(), strict=True)
        return [(act, 1.0 if act.scale_free else q) for act, q in known]

    def in_words(self) -> str:
        """Return a description in one line."""
        names = list(dict.fromkeys(act.name for act in self.acts))
        last = self.acts[-1]
        hidden = list(dict.fromkeys(act.name for act in self.acts[:-1]))
        has_readout = self.depth > 1 and last.name == "linear" and hidden != ["linear"]
        count, acts = (self.depth - 1, hidden) if has_readout else (self.depth, names)
        what = f"{count} layer{'s' * (count > 1)} f(W x + b), f = {', '.join(acts)}"
        what += ", and a linear one" if has_readout else ""
        return f"{what}, widths {_listed(self.widths)}"


def _listed(widths: tuple[int, ...]) -> str:
    """Return widths, repetitions counted."""
    runs = [(width, len(list(run))) for width, run in groupby(widths)]
    return ", ".join(
        f"{width} ({count} times)" if count > 2 else ", ".join([str(width)] * count) for width, count in runs
    )


@dataclass(frozen=True)
class Recognised:
    """A network of the law's kind that a module is.

    Parameters
    ----------
    network : ResNet or LayerChain
    words : str
        The same in one line.
    """

    network: ResNet | LayerChain
    words: str


class Recognition:
    """Looks at modules drawn by one function, and their inputs, one after the other.

    Attributes
    ----------
    steps : tuple of Layer or Block
        What the last module is made of, its own weights; empty where that is not known.
    """

    def __init__(self) -> None:
        self._reason, self._opaque = "", False
        self.steps: tuple[Step, ...] = ()
        self._first: tuple[Step, ...] = ()
        self._scales: list[list[Scale]] = []
        self._powers: list[float] = []

    def look_at(self, call: Call) -> None:
        """Read a module that was called and measure its weights, or find out why it has no law."""
        self.steps = ()
        if self._opaque:
            return
        try:
            steps = steps_of(traced(call))
            verify(steps, call)
            self._first = self._first or steps
            _require_alike(steps, self._first)
            self.steps = steps
        except (OpaqueError, ValueError) as error:
            # NumPy's ValueError, of reading or of rebuilding: shapes that are those of no layer.
            what = error if isinstance(error, OpaqueError) else "layers that act on parts of their input"
            self._opaque, self._reason = True, self._reason or f"it has {what}"
            return
        try:
            if not self._reason:
                self._measure(call)
        except NoLawError as error:
            self._reason = str(error)

    def _measure(self, call: Call) -> None:
        read = list(arguments(self.steps, array(call.batch).reshape(-1)))
        self._scales.append([scale_of(layer, argument) for layer, argument in read])
        require_independent([layer.matrix for layer, _ in read])
        self._powers.append(float(np.mean(call.x**2)))

    def found(self) -> Recognised:
        """Return what the modules are.

        Raises
        ------
        NoLawError
            None of the networks that have a law here; the message says why.
        """
        if self._reason:
            raise NoLawError(self._reason)
        power = math.fsum(self._powers) / len(self._powers)
        if max(self._powers) - min(self._powers) > NEGLIGIBLE * power:
            raise NoLawError("the mean squares of its inputs differ")
        blocks = [step for step in self._first if isinstance(step, Block)]
        scales = pooled(self._scales)
        try:
            if not blocks:
                return _chain(self._first, scales, power, len(self._scales))
            if len(blocks) < len(self._first):
                linear = len(self._first) - len(blocks)
                raise NoLawError(
                    f"it has {len(blocks)} residual blocks x + {_formula(blocks[0].branch)} and {linear} "
                    f"layer{'s' * (linear > 1)} beside them",
                    ("measure a part",),
                )
            return _residual(blocks, scales, power, len(self._scales))
        except (InvalidInputError, NoAnswerError) as error:
            raise NoLawError(str(error)) from None


def _layers(step: Step) -> tuple[Layer, ...]:
    return step.layers if isinstance(step, Block) else (step,)


def _require_alike(steps: tuple[Step, ...], before: tuple[Step, ...]) -> None:
    if _structure(steps) != _structure(before):
        raise OpaqueError("another structure in every trial")


def _structure(steps: Sequence[Step]) -> list[tuple[object, ...]]:
    return [
        (getattr(step, "kind", ""), step.act.name, *(layer.matrix.shape for layer in _layers(step)))
        for step in steps
    ]


def _chain(steps: Sequence[Step], scales: Sequence[Scale], power: float, trials: int) -> Recognised:
    chain = LayerChain(
        widths=(scales[0].inputs, *(scale.outputs for scale in scales)),
        acts=tuple(step.act for step in steps),
        weights=tuple(scale.kind for scale in scales),
        sigma_w=tuple(scale.sigma_w for scale in scales),
        sigma_b=tuple(math.sqrt(scale.bias_mean_square) for scale in scales),
        input_variance=power,
    )
    if all(chain.sigma_w):
        require_usual_biases(scales, chain.acts, chain.q, trials)
    return Recognised(chain, f"{chain.in_words()}; {_weights(chain.weights)}, {_scales(chain)}")


def _weights(kinds: Sequence[str]) -> str:
    names = {"gaussian": "independent entries", "orthogonal": "orthogonal matrices"}
    return " and ".join(names[kind] for kind in dict.fromkeys(kinds))


def _scales(chain: LayerChain) -> str:
    return f"sigma_w {_range(chain.sigma_w)}, sigma_b {_range(chain.sigma_b)}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def _residual(blocks: Sequence[Block], scales: Sequence[Scale], power: float, trials: int) -> Recognised:
    first = blocks[0]
    if len({(block.branch, block.act.name, round(block.skip, 9)) for block in blocks}) > 1:
        raise NoLawError("its residual blocks differ in kind, activation or skip connection")
    inner = len(first.layers)
    width, depth = scales[0].inputs, len(blocks)
    options: dict[str, float] = {}
    sigma = common_sigma(scales[::inner], trials, " W1" if inner == 2 else "")
    if inner == 2:
        options["sigma_w2"] = common_sigma(scales[1::2], trials, " W2") * math.sqrt(depth)
        options["hidden_ratio"] = scales[0].outputs / width
    else:
        sigma *= math.sqrt(depth)
    squares = [scale.bias_mean_square for scale in scales[::inner]]
    network = ResNet(
        first.act,
        depth=depth,
        weights=scales[0].kind,
        sigma_w=sigma,
        sigma_b=math.sqrt(math.fsum(squares) / depth),
        block=first.branch.block,
        skip=first.skip,
        input_variance=power,
        **options,
    )
    q = propagate(network).q
    require_common_biases(scales[::inner], q, trials)
    require_usual_biases(scales[::inner], [first.act] * depth, q, trials)
    if inner == 2:
        _require_plain(network, blocks, scales, power)
    return Recognised(network, _told(network, width))


def _require_plain(network: ResNet, blocks: Sequence[Block], scales: Sequence[Scale], power: float) -> None:
    """Raise NoLawError where blocks with LayerNorm have what the law leaves out."""
    if len({scale.kind for scale in scales}) > 1 and network.sigma_w2:
        raise NoLawError("W1 and W2 of its residual blocks differ in kind")
    if max(block.eps for block in blocks) > NEGLIGIBLE * power:
        raise NoLawError("eps of its LayerNorm is not small beside the mean square of its input")
    left_out = math.fsum(scale.bias_mean_square for scale in scales[1::2])
    if left_out > NEGLIGIBLE * propagate(network).output_second_moment:
        raise NoLawError("the biases b2 of its residual blocks x + W2 f(W1 LN(x) + b1) + b2 are not small")


def _formula(branch: Branch) -> str:
    return branch.formula("f", "LN")


def _told(network: ResNet, width: int) -> str:
    skip = "" if network.skip == 1 else f"{network.skip:.6g} "
    scales = ", ".join(f"{name} {getattr(network, name):.4g}" for name in (*network.branch.scales, "sigma_b"))
    name = "f linear" if network.act.is_linear else f"f = {network.act.name}"
    formula = f"{skip}x + {_formula(network.branch)}"
    return (
        f"{network.depth} residual block{'s' * (network.depth > 1)} {formula}, {name}, width {width}; "
        f"{_weights([network.weights])}, {scales}"
    )
