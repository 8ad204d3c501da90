"""What a PyTorch module computes, as weights, sums and element-wise functions between them.

The module is traced by calling it once (`torch.fx`), so that any Python in it is followed, and every
operation that does not depend on the input is folded into a number or matrix. Element-wise functions are kept
as trees of their operations, and `activation_of` finds the activations that they are.
"""
# ruff: noqa: PLC0415 - PyTorch is optional, and takes seconds to load

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import FAMILIES, Activation, activation
from isocalc.errors import InvalidInputError
from isocalc.pytorch.module import Call, array
from isocalc.pytorch.tolerances import SAME_FUNCTION
from isocalc.user_code import told_as

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node


Array = npt.NDArray[np.float64]
# The argument, a number as text, or an operation: its text, its name as an activation if any, what it is of.
Tree = str | tuple[str, str, tuple["Tree", ...]]
IDENTITY = "x"


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


_SHAPES = {"view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "flatten"}
_COPIES = {"alias", "detach", "clone", "_to_copy", "lift_fresh_copy", "contiguous", "dropout"}
_IN_WORDS = {
    "convolution": "a convolution",
    "_softmax": "a softmax",
    "bmm": "attention or a batched product",
    "embedding": "an embedding",
}


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

    with (
        torch.no_grad(),
        told_as(lambda error: OpaqueError(f"code that cannot be traced ({error.partition(':')[0]})")),
    ):
        graph = make_fx(function)(call.batch.clone())  # modules may change it in place
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
    if name in _SHAPES | _COPIES:
        return terms[0]
    if name in {"addmm", "mm", "linear"}:
        return product(name, given)
    if name == "native_layer_norm":
        return normalised(given, result.numel())
    if name in {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"}:
        return batch_normalised(given, result)
    return _elementwise(name, full, given, result)


def _elementwise(name: str, full: str, given: dict[str, Any], result: "Tensor") -> Term:
    import torch

    operands = {key: value for key, value in given.items() if isinstance(value, (Term, torch.Tensor))}
    terms = [value for value in operands.values() if isinstance(value, Term)]
    arrays = {k: array(v) for k, v in operands.items() if not isinstance(v, Term)}
    alone = all(np.all(array == array.flat[0]) for array in arrays.values())
    if len({id(term.base) for term in terms}) > 1:
        return added(name, given, terms)
    if not is_elementwise(full):
        raise OpaqueError(_IN_WORDS.get(name, f"the operation {name}"))
    if alone:
        trees = [
            value.function if isinstance(value, Term) else number(float(arrays[key].flat[0]))
            for key, value in operands.items()
        ]
        plain = {key: value for key, value in given.items() if key not in operands}
        return Term(terms[0].base, combined(full, trees, plain))
    return by_vectors(name, given, terms[0], next(iter(arrays.values())), result.numel())


def _bound(target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of an operation and all its arguments by name, defaults too."""
    schema = target._schema.arguments  # noqa: SLF001 - how PyTorch describes an operation
    given = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given |= dict(zip([argument.name for argument in schema], arguments, strict=False))
    return target._schema.name.partition("::")[2], given | keywords  # noqa: SLF001


def _has_term(value: Any) -> bool:
    return isinstance(value, Term) or (isinstance(value, (tuple, list)) and any(map(_has_term, value)))


def product(name: str, given: dict[str, Any]) -> Term:
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
    weights = array(matrix) if name == "linear" else array(matrix).T
    shift = np.zeros(len(weights)) if bias is None else np.broadcast_to(array(bias), len(weights))
    return Term(Weights(term, weights, shift))


def normalised(given: dict[str, Any], size: int) -> Term:
    """Return a LayerNorm with its gain and bias."""
    if list(given["normalized_shape"]) != [size]:
        raise OpaqueError("a LayerNorm over a part of the entries")
    norm = Term(Norm(given["input"], float(given["eps"])))
    gain = np.ones(size) if given["weight"] is None else array(given["weight"])
    bias = np.zeros(size) if given["bias"] is None else array(given["bias"])
    return affine(norm, gain, bias)


def batch_normalised(given: dict[str, Any], result: "Tensor") -> Term:
    """Return what batch normalisation does in evaluation: a fixed gain and bias for each entry."""
    if given.get("training") or result.dim() != 2:
        raise OpaqueError("a batch normalisation")
    term = given["input"]
    gain = 1 / np.sqrt(array(given["running_var"]) + float(given["eps"]))
    shift = -array(given["running_mean"]) * gain
    if given["weight"] is not None:
        gain, shift = gain * array(given["weight"]), shift * array(given["weight"])
    return affine(term, gain, shift + (0 if given["bias"] is None else array(given["bias"])))


def by_vectors(name: str, given: dict[str, Any], term: Term, vector: Array, size: int) -> Term:
    """Return a term plus, or times, a vector."""
    vector = np.broadcast_to(vector, (1, size)).reshape(-1)
    left = isinstance(given["self"], Term)
    if name in {"add", "sub"} and given["alpha"] == 1:
        sign = -1.0 if name == "sub" else 1.0
        gain = np.full(size, 1.0 if left else sign)
        return affine(term, gain, vector * (sign if left else 1.0))
    if name == "mul" or (name == "div" and left):
        return affine(term, vector if name == "mul" else 1 / vector, np.zeros(size))
    raise OpaqueError(f"the operation {name} with a vector")


def affine(term: Term, gain: Array, shift: Array) -> Term:
    """Return gain times a term plus shift, entry by entry, folded into weights where it has to be."""
    if np.all(gain == gain[0]) and not shift.any():
        return Term(term.base, scaled(float(gain[0]), term.function))
    if term.function == IDENTITY and isinstance(term.base, Weights):
        base = term.base
        return Term(replace(base, matrix=gain[:, None] * base.matrix, bias=gain * base.bias + shift))
    if term.function == IDENTITY and isinstance(term.base, Norm):
        return Term(Weights(term, np.diag(gain), shift))
    raise OpaqueError("a gain or bias of each entry that no weights come before")


def added(name: str, given: dict[str, Any], terms: list[Term]) -> Term:
    """Return the sum of two terms, a skip connection most often."""
    if name not in {"add", "sub"} or len(terms) != 2:
        raise OpaqueError("a product of two branches" if name == "mul" else f"{name} of two branches")
    factor = float(given["alpha"]) * (-1.0 if name == "sub" else 1.0)
    return Term(Sum(terms[0], Term(terms[1].base, scaled(factor, terms[1].function))))


# Where functions are compared, off their kinks.
_PROBES = np.concatenate([np.linspace(-8.0, 8.0, 161) * 1.0037, [-40.0, -1e-3, 1e-3, 40.0]])

# Text in isocalc's expressions; its name, where a single operation has one. Arguments by position or by name.
_OPERATIONS: dict[str, tuple[str, str]] = {
    "relu": ("relu({0})", "relu"),
    "leaky_relu": ("where({0} > 0, {0}, {negative_slope}*{0})", "leaky_relu:{negative_slope}"),
    "_prelu_kernel": ("where({0} > 0, {0}, {1}*{0})", ""),
    "hardtanh": ("clip({0}, {min_val}, {max_val})", "hardtanh:{min_val}:{max_val}"),
    "elu": ("{scale}*where({0} > 0, {0}, {alpha}*expm1({input_scale}*min({0}, 0)))", ""),
    "celu": ("where({0} > 0, {0}, {alpha}*expm1(min({0}, 0)/{alpha}))", "celu:{alpha}"),
    "silu": ("silu({0})", "silu"),
    "mish": ("{0}*tanh(softplus({0}))", "mish"),
    "softplus": ("softplus({beta}*{0})/{beta}", "softplus:{beta}"),
    "log_sigmoid_forward": ("-softplus(-{0})", "logsigmoid"),
    "hardsigmoid": ("clip({0} + 3, 0, 6)/6", "hardsigmoid"),
    "hardswish": ("{0}*clip({0} + 3, 0, 6)/6", "hardswish"),
    "hardshrink": ("where(abs({0}) > {lambd}, {0}, 0)", "hardshrink:{lambd}"),
    "softshrink": ("{0} - clip({0}, -{lambd}, {lambd})", "softshrink:{lambd}"),
    "threshold": ("where({0} > {threshold}, {0}, {value})", "threshold:{threshold}:{value}"),
    "gelu": ("gelu({0})", "gelu"),
    "gelu:tanh": ("0.5*{0}*(1 + tanh(0.7978845608028654*({0} + 0.044715*{0}**3)))", "gelu_tanh"),
    "pow.Tensor_Scalar": ("{0}**({exponent})", ""),
    "square": ("{0}**2", ""),
    "neg": ("-{0}", ""),
    "reciprocal": ("1/{0}", ""),
    "rsub.Scalar": ("{other} - {alpha}*{0}", ""),
    "add.Tensor": ("{0} + {alpha}*{1}", ""),
    "sub.Tensor": ("{0} - {alpha}*{1}", ""),
    "mul.Tensor": ("{0}*{1}", ""),
    "div.Tensor": ("{0}/{1}", ""),
    "add.Scalar": ("{0} + {alpha}*{other}", ""),
    "maximum": ("max({0}, {1})", ""),
    "minimum": ("min({0}, {1})", ""),
    "clamp:min": ("max({0}, {min})", ""),
    "clamp:max": ("min({0}, {max})", ""),
    "clamp": ("clip({0}, {min}, {max})", ""),
    "clamp_min": ("max({0}, {min})", ""),
    "clamp_max": ("min({0}, {max})", ""),
    "gt.Scalar": ("{0} > {other}", ""),
    "ge.Scalar": ("{0} >= {other}", ""),
    "lt.Scalar": ("{0} < {other}", ""),
    "le.Scalar": ("{0} <= {other}", ""),
    "where.self": ("where({0}, {1}, {2})", ""),
}
_OPERATIONS |= {
    name: (f"{name}({{0}})", "")
    for name in ("tanh", "sigmoid", "erf", "sin", "cos", "tan", "exp", "expm1", "log1p", "log", "sqrt", "abs")
}
_OPERATIONS |= {name: (f"{name}({{0}})", "") for name in ("sinh", "cosh", "asinh", "atan")}


def is_elementwise(operation: str) -> bool:
    """Whether an operation such as ``aten.mul.Tensor`` is known to work entry by entry."""
    return _key(operation) in _OPERATIONS


def _key(operation: str) -> str:
    """Return the key of an operation: with its overload where it has several."""
    _, name, overload = (*operation.split("."), "default", "")[:3]
    return f"{name}.{overload}" if f"{name}.{overload}" in _OPERATIONS else name


def number(value: float) -> Tree:
    """Return a tree that is a number."""
    return repr(float(value))


def scaled(factor: float, tree: Tree) -> Tree:
    """Return a function times a number."""
    return tree if factor == 1 else ("{0}*{1}", "", (tree, number(factor)))


def combined(operation: str, trees: Sequence[Tree], given: dict[str, Any]) -> Tree:
    """Return an operation of functions, its other arguments by name."""
    key = _key(operation)
    if key == "gelu" and given.get("approximate") == "tanh":
        key = "gelu:tanh"
    if key == "clamp" and None in (given.get("min"), given.get("max")):
        key = "clamp:max" if given.get("min") is None else "clamp:min"
    trees = list(trees)
    if len(trees) == 1 and "{1}" in _OPERATIONS[key][0]:
        trees.append(number(given["other"]))
    numbers = {k: repr(float(v)) for k, v in given.items() if isinstance(v, (bool, int, float))}
    places = {str(i): f"{{{i}}}" for i in range(len(trees))}
    text, name = (_filled(part, places | numbers) for part in _OPERATIONS[key])
    if text in {"{0} + 1.0*{1}", "{0} - 1.0*{1}"}:
        text = text.replace("1.0*", "")
    return text, name, tuple(trees)


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda place: values[place[1]], text)


def factored(tree: Tree) -> tuple[float, Tree]:
    """Return the number a function is multiplied by, and the rest."""
    factor = 1.0
    while not isinstance(tree, str):
        text, _, parts = tree
        constants = [_constant(part) for part in parts]
        if text == "-{0}":
            factor, tree = -factor, parts[0]
        elif text == "{0}/{1}" and constants[1]:
            factor, tree = factor / constants[1], parts[0]
        elif text == "{0}*{1}" and any(c is not None for c in constants):
            which = 0 if constants[0] is not None else 1
            factor, tree = factor * (constants[which] or 0.0), parts[1 - which]
        else:
            break
    return factor, tree


def _constant(tree: Tree) -> float | None:
    return float(tree) if isinstance(tree, str) and tree != IDENTITY else None


def unscaled(tree: Tree) -> tuple[float, Tree]:
    """Return k and f where a function is f(k x) and x occurs in it as k x alone."""
    factors: set[float] = set()

    def walk(part: Tree) -> Tree:
        factor, rest = factored(part)
        if rest == IDENTITY:
            factors.add(factor)
            return IDENTITY
        if isinstance(part, str):
            return part
        return part[0], part[1], tuple(map(walk, part[2]))

    changed = walk(tree)
    return (factors.pop(), changed) if len(factors) == 1 else (1.0, tree)


def text_of(tree: Tree) -> str:
    """Return a function as one of isocalc's expressions of x."""
    if isinstance(tree, str):
        return f"({tree})" if tree.startswith("-") else tree
    return "(" + _filled(tree[0], {str(i): text_of(part) for i, part in enumerate(tree[2])}) + ")"


@lru_cache(maxsize=256)
def activation_of(tree: Tree) -> Activation | None:
    """Return the activation that a function is, by its name where it has one; ``None`` where it is none."""
    try:
        if tree == IDENTITY:
            return activation("linear")
        if not isinstance(tree, str) and tree[1] and tree[2] == (IDENTITY,):
            named = activation(tree[1])
            return activation("relu6") if named.name == "hardtanh:0:6" else named
        found = activation(text_of(tree))
    except InvalidInputError:
        return None
    values = found.phi(_PROBES)
    for family in FAMILIES.values():
        if all(parameter.default is not None for parameter in family.parameters):
            known = activation(family.name)
            if np.allclose(known.phi(_PROBES), values, rtol=SAME_FUNCTION, atol=SAME_FUNCTION):
                return known
    return found


def times(factor: float, act: Activation, tree: Tree) -> Activation | None:
    """Return a number times an activation that was made of a function."""
    if factor == 1:
        return act
    if not math.isfinite(factor) or factor == 0:
        return None
    return activation_of(scaled(factor, tree))
