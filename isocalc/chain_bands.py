"""The intervals that carry the density of paths of gates, found by what mass is beyond each."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.chain_edges import DEAD, edge_from
from isocalc.errors import NoAnswerError
from isocalc.panel_table import PanelTable

Array = npt.NDArray[np.float64]
Solver = Callable[[Array], tuple[Array, Array]]

# Mass that counts; below the table of a density that reaches down to λ = 0.
_COUNTS, LEAST_MASS = 1e-8, 1e-8
# Distance of an atom, over the width of the law, at which a density that has not ended reaches up to it.
_TOUCHES = 1e-6
# Steps towards λ = Π a², from outside, and away from it.
_SHORTER, _MOST_SHORTER, _LONGER, _MOST_LONGER = 0.8, 80, 1.25, 40
# Share of paths closed for good from which on a law is a table on either side of λ = Π a².
_SPIKE = 0.2
_STEPS, _ROUNDS, _FINE = 64, 24, 1 / 128
# Part of the way down to where the law is not solved on which it surely is.
_SURELY, _RETREATS = 0.9, 8


class UnsolvedError(NoAnswerError):
    """The equations are not solved at one place, while at others they may be."""


class Middle(NamedTuple):
    """What is known of a law beforehand.

    Attributes
    ----------
    width : float
        About the distance of its ends from y = 0.
    persistent : float
        Probability that all gates of a path are closed, of which 2 P − 1 is a point mass at y = 0.
    reaches_zero : bool
        Whether the density has no lower end.
    """

    width: float
    persistent: float
    reaches_zero: bool

    @property
    def atom(self) -> float:
        """The point mass at y = 0."""
        return max(0.0, 2 * self.persistent - 1)


def tables(solver: Solver, middle: Middle) -> list[PanelTable]:
    """Return the law on each of its intervals, ascending.

    Raises
    ------
    NoAnswerError
        Its mass is not found.
    """
    seeds = [_live(solver, sign * middle.width / 2) for sign in (-1, 1)]
    with ThreadPoolExecutor(2) as pool:
        lowest = pool.submit(
            *((_lowest, solver, middle.width) if middle.reaches_zero else (_end, solver, seeds[0]))
        )
        high = _end(solver, seeds[1])
        low = lowest.result()
    if middle.persistent > _SPIKE and low < 0 < high:
        inner = [_inner(solver, seed, middle.width) if middle.atom else 0.0 for seed in seeds]
        found = [_table(solver, low, inner[0], middle), PanelTable(solver, inner[1], high)]
    else:
        found = [_table(solver, low, high, middle)]
    while found[-1].ends[1] > _COUNTS:
        found.append(_next(solver, found[-1].high, middle.width))
    while not middle.reaches_zero and _mass_below(found[0], middle) > 2 * _COUNTS:
        found.insert(0, _next(solver, found[0].low, -middle.width))
    return found


def _mass_below(table: PanelTable, middle: Middle) -> float:
    return 1 - table.ends[0] - (middle.atom if table.low > 0 else 0.0)


def _table(solver: Solver, low: float, high: float, middle: Middle) -> PanelTable:
    """Return the lowest table: where there is no lower end, from as far down as the law is solved."""
    for _ in range(_RETREATS):
        try:
            return PanelTable(solver, low, high)
        except UnsolvedError:
            if not middle.reaches_zero:
                raise
            low *= _SURELY
    return PanelTable(solver, low, high)


def _density(solver: Solver) -> Callable[[float], float]:
    """Return what gives the density at one place, 0 where the equations are not solved.

    Between edges they are; were they not, the mass beyond the edge found would tell.
    """

    def density(y: float) -> float:
        try:
            return float(solver(np.array([y]))[0][0])
        except UnsolvedError:
            return 0.0

    return density


def _live(solver: Solver, start: float) -> float:
    """Return the first place with a density on the way from ``start`` to y = 0."""
    density = _density(solver)
    for _ in range(_MOST_SHORTER):
        if density(start) > DEAD:
            return start
        start *= _SHORTER
    raise NoAnswerError("no density of the exact law was found")


def _end(solver: Solver, seed: float) -> float:
    return edge_from(_density(solver), seed, seed / 4)


def _lowest(solver: Solver, width: float) -> float:
    """Return where next to no mass is left below, or else where the law is still solved."""
    lowest, y = 0.0, -width
    for _ in range(_MOST_LONGER):
        try:
            survival = solver(np.array([y]))[1][0]
        except UnsolvedError:
            return _SURELY * lowest
        lowest = y
        if 1 - survival < LEAST_MASS:
            break
        y *= _LONGER
    return lowest


def _inner(solver: Solver, seed: float, width: float) -> float:
    """Return the end next to the atom of the density on the side of it where ``seed`` is."""
    density = _density(solver)
    inside, place = seed, seed * _SHORTER
    while abs(place) > _TOUCHES * width:
        if density(place) <= DEAD:
            return edge_from(density, inside, (place - inside) / 4)
        inside, place = place, place * _SHORTER
    return 0.0


def _next(solver: Solver, end: float, width: float) -> PanelTable:
    """Return the table of the next interval beyond an end: above it, or below for a negative ``width``."""
    step, place = _FINE * width, end
    for _ in range(_ROUNDS):
        y = place + step * np.arange(1.0, _STEPS + 1)
        live = np.flatnonzero(solver(y)[0] > DEAD)
        if live.size:
            inside = float(y[live[0]])
            ends = [edge_from(_density(solver), inside, sign * abs(step) / 8) for sign in (-1, 1)]
            return PanelTable(solver, *ends)
        place = float(y[-1])
    raise NoAnswerError("some of the mass of the exact law was not found")
