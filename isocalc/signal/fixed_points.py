"""Fixed points of signal propagation in feed-forward networks: q*, χ, the phase and the depth scales.

Poole et al., arXiv 1606.05340; Schoenholz et al., arXiv 1611.01232: theory (12) to (17). Networks of one
activation are solved for together; one network is a set of one. E φ² and its slope do not depend on σ_w and
σ_b: all networks of one activation are searched on one grid of q.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, by_octaves, second_moment_and_slope
from isocalc.activations.catalogue import Activation
from isocalc.activations.definition import Function
from isocalc.errors import (
    InvalidInputError,
    IsocalcError,
    NoAnswerError,
    NoFixedPointError,
    require_network,
)
from isocalc.networks.descriptions import FeedForward
from isocalc.numerics.roots import find_roots
from isocalc.signal.correlation import StableCorrelations
from isocalc.signal.tolerances import (
    AT_ONCE,
    CRITICAL,
    FARTHEST_Q,
    LARGEST_SIGMA,
    NEXT_TO_ZERO,
    SAME,
    SMALLEST_SIGMA,
)

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Phase = Literal["ordered", "critical", "chaotic"]
Answer = tuple["FixedPoint", ...] | IsocalcError


class VarianceMaps(NamedTuple):
    """q → σ_w² E φ² + σ_b² of networks of one activation, arrays of shape (n,)."""

    act: Activation
    weight: Array
    bias: Array

    def excess(self, network: Indices, q: Array) -> tuple[Array, Array]:
        """Return log(value/q) and its slope in log q at one q > 0 for each of the networks."""
        ratio, trend = self.ratio(network, q, *_second_moments(self.act, q))
        with np.errstate(divide="ignore"):
            return np.log(ratio), trend

    def ratio(self, network: Indices, q: Array, second: Array, slope: Array) -> tuple[Array, Array]:
        """Return value/q and the slope of its logarithm in log q, from E φ² and its slope, broadcast."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            value = self.weight[network] * second + self.bias[network]
            return value / q, q * self.weight[network] * slope / value - 1

    def on(self, network: Indices, q: Array) -> tuple[Array, Array]:
        """Return value/q − 1 and the same slope for some networks on a grid of q, shape (n, k)."""
        ratio, trend = self.ratio(network[:, None], q, *second_moment_and_slope(self.act, q))
        return ratio - 1, trend


def _second_moments(act: Activation, q: Array) -> tuple[Array, Array]:
    """Return E φ² and its slope at q > 0, shape (n,), interpolated where there are many."""
    if act.closed_averages is not None or act.scale_free:
        return second_moment_and_slope(act, q)
    distinct = np.array(sorted(set(q.tolist())))
    place = np.searchsorted(distinct, q)

    def both(q: Array) -> Array:
        second, slope = second_moment_and_slope(act, q)
        return np.column_stack((second, second + q * slope))

    second, beside = by_octaves(both, distinct).T[:, place]
    return second, (beside - second) / q


class Roots(NamedTuple):
    """Where variance maps meet the diagonal."""

    network: Indices
    """Number of the network, shape (k,), ascending, and within it ascending q"""
    q: Array
    """Shape (k,); NaN where the root was not reached"""
    falls_at_zero: Flags
    """Shape (n,): whether the slope is 1 at the root 0 to rounding, and higher orders pull q back to 0"""
    grows: Flags
    """Shape (n,): whether the map is above the diagonal beyond its last root"""
    everywhere: Flags
    """Shape (n,): whether the map is the diagonal; its one root is NaN then"""


class _Brackets(NamedTuple):
    """Between which q there are roots, arrays of shape (k,)."""

    network: Indices
    low: Array
    high: Array
    start: Array
    rising: Flags


def variance_roots(maps: VarianceMaps) -> Roots:
    """Return every q >= 0 where the maps meet the diagonal; where rounding hides their side, they do not."""
    at_zero = averages(maps.act, 0.0)
    value = maps.weight * float(at_zero.second) + maps.bias
    grid = _grid(maps, value)
    excess, trend = maps.on(np.arange(value.size), grid)
    above, clear = excess > 0, np.abs(excess) > CRITICAL
    # Where a map is too near to the diagonal its side is rounding's: a clear place is held against the last
    # clear one before it.
    place = np.maximum.accumulate(np.where(clear, np.arange(grid.size), -1), axis=1)
    network, right = np.nonzero(clear[:, 1:] & (place[:, :-1] >= 0))
    right += 1
    left = place[network, right - 1]
    turning = np.sign(excess) * np.sign(trend)
    crosses = above[network, left] != above[network, right]
    turns = ~crosses & (turning[network, left] < 0) & (turning[network, right] > 0)
    brackets = [_refined(maps, network[crosses], grid[left[crosses]], grid[right[crosses]])]
    network, left, right = network[turns], left[turns], right[turns]
    if network.size:
        with np.errstate(divide="ignore"):
            heights = np.array((np.broadcast_to(grid, excess.shape), np.log1p(excess), trend))
        ends = heights[:, network, left], heights[:, network, right]
        brackets += _touching(maps, network, *ends, above[network, left])
    found = _Brackets(*map(np.concatenate, zip(*brackets, strict=True)))
    signs = np.where(found.rising, np.inf, -np.inf)
    q = find_roots(
        lambda chosen, q: maps.excess(found.network[chosen], q),
        found.low,
        found.high,
        (-signs, signs),
        start=found.start,
    ).x
    from_zero = np.flatnonzero(value == 0)
    network = np.concatenate((from_zero, found.network))
    q = np.concatenate((np.zeros(from_zero.size), q))
    order = np.lexsort((q, network))
    every, last = np.arange(value.size), np.maximum(place[:, -1], 0)
    marginal = (value == 0) & (np.abs(maps.weight * float(at_zero.gate) - 1) <= CRITICAL)
    below = ~(above & clear)[every, np.argmax(clear, axis=1)]
    grows = (above & clear)[every, last]
    return Roots(network[order], q[order], marginal & below, grows, np.zeros_like(grows))


def _grid(maps: VarianceMaps, at_zero: Array) -> Array:
    """Return q from far below to far above anything φ can tell apart, dense where it changes shape."""
    shortest, longest = maps.act.length_range
    low, high = 1e-3 * shortest**2, 1e3 * longest**2
    starts = np.maximum(np.minimum(1e-15 * low, at_zero / 16), maps.bias / 2)
    lowest = float(np.where(at_zero > 0, starts, 1e-15 * low).min())
    highest = max(1e15 * high, 1e6 * float(at_zero.max()))
    with np.errstate(over="ignore", invalid="ignore"):
        second = second_moment_and_slope(maps.act, np.array([highest]))[0]
        image = float((maps.weight * second + maps.bias).max())
    highest = max(highest, 16 * image) if image < math.inf else highest

    def spread(start: float, stop: float, factor: float) -> Array:
        if not start < stop:
            return np.empty(0)
        return np.geomspace(start, stop, 2 + int(math.log(stop / start) / math.log(factor)))

    parts = (
        spread(lowest, min(low, highest), 8.0),
        spread(max(low, lowest), high, 2.0),
        spread(max(high, lowest), highest, 8.0),
    )
    return np.concatenate(parts)


def _refined(maps: VarianceMaps, network: Indices, left: Array, right: Array) -> _Brackets:
    """Return brackets within intervals of the grid, starting where a cubic has the root.

    The first of several roots is kept apart from the others. Networks of one interval share averages inside
    of it; Newton's steps, each at its own q, do not.
    """
    low, high, start = (np.empty(network.size) for _ in range(3))
    rising = np.empty(network.size, dtype=bool)
    for ends in set(zip(left.tolist(), right.tolist(), strict=True)):
        chosen = np.flatnonzero((left == ends[0]) & (right == ends[1]))
        fine = np.geomspace(*ends, 17)
        excess, trend = maps.on(network[chosen], fine)
        k = np.argmax((excess[:, 1:] > 0) != (excess[:, :1] > 0), axis=1)
        before, after = (np.arange(chosen.size), k), (np.arange(chosen.size), k + 1)
        low[chosen], high[chosen], rising[chosen] = fine[k], fine[k + 1], excess[after] > 0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = np.log(fine[k + 1] / fine[k])
            within = _inverse_cubic(step, excess[before], trend[before], excess[after], trend[after])
        within = np.where((within > 0) & (within < step), within, step / 2)
        start[chosen] = np.clip(fine[k] * np.exp(within), fine[k], fine[k + 1])
    return _Brackets(network, low, high, start, rising)


def _inverse_cubic(step: Array, before: Array, rate: Array, after: Array, last_rate: Array) -> Array:
    """Return where between 0 and ``step`` a function is 0, from values and derivatives at both ends."""
    rise = after - before
    t, chord = -before / rise, step / rise
    bend = (1 - t) * (1 / rate - chord) - t * (1 / last_rate - chord)
    return np.asarray(rise * t * (chord + (1 - t) * bend))


def _touching(
    maps: VarianceMaps, network: Indices, left: Array, right: Array, above: Flags
) -> list[_Brackets]:
    """Return brackets of both roots where a map turns back between two points on one side and has crossed.

    ``left`` and ``right`` are q, log(value/q) and its slope in log q at the points, shape (3, n).
    """
    found: list[_Brackets] = []
    # Heights over the diagonal on that side of it, below 0 beyond, and their slopes.
    side = np.where(above, 1.0, -1.0)
    sign = np.array((np.ones_like(side), side, side))
    left, right, low, high = sign * left, sign * right, left[0], right[0]
    for _ in range(60):  # halves of an interval of doubles are points before
        if not network.size:
            break
        kept = _may_touch(left, right)
        network, sign, low, high = network[kept], sign[:, kept], low[kept], high[kept]
        left, right = left[:, kept], right[:, kept]
        q = np.sqrt(left[0]) * np.sqrt(right[0])
        here = sign * np.array((q, *maps.excess(network, q)))
        hit = here[1] < -CRITICAL
        for below, beyond, rising in ((low, q, sign[1] < 0), (q, high, sign[1] > 0)):
            start = np.sqrt(below) * np.sqrt(beyond)
            found.append(_Brackets(network[hit], below[hit], beyond[hit], start[hit], rising[hit]))
        left, right = np.where(here[2] < 0, here, left), np.where(here[2] < 0, right, here)
        network, sign, low, high = network[~hit], sign[:, ~hit], low[~hit], high[~hit]
        left, right = left[:, ~hit], right[:, ~hit]
    return found


def _may_touch(left: Array, right: Array) -> Flags:
    """Tell whether functions above 0 that turn back between two points may reach it there.

    Points, heights and slopes are those at both ends. A convex function is above both tangents, and so above
    where they meet; for one that bends otherwise too the tangents are taken twice as steep.
    """
    (q, before, falls), (end, after, rises) = left, right
    width, falls, rises = np.log(end / q), 2 * falls, 2 * rises
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = np.clip((before - after + rises * width) / (rises - falls), 0.0, width)
        return np.asarray(np.maximum(before + falls * meet, after - rises * (width - meet)) <= 0)


@dataclass(frozen=True)
class FixedPoint:
    """A stable fixed point of signal propagation in a feed-forward network.

    ``xi_c`` and ``c_star`` are computed when they are asked for, which takes up to a second; most of those of
    networks that were solved for together, together.

    Attributes
    ----------
    q_star : float or None
        Variance of the pre-activations; ``None`` where every q is a fixed point. At 0 the other numbers are
        limits q → 0+.
    chi : float
        χ = σ_w² E φ'², the mean squared singular value of one layer.
    phase : {"ordered", "critical", "chaotic"}
        χ below, at or above 1 (within 16 rounding units). Where φ jumps, two inputs part however near they
        are, c* < 1: it is "chaotic" at every χ, but at q* = 0.
    xi_q, xi_c : float or None
        Depth scales of the variance and of the correlation of two inputs, in layers; ``inf`` at criticality.
        ``xi_c`` is ``None`` where two inputs have no stable correlation.
    c_star : float or None
        The stable correlation of two inputs that belongs to ``xi_c``.
    relative_variance : float
        Relative variance Var λ / (E λ)² that one layer adds, weights included; ``inf`` where gates open ever
        more rarely as q → 0 = q*, or without weights.
    escape : float or None
        A larger q from which the variance grows without bound instead; ``None`` where there is none.
    network : FeedForward
        The network.
    """

    q_star: float | None
    chi: float
    phase: Phase
    xi_q: float
    relative_variance: float
    escape: float | None
    network: FeedForward = field(repr=False, compare=False)
    _correlations: StableCorrelations = field(repr=False, compare=False)
    _place: int = field(default=0, repr=False, compare=False)

    @property
    def xi_c(self) -> float | None:
        """Depth scale of the correlation of two inputs, in layers."""
        slope = self._correlation[1]
        return None if slope is None else depth_scale(slope)

    @property
    def c_star(self) -> float | None:
        """Stable correlation of two inputs."""
        return self._correlation[0]

    @cached_property
    def _correlation(self) -> tuple[float | None, float | None]:
        return self._correlations.at(self._place)

    @property
    def mean_lambda(self) -> float:
        """Mean squared singular value of one layer, χ."""
        return self.chi


def fixed_points(network: FeedForward) -> tuple[FixedPoint, ...]:
    """Return all stable fixed points of the variance map q → σ_w² E φ(√q z)² + σ_b², smallest first.

    Parameters
    ----------
    network : FeedForward
        With ``sigma_w`` and ``sigma_b`` 0 or from 1e-100 to 1e10.

    Returns
    -------
    tuple of FixedPoint
        At least one. Accurate to 1e-14 times the conditioning of the problem.

    Raises
    ------
    InvalidInputError
        ``sigma_w`` or ``sigma_b`` is outside that range, or ``network`` is not feed-forward.
    NoFixedPointError
        There is none: q grows without bound.

    Notes
    -----
    Poole et al., arXiv 1606.05340; Schoenholz et al., arXiv 1611.01232: theory (12) to (17).
    """
    require_network(network, FeedForward)
    (answer,) = fixed_points_of([network])
    if isinstance(answer, IsocalcError):
        raise answer
    return answer


def fixed_points_of(networks: Sequence[FeedForward]) -> list[Answer]:
    """Return what :func:`isocalc.fixed_points` returns or raises for each network.

    Networks of one activation share their Gaussian averages.
    """
    answers: list[Answer] = [()] * len(networks)
    together: dict[int, list[int]] = {}
    for i, network in enumerate(networks):
        together.setdefault(id(network.act), []).append(i)
    for members in together.values():
        for start in range(0, len(members), AT_ONCE):
            chosen = members[start : start + AT_ONCE]
            for i, answer in zip(chosen, _of_one_activation([networks[i] for i in chosen]), strict=True):
                answers[i] = answer
    return answers


def _of_one_activation(networks: Sequence[FeedForward]) -> list[Answer]:
    act, refusals = networks[0].act, [refusal_of(network) for network in networks]
    sigmas = [
        (1.0, 0.0) if refusal else (network.sigma_w, network.sigma_b)
        for network, refusal in zip(networks, refusals, strict=True)
    ]
    stable = stable_points(VarianceMaps(act, *(np.array(sigmas).T ** 2)))
    network = stable.network.tolist()
    escapes = [None if math.isnan(escape) else escape for escape in stable.escape.tolist()]
    points = _described([networks[i] for i in network], stable.q, escapes, stable.layer)
    found: list[list[FixedPoint]] = [[] for _ in networks]
    for i, point in zip(network, points, strict=True):
        found[i].append(point)
    lost = set(np.flatnonzero(stable.lost).tolist())
    return [
        refusal
        or (NoAnswerError(f"a fixed point of {act.name} was not reached") if i in lost else None)
        or tuple(found[i])
        or no_fixed_point(one)
        for i, (one, refusal) in enumerate(zip(networks, refusals, strict=True))
    ]


class StablePoints(NamedTuple):
    """Stable fixed points of variance maps of one activation."""

    network: Indices
    """Number of the map, shape (k,), ascending, and within it ascending q"""
    q: Array
    """Shape (k,); NaN where every q is a fixed point"""
    escape: Array
    """Shape (k,): from where the variance grows without bound, NaN where it does not"""
    layer: "OneLayer"
    """At the points, shape (k,)"""
    lost: Flags
    """Shape (n,): whether a root of the map was not reached"""


def stable_points(maps: VarianceMaps) -> StablePoints:
    """Return the stable fixed points of maps."""
    roots = _scale_free_roots(maps) if maps.act.scale_free else variance_roots(maps)
    lost = np.zeros(maps.weight.size, dtype=bool)
    lost[roots.network[np.isnan(roots.q) & ~roots.everywhere[roots.network]]] = True
    last = np.full(maps.weight.size, np.nan)
    last[roots.network] = roots.q  # of several numbers for one place numpy keeps the last
    escape = np.where(roots.grows, last, np.nan)
    # No slope is below -1/2, since z² − 1 >= −1: q never oscillates.
    layer = one_layer(maps.act, roots.q)
    stable = maps.weight[roots.network] * layer.slope < 1
    stable |= roots.everywhere[roots.network] | ((roots.q == 0) & roots.falls_at_zero[roots.network])
    network = roots.network[stable]
    return StablePoints(
        network, roots.q[stable], escape[network], OneLayer(*(part[stable] for part in layer)), lost
    )


def refusal_of(network: FeedForward) -> InvalidInputError | None:
    """Return what is raised where a scale has no fixed points to speak of."""
    for parameter, value in (("sigma_w", network.sigma_w), ("sigma_b", network.sigma_b)):
        if value and not SMALLEST_SIGMA <= value <= LARGEST_SIGMA:
            rule = f"0 or from {SMALLEST_SIGMA:g} to {LARGEST_SIGMA:g} at a fixed point"
            return InvalidInputError(parameter, rule, value)
    return None


def _scale_free_roots(maps: VarianceMaps) -> Roots:
    """Return the one fixed point of each map, a line; NaN where every q is one."""
    slope = maps.weight * averages(maps.act, 1.0).gate
    everywhere = (np.abs(slope - 1) <= CRITICAL) & (maps.bias == 0)
    network = np.flatnonzero(everywhere | (slope < 1))
    never = np.zeros(slope.size, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(everywhere, np.nan, maps.bias / (1 - slope))
    return Roots(network, q[network], never, never, everywhere)


def fixed_point_at(network: FeedForward, q_star: float | None, escape: float | None = None) -> FixedPoint:
    """Return the fixed point of a network that is known to be at a variance q*; ``None`` where all are."""
    q = np.array([math.nan if q_star is None else q_star])
    return _described([network], q, [escape], one_layer(network.act, q))[0]


class OneLayer(NamedTuple):
    """What one layer does at variances q, of a network with σ_w = 1."""

    slope: Array
    """Slope of E φ² in q"""
    gate: Array
    """E φ'²"""
    excess: Array
    """E φ'⁴ / (E φ'²)² − 1"""


def one_layer(act: Activation, q: Array) -> OneLayer:
    """Return what one layer does at q >= 0, shape (n,); at 0 the limits q → 0+, at NaN what any q has."""
    q = np.where(np.isnan(q), 1.0, q)
    if act.closed_averages is None and not act.scale_free and (q > 0).any():
        own, slope, fourth = (np.empty(q.size) for _ in range(3))
        at_zero, positive = averages(act, 0.0), q > 0
        own[:], slope[:], fourth[:] = at_zero.gate, at_zero.gate, at_zero.gate_squared
        found = by_octaves(lambda q: _of_layer(act, q), q[positive])
        own[positive], fourth[positive], slope[positive] = found.T
        slope[positive] /= q[positive]
    else:
        known = averages(act, q)
        own, fourth, slope, positive = known.gate, known.gate_squared, known.gate.copy(), q > 0
        slope[positive] = second_moment_and_slope(act, q[positive])[1]
    gate = own
    if not gate.all():
        limit = averages(act, NEXT_TO_ZERO * act.length_range[0] ** 2)
        gate, fourth = np.where(gate, gate, limit.gate), np.where(gate, fourth, limit.gate_squared)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return OneLayer(slope, own, np.where(gate, fourth / gate / gate - 1, np.inf))


def _of_layer(act: Activation, q: Array) -> Array:
    """Return E φ'², E φ'⁴ and q times the slope of E φ² at variances q > 0, shape (n, 3)."""
    known = averages(act, q)
    slope = second_moment_and_slope(act, q)[1]
    return np.column_stack((known.gate, known.gate_squared, q * slope))


def _described(
    networks: Sequence[FeedForward], q: Array, escapes: Sequence[float | None], layer: OneLayer
) -> list[FixedPoint]:
    """Return fixed points of networks of one activation, each at its q, NaN where every q is one."""
    if not networks:
        return []
    with np.errstate(over="ignore"):
        weight, bias = np.array([(network.sigma_w, network.sigma_b) for network in networks]).T ** 2
    chi, slope = weight * layer.gate, weight * layer.slope
    correlations = StableCorrelations(networks[0].act, q, weight, bias, chi)
    return [
        FixedPoint(
            q_star=None if math.isnan(q[i]) else float(q[i]),
            chi=float(chi[i]),
            phase=_phase(network, float(q[i]), float(chi[i])),
            xi_q=depth_scale(float(slope[i])),
            relative_variance=float(layer.excess[i]) + (network.weights == "gaussian")
            if weight[i]
            else math.inf,
            escape=escapes[i],
            network=network,
            _correlations=correlations,
            _place=i,
        )
        for i, network in enumerate(networks)
    ]


def _phase(network: FeedForward, q: float, chi: float) -> Phase:
    if network.act.jumps and network.sigma_w and q > 0:
        return "chaotic"
    return "critical" if abs(chi - 1) <= CRITICAL else "ordered" if chi < 1 else "chaotic"


def depth_scale(slope: float) -> float:
    """Return −1/log|slope|, the layers in which a deviation falls by a factor e; inf at |slope| = 1."""
    size = abs(slope)
    if size == 0:
        return 0.0
    return math.inf if abs(size - 1) <= CRITICAL else -1 / math.log(size)


def depth_scales(slope: Array) -> Array:
    """Return what `depth_scale` does for each of many slopes, NaN for NaN."""
    size = np.abs(slope)
    with np.errstate(divide="ignore"):
        return np.where(np.abs(size - 1) <= CRITICAL, np.inf, -1 / np.log(size))


def limit_network(network: FeedForward) -> FeedForward | None:
    """Return what a network whose variance grows without bound is like as q → ∞.

    Parameters
    ----------
    network : FeedForward
        Without a fixed point.

    Returns
    -------
    FeedForward or None
        A network whose gates have their law of q → ∞ in all layers: φ seen from far out is two straight lines
        that meet at 0; where φ'² is periodic, its phase is uniform. ``None`` where φ'² has no limit.
    """
    act = network.act
    if act.far_slopes is not None:
        return replace(network, activation=_two_lines(f"{act.name} as q -> infinity", *act.far_slopes))
    return replace(network, input_variance=FARTHEST_Q) if math.isfinite(act.period) else None


def _two_lines(name: str, left: float, right: float) -> Activation:
    """Return an activation with these slopes on either side of 0."""
    return Activation(
        name=name,
        phi=lambda x: np.where(x < 0, left, right) * x,
        dphi=lambda x: np.where(x.real < 0, left, right) + 0 * x,
        breakpoints=(0.0,) if left != right else (),
        slopes=(left, right) if left != right else (left,),
        odd=left == right,
    )


def no_fixed_point(network: FeedForward) -> NoFixedPointError:
    """Return what is raised where there is none."""
    return NoFixedPointError(
        f"{network.act.name} has no fixed point here: q grows without bound, {_growth(network)}"
    )


def _growth(network: FeedForward) -> str:
    """Say how the variance grows where it does so without bound."""
    act, weight, bias = network.act, network.sigma_w * network.sigma_w, network.sigma_b * network.sigma_b
    if act.scale_free:
        slope = weight * float(averages(act, 0.0).gate)
        if abs(slope - 1) <= CRITICAL:
            return f"by sigma_b^2 = {bias:.6g} a layer"
        return f"by a factor {'that tends to' if bias else 'of'} {slope:.6g} a layer"
    near, far = (weight * ratio for ratio in _ratios_far_out(act, act.phi))
    if abs(far - near) <= SAME * near:
        return f"by a factor that tends to {far:.6g} a layer"
    return f"by a factor that {'falls' if far < near else 'rises'} from layer to layer"


@lru_cache(maxsize=32)
def _ratios_far_out(act: Activation, _: Function) -> tuple[float, float]:
    """Return E φ²/q at two q where biases do not count; φ itself tells activations of one name apart."""
    q = max(act.length_range[1], LARGEST_SIGMA) ** 2 * np.array([1e20, 1e40])
    with np.errstate(over="ignore", invalid="ignore"):
        first, second = (averages(act, q).second / q).tolist()
    return first, second
