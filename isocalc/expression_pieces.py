"""An expression as smooth pieces: where abs, max, where and the like switch, and what holds in between."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.expression_rewriting import ONE, ZERO, const, negative, node
from isocalc.expression_tree import Node, RefusedError, polynomial, value_and_slope, value_of

Array = npt.NDArray[np.float64]
Intervals = Iterator[tuple[float, float, Node]]

_MOST_CUTS = 40
_OUTWARD = np.geomspace(1e-9, 1e9, 721)
_EVERYWHERE = np.unique(np.concatenate([-_OUTWARD, _OUTWARD, np.linspace(-30.0, 30.0, 2403)]))
_INSIDE = np.arange(1, 200) / 200
# Two cuts nearer than this, relatively, are one: 0.9/3 and 0.3.
_SAME = 1e-15
_TOUCHES = 1e-13


class Pieces(NamedTuple):
    """``parts[k]`` holds between ``cuts[k - 1]`` and ``cuts[k]``; the first and the last go on for ever."""

    cuts: tuple[float, ...]
    parts: tuple[Node, ...]

    def intervals(self) -> Intervals:
        """Yield low, high and what holds between them."""
        edges = (-math.inf, *self.cuts, math.inf)
        for (low, high), part in zip(pairwise(edges), self.parts, strict=True):
            yield low, high, part


def pieces_of(tree: Node) -> Pieces:
    """Return the smooth pieces of an expression.

    Raises
    ------
    RefusedError
        There are more than 40.
    """
    if not tree.args:
        return Pieces((), (tree,))
    inner = [pieces_of(arg) for arg in tree.args]
    found: list[tuple[float, float, Node]] = []
    for low, high in pairwise((-math.inf, *_distinct(cut for each in inner for cut in each.cuts), math.inf)):
        args = [each.parts[_index(each.cuts, low, high)] for each in inner]
        found += _resolved(tree, args, low, high)
        if len(found) > 2 * _MOST_CUTS:
            break
    return _merged(found)


def _distinct(cuts: Iterator[float]) -> list[float]:
    distinct: list[float] = []
    for cut in sorted(cuts):
        if not distinct or cut - distinct[-1] > _SAME * abs(cut):
            distinct.append(cut)
    return distinct


def _index(cuts: tuple[float, ...], low: float, high: float) -> int:
    """Return the interval between cuts which (low, high) is in."""
    if math.isinf(low) or math.isinf(high):
        return 0 if math.isinf(low) else len(cuts)
    return int(np.searchsorted(cuts, (low + high) / 2))


def _merged(found: list[tuple[float, float, Node]]) -> Pieces:
    cuts: list[float] = []
    parts = [found[0][2]]
    for low, _, part in found[1:]:
        if not _same(part, parts[-1]):
            cuts.append(low)
            parts.append(part)
    if len(cuts) > _MOST_CUTS:
        raise RefusedError(f"made of at most {_MOST_CUTS} pieces", "It has more kinks.")
    return Pieces(tuple(cuts), tuple(parts))


def _same(one: Node, other: Node) -> bool:
    return one == other or (polynomial(one) or 1) == (polynomial(other) or 2)


def _resolved(tree: Node, args: list[Node], low: float, high: float) -> Intervals:
    """Yield the smooth parts of an operation on smooth arguments."""
    if tree.op not in _CHOICES:
        yield low, high, node(tree.op, *args, number=tree.number)
        return
    switch, choose = _CHOICES[tree.op]
    if tree.op == "where":
        yield low, high, args[1] if args[0] == ONE else args[2]
        return
    g = switch(*args)
    edges = (low, *crossings(g, low, high), high)
    for start, stop in pairwise(edges):
        yield start, stop, choose(_sign(g, start, stop), *args)


def _sign(g: Node, low: float, high: float) -> int:
    """Return the sign of g between two of its roots, 0 where g is 0."""
    if g.op == "const":
        return int(np.sign(g.number))
    signs = np.sign(value_of(g, samples(low, high)))
    signs = signs[np.isfinite(signs) & (signs != 0)]
    return int(np.sign(signs.sum()))


_CHOICES: dict[str, tuple[Callable[..., Node], Callable[..., Node]]] = {
    "abs": (lambda u: u, lambda sign, u: negative(u) if sign < 0 else u),
    "relu": (lambda u: u, lambda sign, u: u if sign > 0 else ZERO),
    "sign": (lambda u: u, lambda sign, _: const(float(sign))),
    "max": (lambda u, v: node("sub", u, v), lambda sign, u, v: v if sign < 0 else u),
    "min": (lambda u, v: node("sub", u, v), lambda sign, u, v: u if sign < 0 else v),
    "less": (lambda u, v: node("sub", v, u), lambda sign, *_: ONE if sign > 0 else ZERO),
    "at_most": (lambda u, v: node("sub", v, u), lambda sign, *_: ZERO if sign < 0 else ONE),
    "where": (lambda *_: ZERO, lambda *_: ZERO),
}


def samples(low: float, high: float) -> Array:
    """Return points of an open interval, ascending."""
    x = [_EVERYWHERE]
    if math.isfinite(low) and math.isfinite(high):
        x.append(low + (high - low) * _INSIDE)
    elif math.isfinite(low):
        x.append(low + _OUTWARD)
    elif math.isfinite(high):
        x.append(high - _OUTWARD)
    points = np.unique(np.concatenate(x))
    return np.asarray(points[(points > low) & (points < high)])


def crossings(g: Node, low: float, high: float, *, nearest: bool = False) -> list[float]:
    """Return where a smooth expression changes its sign between two points, to the last digit it has.

    More than 40 places are refused, or but for the nearest to 0 left out.
    """
    line = polynomial(g)
    if line is not None and len(line) <= 2:
        root = -line[0] / line[1] + 0.0 if len(line) == 2 else math.nan
        return [root] if low < root < high else []
    x = samples(low, high)
    if (turns := _turns(g, x)).size:
        x = np.unique(np.concatenate([x, turns]))
    signs = np.sign(value_of(g, x))
    places = np.flatnonzero(np.isfinite(signs) & (signs != 0))
    changes = np.flatnonzero(signs[places[1:]] != signs[places[:-1]])
    if nearest:
        changes = changes[np.argsort(np.abs(x[places[changes]]), kind="stable")[:_MOST_CUTS]]
    elif changes.size > _MOST_CUTS:
        raise RefusedError(f"made of at most {_MOST_CUTS} pieces", "It has more kinks.")
    ends = [x[places[k : k + 2]].tolist() for k in changes]
    return [_last_digit(lambda t: value_of(g, t), *pair) for pair in ends]


def touchings(g: Node, low: float, high: float) -> list[float]:
    """Return where a smooth expression comes down to 0 without changing its sign."""
    turns = _turns(g, samples(low, high))
    if not turns.size:
        return []
    step = 1e-3 * np.maximum(np.abs(turns), 1e-6)
    near = np.abs(value_of(g, turns + step)) + np.abs(value_of(g, turns - step))
    return turns[np.abs(value_of(g, turns)) <= _TOUCHES * near].tolist()  # type: ignore[no-any-return] # floats


def _turns(g: Node, x: Array) -> Array:
    """Return where |g| has a minimum between samples."""
    value, slope = value_and_slope(g, x)
    with np.errstate(all="ignore"):
        trend, sign = np.sign(value) * np.sign(slope), np.sign(value)
    kept = np.isfinite(trend) & (trend != 0)
    x, trend, sign = x[kept], trend[kept], sign[kept]
    minima = np.flatnonzero((trend[:-1] < 0) & (trend[1:] > 0) & (sign[:-1] == sign[1:]))
    if minima.size > 4 * _MOST_CUTS:
        return np.empty(0)
    return np.array([_last_digit(lambda t: value_and_slope(g, t)[1], *x[k : k + 2].tolist()) for k in minima])


def _last_digit(function: Callable[[Array], Array], low: float, high: float) -> float:
    """Return the place between two points at which a function changes its sign."""
    left = np.sign(function(np.array([low]))[0])
    while True:
        x = np.linspace(low, high, 17)
        signs = np.sign(function(x))
        if not signs.all() and (signs[1:-1] == 0).any():
            return float(x[1:-1][signs[1:-1] == 0][0])
        k = max(int(np.argmax(signs != left)), 1)
        if x[k] - x[k - 1] >= high - low or x[k] - x[k - 1] <= 2.3e-16 * max(abs(x[k]), 1e-290):
            return float(x[k])
        low, high = float(x[k - 1]), float(x[k])
