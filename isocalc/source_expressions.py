"""Expressions of x as code in PyTorch, JAX and NumPy."""

from functools import reduce
from itertools import count
from typing import NamedTuple

import numpy as np

from isocalc.errors import InvalidInputError
from isocalc.expression_functions import SMOOTH
from isocalc.expression_rewriting import const
from isocalc.expression_text import nodes, parse, simplified, written
from isocalc.expression_tree import Node, RefusedError, value_of

_COMPARISONS = {"<", "<=", ">", ">="}
_CALLED = {*SMOOTH, "abs", "relu", "sign"}


class Dialect(NamedTuple):
    """How a framework names what expressions call; other functions have their own name there."""

    library: str
    names: dict[str, str]


_OF_SCIPY = {"erf": "erf", "erfc": "erfc", "Phi": "ndtr", "sigmoid": "expit"}
DIALECTS = {
    "numpy": Dialect("np", {"asinh": "np.arcsinh", "atan": "np.arctan", **_OF_SCIPY}),
    "jax": Dialect(
        "jnp",
        {
            "asinh": "jnp.arcsinh",
            "atan": "jnp.arctan",
            "erf": "jax.scipy.special.erf",
            "erfc": "jax.scipy.special.erfc",
            "Phi": "jax.scipy.special.ndtr",
            "sigmoid": "jax.nn.sigmoid",
            "silu": "jax.nn.silu",
            "relu": "jax.nn.relu",
        },
    ),
    "torch": Dialect("torch", {"Phi": "torch.special.ndtr", "silu": "F.silu", "gelu": "F.gelu"}),
}


def translated(text: str, framework: str) -> str:
    """Return the code of an expression of x.

    Parameters
    ----------
    text : str
        In the language of `isocalc.expression_text`.
    framework : {"torch", "jax", "numpy"}
    """
    try:
        tree = parse(text)
    except RefusedError:
        rule = "of a known activation or an expression"
        advice = "Python functions have code already: write one of them by hand."
        raise InvalidInputError("activation", rule, text, advice) from None
    return written(_Translation(DIALECTS[framework]).of(tree))


class _Translation:
    """Trees of names that a framework knows; what has no x in it is a number."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect, self._counter = dialect, count(1)

    def of(self, tree: Node) -> Node:
        """Return the tree of a tree."""
        if all(each.op != "x" for each in nodes(tree)):
            return const(float(value_of(simplified(tree), np.zeros(()))))
        if tree.op == "where":
            condition, *values = tree.args
            comparison = Node(condition.op, tuple(map(self.of, condition.args)))
            return self._call("where", comparison, *map(self.of, values))
        args = tuple(self.of(arg) for arg in tree.args)
        if tree.op in _COMPARISONS:
            return self._call("where", Node(tree.op, args), const(1.0), const(0.0))
        return self._made_of_others(tree.op, args) or (
            self._call(tree.op, *args) if tree.op in _CALLED else Node(tree.op, args)
        )

    def _made_of_others(self, name: str, args: tuple[Node, ...]) -> Node | None:
        """Return a call that has no name of its own in the framework, ``None`` where it has one."""
        match name:
            case "max" | "min":
                return reduce(lambda one, other: self._greatest(name, one, other), args)
            case "clip":
                return self._greatest("min", self._greatest("max", *args[:2]), args[2])
            case "relu" if self._dialect.library == "np":
                return self._greatest("max", args[0], const(0.0))
            case "softplus":
                return self._call("logaddexp", args[0], self._array(const(0.0)))
            case "silu" | "gelu" if name not in self._dialect.names:
                return self._times(args[0], "sigmoid" if name == "silu" else "Phi")
        return None

    def _call(self, name: str, *args: Node) -> Node:
        return Node(self._dialect.names.get(name, f"{self._dialect.library}.{name}"), args)

    def _greatest(self, name: str, one: Node, other: Node) -> Node:
        return self._call(f"{name}imum", self._array(one), self._array(other))

    def _array(self, tree: Node) -> Node:
        """Return what torch, too, takes where it wants arrays."""
        if tree.op != "const" or self._dialect.library != "torch":
            return tree
        return Node(f"torch.as_tensor({tree.number!r}, dtype=x.dtype)")

    def _times(self, tree: Node, gate: str) -> Node:
        """Return u times a gate of u, u written once."""
        if tree.op == "x":
            return Node("mul", (tree, self._call(gate, tree)))
        name = f"u{next(self._counter)}"
        return Node("mul", (Node(f"({name} := {written(tree)})"), self._call(gate, Node(name))))
