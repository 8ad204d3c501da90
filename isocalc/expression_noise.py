"""How far rounding may move an expression and its derivative: a running error analysis, to first order."""

from typing import Any

import numpy as np
import numpy.typing as npt

from isocalc.expression_functions import SMOOTH
from isocalc.expression_tree import Node, raised

Array = npt.NDArray[np.float64]
Number = Array | float

_UNITS = 4 * float(np.finfo(float).eps)


def rounding(tree: Node, x: Array) -> tuple[Array, Array]:
    """Return bounds, but for rare cases, of the rounding errors of a smooth expression and its derivative."""
    with np.errstate(all="ignore"):
        _, _, error, other = _bounds(tree, x)
    return _UNITS * np.broadcast_to(error, x.shape), _UNITS * np.broadcast_to(other, x.shape)


def _bounds(tree: Node, x: Array) -> tuple[Any, Any, Any, Any]:
    """Return value, slope, and the errors of both in units of rounding."""
    if tree.op == "x":
        return x, 1.0, 0.0, 1.0
    if tree.op == "const":
        return tree.number, 0.0, abs(tree.number), 0.0
    (u, du, e, f), *others = (_bounds(arg, x) for arg in tree.args)
    if others:
        return _of_two(tree.op, (u, du, e, f), others[0])
    if tree.op == "neg":
        return -u, -du, e, f
    if tree.op == "pow":
        value, rate = raised(u, tree.number), tree.number * raised(u, tree.number - 1)
    else:
        primitive = SMOOTH[tree.op]
        value = primitive.value(np.asarray(u))
        rate = primitive.slope(np.asarray(u), value)
    rate = np.nan_to_num(rate)
    return value, rate * du, np.abs(rate) * e + np.abs(value), np.abs(rate) * f


def _of_two(op: str, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, Any, Any, Any]:
    (u, du, e, f), (v, dv, g, h) = one, other
    if op in ("add", "sub"):
        value, slope = (u + v, du + dv) if op == "add" else (u - v, du - dv)
        return value, slope, e + g + np.abs(value), f + h
    if op == "mul":
        errors = (
            np.abs(u) * g + np.abs(v) * e,
            np.abs(u) * h + np.abs(v) * f + np.abs(dv) * e + np.abs(du) * g,
        )
        return u * v, u * dv + v * du, errors[0] + np.abs(u * v), errors[1]
    quotient = u / v
    error = (e + np.abs(quotient) * g) / np.abs(v) + np.abs(quotient)
    return quotient, (du - quotient * dv) / v, error, (f + np.abs(quotient) * h) / np.abs(v)
