"""The inverse problem for residual networks: from the spectrum that is wanted to the scale of the weights.

`for_c` finds every scale with a parameter c, theory (10), and so the universal law that is wanted;
`for_condition` and `for_s_max` go on from there to the network whose own law has a ratio of edges, or an
upper edge: theory (36).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from isocalc.activations.averages import AverageTable
from isocalc.activations.definition import Function
from isocalc.design.tolerances import (
    ACCURACY,
    CHORD,
    CLOSED,
    DEEP,
    FEW_PATHS,
    FEWEST_TOGETHER,
    LARGEST_SCALE,
    LESS_DEEP,
    LONGEST_FOLLOWED,
    LONGEST_STEP,
    MOST_INFINITE,
    MOST_STEPS,
    NUMBA_FROM,
    ROUGHLY,
    SMALLEST_SCALE,
)
from isocalc.errors import NoAnswerError, require_network, require_number, require_whole
from isocalc.laws import universal
from isocalc.laws.law import Law
from isocalc.laws.spectrum import Choice, choose, law_of, require_quick
from isocalc.limits import LEAST_C, LEAST_CONDITION, MAX_DEPTH, MOST_C, MOST_CONDITION
from isocalc.networks.descriptions import ResNet
from isocalc.numerics.roots import Array, all_roots, root
from isocalc.signal.propagation import c_of_scales, propagate, propagate_residual

# Scales that are searched, densely where activations change their shape.
_GRID = [
    *np.geomspace(SMALLEST_SCALE, 4e-3, 12),
    *np.geomspace(1e-2, 1e2, 41),
    *np.geomspace(250.0, LARGEST_SCALE, 12),
]
# Laws by what they cost.
_DEARER = ("universal", "layered", "exact")


class Solution(NamedTuple):
    """A network that was looked for and the law which has the edge that was wanted."""

    network: ResNet
    law: Law


def for_c(network: ResNet, c: float) -> tuple[ResNet, ...]:
    """Return the networks that differ from one in the scale of their weights and have the parameter ``c``.

    Parameters
    ----------
    network : ResNet
        Its ``sigma_w``, of two matrices its ``sigma_w2``, is what is looked for.
    c : float
        The parameter (effective cumulant) that is wanted, from 1e-12 to 1e6.

    Returns
    -------
    tuple of ResNet
        One for each solution from 1e-6 to 1e6, by ascending scale; ``isocalc.propagate`` gives each the
        parameter to a relative 1e-8 or better.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        There is none; the message says what can be reached, and where.

    Notes
    -----
    Solutions are sign changes of c(σ) − c on 65 scales, and pairs about a turning point between them; from
    depth 50,000 with skip 1 they are those at depth 5,000, followed to the network's own. c is that of
    Tarnowski et al., arXiv 1809.08848, eq. (14) to (17): theory (10).

    Examples
    --------
    >>> [round(net.sigma_w, 12) for net in for_c(ResNet("relu"), 0.5)]
    [1.0]
    """
    require_network(network, ResNet)
    rule = f"a number from {LEAST_C:g} to {MOST_C:g}"
    c = require_number("c", c, rule, lambda value: LEAST_C <= value <= MOST_C)
    curve = _Curve(network, c)
    if network.depth >= DEEP and abs(network.skip) == 1:
        near = _Curve(replace(network, depth=LESS_DEEP), c)
        roots = [curve.followed(scale, near) for scale in near.roots()]
    else:
        roots = [curve.checked(scale) for scale in curve.roots()]
    if not roots:
        raise NoAnswerError(curve.none_reached())
    return tuple(curve.at(scale) for scale in roots)


def like(network: ResNet, other: ResNet) -> tuple[ResNet, ...]:
    """Return the networks that differ from one in the scale of their weights and have the other's ``c``.

    Parameters, returns and errors are those of `for_c`; a c of the other beyond its range has no answer.
    """
    require_network(other, ResNet)
    c = propagate_residual(other).c
    if not LEAST_C <= c <= MOST_C:
        raise NoAnswerError(
            f"{other.act.name} has c = {c:.6g} here; scales are found for c from {LEAST_C:g} to {MOST_C:g}"
        )
    return for_c(network, c)


def for_condition(network: ResNet, condition: float, *, bulk: bool = False) -> tuple[Solution, ...]:
    """Return the networks that differ from one in the scale of their weights and have a condition number.

    Parameters
    ----------
    network : ResNet
        Its ``sigma_w``, of two matrices its ``sigma_w2``, is what is looked for.
    condition : float
        ``condition_number`` of the law's network, the ratio of its extreme singular values, from 1.00001 to
        1e300.
    bulk : bool
        Whether it is ``bulk_condition_number``, the ratio of the edges of the law, outliers left out.

    Returns
    -------
    tuple of Solution
        With the law that ``spectrum(network)`` takes, whose ratio it is: to a relative 1e-8, of the
        exact law the one of its gate paths, which stand for the network's to its ``error``.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        There is none, it takes an exact law that is not solved within seconds, or outliers are not derived.

    Notes
    -----
    The universal law, theory (33) and (36), says where to start; secants on the edges
    of the network's own law go on from there, and on its outliers where it has some.
    """
    c = c_of_condition(condition)
    wanted = condition, math.log(condition)
    edge = _Edge("bulk_condition_number", *wanted, lambda law: law.log_edge_upper - law.log_edge_lower)
    own = _Edge("condition_number", *wanted, lambda law: law.log_s_max - law.log_s_min)
    return _solutions(network, c, edge, None if bulk else own)


def for_s_max(network: ResNet, s_max: float, *, bulk: bool = False) -> tuple[Solution, ...]:
    """Return the networks that differ from one in the scale of their weights and have this largest s.

    Parameters
    ----------
    network : ResNet
    s_max : float
        ``s_max`` of the law's network, greater than |skip|^depth.
    bulk : bool
        Whether it is ``edge_upper``, the upper edge of the law, outliers left out.

    Returns
    -------
    tuple of Solution
        As of `for_condition`, which has the errors too.
    """
    c = c_of_s_max(s_max, depth=network.depth, skip=network.skip)
    centre = network.depth * math.log(abs(network.skip))
    wanted = s_max, math.log(s_max) - centre
    edge = _Edge("edge_upper", *wanted, lambda law: law.log_edge_upper - centre)
    own = _Edge("s_max", *wanted, lambda law: law.log_s_max - centre)
    return _solutions(network, c, edge, None if bulk else own)


def c_of_condition(condition: float) -> float:
    """Return the parameter at which the universal law has this ratio of its edges.

    Parameters
    ----------
    condition : float
        From 1.00001 to 1e300.

    Raises
    ------
    InvalidInputError
        It is not.

    Notes
    -----
    The inverse of ``UniversalLaw(c).bulk_condition_number`` = e^edge, edge = log(1 + c + r) + r,
    r = √(c (2 + c)): theory (36).

    Examples
    --------
    >>> round(c_of_condition(21.09442324774693), 12)
    1.0
    """
    rule = f"a number from {LEAST_CONDITION} to {MOST_CONDITION:g}"
    fits = LEAST_CONDITION, MOST_CONDITION
    condition = require_number("condition", condition, rule, lambda value: fits[0] <= value <= fits[1])
    return _c_of_edge(math.log(condition))


def c_of_s_max(s_max: float, *, depth: int = 1, skip: float = 1.0) -> float:
    """Return the parameter at which the universal law's upper edge is ``s_max``.

    Parameters
    ----------
    s_max : float
        Singular value, greater than |skip|^depth, the singular value of a network whose weights are 0.
    depth : int
        Number of blocks L.
    skip : float
        The weight a of the skip connection, not 0.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        No c from 1e-12 to 1e6 gives that s_max.

    Notes
    -----
    The inverse of ``UniversalLaw(c, depth=depth, skip=skip).edge_upper``: theory (36).
    """
    s_max = require_number("s_max", s_max, "a finite number greater than 0", lambda value: value > 0)
    skip = require_number("skip", skip, "a finite number other than 0", lambda value: value != 0)
    centre = require_whole("depth", depth, 1, MAX_DEPTH) * math.log(abs(skip))
    edge = 2 * (math.log(s_max) - centre)
    if not universal.edge(LEAST_C) <= edge <= universal.edge(MOST_C):
        if edge < universal.edge(LEAST_C):
            reason = (
                f"weights of any scale raise it above |skip|^depth, of logarithm {centre:.6g}; ask for more"
            )
        else:
            most = centre + universal.edge(MOST_C) / 2
            reason = f"its logarithm is searched up to {most:.6g}, that of c = {MOST_C:g}; ask for less"
        raise NoAnswerError(
            f"edge_upper = {s_max!r}, of logarithm {math.log(s_max):.6g}, cannot be reached: {reason}"
        )
    return _c_of_edge(edge)


def _c_of_edge(edge: float) -> float:
    """Solve edge(c) = edge, which is between √(2c) and 2c + 2√(2c)."""
    ends = min(edge * edge, edge) / 32, max(edge * edge, edge)
    return root(lambda c: math.log(universal.edge(c) / edge), *ends)


class _Known(NamedTuple):
    """What is known of networks that differ in one scale."""

    table: AverageTable
    c: dict[float, float]


@lru_cache(maxsize=64)
def _known(network: ResNet, _: Function) -> _Known:
    """Return what targets of one network share; φ itself tells activations of one name apart."""
    return _Known(AverageTable(network.act), {})


class _Curve:
    """c of networks that differ in one scale, beside the c that is wanted."""

    def __init__(self, network: ResNet, target: float) -> None:
        self.network, self.target = network, target
        self.name = network.branch.scale
        self._known = _known(network.with_branch_scale(1.0), network.act.phi)

    def at(self, scale: float) -> ResNet:
        return self.network.with_branch_scale(scale)

    def c(self, scale: float) -> float:
        """Return c, infinite where it overflows."""
        known = self._known.c
        if scale not in known:
            try:
                known[scale] = propagate_residual(self.at(scale), self._known.table, NUMBA_FROM).c
            except NoAnswerError:
                known[scale] = math.inf
        return known[scale]

    def _follow_together(self, scales: Array) -> None:
        """Follow the signal through networks of many scales, layer by layer through all of them."""
        network, known = self.network, self._known.c
        new = scales[[scale not in known for scale in scales.tolist()]]
        if new.size >= FEWEST_TOGETHER and network.depth < NUMBA_FROM and not network.branch.normalises:
            c = c_of_scales(network, new, self._known.table)
            known.update(zip(new.tolist(), c.tolist(), strict=True))

    def _grid(self) -> Array:
        """Return the scales between which c can be what is wanted: c is a mean of (scale/skip)² E φ'²."""
        grid = np.array(_GRID)
        if self.network.branch.normalises:
            return grid
        least, most = self._known.table.gate_range
        wanted = self.target * self.network.skip**2
        first = max(int(np.searchsorted(grid, math.sqrt(wanted / most))) - 1, 0)
        last = int(np.searchsorted(grid, math.sqrt(wanted / least))) + 1 if least else grid.size
        return grid[first:last]

    def excess(self, scale: float) -> float:
        c = self.c(scale)
        return math.log(c / self.target) if 0 < c < math.inf else math.copysign(math.inf, c - 1)

    def roots(self) -> list[float]:
        def excess(scales: Array) -> Array:
            self._follow_together(scales)
            return np.array([self.excess(scale) for scale in scales.tolist()])

        grid = self._grid()
        return all_roots(excess, grid, excess(grid))

    def followed(self, scale: float, near: "_Curve") -> float:
        """Return the root near that of a less deep network.

        The two are O(1/L) apart, and so are the slopes of their curves: a first step with the slope of the
        other, then secants, take two or three propagations through all layers.
        """
        ends = scale * math.exp(CHORD), scale * math.exp(-CHORD)
        slope = (near.excess(ends[0]) - near.excess(ends[1])) / (2 * CHORD)
        x = math.log(scale)
        found = _secants(lambda y: self.excess(math.exp(y)), x, slope, ACCURACY / 100, LONGEST_FOLLOWED)
        if found is None:
            raise NoAnswerError(
                f"the branch at {self.name} = {scale:.6g} of depth {LESS_DEEP} was lost at "
                f"{self.network.depth}"
            )
        return math.exp(found[0])

    def checked(self, scale: float) -> float:
        c = self.c(scale)
        if not abs(c / self.target - 1) <= ACCURACY:
            raise NoAnswerError(
                f"c of {self.network.act.name} is too steep at {self.name} = {scale!r} for doubles: "
                f"it goes through {self.target:.6g}, and is {c:.6g} there"
            )
        return scale

    def none_reached(self) -> str:
        """Say which c can be reached, and where."""
        reached = [(c, scale) for scale in _GRID if (c := self.c(scale)) < math.inf]
        if not reached:
            where = f"{self.name} from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}"
            return f"c of {self.network.act.name} overflows at every {where}"
        places = " to ".join(
            f"{c:.6g} at {self.name} = {scale:.6g}" for c, scale in (min(reached), max(reached))
        )
        return (
            f"no {self.name} from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g} gives {self.network.act.name} "
            f"c = {self.target:.6g} at depth {self.network.depth}: c goes from {places}"
        )


class _Edge(NamedTuple):
    """What is wanted of a law: a positive number that shrinks to 0 with the weights."""

    name: str
    wanted: float
    target: float
    of: Callable[[Law], float]


def _solutions(network: ResNet, c: float, edge: _Edge, own: _Edge | None) -> tuple[Solution, ...]:
    found: dict[float, Solution] = {}
    for start in for_c(network, c):
        solution = _own(start, edge)
        if own is not None:
            solution = _with_outliers(solution, own)
        found.setdefault(round(math.log(solution.network.branch_scale), 6), solution)
    return tuple(found[place] for place in sorted(found))


def _own(start: ResNet, edge: _Edge) -> Solution:
    """Return the network near one that the universal law gives, where its own law is another."""
    choice = choose(start)
    if choice.law == "universal":
        return Solution(start, law_of(start, choice))
    while True:
        solution = _refined(start, edge, choice)
        own = choose(solution.network)
        if _DEARER.index(own.law) <= _DEARER.index(choice.law):
            return solution
        start, choice = solution.network, own


def _with_outliers(solution: Solution, edge: _Edge) -> Solution:
    """Return the network near one that the edges of its law give, where it has outliers."""
    if solution.law.not_derived is not None:
        raise NoAnswerError(
            f"{edge.name} is not known: {solution.law.not_derived}", ("take the edges of the law",)
        )
    if not solution.law.outliers.size:
        return solution
    laws = set[str]()
    while (choice := choose(solution.network)).law not in laws:
        laws.add(choice.law)
        solution = _refined(solution.network, edge, choice)
    return solution


def _refined(start: ResNet, edge: _Edge, choice: Choice) -> Solution:
    """Solve for the edge of one law."""
    c = propagate(start).c
    slope = 2 * math.sqrt(c * (2 + c)) / universal.edge(c)  # of log edge in log scale, by the universal law
    x, search = math.log(start.branch_scale), _Search(edge, start, choice)
    if choice.law == "exact":
        x, slope, _ = search.root(x, slope, ROUGHLY, FEW_PATHS)
    x, _, law = search.root(x, slope, ACCURACY if choice.law == "exact" else ACCURACY / 10)
    return Solution(start.with_branch_scale(math.exp(x)), law)


def _law_at(network: ResNet, choice: Choice, paths: int | None, scale: float) -> Law:
    there = network.with_branch_scale(scale)
    if choice.law == "exact":
        require_quick(there)
    return law_of(there, choice._replace(c=None), paths=paths)


class _Search:
    """The laws of networks that differ in one scale, and their edges beside the one that is wanted."""

    def __init__(self, edge: _Edge, network: ResNet, choice: Choice) -> None:
        self._edge, self._network, self._choice = edge, network, choice

    def root(
        self, x: float, slope: float, enough: float, paths: int | None = None
    ) -> tuple[float, float, Law]:
        """Return the logarithm of the scale, the slope of that of the edge there, and the law."""
        tried: dict[float, float] = {}
        laws: list[Law] = []

        def excess(x: float) -> float:
            laws[:] = [_law_at(self._network, self._choice, paths, math.exp(x))]
            value = tried[x] = self._edge.of(laws[0])
            if len(tried) >= MOST_INFINITE and all(map(math.isinf, tried.values())):
                raise NoAnswerError(self._all_infinite())
            return (
                math.log(value / self._edge.target)
                if 0 < value < math.inf
                else math.copysign(math.inf, value)
            )

        found = _secants(excess, x, slope, enough / self._edge.target, LONGEST_STEP)
        if found is None:
            raise NoAnswerError(self._none(tried))
        return *found, laws[0]

    def _all_infinite(self) -> str:
        edge, network = self._edge, self._network
        return (
            f"no {network.branch.scale} gives {network.act.name} {edge.name} = {edge.wanted:.6g}: at depth "
            f"{network.depth} it is by the {self._choice.law} law infinite at all scales that were tried"
        )

    def _none(self, tried: dict[float, float]) -> str:
        edge, network = self._edge, self._network
        name = network.branch.scale
        near = sorted(tried.items(), key=lambda item: abs(item[1] - edge.target))[:2]
        places = " and ".join(f"{_shown(edge, value)} at {name} = {math.exp(x):.6g}" for x, value in near)
        return (
            f"no {name} gives {network.act.name} {edge.name} = {edge.wanted:.6g} at depth {network.depth} by "
            f"the {self._choice.law} law, which it takes: the law has {places}"
        )


def _shown(edge: _Edge, value: float) -> str:
    shown = value + (math.log(edge.wanted) - edge.target)
    return f"log {edge.name} = {shown:.6g}"


def _secants(
    excess: Callable[[float], float], x: float, slope: float, enough: float, longest: float
) -> tuple[float, float] | None:
    """Return where a function of log scale is within ``enough`` of 0, and its slope there.

    Secants from ``x`` on, with a first slope that is known, kept inside of a bracket. ``None`` where they
    leave the scales that are searched or do not settle.
    """
    low, high, rising, last = -math.inf, math.inf, slope >= 0, (x, math.inf)
    for _ in range(MOST_STEPS):
        y = excess(x)
        if abs(y) <= enough:
            return x, slope
        low, high = (low, x) if (y > 0) == rising else (x, high)
        apart = x - last[0]
        if math.isfinite(y - last[1]) and apart and ((y - last[1]) / apart > 0) == rising:
            slope = (y - last[1]) / apart
        step = -y / slope if slope else math.copysign(math.inf, -y)
        last, ahead = (x, y), x + min(max(step, -longest), longest)
        x = ahead if low < ahead < high else (low + high) / 2
        if not math.log(SMALLEST_SCALE) <= x <= math.log(LARGEST_SCALE) or high - low < CLOSED:
            return None
    return None
