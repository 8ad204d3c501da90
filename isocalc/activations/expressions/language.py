"""The language of expressions: text to tree and back. Nothing of a text is ever run.

Python's parser makes a syntax tree, of which every node is on the list here or refused.
"""

import ast
import math
import re
import warnings
from collections.abc import Iterator
from functools import reduce

from isocalc.activations.expressions.tree import (
    ALIASES,
    CONDITIONAL,
    CONSTANTS,
    HIDDEN,
    SMOOTH,
    Node,
    RefusedError,
    X,
    const,
    node,
)
from isocalc.activations.tolerances import MOST_CHOICES, MOST_DEPTH, MOST_LETTERS, MOST_NODES, MOST_POWER
from isocalc.limits import LARGEST_CONSTANT

FUNCTIONS = tuple(name for name in (*SMOOTH, *CONDITIONAL) if name not in HIDDEN)
RULE = "a known activation or an expression of x such as x*tanh(x)"

_STRANGE = re.compile(r"[^A-Za-z0-9_.+\-*/(),<>=!\s]")
_OPERATORS: dict[type[ast.operator], tuple[str, str, int]] = {
    ast.Add: ("add", " + ", 1),
    ast.Sub: ("sub", " - ", 1),
    ast.Mult: ("mul", "*", 2),
    ast.Div: ("div", "/", 2),
    ast.Pow: ("pow", "**", 4),
}
_COMPARISONS: dict[type[ast.cmpop], str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_CHOOSING = {*CONDITIONAL, *_COMPARISONS.values()}
_BINARY = {name: (sign, rank) for name, sign, rank in _OPERATORS.values()} | {
    sign: (f" {sign} ", 0) for sign in _COMPARISONS.values()
}
_NEGATION, _ATOM = 3, 5
_WHERE = "Write where(condition, value, otherwise), with one comparison as condition."
_REFUSED: dict[type[ast.expr], str] = {
    ast.Attribute: "It has an attribute (a name after a dot), which is not in the language.",
    ast.IfExp: _WHERE,
    ast.BoolOp: _WHERE,
    ast.Tuple: "It is a list; separate activations by commas outside parentheses.",
    ast.Starred: "Stars before an argument are not in the language.",
    ast.NamedExpr: "Assignments are not in the language.",
}


def parse(text: str) -> Node:
    """Return the tree of a text as it is written: nothing simplified, constants by name.

    Raises
    ------
    RefusedError
        The text is not in the language, or too large.
    """
    if len(text) > MOST_LETTERS:
        raise RefusedError(RULE, f"It is longer than {MOST_LETTERS} letters.")
    if strange := _STRANGE.search(text):
        refused = f"The letter {strange[0]!a} is not in it."
        if strange[0] == "^":
            raise RefusedError(RULE, f"{refused} Powers are written **.")
        raise RefusedError(RULE, refused, ("read the language",))
    try:
        with warnings.catch_warnings(action="ignore"):
            body = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise RefusedError(RULE, f"It does not parse: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise RefusedError(RULE, "It does not parse.") from None
    if sum(1 for _ in ast.walk(body)) > 3 * MOST_NODES:
        raise RefusedError(RULE, f"It has more than {MOST_NODES} operations.")
    tree = _read(body, 0)
    if sum(len(each.args) for each in nodes(tree) if each.op in _CHOOSING) > 2 * MOST_CHOICES:
        raise RefusedError(RULE, f"It has more than {MOST_CHOICES} of {', '.join(CONDITIONAL)}.")
    if len(written(tree)) > MOST_LETTERS:
        raise RefusedError(RULE, f"Written out, it is longer than {MOST_LETTERS} letters.")
    return tree


def nodes(tree: Node) -> Iterator[Node]:
    """Yield all nodes of a tree."""
    yield tree
    for arg in tree.args:
        yield from nodes(arg)


def _read(part: ast.expr, depth: int) -> Node:  # noqa: PLR0911 - one for each node of the list
    if depth > MOST_DEPTH:
        raise RefusedError(RULE, f"It is nested more than {MOST_DEPTH} deep.")
    match part:
        case ast.Constant(int(value) | float(value)) if not isinstance(value, bool):
            return _number(value)
        case ast.Name(name):
            return _named(name)
        case ast.UnaryOp(ast.USub(), operand):
            return Node("neg", (_read(operand, depth + 1),))
        case ast.UnaryOp(ast.UAdd(), operand):
            return _read(operand, depth + 1)
        case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
            name = _OPERATORS[type(operator)][0]
            return Node(name, (_read(left, depth + 1), _read(right, depth + 1)))
        case ast.Compare(left, [operator], [right]) if type(operator) in _COMPARISONS:
            return Node(_COMPARISONS[type(operator)], (_read(left, depth + 1), _read(right, depth + 1)))
        case ast.Call(ast.Name(name), args, []):
            return _called(name, [_read(arg, depth + 1) for arg in args])
    raise RefusedError(RULE, _why_not(part), ("read the language",))


def _why_not(part: ast.expr) -> str:  # noqa: PLR0911 - one for each reason
    match part:
        case ast.Call(ast.Attribute(_, name)) if ALIASES.get(name, name) in FUNCTIONS:
            return f"Write {name}, without the name of a library."
        case ast.Call(_, _, [_, *_]):
            return "Arguments have no names in the language."
        case ast.Call():
            return "Only functions of the language can be called."
        case ast.Compare(_, [_, _, *_]):
            return _WHERE
        case ast.Compare():
            return "Of comparisons <, <=, > and >= are in the language."
        case ast.BinOp() | ast.UnaryOp():
            return "Of operators + - * / and ** are in the language."
        case ast.Constant(value):
            return f"{value!r} is no number of the language."
    return _REFUSED.get(type(part), "")


def _number(value: float) -> Node:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if LARGEST_CONSTANT < number < math.inf:
        raise RefusedError(RULE, f"A number in it is above {LARGEST_CONSTANT:g}.")
    return const(number)


def _named(name: str) -> Node:
    if name == "x":
        return X
    if name in CONSTANTS:
        return Node(name)
    if ALIASES.get(name, name) in FUNCTIONS:
        raise RefusedError(RULE, f"The function {name} has no argument; write {name}(x).")
    raise RefusedError(RULE, f"The name {name} is not known; the variable is x.")


def _called(name: str, args: list[Node]) -> Node:
    name = ALIASES.get(name, name)
    if name not in FUNCTIONS:
        from difflib import get_close_matches  # noqa: PLC0415 - needed for a misspelt name only

        close = get_close_matches(name.lower(), [*FUNCTIONS, *ALIASES], n=1)
        unknown = f"The function {name} is not known."
        if close:
            raise RefusedError(RULE, f"{unknown} Did you mean {close[0]}?")
        raise RefusedError(RULE, unknown, ("read the language",))
    count = CONDITIONAL.get(name, 1)
    if len(args) < count or (len(args) > count and name not in ("max", "min")):
        least = "at least " if name in ("max", "min") else ""
        raise RefusedError(RULE, f"{name} takes {least}{count} argument{'s' * (count > 1)}, not {len(args)}.")
    if name == "where" and args[0].op not in _COMPARISONS.values():
        raise RefusedError(RULE, _WHERE)
    return Node(name, tuple(args))


def written(tree: Node) -> str:
    """Return the text of a tree, from which :func:`parse` makes the same tree."""
    return _written(tree)[0]


def _written(tree: Node) -> tuple[str, int]:
    """Return the text, and how tightly its operation binds."""
    if tree.op == "const":
        return repr(tree.number).removesuffix(".0"), _ATOM
    if not tree.args:
        return tree.op, _ATOM
    parts = [_written(arg) for arg in tree.args]
    if tree.op == "neg":
        return "-" + _bracketed(*parts[0], _NEGATION), _NEGATION
    if tree.op not in _BINARY:
        return f"{tree.op}({', '.join(text for text, _ in parts)})", _ATOM
    sign, rank = _BINARY[tree.op]
    least = (_ATOM, _NEGATION) if tree.op == "pow" else (rank + (rank == 0), rank + 1)
    return sign.join(_bracketed(*part, low) for part, low in zip(parts, least, strict=True)), rank


def _bracketed(text: str, rank: int, least: int) -> str:
    return text if rank >= least else f"({text})"


def simplified(tree: Node) -> Node:  # noqa: PLR0911 - one for each kind of operation
    """Return what a parsed tree means, in the operations that are evaluated.

    Raises
    ------
    RefusedError
        A constant is not finite, or a power not constant or too large.
    """
    if tree.op in CONSTANTS:
        return const(CONSTANTS[tree.op])
    if not tree.args:
        return tree
    args = [simplified(arg) for arg in tree.args]
    if tree.op in _COMPARISONS.values():
        return node("at_most" if "=" in tree.op else "less", *(args if "<" in tree.op else reversed(args)))
    match tree.op:
        case "pow":
            return _to_the_power(*args)
        case "max" | "min":
            return reduce(lambda one, other: node(tree.op, one, other), args)
        case "clip":
            return node("min", node("max", *args[:2]), args[2])
    return node(tree.op, *args)


def _to_the_power(base: Node, exponent: Node) -> Node:
    if exponent.op != "const":
        raise RefusedError(RULE, "A power must be a constant; write exp(y*log(x)) for x**y where x > 0.")
    if abs(exponent.number) > MOST_POWER:
        raise RefusedError(RULE, f"A power must be at most {MOST_POWER} in size.")
    if base.op == "const" and base.number < 0 and not exponent.number.is_integer():
        raise RefusedError(RULE, "A negative number has no such power.")
    return node("pow", base, number=exponent.number)
