"""The inverse problem for residual networks: from the spectrum that is wanted to the scale of the weights.

The inverse problem for residual networks: from the spectrum that is wanted to the scale of the weights.

Residual networks whose bulk has a given upper edge or ratio of edges, by their own law.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from isocalc.activations.averages import AverageTable
from isocalc.errors import NoAnswerError, require_network, require_number, require_whole
from isocalc.laws import universal
from isocalc.laws.law import Law
from isocalc.laws.spectrum import Choice, choose, law_of, require_quick
from isocalc.limits import LEAST_C, LEAST_CONDITION, MAX_DEPTH, MOST_C, MOST_CONDITION
from isocalc.networks.descriptions import ResNet
from isocalc.numerics.roots import Array, all_roots, root
from isocalc.signal.propagation import propagate, propagate_residual

# Scales that are searched, densely where activations change their shape.
SMALLEST, LARGEST = 1e-6, 1e6
_GRID = [*np.geomspace(SMALLEST, 4e-3, 12), *np.geomspace(1e-2, 1e2, 41), *np.geomspace(250.0, LARGEST, 12)]
# From so many blocks with skip 1 branches are looked for at fewer and then followed: c tends to a limit.
_DEEP, _LESS_DEEP = 50_000, 5_000
# The relative accuracy of c that is promised, and layers from which so many networks pay for loading Numba.
ACCURACY = 1e-8
_NUMBA_FROM = 2_000
# Half the distance in log scale over which a slope is taken; how far, and how often, steps with it go.
_CHORD, _CHORD_REACH, _CHORD_STEPS = 1e-3, 0.1, 6


def for_c(network: ResNet, c: float) -> tuple[ResNet, ...]:
    """Return the networks that differ from one in the scale of their weights and have the parameter ``c``.

    Parameters
    ----------
    network : ResNet
        Its ``sigma_w``, of blocks "preln" its ``sigma_w2``, is what is looked for.
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
    if network.depth >= _DEEP and abs(network.skip) == 1:
        near = _Curve(replace(network, depth=_LESS_DEEP), c)
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
    r = √(c (2 + c)).

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
        Greater than |skip|^depth, the singular value of a network whose weights are 0.
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


class _Curve:
    """c of networks that differ in one scale, beside the c that is wanted."""

    def __init__(self, network: ResNet, target: float) -> None:
        self.network, self.target = network, target
        self.name = "sigma_w2" if network.block == "preln" else "sigma_w"
        self._table = AverageTable(network.act)

    def at(self, scale: float) -> ResNet:
        if self.name == "sigma_w2":
            return replace(self.network, sigma_w2=scale)
        return replace(self.network, sigma_w=scale)

    def c(self, scale: float) -> float:
        """Return c, infinite where it overflows."""
        try:
            return propagate_residual(self.at(scale), self._table, _NUMBA_FROM).c
        except NoAnswerError:
            return math.inf

    def excess(self, scale: float) -> float:
        c = self.c(scale)
        return math.log(c / self.target) if 0 < c < math.inf else math.copysign(math.inf, c - 1)

    def roots(self) -> list[float]:
        def excess(scales: Array) -> Array:
            return np.array([self.excess(scale) for scale in scales.tolist()])

        return all_roots(excess, np.array(_GRID), excess(np.array(_GRID)))

    def followed(self, scale: float, near: "_Curve") -> float:
        """Return the root near that of a less deep network.

        The two are O(1/L) apart, and so are the slopes of their curves: a first step with the slope of the
        other, then secants, take two or three propagations through all layers.
        """
        ends = scale * math.exp(_CHORD), scale * math.exp(-_CHORD)
        slope = (near.excess(ends[0]) - near.excess(ends[1])) / (2 * _CHORD)
        x, y = scale, self.excess(scale)
        for _ in range(_CHORD_STEPS):
            if abs(y) <= ACCURACY / 100:
                return x
            step = -y / slope if slope else math.inf
            if not abs(step) < _CHORD_REACH:
                break
            before, x = y, x * math.exp(step)
            y = self.excess(x)
            slope = (y - before) / step if step else slope
        return self.checked(self._bracketed(scale))

    def _bracketed(self, scale: float) -> float:
        at_scale = self.excess(scale)
        for width in (1e-4, 1e-2, 0.1, 0.5, 1.0, 2.0):
            for end in (scale * math.exp(width), scale * math.exp(-width)):
                if self.excess(end) * at_scale <= 0:
                    return root(self.excess, min(scale, end), max(scale, end))
        raise NoAnswerError(
            f"the branch at {self.name} = {scale:.6g} of depth {_LESS_DEEP} was lost at {self.network.depth}"
        )

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
            where = f"{self.name} from {SMALLEST:g} to {LARGEST:g}"
            return f"c of {self.network.act.name} overflows at every {where}"
        places = " to ".join(
            f"{c:.6g} at {self.name} = {scale:.6g}" for c, scale in (min(reached), max(reached))
        )
        return (
            f"no {self.name} from {SMALLEST:g} to {LARGEST:g} gives {self.network.act.name} "
            f"c = {self.target:.6g} at depth {self.network.depth}: c goes from {places}"
        )


# Log of an edge that is near enough, of the layered and of the exact law, whose edges are solved to 1e-10.
_ENOUGH = {"universal": 1e-9, "layered": 1e-9, "exact": 1e-8}
# Gate paths with which the exact law is solved first, and how nearly.
_FEW_PATHS, _ROUGHLY = 128, 1e-5
_DEARER = ("universal", "layered", "exact")
_STEPS, _LONGEST_STEP, _CLOSED = 60, 1.0, 1e-14
# Scales after which an edge that is infinite at all of them is taken for infinite at every one.
_INFINITE = 6


class Solution(NamedTuple):
    """A network that was looked for and the law which has the edge that was wanted."""

    network: ResNet
    law: Law


class _Edge(NamedTuple):
    """What is wanted of a law: a positive number that shrinks to 0 with the weights."""

    name: str
    wanted: float
    target: float
    of: Callable[[Law], float]


def for_condition(network: ResNet, condition: float) -> tuple[Solution, ...]:
    """Return the networks that differ from one in the scale of their weights and have a ratio of edges.

    Parameters
    ----------
    network : ResNet
        Its ``sigma_w``, of blocks "preln" its ``sigma_w2``, is what is looked for.
    condition : float
        ``bulk_condition_number``, the ratio of the edges of the law, from 1.00001 to 1e300.

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
        There is none, or it takes an exact law that is not solved within seconds.

    Notes
    -----
    The universal law (Tarnowski et al., arXiv 1809.08848, eq. 18) says where to start; secants on the edges
    of the network's own law go on from there.
    """
    edge = _Edge(
        "bulk_condition_number",
        condition,
        math.log(condition),
        lambda law: law.log_edge_upper - law.log_edge_lower,
    )
    return _solutions(network, c_of_condition(condition), edge)


def for_s_max(network: ResNet, s_max: float) -> tuple[Solution, ...]:
    """Return the networks whose law has the upper edge ``s_max``: see `for_condition`."""
    c = c_of_s_max(s_max, depth=network.depth, skip=network.skip)
    centre = network.depth * math.log(abs(network.skip))
    edge = _Edge("edge_upper", s_max, math.log(s_max) - centre, lambda law: law.log_edge_upper - centre)
    return _solutions(network, c, edge)


def _solutions(network: ResNet, c: float, edge: _Edge) -> tuple[Solution, ...]:
    found: dict[float, Solution] = {}
    for start in for_c(network, c):
        solution = _own(start, edge)
        found.setdefault(round(math.log(_scale(solution.network)), 6), solution)
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


def _refined(start: ResNet, edge: _Edge, choice: Choice) -> Solution:
    """Solve for the edge of one law."""
    from isocalc.laws.free import kernels  # noqa: F401, PLC0415 - compiled, each of some ten solutions takes a tenth

    c = propagate(start).c
    slope = 2 * math.sqrt(c * (2 + c)) / universal.edge(c)  # of log edge in log scale, by the universal law
    x, enough = math.log(_scale(start)), _ENOUGH[choice.law]
    if choice.law == "exact":
        rough = _Search(partial(_law_at, start, choice, _FEW_PATHS), edge, start, choice)
        x, slope, _ = rough.root(x, slope, _ROUGHLY)
    x, _, law = _Search(partial(_law_at, start, choice, None), edge, start, choice).root(x, slope, enough)
    return Solution(_at(start, math.exp(x)), law)


def _law_at(network: ResNet, choice: Choice, paths: int | None, scale: float) -> Law:
    there = _at(network, scale)
    if choice.law == "exact":
        require_quick(there)
    return law_of(there, choice._replace(c=None), paths=paths)


def _at(network: ResNet, scale: float) -> ResNet:
    if network.block == "preln":
        return replace(network, sigma_w2=scale)
    return replace(network, sigma_w=scale)


def _scale(network: ResNet) -> float:
    return network.sigma_w2 if network.block == "preln" else network.sigma_w


class _Search:
    """Secants on the logarithm of an edge in that of the scale, kept inside of a bracket."""

    def __init__(self, law: Callable[[float], Law], edge: _Edge, network: ResNet, choice: Choice) -> None:
        self._law, self._edge, self._network, self._choice = law, edge, network, choice
        self._values: dict[float, float] = {}

    def root(self, x: float, slope: float, enough: float) -> tuple[float, float, Law]:
        """Return the logarithm of the scale, the slope there and the law."""
        low, high, last = -math.inf, math.inf, (x, math.inf)
        for _ in range(_STEPS):
            law = self._law(math.exp(x))
            value = self._values[x] = self._edge.of(law)
            if abs(value - self._edge.target) <= enough:
                return x, slope, law
            y = (
                math.log(value / self._edge.target)
                if 0 < value < math.inf
                else math.copysign(math.inf, value)
            )
            low, high = (low, x) if y > 0 else (x, high)
            if math.isfinite(last[1]) and math.isfinite(y) and (y - last[1]) * (x - last[0]) > 0:
                slope = (y - last[1]) / (x - last[0])
            last, x = (x, y), self._next(x, y, slope, (low, high))
            if not math.log(SMALLEST) <= x <= math.log(LARGEST) or high - low < _CLOSED or self._is_infinite:
                break
        raise NoAnswerError(self._none())

    @staticmethod
    def _next(x: float, y: float, slope: float, bracket: tuple[float, float]) -> float:
        low, high = bracket
        step = -y / slope if slope else math.copysign(math.inf, -y)
        new = x + min(max(step, -_LONGEST_STEP), _LONGEST_STEP)
        return new if low < new < high else (low + high) / 2

    @property
    def _is_infinite(self) -> bool:
        return len(self._values) >= _INFINITE and all(map(math.isinf, self._values.values()))

    def _none(self) -> str:
        edge, network = self._edge, self._network
        name = "sigma_w2" if network.block == "preln" else "sigma_w"
        if self._is_infinite:
            return (
                f"no {name} gives {network.act.name} {edge.name} = {edge.wanted:.6g}: at depth "
                f"{network.depth} it is by the {self._choice.law} law infinite at all scales that were tried"
            )
        near = sorted(self._values.items(), key=lambda item: abs(item[1] - edge.target))[:2]
        places = " and ".join(f"{_shown(edge, value)} at {name} = {math.exp(x):.6g}" for x, value in near)
        return (
            f"no {name} gives {network.act.name} {edge.name} = {edge.wanted:.6g} at depth {network.depth} by "
            f"the {self._choice.law} law, which it takes: the law has {places}"
        )


def _shown(edge: _Edge, value: float) -> str:
    shown = value + (math.log(edge.wanted) - edge.target)
    return f"log {edge.name} = {shown:.6g}"
