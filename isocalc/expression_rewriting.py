"""How trees of expressions are built: identities that are exact and lose no digits are applied.

So ``log(1 + exp(x))`` does not overflow and ``1 - tanh(x)`` does not cancel.
"""

import math
from collections.abc import Callable

import numpy as np

from isocalc.expression_tree import Node, RefusedError, value_of


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
    if number == 0:
        return ONE
    if number == 1:
        return u
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
