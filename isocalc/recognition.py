"""Which network, of those that have a law, a PyTorch module is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.layer_chain import LayerChain
from isocalc.module_check import verify
from isocalc.module_graph import traced
from isocalc.module_layers import Block, Layer, Step, steps_of
from isocalc.module_pass import arguments
from isocalc.module_terms import OpaqueError, array
from isocalc.network import ResNet
from isocalc.propagation import propagate
from isocalc.torch_module import Call
from isocalc.universal_error import is_linear
from isocalc.weight_scales import (
    NoLawError,
    Scale,
    common_sigma,
    pooled,
    require_common_biases,
    require_independent,
    require_usual_biases,
    scale_of,
)

Array = npt.NDArray[np.float64]

# Mean squares that are left out, over those beside them.
_SMALL = 0.01
# Of inputs of one network.
_ALIKE = 0.01
_FORMULAE = {"post": "x + f(W x + b)", "pre": "x + W f(x) + b", "preln": "x + W2 f(W1 LN(x) + b)"}


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
        if max(self._powers) - min(self._powers) > _ALIKE * power:
            raise NoLawError("the mean squares of its inputs differ")
        blocks = [step for step in self._first if isinstance(step, Block)]
        scales = pooled(self._scales)
        try:
            if not blocks:
                return _chain(self._first, scales, power, len(self._scales))
            if len(blocks) < len(self._first):
                linear = len(self._first) - len(blocks)
                raise NoLawError(
                    f"it has {len(blocks)} residual blocks {_FORMULAE[blocks[0].kind]} and {linear} "
                    f"layer{'s' * (linear > 1)} beside them; --module measures a part of it alone"
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
    if len({(block.kind, block.act.name, round(block.skip, 9)) for block in blocks}) > 1:
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
        block=first.kind,
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
    if max(block.eps for block in blocks) > _SMALL * power:
        raise NoLawError("eps of its LayerNorm is not small beside the mean square of its input")
    left_out = math.fsum(scale.bias_mean_square for scale in scales[1::2])
    if left_out > _SMALL * propagate(network).output_second_moment:
        raise NoLawError("the biases b2 of its residual blocks x + W2 f(W1 LN(x) + b1) + b2 are not small")


def _told(network: ResNet, width: int) -> str:
    skip = "" if network.skip == 1 else f"{network.skip:.6g} "
    formula = _FORMULAE[network.block].replace("x + ", f"{skip}x + ", 1)
    second = f", sigma_w2 {network.sigma_w2:.4g}" if network.block == "preln" else ""
    name = "f linear" if is_linear(network.act) else f"f = {network.act.name}"
    return (
        f"{network.depth} residual block{'s' * (network.depth > 1)} {formula}, {name}, width {width}; "
        f"{_weights([network.weights])}, sigma_w {network.sigma_w:.4g}{second}, sigma_b {network.sigma_b:.4g}"
    )
