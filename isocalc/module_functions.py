"""Element-wise functions of a PyTorch module: trees of its operations, and the activations that they are."""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from isocalc.activations import FAMILIES, Activation, activation
from isocalc.errors import InvalidInputError

# The argument, a number as text, or an operation: its text, its name as an activation if any, what it is of.
Tree = str | tuple[str, str, tuple["Tree", ...]]
IDENTITY = "x"

_PROBES = np.concatenate([np.linspace(-8.0, 8.0, 161) * 1.0037, [-40.0, -1e-3, 1e-3, 40.0]])
_SAME = 1e-8

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
            if np.allclose(known.phi(_PROBES), values, rtol=_SAME, atol=_SAME):
                return known
    return found


def times(factor: float, act: Activation, tree: Tree) -> Activation | None:
    """Return a number times an activation that was made of a function."""
    if factor == 1:
        return act
    if not math.isfinite(factor) or factor == 0:
        return None
    return activation_of(scaled(factor, tree))
