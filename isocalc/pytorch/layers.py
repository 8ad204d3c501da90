"""Layers and residual blocks recognised in what a PyTorch module computes, and the check that they are it.

`steps_of` reads them from the trace, `StepsPass` sends a signal and its tangents through them, and `verify`
compares outputs and derivatives with those of the module itself.
"""
# ruff: noqa: PLC0415 - PyTorch is optional, and takes seconds to load

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from isocalc.activations.catalogue import Activation, activation
from isocalc.networks.branches import POST, PRE, PRE_LAYER_NORM, Branch
from isocalc.numerics.haar import Floats
from isocalc.pytorch.module import Call, array
from isocalc.pytorch.tolerances import ROUNDINGS, SAME_OUTPUT
from isocalc.pytorch.tracing import (
    IDENTITY,
    Input,
    Norm,
    OpaqueError,
    Sum,
    Term,
    Tree,
    Weights,
    activation_of,
    factored,
    text_of,
    times,
    unscaled,
)
from isocalc.simulation.forward import Mark, normalised
from isocalc.user_code import told_as

Array = npt.NDArray[np.float64]

LINEAR = activation("linear")


@dataclass(frozen=True, eq=False)
class Layer:
    """φ(W x + b): ``matrix`` of shape (outputs, inputs), ``bias`` of shape (outputs,)."""

    matrix: Array
    bias: Array
    act: Activation


@dataclass(frozen=True, eq=False)
class Block:
    """A residual block beside the skip connection a x.

    Parameters
    ----------
    branch : Branch
        Whose last matrix has biases too.
    act : Activation
    skip : float
        a.
    layers : tuple of Layer
        Of each matrix of the branch, without its activation.
    eps : float
        Of the LayerNorm.
    """

    branch: Branch
    act: Activation
    skip: float
    layers: tuple[Layer, ...]
    eps: float = 0.0


Step = Layer | Block


def steps_of(term: Term) -> tuple[Step, ...]:
    """Return the layers and blocks that a term is, from the input on.

    Raises
    ------
    OpaqueError
        It is something else.
    """
    steps: list[Step] = []
    pending: Tree = term.function
    base = term.base
    while not isinstance(base, Input):
        if isinstance(base, Norm):
            raise OpaqueError("a LayerNorm outside of a residual block")
        step, base, pending = _layer(base, pending) if isinstance(base, Weights) else _block(base, pending)
        steps.append(step)
    factor, rest = factored(pending)
    if rest != IDENTITY:
        raise OpaqueError(f"the function {text_of(rest)} of its input")
    if not steps:
        raise OpaqueError("no weights between its input and its output")
    return _scaled_first(factor, tuple(reversed(steps)))


def _layer(base: Weights, function: Tree) -> tuple[Layer, "Input | Weights | Norm | Sum", Tree]:
    """Return a layer, its argument's base, and the function of that which is left."""
    inner, function = unscaled(function)
    outer, rest = factored(function)
    act = _known(rest)
    if act.is_linear or (act.scale_free and outer > 0):
        inner, outer = inner * outer, 1.0
    act = _multiplied(outer, act, rest)
    before, argument = factored(base.argument.function)
    return Layer(inner * before * base.matrix, inner * base.bias, act), base.argument.base, argument


def _scaled_first(factor: float, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    first = steps[0]
    if factor == 1:
        return steps
    if isinstance(first, Layer):
        return (Layer(factor * first.matrix, first.bias, first.act), *steps[1:])
    raise OpaqueError("a factor of its input before residual blocks")


def _known(function: Tree) -> Activation:
    act = activation_of(function)
    if act is None:
        raise OpaqueError(f"the function {text_of(function)}, which isocalc does not know as an activation")
    return act


def _multiplied(factor: float, act: Activation, function: Tree) -> Activation:
    found = times(factor, act, function)
    if found is None:
        raise OpaqueError(f"the function {text_of(function)} times {factor:.6g}")
    return found


def _block(base: Sum, function: Tree) -> tuple[Block, "Input | Weights | Norm | Sum", Tree]:
    """Return a residual block, the base it starts from, and the function of that which is left."""
    if function != IDENTITY:
        raise OpaqueError(f"the function {text_of(function)} of a skip connection's sum")
    for skip, branch in ((base.left, base.right), (base.right, base.left)):
        a, rest = factored(skip.function)
        path = list(_path(branch, skip.base))
        if path and rest == IDENTITY and a:
            return _matched(a, path), skip.base, IDENTITY
    raise OpaqueError("a sum of two branches, none of them a skip connection")


Part = Term | Weights | Norm


def _path(branch: Term, start: "Input | Weights | Norm | Sum") -> Iterator[Term]:
    """Yield the terms from the end of a branch back to its start; nothing where it does not lead there."""
    terms = [branch]
    while terms[-1].base is not start:
        base = terms[-1].base
        if not isinstance(base, (Weights, Norm)):
            return
        terms.append(base.argument)
    yield from terms


def _matched(skip: float, path: list[Term]) -> Block:
    """Return the block that a branch is; the last term of its path is a function of the block's input."""
    bases = [term.base for term in path[:-1]]
    functions = [term.function for term in path]
    entry, start = factored(functions[-1])
    if len(bases) == 1 and isinstance(bases[0], Weights):
        outer, end = factored(functions[0])
        if end == IDENTITY and start != IDENTITY:
            # A factor after φ goes into the weights; φ(k x) is an activation of its own.
            weights = _weights(bases[0], outer * entry, outer)
            return Block(PRE, _known(start), skip, (weights,))
        if start == IDENTITY:
            layer, _, _ = _layer(bases[0], functions[0])
            layer_weights = Layer(layer.matrix, layer.bias, LINEAR)
            return Block(POST, layer.act, skip, (layer_weights,))
    shape = tuple(type(base) for base in bases)
    if shape == (Weights, Weights, Norm) and start == IDENTITY and entry > 0:
        return _pre_layer_norm(skip, bases, functions, entry)
    raise OpaqueError(f"residual blocks {_in_words(bases, functions)}, for which no law is known")


def _pre_layer_norm(skip: float, bases: Sequence[object], functions: Sequence[Tree], entry: float) -> Block:
    second, first, norm = bases
    assert isinstance(second, Weights)  # noqa: S101 - the shape of the branch
    assert isinstance(first, Weights)  # noqa: S101
    assert isinstance(norm, Norm)  # noqa: S101
    outer, end = factored(functions[0])
    inner, function = unscaled(functions[1])
    factor, function = factored(function)
    before, plain = factored(functions[2])
    if end != IDENTITY or plain != IDENTITY:
        raise OpaqueError(f"residual blocks {_in_words(bases, functions)}, for which no law is known")
    layers = (_weights(first, inner * before, inner), _weights(second, outer * factor, outer))
    # LN(k x) is LN(x) with eps over k².
    return Block(PRE_LAYER_NORM, _known(function), skip, layers, norm.eps / entry**2)


def _weights(base: Weights, factor: float, bias_factor: float) -> Layer:
    return Layer(factor * base.matrix, bias_factor * base.bias, LINEAR)


def _in_words(bases: Sequence[object], functions: Sequence[Tree]) -> str:
    """Return a branch as a formula, such as x + W f(W x)."""
    text = "x" if functions[-1] == IDENTITY else "f(x)"
    for base, function in zip(reversed(bases), reversed(functions[:-1]), strict=True):
        text = f"LN({text})" if isinstance(base, Norm) else f"W {text}"
        text = text if factored(function)[1] == IDENTITY else f"f({text})"
    return f"x + {text}"


Mask = npt.NDArray[np.bool_]


class StepsPass:
    """A signal and its tangents on their way through layers and blocks, as `jacobian.log_spectrum` asks.

    Parameters
    ----------
    steps : tuple of Layer or Block
    """

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self.depth, self.done = len(steps), 0
        self._signal: Floats = np.empty(0)  # before the step that was last

    @property
    def network(self) -> "StepsPass":
        """What has the depth."""
        return self

    def mark(self) -> Mark:
        """Return where the pass stands, for `return_to`."""
        return Mark(self.done, None)

    def return_to(self, mark: Mark) -> None:
        """Go back."""
        self.done = mark.done

    def advance(self, rows: Floats) -> tuple[Floats, Mask | None]:
        """Send a signal, the last row, and directions tangent to it, the others, through the next step."""
        step = self._steps[self.done]
        self.done += 1
        self._signal = rows[-1].copy()
        return _through(step, rows)

    def row_sizes(self) -> Array:
        """Return the lengths of the rows of the last step's Jacobian, which weights may make 0."""
        rows = np.concatenate((np.eye(self._signal.size), self._signal[None]))
        images, _ = _through(self._steps[self.done - 1], rows)
        return np.asarray(np.linalg.norm(images[:-1], axis=0))


def arguments(steps: tuple[Step, ...], signal: Floats) -> Iterator[tuple[Layer, Floats]]:
    """Yield every layer, those of residual blocks too, and what its weights are multiplied by."""
    for step in steps:
        if isinstance(step, Layer):
            yield step, signal
        else:
            yield from _branch_arguments(step, signal)
        signal = _through(step, signal[None])[0][0]


def _branch_arguments(block: Block, signal: Floats) -> Iterator[tuple[Layer, Floats]]:
    layers = iter(block.layers)
    for step in block.branch.steps:
        if step == "layer_norm":
            signal = normalised(signal[None], block.eps)[0]
        elif step == "linear":
            layer = next(layers)
            yield layer, signal
            signal = layer.matrix @ signal + layer.bias
        else:
            signal = block.act.phi(signal.astype(float))


def _through(step: Step, rows: Floats) -> tuple[Floats, Mask | None]:
    if isinstance(step, Block):
        return _through_block(step, rows), None
    images, slopes = _through_layer(step, rows)
    return images, (slopes != 0) & step.matrix.any(axis=1)


def _through_layer(layer: Layer, rows: Floats) -> tuple[Floats, Floats]:
    images = rows @ layer.matrix.T
    pre_activation = images[-1] + layer.bias
    slopes = layer.act.dphi(pre_activation)
    images[:-1] *= slopes
    images[-1] = layer.act.phi(pre_activation)
    return images, slopes


def _through_block(block: Block, rows: Floats) -> Floats:
    images, layers = rows, iter(block.layers)
    for step in block.branch.steps:
        if step == "layer_norm":
            images = normalised(images, block.eps)
        elif step == "linear":
            images, _ = _through_layer(next(layers), images)
        else:
            own = images[-1]
            images = images * block.act.dphi(own)
            images[-1] = block.act.phi(own)
    return block.skip * rows + images


def verify(steps: tuple[Step, ...], call: Call) -> None:
    """Raise OpaqueError where layers and blocks do not do what a module does.

    At two inputs, its own and another, outputs are compared, and uᵀ J v of random u and v.
    """
    rng = default_rng(0)
    x = array(call.batch).reshape(-1)
    for given in (x, -0.7 * x[::-1]):
        u, v = rng.standard_normal(call.output.numel()), rng.standard_normal(x.size)
        output, gradient, rounding = _of_module(call, given, u)
        rows: Floats = np.stack([v, given])
        forward = StepsPass(steps)
        with np.errstate(all="ignore"):
            for _ in steps:
                rows, _ = forward.advance(rows)
            allowed = max(SAME_OUTPUT, ROUNDINGS * rounding)
            if not _length(rows[1] - output) <= allowed * _length(output):
                raise OpaqueError("something beside the layers that were recognised: their output is another")
            if not abs(u @ rows[0] - gradient @ v) <= allowed * _length(gradient) * _length(v):
                raise OpaqueError("derivatives that are not those of its output")


def _length(vector: Floats) -> float:
    return float(np.linalg.norm(vector))


def _of_module(call: Call, x: Array, u: Array) -> tuple[Array, Array, float]:
    """Return a module's output and Jᵀ u, in double precision if it can, and the rounding of its numbers."""
    import torch
    from torch import Tensor

    named = (*call.module.named_parameters(), *call.module.named_buffers())
    shape, device = call.batch.shape, call.batch.device

    def found(state: dict[str, Tensor], dtype: torch.dtype) -> tuple[Array, Array]:
        def function(flat: Tensor) -> Tensor:
            return torch.func.functional_call(call.module, state, (flat.reshape(shape).clone(),)).reshape(-1)

        flat = torch.as_tensor(x.copy()).to(dtype=dtype, device=device)
        output, pullback = torch.func.vjp(function, flat)
        return array(output), array(pullback(torch.as_tensor(u).to(dtype=dtype, device=device))[0])

    own = {name: tensor.detach() for name, tensor in named}
    with torch.no_grad():
        with (
            suppress(OpaqueError),
            told_as(OpaqueError),
        ):  # its code has other numbers, or its device no doubles
            double = {name: t.double() if t.is_floating_point() else t for name, t in own.items()}
            return *found(double, torch.float64), 0.0
        with told_as(lambda error: OpaqueError(f"code that torch.func does not differentiate ({error})")):
            return *found(own, call.batch.dtype), float(torch.finfo(call.batch.dtype).eps)
