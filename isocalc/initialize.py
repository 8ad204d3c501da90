"""The inverse problem for residual networks: from the spectrum that is wanted to the scale of the weights."""

import math
from dataclasses import replace

import numpy as np

from isocalc import universal
from isocalc.average_table import AverageTable
from isocalc.branches import all_roots
from isocalc.errors import NoAnswerError
from isocalc.limits import LEAST_C, LEAST_CONDITION, MAX_DEPTH, MOST_C, MOST_CONDITION
from isocalc.network import ResNet, require_network, require_number, require_whole
from isocalc.propagation import propagate_residual
from isocalc.roots import bracketed_root, root_in_log

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
    """Solve edge(c) = edge: its slope in log c is √(c (2 + c))."""

    def excess(c: float) -> tuple[float, float]:
        return universal.edge(c) - edge, math.sqrt(c) * math.sqrt(2 + c)

    # edge is between √(2c) and 2c + 2√(2c).
    return root_in_log(excess, min(edge * edge, edge) / 32, max(edge * edge, edge), rising=True)


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
        return all_roots(self.excess, _GRID, [self.excess(scale) for scale in _GRID])

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
                    return bracketed_root(self.excess, min(scale, end), max(scale, end))
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
