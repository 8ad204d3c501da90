"""What a PyTorch module computes, as weights, sums and element-wise functions between them.

The module is traced by calling it once (`torch.fx`), so that any Python in it is followed, and every
operation that does not depend on the input is folded into a number or matrix.
"""
# ruff: noqa: PLC0415 - PyTorch is optional, and takes seconds to load

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from isocalc.module_functions import IDENTITY, Tree, combined, is_elementwise, number, scaled
from isocalc.torch_module import Call

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node

Array = npt.NDArray[np.float64]

_SAME_NUMBERS = {
    "view",
    "_unsafe_view",
    "reshape",
    "alias",
    "detach",
    "clone",
    "squeeze",
    "unsqueeze",
    "flatten",
}
_SAME_NUMBERS |= {"_to_copy", "lift_fresh_copy", "contiguous", "_reshape_alias", "dropout"}
_IN_WORDS = {
    "convolution": "a convolution",
    "_softmax": "a softmax",
    "bmm": "attention or a batched product",
    "embedding": "an embedding",
}


@dataclass(frozen=True, eq=False)
class Term:
    """An element-wise function of the entries of a base.

    Parameters
    ----------
    base : Input, Weights, Norm or Sum
    function : Tree
    """

    base: "Input | Weights | Norm | Sum"
    function: Tree = IDENTITY


@dataclass(frozen=True, eq=False)
class Input:
    """The input of the module."""


@dataclass(frozen=True, eq=False)
class Weights:
    """W f(x) + b: ``matrix`` of shape (outputs, inputs), ``bias`` of shape (outputs,)."""

    argument: Term
    matrix: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Norm:
    """LayerNorm over all entries, before its learned gain and bias."""

    argument: Term
    eps: float


@dataclass(frozen=True, eq=False)
class Sum:
    """Two terms of different bases, added."""

    left: Term
    right: Term


class OpaqueError(Exception):
    """The module does something that is no layer of a fully connected network."""


def traced(call: Call) -> Term:
    """Return what a module computes from its input.

    Raises
    ------
    OpaqueError
        It cannot be traced, or does something else; the message completes "it has ...".
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    def function(x: "Tensor") -> "Tensor":
        return call.module(x)

    try:
        with torch.no_grad():
            graph = make_fx(function)(call.batch)
    except Exception as error:  # noqa: BLE001 - tracing runs the user's code, which may raise anything
        raise OpaqueError(f"code that cannot be traced ({type(error).__name__})") from None
    return _Reader(graph).read()


class _Reader:
    """Runs a traced module node by node: constants as tensors, what depends on the input as terms."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._values: dict[Node, Any] = {}

    def read(self) -> Term:
        import torch

        with torch.no_grad():
            for node in self._graph.graph.nodes:
                if node.op == "placeholder":
                    self._values[node] = Term(Input())
                elif node.op == "get_attr":
                    self._values[node] = getattr(self._graph, node.target)
                elif node.op == "output":
                    found = self._of(node.args[0])
                    break
                else:
                    self._values[node] = self._computed(node)
        if not isinstance(found, Term):
            raise OpaqueError("an output that does not depend on the input")
        return found

    def _of(self, argument: Any) -> Any:
        from torch.fx import map_arg

        return map_arg(argument, lambda node: self._values[node])

    def _computed(self, node: "Node") -> Any:
        arguments, keywords = self._of(node.args), self._of(node.kwargs)
        if not hasattr(node.target, "_schema"):  # picks one of several results, which are in a tuple
            return arguments[0][arguments[1]]
        name, given = _bound(node.target, arguments, keywords)
        in_place = name.endswith("_")
        if not _has_term(arguments) and not _has_term(tuple(keywords.values())):
            if in_place:
                raise OpaqueError(f"the operation {name} on its own numbers")
            return node.target(*arguments, **keywords)
        terms = [value for value in given.values() if isinstance(value, Term)]
        if any(_has_term(value) for value in given.values() if not isinstance(value, Term)):
            raise OpaqueError(_IN_WORDS.get(name, f"the operation {name}"))
        value = node.meta["val"]
        result = value[0] if isinstance(value, tuple) else value
        plain = name.removesuffix("_")
        found = _term(plain, str(node.target).replace(f".{name}.", f".{plain}."), given, terms, result)
        if in_place:
            self._values[node.args[0]] = found
        return (found, None, None) if isinstance(value, tuple) else found


def _term(name: str, full: str, given: dict[str, Any], terms: list[Term], result: "Tensor") -> Term:
    """Return what one operation makes of terms."""
    if name in _SAME_NUMBERS:
        return terms[0]
    if name in {"addmm", "mm", "linear"}:
        return _product(name, given)
    if name == "native_layer_norm":
        return _normalised(given, result.numel())
    if name in {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"}:
        return _batch_normalised(given, result)
    return _elementwise(name, full, given, result)


def _elementwise(name: str, full: str, given: dict[str, Any], result: "Tensor") -> Term:
    import torch

    operands = {key: value for key, value in given.items() if isinstance(value, (Term, torch.Tensor))}
    terms = [value for value in operands.values() if isinstance(value, Term)]
    arrays = {k: _array(v) for k, v in operands.items() if not isinstance(v, Term)}
    alone = all(np.all(array == array.flat[0]) for array in arrays.values())
    if len({id(term.base) for term in terms}) > 1:
        return _added(name, given, terms)
    if not is_elementwise(full):
        raise OpaqueError(_IN_WORDS.get(name, f"the operation {name}"))
    if alone:
        trees = [
            value.function if isinstance(value, Term) else number(float(arrays[key].flat[0]))
            for key, value in operands.items()
        ]
        plain = {key: value for key, value in given.items() if key not in operands}
        return Term(terms[0].base, combined(full, trees, plain))
    return _by_vectors(name, given, terms[0], next(iter(arrays.values())), result.numel())


def _bound(target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of an operation and all its arguments by name, defaults too."""
    schema = target._schema.arguments  # noqa: SLF001 - how PyTorch describes an operation
    given = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given |= dict(zip([argument.name for argument in schema], arguments, strict=False))
    return target._schema.name.partition("::")[2], given | keywords  # noqa: SLF001


def _has_term(value: Any) -> bool:
    return isinstance(value, Term) or (isinstance(value, (tuple, list)) and any(map(_has_term, value)))


def _array(tensor: "Tensor") -> Array:
    return np.asarray(tensor.detach().to("cpu").double().numpy(), dtype=np.float64)


def _product(name: str, given: dict[str, Any]) -> Term:
    """Return W f(x) + b."""
    if name == "linear":
        term, matrix, bias = given["input"], given["weight"], given["bias"]
    elif name == "mm":
        term, matrix, bias = given["self"], given["mat2"], None
    else:
        term, matrix, bias = given["mat1"], given["mat2"], given["self"]
        if given["beta"] != 1 or given["alpha"] != 1:
            raise OpaqueError("the operation addmm with factors")
    if not isinstance(term, Term) or isinstance(matrix, Term) or isinstance(bias, Term):
        raise OpaqueError("a product of two images of the input")
    weights = _array(matrix) if name == "linear" else _array(matrix).T
    shift = np.zeros(len(weights)) if bias is None else np.broadcast_to(_array(bias), len(weights))
    return Term(Weights(term, weights, shift))


def _normalised(given: dict[str, Any], size: int) -> Term:
    if list(given["normalized_shape"]) != [size]:
        raise OpaqueError("a LayerNorm over a part of the entries")
    norm = Term(Norm(given["input"], float(given["eps"])))
    gain = np.ones(size) if given["weight"] is None else _array(given["weight"])
    bias = np.zeros(size) if given["bias"] is None else _array(given["bias"])
    return _affine(norm, gain, bias)


def _batch_normalised(given: dict[str, Any], result: "Tensor") -> Term:
    """Return what batch normalisation does in evaluation: a fixed gain and bias for each entry."""
    if given.get("training") or result.dim() != 2:
        raise OpaqueError("a batch normalisation")
    term = given["input"]
    gain = 1 / np.sqrt(_array(given["running_var"]) + float(given["eps"]))
    shift = -_array(given["running_mean"]) * gain
    if given["weight"] is not None:
        gain, shift = gain * _array(given["weight"]), shift * _array(given["weight"])
    return _affine(term, gain, shift + (0 if given["bias"] is None else _array(given["bias"])))


def _by_vectors(name: str, given: dict[str, Any], term: Term, vector: Array, size: int) -> Term:
    """Return a term plus, or times, a vector."""
    vector = np.broadcast_to(vector, (1, size)).reshape(-1)
    left = isinstance(given["self"], Term)
    if name in {"add", "sub"} and given["alpha"] == 1:
        sign = -1.0 if name == "sub" else 1.0
        gain = np.full(size, 1.0 if left else sign)
        return _affine(term, gain, vector * (sign if left else 1.0))
    if name == "mul" or (name == "div" and left):
        return _affine(term, vector if name == "mul" else 1 / vector, np.zeros(size))
    raise OpaqueError(f"the operation {name} with a vector")


def _affine(term: Term, gain: Array, shift: Array) -> Term:
    """Return gain times a term plus shift, entry by entry, folded into weights where it has to be."""
    if np.all(gain == gain[0]) and not shift.any():
        return Term(term.base, scaled(float(gain[0]), term.function))
    if term.function == IDENTITY and isinstance(term.base, Weights):
        base = term.base
        return Term(replace(base, matrix=gain[:, None] * base.matrix, bias=gain * base.bias + shift))
    if term.function == IDENTITY and isinstance(term.base, Norm):
        return Term(Weights(term, np.diag(gain), shift))
    raise OpaqueError("a gain or bias of each entry that no weights come before")


def _added(name: str, given: dict[str, Any], terms: list[Term]) -> Term:
    """Return the sum of two terms, a skip connection most often."""
    if name not in {"add", "sub"} or len(terms) != 2:
        raise OpaqueError("a product of two branches" if name == "mul" else f"{name} of two branches")
    factor = float(given["alpha"]) * (-1.0 if name == "sub" else 1.0)
    return Term(Sum(terms[0], Term(terms[1].base, scaled(factor, terms[1].function))))
