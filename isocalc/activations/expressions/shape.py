"""What quadrature has to know about an expression: kinks, jumps, slopes, parity and a length."""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from isocalc.activations.expressions.evaluation import PieceFunction, Pieces, crossings
from isocalc.activations.expressions.language import nodes
from isocalc.activations.expressions.tree import (
    SMOOTH,
    Node,
    Numbers,
    RefusedError,
    polynomial,
    value_and_slope,
)
from isocalc.activations.tolerances import (
    EXACT_DEGREE,
    FARTHEST_PANEL,
    JUMP,
    LONGEST_PANEL,
    MOST_EXTRA,
    NOT_FAR,
    NOTHING,
    RESOLVED,
    SHARPEST,
    SHARPEST_BEND,
    SHORTEST_PANEL,
)
from isocalc.numerics.quadrature import legendre_rule
from isocalc.numerics.roots import find_roots

Array = npt.NDArray[np.float64]

STEADY = "an expression that varies slowly enough to be averaged"


class InPieces(Protocol):
    """φ and φ' with the places where they are cut."""

    @property
    def pieces(self) -> Pieces:
        """The cuts, and what holds between them."""

    def phi(self, x: Array, /) -> Array:
        """Return φ at real x."""

    def dphi(self, x: Numbers, /) -> Numbers:
        """Return φ' at real x."""

    def noise(self, x: Array, /) -> tuple[Array, Array]:
        """Return how far rounding may move φ and φ'."""


class Shape(NamedTuple):
    """The fields of an Activation that are not functions."""

    breakpoints: tuple[float, ...]
    jumps: tuple[float, ...]
    slopes: tuple[float, ...] | None
    scale: float
    odd: bool

    @property
    def fields(self) -> dict[str, Any]:
        """The shape as arguments of Activation."""
        return self._asdict()


def shape_of(function: PieceFunction) -> Shape:
    """Return the shape of an expression.

    Raises
    ------
    RefusedError
        It varies too fast in too many places.
    """
    pieces = function.pieces
    cuts, polynomials = pieces.cuts, [polynomial(part) for part in pieces.parts]
    slopes, scale, extra = None, math.inf, tuple[float, ...]()
    if all(each is not None and len(each) <= 2 for each in polynomials):
        slopes = tuple((each or (0.0,))[1] if len(each or ()) == 2 else 0.0 for each in polynomials)
    elif not all(each is not None and len(each) <= EXACT_DEGREE + 1 for each in polynomials):
        _require_gentle(function)
        scale, extra = resolved(function)
    jumps = tuple(cut for k, cut in enumerate(cuts) if _jumps(pieces, k))
    return Shape(tuple(sorted({*cuts, *extra})), jumps, slopes, scale, is_odd(function))


def _jumps(pieces: Pieces, k: int) -> bool:
    cut = np.array([pieces.cuts[k]])
    (left, slope), (right, other) = (value_and_slope(part, cut) for part in pieces.parts[k : k + 2])
    size = np.abs(left) + np.abs(right) + (np.abs(slope) + np.abs(other)) * np.abs(cut)
    return bool(np.abs(left - right)[0] > JUMP * size[0])


def is_odd(function: PieceFunction) -> bool:
    """Whether φ(-x) = -φ(x), to rounding, wherever x is tried."""
    cuts = np.array(function.pieces.cuts)
    if function.phi(np.zeros(1))[0] != 0 or not np.allclose(cuts, -cuts[::-1], rtol=1e-14, atol=0):
        return False
    x = np.concatenate([np.geomspace(1e-12, 1e12, 721), np.arange(0.005, 40, 0.01)])
    x = x[~np.isin(x, np.abs(cuts))]
    right, left = function.phi(x), function.phi(-x)
    with np.errstate(invalid="ignore"):
        same = (np.abs(right + left) <= 1e-14 * np.abs(right) + function.noise(x)[0]) | (right == -left)
    return bool(same.all())


def resolved(function: InPieces) -> tuple[float, tuple[float, ...]]:
    """Return the largest length from which panels may double, and edges of panels needed besides.

    A panel is fine where halving it changes no average over it.
    """
    powers = np.arange(SHORTEST_PANEL, FARTHEST_PANEL + 1)
    start = np.asarray(2.0**powers)
    ends = {side: _fine(function, side * start[:-1], side * start[1:]) for side in (-1.0, 1.0)}
    inner = np.logical_and.accumulate(_inner(function, start))
    fine = np.array([ends[-1.0], ends[1.0]])
    rough_beyond = np.cumsum((~fine).sum(axis=0)[::-1])[::-1]
    usable = np.flatnonzero(inner[:-1] & (rough_beyond <= MOST_EXTRA) & (powers[:-1] <= LONGEST_PANEL))
    if not usable.size:
        raise _unsteady(np.empty(0))
    exact = usable[rough_beyond[usable] == 0]
    j = int(exact[-1] if exact.size else usable[-1])
    rough = [
        (side * start[k], side * start[k + 1])
        for side in ends
        for k in range(j, start.size - 1)
        if not ends[side][k]
    ]
    farthest = max(map(abs, function.pieces.cuts), default=0.0)
    scale = farthest if powers[j] == LONGEST_PANEL and farthest else float(start[j]) / 2
    return scale, _halved(function, rough)


def _inner(function: InPieces, start: Array) -> npt.NDArray[np.bool_]:
    """Whether the panels from 0 to each place on both sides are fine."""
    sides = [_fine(function, side * start, np.zeros_like(start)) for side in (-1.0, 1.0)]
    return np.asarray(sides[0] & sides[1])


def _require_gentle(function: PieceFunction) -> None:
    """Refuse functions of u that change within so little around the root of u that panels may miss it."""
    for low, high, part in function.pieces.intervals():
        for each in nodes(part):
            if (each.op in SMOOTH or each.op == "pow") and polynomial(each) is None:
                roots = np.array(crossings(each.args[0], low, high, nearest=True))
                slopes = value_and_slope(each.args[0], roots)[1] if roots.size else roots
                with np.errstate(all="ignore"):
                    sharp = roots[np.abs(slopes * roots) > SHARPEST]
                if each.op not in ("sin", "cos", "tan"):
                    sharp = np.append(sharp, _sharp_bends(each.args[0], low, high))
                    if sharp.size:
                        raise _unsteady(sharp)


def _sharp_bends(tree: Node, low: float, high: float) -> Array:
    """Return where an expression turns so sharply that panels may miss what a function of it does there."""
    places = np.geomspace(1e-4, 1e4, 4000)
    x = np.concatenate([-places[::-1], places])
    x = x[(x > low) & (x < high)]
    slopes = value_and_slope(tree, x)[1]
    found = np.flatnonzero(np.sign(slopes[1:]) * np.sign(slopes[:-1]) < 0)
    turns = find_roots(
        lambda _, t: (value_and_slope(tree, t)[1], None),
        x[found],
        x[found + 1],
        (slopes[found], slopes[found + 1]),
        in_log=False,
    )
    left = turns.x[turns.reached]
    step = 1e-5 * np.abs(left)
    with np.errstate(all="ignore"):
        bends = (value_and_slope(tree, left + step)[1] - value_and_slope(tree, left - step)[1]) / (2 * step)
        return np.asarray(left[np.abs(bends * left * left) > SHARPEST_BEND])


def _halved(function: InPieces, rough: list[tuple[float, float]]) -> tuple[float, ...]:
    """Return the points that cut panels into fine ones."""
    points: list[float] = []
    for _ in range(MOST_EXTRA + 1):
        if not rough:
            return tuple(points)
        halves = []
        for low, high in rough:
            middle = (low + high) / 2
            points.append(float(middle))
            halves += [(low, middle), (middle, high)]
        fine = _fine(function, *np.array(halves).T)
        rough = [half for half, is_fine in zip(halves, fine, strict=True) if not is_fine]
        if len(points) > MOST_EXTRA:
            break
    raise _unsteady(np.array([low for low, _ in rough]))


def _unsteady(x: Array) -> RefusedError:
    near = f" near x = {x[np.argmin(np.abs(x))]:.3g}" if x.size else ""
    return RefusedError(STEADY, f"It oscillates without end, or bends too sharply{near}.")


def _fine(function: InPieces, low: Array, high: Array) -> npt.NDArray[np.bool_]:
    """Whether 16 nodes suffice on each panel, cut where the expression is."""
    low, high = np.minimum(low, high), np.maximum(low, high)
    cuts = np.clip(function.pieces.cuts, low[:, None], high[:, None])
    edges = np.sort(np.column_stack([low, cuts, high]), axis=1)
    between = (edges[:, :-1, None] + np.diff(edges)[..., None] * np.arange(1, 8) / 8).reshape(low.size, -1)
    finer = np.sort(np.column_stack([edges, between]), axis=1)
    with np.errstate(all="ignore"):
        one, two = (_sums(function, each, low, high) for each in (edges, finer))
        apart = np.abs(one[0] - two[0]) > RESOLVED * two[1] + one[2] + two[2]
    return np.asarray(~(apart & np.isfinite(one[0]) & np.isfinite(two[0])).any(axis=0))


def _sums(function: InPieces, edges: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
    """Return averages of φ, φ², φ'² and φ'⁴ over panels, their sizes and their rounding errors."""
    nodes, weights = legendre_rule()
    half = np.diff(edges)[..., None] / 2
    x = edges[:, :-1, None] + half + half * nodes
    weights = half * weights / (high - low)[:, None, None]
    phi, gate = function.phi(x), function.dphi(x) ** 2
    values = np.array([phi, phi * phi, gate, gate * gate])
    # Where little is left of a function, so little matters.
    size = np.nan_to_num(np.abs(values).max(axis=(2, 3)), posinf=0.0)
    far = np.maximum(np.abs(low), np.abs(high))
    order = np.argsort(far, kind="stable")
    least = NOTHING * size[:, far <= NOT_FAR].max(axis=1, initial=0.0)
    size[:, order] = np.maximum.accumulate(np.maximum(size[:, order], least[:, None]), axis=1)
    noise, slope_noise = function.noise(x)
    slope = np.sqrt(gate)
    errors = np.array(
        [noise, 2 * np.abs(phi) * noise, 2 * slope * slope_noise, 4 * slope * gate * slope_noise]
    )
    return (weights * values).sum(axis=(2, 3)), size, np.nan_to_num((weights * errors).sum(axis=(2, 3)))
