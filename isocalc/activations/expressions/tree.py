"""Expressions of x as trees: the functions they may call, values, derivatives by dual numbers, construction.

Functions and derivatives take real arrays, and complex ones near the axis. As trees are built, identities are
applied that are exact and lose no digits: ``log(1 + exp(x))`` does not overflow, ``1 - tanh(x)`` does not
cancel.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import formulas
from isocalc.activations.tolerances import MOST_DEGREE
from isocalc.errors import NextStep
from isocalc.numerics.special import SQRT_HALF, erf, erfc, magnitude, positive_part
from isocalc.numerics.special import log1p as complex_log1p

Numbers = npt.NDArray[Any]  # real or complex


class Primitive(NamedTuple):
    """A smooth function and its derivative, the latter of the argument and of the function's value there."""

    value: Callable[[Numbers], Numbers]
    slope: Callable[[Numbers, Numbers], Numbers]


def _log1p_of(u: Numbers) -> Numbers:
    return complex_log1p(u) if np.iscomplexobj(u) else np.log1p(u)


def _softplus(u: Numbers) -> Numbers:
    return positive_part(u) + _log1p_of(np.exp(-magnitude(u)))


def _phi(u: Numbers) -> Numbers:
    return 0.5 * erfc(-SQRT_HALF * u)


def _dphi(u: Numbers, _: Numbers) -> Numbers:
    return formulas.gaussian(SQRT_HALF * u) / math.sqrt(2.0 * math.pi)


def _tan_slope(u: Numbers, v: Numbers) -> Numbers:
    del u
    return 1.0 + v * v


def _of_argument(slope: Callable[[Numbers], Numbers]) -> Callable[[Numbers, Numbers], Numbers]:
    return lambda u, _: slope(u)


def _asinh_slope(u: Numbers, _: Numbers) -> Numbers:
    return 1.0 / np.sqrt(1.0 + u * u)


SMOOTH: dict[str, Primitive] = {
    "exp": Primitive(np.exp, lambda _, v: v),
    "log": Primitive(np.log, lambda u, _: 1.0 / u),
    "log1p": Primitive(_log1p_of, lambda u, _: 1.0 / (1.0 + u)),
    "expm1": Primitive(np.expm1, _of_argument(np.exp)),
    "sqrt": Primitive(np.sqrt, lambda _, v: 0.5 / v),
    "sin": Primitive(np.sin, _of_argument(np.cos)),
    "cos": Primitive(np.cos, lambda u, _: -np.sin(u)),
    "tan": Primitive(np.tan, _tan_slope),
    "sinh": Primitive(np.sinh, _of_argument(np.cosh)),
    "cosh": Primitive(np.cosh, _of_argument(np.sinh)),
    "tanh": Primitive(np.tanh, _of_argument(formulas.dtanh)),
    "asinh": Primitive(np.arcsinh, _asinh_slope),
    "atan": Primitive(np.arctan, _of_argument(formulas.darctan)),
    "erf": Primitive(erf, _of_argument(formulas.derf)),
    "erfc": Primitive(erfc, lambda u, _: -formulas.derf(u)),
    "Phi": Primitive(_phi, _dphi),
    "sigmoid": Primitive(formulas.sigmoid, _of_argument(formulas.dsigmoid)),
    "softplus": Primitive(_softplus, _of_argument(formulas.sigmoid)),
    "silu": Primitive(formulas.silu, _of_argument(formulas.dsilu)),
    "gelu": Primitive(formulas.gelu, _of_argument(formulas.dgelu)),
    # Not for users: x - tanh(x) is made into it.
    "tanhshrink": Primitive(formulas.tanhshrink, _of_argument(formulas.dtanhshrink)),
}
HIDDEN = ("tanhshrink",)
"""Functions that rewriting alone makes."""
CONDITIONAL = {"abs": 1, "relu": 1, "sign": 1, "max": 2, "min": 2, "where": 3, "clip": 3}
"""Functions made of pieces, with how many arguments they take (max and min: at least)."""
ALIASES = {"arctan": "atan", "arcsinh": "asinh", "maximum": "max", "minimum": "min"}
CONSTANTS = {"pi": math.pi, "e": math.e}

# Their derivatives fall exponentially, faster than the derivative of any argument grows.
_SATURATING = {"exp", "tanh", "erf", "erfc", "Phi", "sigmoid", "softplus"}
# Not smooth, or not defined, where their argument is 0, and not defined where it is less.
_FROM_ZERO = {"sqrt", "log"}


class RefusedError(Exception):
    """An expression that is no activation.

    Parameters
    ----------
    rule : str
        What it must be, completing "activation must be ...".
    advice : str
        What is wrong with it, a full sentence.
    next_steps : tuple of str
        What may be done about it, of `errors.NextStep`.
    """

    def __init__(self, rule: str, advice: str, next_steps: tuple[NextStep, ...] = ()) -> None:
        super().__init__(rule, advice)
        self.rule, self.advice, self.next_steps = rule, advice, next_steps


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
        if tree.op in _SATURATING:
            return value, np.where(slope == 0, 0.0, product)
        # Where an argument has underflowed, so has its root.
        return value, np.where(np.equal(du, 0), 0.0, product) if tree.op == "sqrt" else product
    if tree.op == "pow":
        (u, du), p = pairs[0], tree.number
        rate = p * raised(u, p - 1.0) * du
        return raised(u, p), np.where(np.equal(du, 0), 0.0, rate) if p < 1 else rate
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


def branches_at_zero(tree: Node) -> bool:
    """Whether an operation has no Taylor series where its argument is 0, and is not real where it is less."""
    return tree.op in _FROM_ZERO or (tree.op == "pow" and not tree.number.is_integer())


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


def const(value: float) -> Node:
    """Return a constant; refuse one that is not finite."""
    if not math.isfinite(value):
        raise RefusedError("made of finite numbers", "A constant in it is too large or not a number.")
    return Node("const", (), value)


ZERO, ONE = const(0.0), const(1.0)
_ODD, _EVEN = ("sin", "tan", "sinh", "tanh", "asinh", "atan", "erf", "tanhshrink"), ("cos", "cosh")


def node(op: str, *args: Node, number: float = 0.0) -> Node:
    """Return an operation on simplified nodes, simplified."""
    if args and all(arg.op == "const" for arg in args):
        with np.errstate(all="ignore"):
            return const(float(value_of(Node(op, args, number), np.zeros(1))[0]))
    if args and args[0].op == "neg" and op in _ODD + _EVEN:
        image = node(op, *args[0].args)
        return negative(image) if op in _ODD else image
    rewrite = _REWRITES.get(op)
    return (rewrite(*args, number=number) if rewrite else None) or Node(op, args, number)


def negative(u: Node) -> Node:
    """Return -u."""
    match u:
        case Node("const"):
            return const(-u.number)
        case Node("neg", (v,)):
            return v
        case Node("mul", (Node("const") as k, v)):
            return node("mul", const(-k.number), v)
        case Node("div", (v, Node("const") as k)):
            return node("div", v, const(-k.number))
        case Node("sub", (v, w)):
            return node("sub", w, v)
    return Node("neg", (u,))


def _sum(u: Node, v: Node, *, number: float = 0.0) -> Node | None:
    del number
    match u, v:
        case (Node("const", _, 0.0), w) | (w, Node("const", _, 0.0)):
            return w
        case (Node("const", _, 1.0), Node("erf", (w,))) | (Node("erf", (w,)), Node("const", _, 1.0)):
            return node("erfc", negative(w))
        case (Node("const", _, 1.0), Node("tanh", (w,))) | (Node("tanh", (w,)), Node("const", _, 1.0)):
            return node("mul", const(2.0), node("sigmoid", node("mul", const(2.0), w)))
        case (Node("const", _, -1.0), Node("exp", (w,))) | (Node("exp", (w,)), Node("const", _, -1.0)):
            return node("expm1", w)
        case w, Node("neg", (z,)):
            return node("sub", w, z)
    return None


def _difference(u: Node, v: Node, *, number: float = 0.0) -> Node | None:  # noqa: PLR0911 - identities
    del number
    match u, v:
        case w, Node("const", _, 0.0):
            return w
        case Node("const", _, 0.0), w:
            return negative(w)
        case Node("const", _, 1.0), Node("erf", (w,)):
            return node("erfc", w)
        case Node("const", _, 1.0), Node("tanh", (w,)):
            return node("mul", const(2.0), node("sigmoid", node("mul", const(-2.0), w)))
        case Node("const", _, 1.0), Node("sigmoid", (w,)):
            return node("sigmoid", negative(w))
        case Node("exp", (w,)), Node("const", _, 1.0):
            return node("expm1", w)
        case w, Node("tanh", (z,)) if w == z:
            return node("tanhshrink", w)
        case w, Node("neg", (z,)):
            return node("add", w, z)
    return ZERO if u == v else None


def _product(u: Node, v: Node, *, number: float = 0.0) -> Node | None:
    del number
    match u, v:
        case (Node("const", _, 0.0), _) | (_, Node("const", _, 0.0)):
            return ZERO
        case (Node("const", _, 1.0), w) | (w, Node("const", _, 1.0)):
            return w
        case Node("const") as k, Node("mul", (Node("const") as m, w)):
            return node("mul", const(k.number * m.number), w)
        case Node("const") as k, Node("neg", (w,)):
            return node("mul", const(-k.number), w)
        case w, Node("const") as k:
            return node("mul", k, w)
    return None


def _quotient(u: Node, v: Node, *, number: float = 0.0) -> Node | None:
    del number
    match u, v:
        case _, Node("const", _, 0.0):
            raise RefusedError("defined for every x", "It divides by 0.")
        case w, Node("const", _, 1.0):
            return w
        case Node("const", _, 0.0), _:
            return None
        case w, (
            Node("add", (Node("const", _, 1.0), Node("exp", (z,))))
            | Node("add", (Node("exp", (z,)), Node("const", _, 1.0)))
        ):
            if w == Node("exp", (z,)):
                return node("sigmoid", z)
            return node("mul", w, node("sigmoid", negative(z)))
    return None


def _power(u: Node, *, number: float) -> Node | None:
    if u.op == "neg" and number.is_integer():
        power = node("pow", *u.args, number=number)
        return negative(power) if number % 2 else power
    if number in (0, 1):
        return u if number else ONE
    if number == 0.5:
        return node("sqrt", u)
    if number < 0 and number.is_integer():
        return node("div", ONE, node("pow", u, number=-number))
    return None


def _log(u: Node, *, number: float = 0.0) -> Node | None:
    del number
    match u:
        case Node("add", (Node("const", _, 1.0), w)) | Node("add", (w, Node("const", _, 1.0))):
            return node("log1p", w)
        case Node("sigmoid", (w,)):
            return negative(node("softplus", negative(w)))
        case Node("exp", (w,)):
            return w
    return None


def _log1p(u: Node, *, number: float = 0.0) -> Node | None:
    del number
    match u:
        case Node("exp", (w,)):
            return node("softplus", w)
    return None


_REWRITES: dict[str, Callable[..., Node | None]] = {
    "add": _sum,
    "sub": _difference,
    "mul": _product,
    "div": _quotient,
    "neg": lambda u, number: negative(u),  # noqa: ARG005 - as the others are called
    "pow": _power,
    "log": _log,
    "log1p": _log1p,
}
