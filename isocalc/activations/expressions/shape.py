"""What quadrature has to know about an expression: kinks, jumps, slopes, parity and a length."""

import math
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from isocalc.activations.expressions.evaluation import PieceFunction, Pieces, crossings, outward_places
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
    ASIDE,
    AVERAGED_OUT,
    EQUAL,
    EXACT_DEGREE,
    FAR_RESOLVED,
    FARTHEST_PANEL,
    JUMP,
    LARGEST_POWER,
    LONGEST_PANEL,
    MOST_CENTRES,
    MOST_EXTRA,
    MOST_HALVINGS,
    MOST_TRIED,
    NARROW,
    NOT_FAR,
    NOTHING,
    RESOLVED,
    SHARPEST,
    SHORTEST_PANEL,
    STEEPEST,
    TOO_SHARP,
    WAVES_RESOLVED,
    WAVES_SEEN,
    WINDOWS,
)
from isocalc.numerics.quadrature import doubling_edges, legendre_rule, window_rule
from isocalc.numerics.roots import find_roots
from isocalc.numerics.tolerances import EPS

Array = npt.NDArray[np.float64]
Centres = tuple[tuple[float, float], ...]

# Panels towards a branch, in units of theirs.
GRADES = 4.0 ** -np.arange(1.0, 27.0)

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
    longest: float
    window: float
    centres: Centres
    steep: bool
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
        It varies ever faster far out, or too fast in too many places.
    """
    pieces = function.pieces
    polynomials = [polynomial(part) for part in pieces.parts]
    slopes, panels = None, Panels()
    if all(each is not None and len(each) <= 2 for each in polynomials):
        slopes = tuple((each or (0.0,))[1] if len(each or ()) == 2 else 0.0 for each in polynomials)
    elif not all(each is not None and len(each) <= EXACT_DEGREE + 1 for each in polynomials):
        branches = tuple((branch, 0.0) for branch in function.branches)
        panels = resolved(function, branches, _narrow_places(function))
    jumps = tuple(cut for k, cut in enumerate(pieces.cuts) if _jumps(pieces, k))
    return Shape(
        tuple(sorted({*pieces.cuts, *panels.extra})),
        jumps,
        slopes,
        panels.scale,
        panels.longest,
        panels.window,
        panels.centres,
        _is_steep(function),
        is_odd(function),
    )


def _is_steep(function: PieceFunction) -> bool:
    """Whether φ or φ' overflows where no power that the language has would."""
    x = np.array([-LARGEST_POWER, LARGEST_POWER])
    return not (np.isfinite(function.phi(x)).all() and np.isfinite(function.dphi(x)).all())


def _jumps(pieces: Pieces, k: int) -> bool:
    cut = np.array([pieces.cuts[k]])
    (left, slope), (right, other) = (value_and_slope(part, cut) for part in pieces.parts[k : k + 2])
    with np.errstate(invalid="ignore"):
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


class Panels(NamedTuple):
    """Panels in which 16 nodes follow φ, φ², φ'² and φ'⁴: attributes of an Activation, and edges besides."""

    scale: float = math.inf
    longest: float = math.inf
    window: float = math.inf
    centres: Centres = ()
    extra: tuple[float, ...] = ()


def resolved(function: InPieces, branches: Centres = (), narrow: Centres = ()) -> Panels:
    """Return panels that are fine: halving them changes no average over them.

    Parameters
    ----------
    function : InPieces
    branches, narrow : tuple of (float, float)
        Centres as of an Activation: those that are needed, and those that may be.

    Raises
    ------
    RefusedError
        There are none.
    """
    found = _found(function, branches)
    if narrow and (isinstance(found, RefusedError) or any(_is_sharp(*each) for each in narrow)):
        found = _found(function, branches + narrow)
    if isinstance(found, RefusedError):
        raise found
    return found


def _found(function: InPieces, centres: Centres) -> Panels | RefusedError:
    """Return panels that double from 0, the same far out, or of one length there; or what refuses φ."""
    powers = np.arange(SHORTEST_PANEL, FARTHEST_PANEL + 1)
    start = np.asarray(2.0**powers)
    ends = {side: _fine(function, centres, side * start[:-1], side * start[1:]) for side in (-1.0, 1.0)}
    inner = np.logical_and.accumulate(_inner(function, centres, start))
    fine = np.array([ends[-1.0], ends[1.0]])
    rough_beyond = np.cumsum((~fine).sum(axis=0)[::-1])[::-1]
    possible = np.flatnonzero(inner[:-1] & (powers[:-1] <= LONGEST_PANEL))
    if not possible.size:
        return _unsteady(np.empty(0))
    last = int(possible[-1])
    exact = possible[rough_beyond[possible] == 0]
    j = int(exact[-1]) if exact.size else last
    if rough_beyond[j] <= MOST_EXTRA:
        rough = [
            (side * start[k], side * start[k + 1])
            for side in ends
            for k in range(j, start.size - 1)
            if not ends[side][k]
        ]
        farthest = max(map(abs, function.pieces.cuts), default=0.0)
        scale = float(start[j]) / 2
        if powers[j] == LONGEST_PANEL:
            scale = farthest or _first_turn(function)
        extra = _halved(function, centres, rough)
        if not isinstance(extra, RefusedError):
            return Panels(scale, centres=centres, extra=extra)
    longest = _longest(function, centres, start[last::-1])
    if longest is None:
        return _unsteady(np.empty(0))
    return Panels(float(start[last]) / 2, longest, _window(function, longest), centres)


def _first_turn(function: InPieces) -> float:
    """Return the least |x| at which φ or φ' turns, infinite where there is none."""
    x = outward_places()
    lengths = []
    for slope in (function.dphi(x), function.dphi(-x)):
        change = np.diff(slope)
        seen = np.abs(change) > 1e3 * EQUAL * np.abs(slope[1:])
        for values in (slope, np.where(seen, change, 0.0)):
            turns = np.flatnonzero(values[1:] * values[:-1] < 0)
            lengths.append(float(x[turns[0]]) if turns.size else math.inf)
    return min(lengths)


def _longest(function: InPieces, centres: Centres, lengths: Array) -> float | None:
    """Return the longest length, a power of 2, such that all panels that are looked at are fine."""
    outward = np.geomspace(1.0, WAVES_SEEN, 16).round()

    def follows(length: float, places: Array) -> bool:
        # Not at multiples of the length, where kinks that are not known would hide.
        low = length * (np.concatenate((-places - 1, places)) + ASIDE)
        far = np.abs(low) > WAVES_RESOLVED * length
        near = _fine(function, centres, low[~far], low[~far] + length)
        return bool(near.all() and _fine(function, centres, low[far], low[far] + length, FAR_RESOLVED).all())

    likely = (length for length in lengths[:MOST_HALVINGS].tolist() if follows(length, outward))
    for length in islice(likely, MOST_TRIED):
        every = np.arange(min(max(WAVES_RESOLVED, NOT_FAR / length), 8 * WAVES_RESOLVED))
        if follows(length, np.append(every, outward // 2)):
            return float(length)
    return None


def _window(function: InPieces, longest: float) -> float:
    """Return the standard deviation of a window over which the waves of a function average out, or inf."""
    farthest = max(map(abs, function.pieces.cuts), default=0.0)
    for window in (4 * longest, 16 * longest, 64 * longest):
        near = farthest + WINDOWS * window
        edges = np.array([[near, 4 * near], [64 * near, 256 * near]])
        w, shares = window_rule(longest, window)
        sums = []
        for cuts in (1, 2):
            half = np.diff(edges)[..., None] / 2 / cuts
            start = edges[:, :1, None] + 2 * half * np.arange(cuts)[:, None]
            nodes, weights = legendre_rule()
            x = (start + half + half * nodes)[..., None] + w
            x = np.stack((-x, x))
            with np.errstate(all="ignore"):
                phi, gate = function.phi(x), function.dphi(x) ** 2
                values = np.array([phi, phi * phi, gate, gate * gate]) @ shares
            sums.append((values * weights).sum(axis=(-1, -2)) / cuts)
        size = np.abs(np.array([phi, phi * phi, gate, gate * gate])).max(axis=(-1, -2, -3))
        if (np.abs(sums[0] - sums[1]) <= AVERAGED_OUT * size).all():
            return float(window)
    return math.inf


def _inner(function: InPieces, centres: Centres, start: Array) -> npt.NDArray[np.bool_]:
    """Whether the panels from 0 to each place on both sides are fine."""
    sides = [_fine(function, centres, side * start, np.zeros_like(start)) for side in (-1.0, 1.0)]
    return np.asarray(sides[0] & sides[1])


def _narrow_places(function: PieceFunction) -> Centres:
    """Return where a function of u may change within less than the distance from 0, and in which length."""
    found: list[tuple[float, float]] = []
    for low, high, part in function.pieces.intervals():
        for each in nodes(part):
            if (each.op in SMOOTH or each.op == "pow") and polynomial(each) is None:
                roots = np.array(crossings(each.args[0], low, high, nearest=True))
                slopes = value_and_slope(each.args[0], roots)[1] if roots.size else roots
                found += zip(roots.tolist(), np.abs(slopes).tolist(), strict=True)
                if each.op not in ("sin", "cos", "tan"):
                    found += _bends(each.args[0], low, high)
    narrow = {
        place: 1 / rate for place, rate in sorted(found) if place and NARROW < abs(place) * rate < TOO_SHARP
    }
    nearest = sorted(narrow, key=abs)[:MOST_CENTRES]
    return tuple((place, narrow[place]) for place in sorted(nearest))


def _is_sharp(place: float, length: float) -> bool:
    """Whether panels that double from 0 may miss what happens there."""
    return abs(place) > SHARPEST * length


def _bends(tree: Node, low: float, high: float) -> list[tuple[float, float]]:
    """Return where an expression turns, and the root of its bend there."""
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
    return list(zip(left.tolist(), np.sqrt(np.abs(bends)).tolist(), strict=True))


def _halved(
    function: InPieces, centres: Centres, rough: list[tuple[float, float]]
) -> tuple[float, ...] | RefusedError:
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
        fine = _fine(function, centres, *np.array(halves).T)
        rough = [half for half, is_fine in zip(halves, fine, strict=True) if not is_fine]
        if len(points) > MOST_EXTRA:
            break
    return _unsteady(np.array([low for low, _ in rough]))


def _unsteady(x: Array) -> RefusedError:
    near = f" near x = {x[np.argmin(np.abs(x))]:.3g}" if x.size else ""
    return RefusedError(STEADY, f"It oscillates or grows ever faster, or bends too sharply{near}.")


def _fine(
    function: InPieces, centres: Centres, low: Array, high: Array, tolerance: float = RESOLVED
) -> npt.NDArray[np.bool_]:
    """Whether 16 nodes suffice on each panel, cut where the expression is and about centres."""
    low, high = np.minimum(low, high)[:, None], np.maximum(low, high)[:, None]
    inside = [low, np.clip(function.pieces.cuts, low, high), high]
    for place, length in centres:
        away = doubling_edges(length, 2 * abs(place)) if length else (high - low) * GRADES
        inside += [np.clip(place - away, low, high), np.clip(place + away, low, high)]
    edges = np.sort(np.concatenate(inside, axis=1), axis=1)
    with np.errstate(all="ignore"):
        one, two = (_sums(function, edges, cuts) for cuts in (1, 8))
        apart = np.abs(one[0] - two[0]) > tolerance * two[1] + one[2] + two[2]
    return np.asarray(~(apart & np.isfinite(one[0]) & np.isfinite(two[0])).any(axis=0))


def _sums(function: InPieces, edges: Array, cuts: int) -> tuple[Array, Array, Array]:
    """Return averages of φ, φ², φ'² and φ'⁴ over panels, their sizes and their rounding errors.

    The parts of each panel are between the edges in a row, and each is cut further.
    """
    nodes, weights = legendre_rule()
    panel, part = np.nonzero(np.diff(edges) > 0)
    width = np.diff(edges)[panel, part].repeat(cuts) / cuts
    start = edges[panel, part].repeat(cuts) + width * np.tile(np.arange(cuts), part.size)
    panel, half = panel.repeat(cuts), width[:, None] / 2
    x = start[:, None] + half + half * nodes
    weights = half * weights / (edges[panel, -1] - edges[panel, 0])[:, None]
    phi, gate = function.phi(x), function.dphi(x) ** 2
    values = np.array([phi, phi * phi, gate, gate * gate])
    noise, slope_noise = function.noise(x)
    slope = np.sqrt(gate)
    # Rounding of x moves φ by φ' and φ', where φ is steep, by about φ'²/φ.
    noise = noise + EPS * np.abs(x) * slope
    slope_noise = slope_noise + EPS * np.abs(x) * slope * np.minimum(slope / np.abs(phi), STEEPEST)
    errors = np.array(
        [noise, 2 * np.abs(phi) * noise, 2 * slope * slope_noise, 4 * slope * gate * slope_noise]
    )
    first = np.searchsorted(panel, np.arange(edges.shape[0]))
    size = np.nan_to_num(np.maximum.reduceat(np.abs(values).max(axis=2), first, axis=1), posinf=0.0)
    # Where little is left of a function, so little matters.
    far = np.abs(edges[:, [0, -1]]).max(axis=1)
    order = np.argsort(far, kind="stable")
    least = NOTHING * size[:, far <= NOT_FAR].max(axis=1, initial=0.0)
    size[:, order] = np.maximum.accumulate(np.maximum(size[:, order], least[:, None]), axis=1)
    averages, lost = (
        np.add.reduceat((weights * each).sum(axis=2), first, axis=1) for each in (values, errors)
    )
    return averages, size, np.nan_to_num(lost)
