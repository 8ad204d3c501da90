"""Expressions of x as trees, their values and, by dual numbers, their derivatives."""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from isocalc.expression_functions import SMOOTH, Numbers

MOST_DEGREE = 12
# Their derivatives fall exponentially, faster than the derivative of any argument grows.
_SATURATING = {"exp", "tanh", "erf", "erfc", "Phi", "sigmoid", "softplus"}


class RefusedError(Exception):
    """An expression that is no activation.

    Parameters
    ----------
    rule : str
        What it must be, completing "activation must be ...".
    advice : str
        What is wrong with it, a full sentence.
    """

    def __init__(self, rule: str, advice: str) -> None:
        super().__init__(rule, advice)
        self.rule, self.advice = rule, advice


class Node(NamedTuple):
    """An operation on others. ``number`` is the value of "const" and the exponent of "pow"."""

    op: str
    args: tuple["Node", ...] = ()
    number: float = 0.0


X = Node("x")


def value_of(tree: Node, x: Numbers) -> Numbers:
    """Return the values of an expression at an array of x, of the shape of x; not finite where it is not."""
    with np.errstate(all="ignore"):
        return _full(_value(tree, x), x)


def value_and_slope(tree: Node, x: Numbers) -> tuple[Numbers, Numbers]:
    """Return the values and the derivatives of an expression."""
    with np.errstate(all="ignore"):
        value, slope = _dual(tree, x)
    return _full(value, x), _full(slope, x)


def _full(value: Numbers | float, x: Numbers) -> Numbers:
    return np.array(np.broadcast_to(value, x.shape)) if np.shape(value) != x.shape else np.asarray(value)


def _value(tree: Node, x: Numbers) -> Numbers | float:
    if tree.op == "x":
        return +x
    if tree.op == "const":
        return tree.number
    u, *others = (_value(arg, x) for arg in tree.args)
    return np.asarray(_OPERATIONS[tree.op](u, *others)) if others else _of_one(tree, u)


def _of_one(tree: Node, u: Numbers | float) -> Numbers | float:
    if tree.op == "pow":
        return raised(u, tree.number)
    if tree.op in SMOOTH:
        return SMOOTH[tree.op].value(np.asarray(u))
    return np.asarray(_OPERATIONS[tree.op](u))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "abs": np.abs,
    "relu": lambda u: np.maximum(u, 0.0),
    "sign": np.sign,
    "max": np.maximum,
    "min": np.minimum,
    "less": lambda u, v: np.less(u, v).astype(np.float64),
    "at_most": lambda u, v: np.less_equal(u, v).astype(np.float64),
    "where": np.where,
}


def raised(u: Numbers | float, exponent: float) -> Numbers | float:
    """Return u to a power; whole powers by products, which are exact to rounding for complex u too."""
    if not exponent.is_integer():
        return np.power(u, exponent)
    bits = f"{int(exponent):b}"
    return reduce(lambda power, bit: power * power * u if bit == "1" else power * power, bits[1:], u)


def _dual(tree: Node, x: Numbers) -> tuple[Numbers | float, Numbers | float]:
    if tree.op == "x":
        return +x, 1.0
    if tree.op == "const":
        return tree.number, 0.0
    pairs = [_dual(arg, x) for arg in tree.args]
    if tree.op in SMOOTH:
        (u, du), primitive = pairs[0], SMOOTH[tree.op]
        value = primitive.value(np.asarray(u))
        slope = primitive.slope(np.asarray(u), value)
        product = slope * du
        return value, np.where(slope == 0, 0.0, product) if tree.op in _SATURATING else product
    if tree.op == "pow":
        (u, du), p = pairs[0], tree.number
        return raised(u, p), p * raised(u, p - 1.0) * du
    values = [value for value, _ in pairs]
    return _OPERATIONS[tree.op](*values), _SLOPES[tree.op](*(part for pair in pairs for part in pair))


_SLOPES: dict[str, Callable[..., Any]] = {
    "neg": lambda _, du: np.negative(du),
    "add": lambda _, du, __, dv: du + dv,
    "sub": lambda _, du, __, dv: du - dv,
    "mul": lambda u, du, v, dv: u * dv + v * du,
    "div": lambda u, du, v, dv: (du - u / v * dv) / v,
    # At a tie as in PyTorch: 0 of abs and relu, half of each of max and min.
    "abs": lambda u, du: np.sign(u) * du,
    "relu": lambda u, du: np.where(np.greater(u, 0.0), du, 0.0),
    "sign": lambda u, _: 0.0 * u,
    "max": lambda u, du, v, dv: np.where(np.equal(u, v), (du + dv) / 2, np.where(np.greater(u, v), du, dv)),
    "min": lambda u, du, v, dv: np.where(np.equal(u, v), (du + dv) / 2, np.where(np.less(u, v), du, dv)),
    "less": lambda *_: 0.0,
    "at_most": lambda *_: 0.0,
    "where": lambda c, _, __, du, ___, dv: np.where(c, du, dv),
}


def polynomial(tree: Node) -> tuple[float, ...] | None:
    """Return the coefficients, that of x^0 first, of a polynomial of degree at most 12, else ``None``."""
    if tree.op == "x":
        return 0.0, 1.0
    if tree.op == "const":
        return (tree.number,)
    if tree.op not in ("neg", "add", "sub", "mul", "div", "pow"):
        return None
    parts = [polynomial(arg) for arg in tree.args]
    if any(part is None for part in parts):
        return None
    u, *others = (np.array(part) for part in parts)
    with np.errstate(all="ignore"):
        result = _combined(tree, u, others)
    if result is None or result.size > MOST_DEGREE + 1 or not np.isfinite(result).all():
        return None
    used = np.flatnonzero(result)
    return tuple(result[: used[-1] + 1].tolist()) if used.size else (0.0,)


def _combined(tree: Node, u: Numbers, others: list[Numbers]) -> Numbers | None:
    if tree.op == "neg":
        return -u
    if tree.op == "pow":
        whole = tree.number.is_integer() and (u.size - 1) * tree.number <= MOST_DEGREE
        return reduce(np.convolve, [u] * int(tree.number)) if whole else None
    (v,) = others
    if tree.op == "mul":
        return np.convolve(u, v)
    if tree.op == "div":
        return u / v[0] if v.size == 1 else None
    size = max(u.size, v.size)
    u, v = np.pad(u, (0, size - u.size)), np.pad(v, (0, size - v.size))
    return u + v if tree.op == "add" else u - v
