"""Layers and residual blocks recognised in what a PyTorch module computes, and the check that they are it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation, activation
from isocalc.module_functions import IDENTITY, Tree, activation_of, factored, text_of, times, unscaled
from isocalc.module_terms import Input, Norm, OpaqueError, Sum, Term, Weights
from isocalc.universal_error import is_linear

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
    kind : {"post", "pre", "preln"}
        φ(W x + b), W φ(x) + b, or W₂ φ(W₁ LN(x) + b₁) + b₂.
    act : Activation
    skip : float
        a.
    layers : tuple of Layer
        One, or the two of "preln", each without its activation.
    eps : float
        Of the LayerNorm.
    """

    kind: Literal["post", "pre", "preln"]
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
    if is_linear(act) or (act.scale_free and outer > 0):
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
            return Block("pre", _known(start), skip, (weights,))
        if start == IDENTITY:
            layer, _, _ = _layer(bases[0], functions[0])
            layer_weights = Layer(layer.matrix, layer.bias, LINEAR)
            return Block("post", layer.act, skip, (layer_weights,))
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
    return Block("preln", _known(function), skip, layers, norm.eps / entry**2)


def _weights(base: Weights, factor: float, bias_factor: float) -> Layer:
    return Layer(factor * base.matrix, bias_factor * base.bias, LINEAR)


def _in_words(bases: Sequence[object], functions: Sequence[Tree]) -> str:
    """Return a branch as a formula, such as x + W f(W x)."""
    text = "x" if functions[-1] == IDENTITY else "f(x)"
    for base, function in zip(reversed(bases), reversed(functions[:-1]), strict=True):
        text = f"LN({text})" if isinstance(base, Norm) else f"W {text}"
        text = text if factored(function)[1] == IDENTITY else f"f({text})"
    return f"x + {text}"
