"""φ and φ' of an expression as functions of arrays, defined and finite for every x or refused."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.expression_functions import Numbers
from isocalc.expression_noise import rounding
from isocalc.expression_pieces import Pieces, crossings, samples, touchings
from isocalc.expression_rewriting import ONE, node
from isocalc.expression_text import nodes
from isocalc.expression_tree import Node, RefusedError, value_and_slope, value_of

Array = npt.NDArray[np.float64]

DEFINED, FINITE = "defined for every x", "finite for every x, and its derivative too"
# An expression must be finite up to here; beyond, powers of x may overflow.
_NEAR = 1e6
_WITHIN = np.unique(
    np.concatenate(
        [[0.0], np.geomspace(1e-300, 1e-3, 300), np.arange(0.01, 100, 0.01), np.geomspace(100, _NEAR, 2000)]
    )
)
_FAR = np.append(2.0 ** np.arange(20, 1024), np.finfo(float).max)
# An overflow from below this is none of φ but of its parts; beyond x = 10^40 φ goes on as a line then.
_TRULY_LARGE, _FAR_ENOUGH = 1e200, 1e40


class PieceFunction(NamedTuple):
    """An expression, whole and in smooth pieces."""

    tree: Node
    pieces: Pieces
    low: float = -np.inf
    high: float = np.inf
    """Beyond, φ is continued as a straight line."""

    def phi(self, x: Array) -> Array:
        """Return φ at an array of real x."""
        near, parts = self._sorted(x)
        value = np.empty_like(near)
        for chosen, part in parts:
            value[chosen] = value_of(part, near[chosen])
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
        return slope

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
    for low, high, part in pieces.intervals():
        for each in reversed([*nodes(part)]):
            _require_defined(each, low, high)
    function = PieceFunction(tree, pieces)
    high = _known_to(function, 1.0)
    return function._replace(low=-_known_to(function, -1.0), high=high)


def _require_defined(tree: Node, low: float, high: float) -> None:
    """Refuse an operation that is not defined or not smooth on an interval, ends included."""
    match tree:
        case Node("div", (_, v)):
            places, what = _zeros(v, low, high), "It divides by 0"
        case Node("tan", (u,)):
            places, what = _zeros(node("cos", u), low, high), "tan is infinite"
        case Node("log" | "sqrt" as name, (u,)):
            places, what = _not_positive(u, low, high), f"The argument of {name} is not greater than 0"
        case Node("log1p", (u,)):
            places = _not_positive(node("add", ONE, u), low, high)
            what = "The argument of a logarithm is not greater than 0"
        case Node("pow", (u,), p) if not p.is_integer():
            places, what = (
                _not_positive(u, low, high),
                f"What is raised to the power {p:g} is not greater than 0",
            )
        case _:
            return
    if places:
        raise RefusedError(DEFINED, f"{what} at x = {min(places, key=abs) + 0.0:.4g}.")


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


def _known_to(function: PieceFunction, side: float) -> float:
    """Return |x| up to which φ and φ' can be computed; refuse those that are not finite."""
    near = side * _WITHIN
    bad = np.flatnonzero(~_finite(function, near))
    if bad.size:
        raise _not_finite(function, near[max(bad[0] - 1, 0)], near[bad[0]])
    x = np.asarray(side * _FAR)
    values = function.phi(x), function.dphi(x)
    known = np.inf
    for each in values:
        overflows = np.flatnonzero(~np.isfinite(each))
        if overflows.size and not _truly_large(each, overflows[0]):
            known = min(known, float(_FAR[max(overflows[0] - 1, 0)]))
    if known < _FAR_ENOUGH:
        raise _not_finite(function, side * known, 2 * side * known)
    return known


def _truly_large(values: Array, first: int) -> bool:
    """Whether values overflow, from this one on, because they grow like a power."""
    rest = values[first:]
    return bool(np.isinf(rest).all() and abs(values[first - 1]) > _TRULY_LARGE)


def _finite(function: PieceFunction, x: Array) -> npt.NDArray[np.bool_]:
    return np.isfinite(function.phi(x)) & np.isfinite(function.dphi(x))


def _not_finite(function: PieceFunction, good: float, bad: float) -> RefusedError:
    for _ in range(60):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if _finite(function, np.array([middle]))[0] else (good, middle)
    return RefusedError(FINITE, f"The expression is not finite at x = {bad + 0.0:.4g}.")
