"""Residual networks whose bulk has a given upper edge or ratio of edges, by their own law."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from isocalc import universal
from isocalc.errors import NoAnswerError
from isocalc.initialize import LARGEST, SMALLEST, c_of_condition, c_of_s_max, for_c
from isocalc.law import Law
from isocalc.law_choice import Choice, choose
from isocalc.laws import law_of, require_quick
from isocalc.network import ResNet
from isocalc.propagation import propagate

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
    from isocalc import _kernels  # noqa: F401, PLC0415 - compiled, each of some ten solutions takes a tenth

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
