"""φ and φ' of an expression as functions of arrays, defined and finite for every x or refused.

An expression is cut into smooth pieces where abs, max, where and the like switch. How far rounding may move
its values and its derivative is found by a running error analysis, to first order.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.expressions.language import nodes
from isocalc.activations.expressions.tree import (
    ONE,
    SMOOTH,
    ZERO,
    Node,
    Numbers,
    RefusedError,
    branches_at_zero,
    const,
    negative,
    node,
    polynomial,
    raised,
    value_and_slope,
    value_of,
)
from isocalc.activations.tolerances import (
    EQUAL,
    FAR_ENOUGH,
    LEAST_STEP,
    MOST_CUTS,
    NOT_FAR,
    SETTLES,
    TOUCHES,
    TRULY_LARGE,
)
from isocalc.numerics.roots import Indices, find_roots
from isocalc.numerics.tolerances import EPS, HUGE, LARGEST_DOUBLE

Array = npt.NDArray[np.float64]
Intervals = Iterator[tuple[float, float, Node]]


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
        if len(found) > 2 * MOST_CUTS:
            break
    return _merged(found)


def _distinct(cuts: Iterator[float]) -> list[float]:
    distinct: list[float] = []
    for cut in sorted(cuts):
        if not distinct or cut - distinct[-1] > EQUAL * abs(cut):
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
    if len(cuts) > MOST_CUTS:
        raise RefusedError(f"made of at most {MOST_CUTS} pieces", "It has more kinks.")
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


@cache
def outward_places() -> Array:
    """Return places x > 0, 40 a decade, at which functions are looked at."""
    return np.geomspace(1e-9, 1e9, 721)


def samples(low: float, high: float) -> Array:
    """Return points of an open interval, ascending."""
    outward = outward_places()
    x = [-outward, outward, np.linspace(-30.0, 30.0, 2403)]
    if math.isfinite(low) and math.isfinite(high):
        x.append(low + (high - low) * np.arange(1, 200) / 200)
    elif math.isfinite(low):
        x.append(low + outward)
    elif math.isfinite(high):
        x.append(high - outward)
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
        changes = changes[np.argsort(np.abs(x[places[changes]]), kind="stable")[:MOST_CUTS]]
    elif changes.size > MOST_CUTS:
        raise RefusedError(f"made of at most {MOST_CUTS} pieces", "It has more kinks.")
    return _last_digits(lambda t: value_of(g, t), x, places[changes], places[changes + 1])


def touchings(g: Node, low: float, high: float) -> list[float]:
    """Return where a smooth expression comes down to 0 without changing its sign."""
    turns = _turns(g, samples(low, high))
    if not turns.size:
        return []
    step = 1e-3 * np.maximum(np.abs(turns), 1e-6)
    near = np.abs(value_of(g, turns + step)) + np.abs(value_of(g, turns - step))
    return turns[np.abs(value_of(g, turns)) <= TOUCHES * near].tolist()  # type: ignore[no-any-return] # floats


def _turns(g: Node, x: Array) -> Array:
    """Return where |g| has a minimum between samples."""
    value, slope = value_and_slope(g, x)
    with np.errstate(all="ignore"):
        trend, sign = np.sign(value) * np.sign(slope), np.sign(value)
    kept = np.isfinite(trend) & (trend != 0)
    x, trend, sign = x[kept], trend[kept], sign[kept]
    minima = np.flatnonzero((trend[:-1] < 0) & (trend[1:] > 0) & (sign[:-1] == sign[1:]))
    if minima.size > 4 * MOST_CUTS:
        return np.empty(0)
    return np.array(_last_digits(lambda t: value_and_slope(g, t)[1], x, minima, minima + 1))


def _last_digits(function: Callable[[Array], Array], x: Array, left: Indices, right: Indices) -> list[float]:
    """Return the places between samples at which a function changes its sign, to the last digit."""
    values = np.clip(function(x), -HUGE, HUGE)
    ends = (x[left], x[right], (values[left], values[right]))
    found = find_roots(lambda _, t: (function(t), None), *ends, in_log=False)
    return found.x[found.reached].tolist()  # type: ignore[no-any-return] # floats


Number = Array | float


def rounding(tree: Node, x: Array) -> tuple[Array, Array]:
    """Return bounds, but for rare cases, of the rounding errors of a smooth expression and its derivative."""
    with np.errstate(all="ignore"):
        _, _, error, other = _bounds(tree, x)
    return 4 * EPS * np.broadcast_to(error, x.shape), 4 * EPS * np.broadcast_to(other, x.shape)


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


DEFINED, FINITE = "defined for every x", "finite for every x, and its derivative too"


class PieceFunction(NamedTuple):
    """An expression, whole and in smooth pieces."""

    tree: Node
    pieces: Pieces
    branches: tuple[float, ...] = ()
    """The cuts beside which φ has no Taylor series"""
    low: float = -np.inf
    high: float = np.inf
    """Beyond, φ is continued as a straight line."""

    def phi(self, x: Array) -> Array:
        """Return φ at an array of real x."""
        near, parts = self._sorted(x)
        value = np.empty_like(near)
        for chosen, part in parts:
            value[chosen] = value_of(part, near[chosen])
        self._take_limits(near, value, 0)
        if near is not x:
            with np.errstate(all="ignore"):
                value = value + np.where(x == near, 0.0, self.dphi(near) * (x - near))
        return np.asarray(value)

    def dphi(self, x: Numbers) -> Numbers:
        """Return φ' at an array of x; at complex x continued from the piece on which Re x lies."""
        near, parts = self._sorted(x)
        slope = np.empty_like(near)
        for chosen, part in parts:
            slope[chosen] = value_and_slope(part, near[chosen])[1]
        self._take_limits(near, slope, 1)
        return slope

    def _take_limits(self, x: Numbers, values: Numbers, which: int) -> None:
        """Put limits where φ (0) or φ' (1) is not found otherwise, such as of x² log|x| at 0."""
        for branch in self.branches:
            step = max(4 * np.spacing(abs(branch)), LEAST_STEP)
            lost = (np.abs(x.real - branch) <= step) & ~np.isfinite(values)
            if lost.any():
                sides = zip((-step, step), _beside(self.pieces, branch), strict=True)
                left, right = (value_and_slope(part, np.array([branch + at]))[which][0] for at, part in sides)
                side = x.real[lost] - branch
                values[lost] = np.where(side < 0, left, np.where(side > 0, right, (left + right) / 2))

    def noise(self, x: Array) -> tuple[Array, Array]:
        """Return how far rounding may move φ and φ'."""
        near, parts = self._sorted(x)
        errors = np.empty_like(near), np.empty_like(near)
        for chosen, part in parts[: len(self.pieces.parts)]:
            errors[0][chosen], errors[1][chosen] = rounding(part, near[chosen])
        return errors

    def _sorted(self, x: Numbers) -> tuple[Numbers, list[tuple[Any, Node]]]:
        """Return x, moved to where φ is known, and which entries each expression holds at."""
        beyond = (x.real < self.low) | (x.real > self.high)
        if beyond.any():
            x = np.where(beyond, np.clip(x.real, self.low, self.high), x)
        cuts, parts = self.pieces
        if not cuts:
            return x, [(..., parts[0])]
        place = np.searchsorted(cuts, x.real)
        found: list[tuple[Any, Node]] = [(place == k, part) for k, part in enumerate(parts)]
        return x, [*found, (np.isin(x.real, cuts), self.tree)]


def function_of(tree: Node, pieces: Pieces) -> PieceFunction:
    """Return φ and φ' of an expression.

    Raises
    ------
    RefusedError
        They are not defined or not finite somewhere.
    """
    zeros: set[float] = set()
    for low, high, part in pieces.intervals():
        for each in reversed([*nodes(part)]):
            zeros.update(_require_defined(each, low, high))
    pieces = _cut_at(pieces, zeros)
    for branch in zeros:
        for side, part in zip((-1.0, 1.0), _beside(pieces, branch), strict=True):
            _require_slope(part, branch, side)
    function = PieceFunction(tree, pieces, tuple(sorted(zeros)))
    high = _known_to(function, 1.0)
    return function._replace(low=-_known_to(function, -1.0), high=high)


def _cut_at(pieces: Pieces, places: Iterable[float]) -> Pieces:
    """Return the pieces, cut at these places too."""
    cuts = sorted({*pieces.cuts, *places})
    if len(cuts) > MOST_CUTS:
        raise RefusedError(f"made of at most {MOST_CUTS} pieces", "It has more kinks.")
    edges = (-math.inf, *cuts, math.inf)
    return Pieces(tuple(cuts), tuple(pieces.parts[_index(pieces.cuts, *ends)] for ends in pairwise(edges)))


def _beside(pieces: Pieces, cut: float) -> tuple[Node, ...]:
    place = pieces.cuts.index(cut)
    return pieces.parts[place : place + 2]


def _require_slope(part: Node, place: float, side: float) -> None:
    """Refuse a piece whose value or derivative grows without bound towards one of its ends."""
    steps = (abs(place) or LEAST_STEP**0.06) * 1e-4 * 4.0 ** -np.arange(9.0)
    for values, what in zip(
        value_and_slope(part, place + side * steps), ("It", "Its derivative"), strict=True
    ):
        changes = np.abs(np.diff(values))
        with np.errstate(all="ignore"):
            grows = changes[1:] / changes[:-1]
        settled = changes[-1] <= 1e-9 * np.abs(values).max()
        if not (settled or np.median(grows[-4:]) < SETTLES):
            raise RefusedError(FINITE, f"{what} is infinite at x = {place + 0.0:.4g}.")


def _require_defined(tree: Node, low: float, high: float) -> list[float]:
    """Refuse an operation that is not defined on an interval; return where it has no Taylor series."""
    zeros, where = list[float](), "at"
    match tree:
        case Node("div", (_, v)):
            places, what = _zeros(v, low, high), "It divides by 0"
        case Node("tan", (u,)):
            places, what = _zeros(node("cos", u), low, high), "tan is infinite"
        case Node("log1p", (u,)):
            places = _not_positive(node("add", ONE, u), low, high)
            what = "The argument of a logarithm is not greater than 0"
        case Node(name, (u,), p) if branches_at_zero(tree):
            zeros, places = _zeros(u, low, high), _negative(u, low, high)
            what = f"What is raised to the power {p:g}" if name == "pow" else f"The argument of {name}"
            what += " is less than 0"
            if places and zeros:
                where, places = "beside", zeros
        case _:
            return zeros
    if places:
        nearest = min(places, key=lambda x: (float(f"{abs(x):.4g}"), x))
        raise RefusedError(DEFINED, f"{what} {where} x = {nearest + 0.0:.4g}.")
    return zeros


def _zeros(v: Node, low: float, high: float) -> list[float]:
    inside = [*crossings(v, low, high, nearest=True), *touchings(v, low, high)]
    ends = np.array([end for end in (low, high) if np.isfinite(end)])
    value, slope = value_and_slope(v, ends)
    with np.errstate(all="ignore"):
        at_end = np.abs(value) <= 1e-14 * np.abs(slope * ends)
    zeros: list[float] = ends[at_end | (value == 0)].tolist()
    return inside + zeros


def _not_positive(u: Node, low: float, high: float) -> list[float]:
    if zeros := _zeros(u, low, high):
        return zeros
    x = samples(low, high)
    places: list[float] = x[~(value_of(u, x) > 0)].tolist()
    return places


def _negative(u: Node, low: float, high: float) -> list[float]:
    x = samples(low, high)
    places: list[float] = x[value_of(u, x) < -rounding(u, x)[0]].tolist()
    return places


def _known_to(function: PieceFunction, side: float) -> float:
    """Return |x| up to which φ and φ' can be computed; refuse those that are not finite.

    Beyond, they overflow because φ grows so, or φ goes on as a straight line.
    """
    places = np.geomspace(1e-300, 1e-3, 300), np.arange(0.01, 100, 0.01), np.geomspace(100, 2.0**20, 2000)
    far = np.concatenate(([0.0], *places, 2.0 ** np.arange(21, 1024), [LARGEST_DOUBLE]))
    x, known = side * far, np.inf
    for values in (function.phi(x), function.dphi(x)):
        lost = np.flatnonzero(~np.isfinite(values))
        if lost.size and not _truly_large(values, lost[0]):
            known = min(known, float(far[max(lost[0] - 1, 0)]))
    if known < FAR_ENOUGH and not _is_straight(function, side * known):
        raise _not_finite(function, side * known, side * far[far > known].min())
    return known


def _truly_large(values: Array, first: int) -> bool:
    """Whether values overflow, from this one on, because they grow, and are known beyond any average."""
    return bool(not np.isfinite(values[first:]).any() and abs(values[first - 1]) > TRULY_LARGE)


def _is_straight(function: PieceFunction, end: float) -> bool:
    """Whether φ is a straight line towards a place far out."""
    slopes = function.dphi(end * np.linspace(0.5, 1.0, 20))
    size = np.abs(function.dphi(np.linspace(-NOT_FAR, NOT_FAR, 2001))).max()
    return bool(abs(end) > NOT_FAR and np.ptp(slopes) <= 4 * EPS * size)


def _finite(function: PieceFunction, x: Array) -> npt.NDArray[np.bool_]:
    return np.isfinite(function.phi(x)) & np.isfinite(function.dphi(x))


def _not_finite(function: PieceFunction, good: float, bad: float) -> RefusedError:
    def sign(_: Any, x: Array) -> tuple[Array, None]:
        return np.where(_finite(function, x), -1.0, 1.0), None

    ends = np.array([good]), np.array([bad])
    place = find_roots(sign, *ends, (np.array([-1.0]), np.array([1.0])), in_log=False).x[0]
    near = np.array([good])
    grows = np.abs(np.append(function.phi(near), function.dphi(near))).max() > TRULY_LARGE
    advice = f"The expression is not finite at x = {place + 0.0:.4g}"
    if not grows and abs(place) > NOT_FAR:
        advice = f"It cannot be computed from x = {place:.4g} on, where a part of it overflows"
    return RefusedError(FINITE, f"{advice}.")
