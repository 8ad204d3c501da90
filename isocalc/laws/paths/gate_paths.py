"""The gates of one neuron in all layers of a residual network: paths that stand for their joint law.

`gate_paths` makes them, on points that fill a unit cube evenly: shifted rank-1 lattices, found component by
component. `ChainArrays` is how the equations take them.
"""

import itertools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.tolerances import (
    COARSER,
    FORGOTTEN,
    MOST_GROUPS,
    MOST_GROUPS_OF_SHORT_MEMORY,
    MOST_SCALED,
    NEGLIGIBLE,
)
from isocalc.networks.descriptions import ResNet
from isocalc.numerics.tolerances import EPS, LATTICE
from isocalc.signal.propagation import Propagation

Array = npt.NDArray[np.float64]


def lattice(points: int, importance: Array, seed: int) -> Array:
    """Return points of a randomly shifted lattice.

    Parameters
    ----------
    points : int
        Their number n.
    importance : array, shape (d,)
        Weights of the coordinates, greater than 0.
    seed : int
        Of the shifts.

    Returns
    -------
    array, shape (n, d)
        In (0, 1).

    Notes
    -----
    The generator minimises, one component after the other, the worst-case error in the weighted space of
    functions with square-integrable mixed first derivatives (Sloan, Kuo, Joe, SIAM J. Numer. Anal. 40 (2002)
    1650).
    """
    rng = np.random.default_rng(seed)
    copies = -(-points // LATTICE)
    size = -(-points // copies)
    steps = np.outer(np.arange(size), _generator(size, importance)) / size
    shifted = [steps + rng.random(importance.size) for _ in range(copies)]
    inside = np.concatenate(shifted)[:points] % 1.0
    return np.clip(inside, EPS, 1 - EPS)


def _generator(size: int, importance: Array) -> npt.NDArray[np.int64]:
    place = np.arange(size) / size
    kernel = 2 * np.pi**2 * (place * (place - 1) + 1 / 6)
    candidates = np.arange(1, size // 2 + 1)
    candidates = candidates[np.gcd(candidates, size) == 1] if size > 1 else np.array([1])
    values = kernel[np.outer(candidates, np.arange(size)) % size]
    chosen, product = [], np.ones(size)
    for weight in importance.tolist():
        best = int(np.argmin(values @ product))
        chosen.append(int(candidates[best]))
        product = product * (1 + weight * values[best])
    return np.array(chosen)


Complex = npt.NDArray[np.complex128]


class ChainArrays(NamedTuple):
    """A chain of G groups of layers and n paths through it; a group is so many layers with the same gates.

    Attributes
    ----------
    gates : array, shape (G, n)
        φ'² of each path in each group.
    weights : array, shape (n,)
        Probabilities of the paths, of sum 1.
    on_output : bool
        Whether gates stand after the weights (post-activation) or before them.
    variances : array, shape (G,)
        Variance v of the weights of a layer, over the square of the weight of the skip connection, times the
        number of layers in the group.
    counts : array, shape (G,)
        That number.
    orthogonal : bool
        Whether weights are orthogonal.
    """

    gates: Array
    weights: Array
    on_output: bool
    variances: Array
    counts: Array
    orthogonal: bool

    @property
    def before(self) -> Array:
        """Which part of p (post-activation: of q), which no gates multiply, a group has before the other."""
        return (1 + (1 if self.on_output else -1) / self.counts) / 2

    @property
    def after(self) -> Array:
        """Which part it has after the other."""
        return 1 - self.before


class GatePaths(NamedTuple):
    """Paths through the groups of layers of a network.

    Attributes
    ----------
    chain : ChainArrays
        The paths that are computed on; groups without open gates are left out.
    persistent : float
        Probability that all gates of a path are closed.
    exact : bool
        Whether these paths are all there are, with their probabilities.
    places : array, shape (G,)
        The middle layer of each group.
    """

    chain: ChainArrays
    persistent: float
    exact: bool
    places: Array

    def states_from(self, other: "GatePaths", states: Complex) -> Complex:
        """Return about the states, shape (n, 2G), of these paths where ``states`` are those of others."""
        if self.places.size == other.places.size:
            return states
        own, known = (np.tile(np.log(paths.chain.variances), 2) for paths in (self, other))
        halves = np.split(states - known, 2, axis=1)
        moved = [[np.interp(self.places, other.places, row) for row in half] for half in halves]
        return np.asarray(np.concatenate([np.array(half) for half in moved], axis=1) + own)


class _Groups(NamedTuple):
    """Groups of neighbouring layers: how many each has, the place of its middle, q there and E φ'²."""

    counts: Array
    place: Array
    q: Array
    gate: Array


def gate_paths(network: ResNet, signal: Propagation, paths: int, *, other: int = 0) -> GatePaths:
    """Return paths of the gates of a residual network, post- or pre-activation.

    Parameters
    ----------
    network : ResNet
        With ``sigma_w`` greater than 0.
    signal : Propagation
        Of the network.
    paths : int
        Number of paths, at most.
    other : int
        Above 0 other paths are returned, and fewer groups of layers, to compare with.

    Returns
    -------
    GatePaths

    Raises
    ------
    NoAnswerError
        The signal overflows, or gates forget too fast for groups of layers in a deep network.

    Notes
    -----
    Pre-activation: gates of x^0, x^1, ..., jointly Gaussian with covariance a^(l − k) q_k, k <= l; the points
    of a lattice in their principal axes, the largest first. Post-activation: gates of independent h^l, all
    patterns where there are few. In either case E φ'² of each layer is made exact, but for gates that
    open so rarely that few paths or none meet them.
    """
    groups = _grouped(network, signal, coarser=other > 0)
    pre, seed = network.branch.acts_on_stream, 1 + other
    exact = False
    if network.act.is_linear:
        gates, weights = groups.gate[:, None].copy(), np.ones(1)
        exact = True
    elif not pre and (found := _patterns(network, groups, paths)):
        gates, weights = found
        exact = True
    else:
        points = _pre_points(network, groups, paths, seed) if pre else _post_points(groups, paths, seed)
        gates, weights = _gates_at(network, groups, points), np.full(paths, 1 / paths)
    return _of(network, groups, gates, weights, exact=exact)


def _grouped(network: ResNet, signal: Propagation, *, coarser: bool) -> _Groups:
    depth = network.depth
    if not np.isfinite(signal.q).all():
        raise NoAnswerError(f"the signal overflows, so that the gates of {network.act.name} are not known")
    unit = network.skip / network.sigma_w
    gate = signal.c_per_layer * unit * unit
    if depth <= MOST_GROUPS:
        return _Groups(np.ones(depth), np.arange(depth, dtype=float), signal.q, gate)
    correlated = network.branch.acts_on_stream
    wanted = math.ceil(depth * abs(math.log(abs(network.skip))) / FORGOTTEN) if correlated else 0
    size = min(depth, max(MOST_GROUPS, wanted))
    if size > MOST_GROUPS_OF_SHORT_MEMORY:
        raise NoAnswerError(
            f"with skip {network.skip!r} gates of {depth} layers forget too fast for the exact law, which "
            f"would need {size} groups of layers and has {MOST_GROUPS_OF_SHORT_MEMORY}; take the layered law"
        )
    size = round(size * COARSER) if coarser else size
    ends = np.linspace(0.0, depth, size + 1)
    place, layers = (ends[1:] + ends[:-1] - 1) / 2, np.arange(depth)
    counts = np.diff(ends)
    summed = np.interp(ends, np.arange(depth + 1), np.append(0.0, np.cumsum(gate)))
    return _Groups(counts, place, np.interp(place, layers, signal.q), np.diff(summed) / counts)


def _patterns(network: ResNet, groups: _Groups, most: int) -> tuple[Array, Array] | None:
    """Return all patterns of gates that are constant on pieces, with their weights, if there are few."""
    kinds = len({slope * slope for slope in network.act.slopes or ()})
    if not kinds or groups.counts.max() > 1 or groups.q.size * math.log(kinds) > math.log(most):
        return None
    laws = [network.act.gate_masses(q) for q in groups.q.tolist()]
    patterns = list(itertools.product(*laws))
    gates = np.array([[value for value, _ in pattern] for pattern in patterns]).T
    weights = np.array([math.prod(mass for _, mass in pattern) for pattern in patterns])
    return gates, weights


def _pre_points(network: ResNet, groups: _Groups, paths: int, seed: int) -> Array:
    """Return x of each path in each group, shape (G, paths)."""
    order = np.arange(groups.q.size)
    earlier = np.minimum(order[:, None], order)
    distance = np.abs(groups.place[:, None] - groups.place)
    with np.errstate(under="ignore"):
        covariance = groups.q[earlier] * abs(network.skip) ** distance
    if network.skip < 0 and groups.counts.max() == 1:
        covariance *= (-1.0) ** distance
    unit = groups.q.max()
    values, axes = np.linalg.eigh(covariance / unit)
    spread = np.sqrt(unit * np.maximum(values[::-1], 0.0))
    normal = _normal(paths, 1 / (1.0 + order) ** 2, seed, folded=network.act.odd)
    return np.asarray((axes[:, ::-1] * spread) @ normal)


def _post_points(groups: _Groups, paths: int, seed: int) -> Array:
    importance = np.full(groups.q.size, min(1.0, 4 / groups.q.size))
    return np.asarray(np.sqrt(groups.q)[:, None] * _normal(paths, importance, seed, folded=False))


def _normal(paths: int, importance: Array, seed: int, *, folded: bool) -> Array:
    """Return independent standard normal coordinates, shape (d, paths); folded: of the first its size."""
    points = lattice(paths, importance, seed)
    if folded:  # of gates that do not know x from −x
        points[:, 0] = (1 + points[:, 0]) / 2
    flat = points.T.ravel().tolist()
    return np.fromiter(map(NormalDist().inv_cdf, flat), float, len(flat)).reshape(points.T.shape)


def _gates_at(network: ResNet, groups: _Groups, x: Array) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        gates = network.act.dphi(x) ** 2
        if groups.counts.max() == 1:
            return np.asarray(gates)
        if network.branch.acts_on_stream:  # one x in all layers of a group, or x and −x in turn
            return np.asarray((gates + network.act.dphi(-x) ** 2) / 2 if network.skip < 0 else gates)
        mean = gates.mean(axis=1, keepdims=True)
        return np.asarray(mean + (gates - mean) / np.sqrt(groups.counts)[:, None])


def _of(network: ResNet, groups: _Groups, gates: Array, weights: Array, *, exact: bool) -> GatePaths:
    mean = gates @ weights
    if not np.isfinite(mean).all():
        raise NoAnswerError(f"gates of {network.act.name} overflow on some paths")
    per_layer = network.sigma_w / network.skip
    per_layer *= per_layer / network.depth
    with np.errstate(over="ignore", under="ignore"):
        effect = groups.counts * np.minimum(per_layer * groups.gate, 1.0)
        kept = (mean > 0) & (effect > NEGLIGIBLE * effect.sum())
        scale = np.clip(groups.gate[kept] / mean[kept], 1 / MOST_SCALED, MOST_SCALED)
    gates = gates[kept] * scale[:, None]
    persistent = float(weights[~gates.any(axis=0)].sum()) if kept.any() else 1.0
    counts = groups.counts[kept]
    chain = ChainArrays(
        np.ascontiguousarray(gates),
        weights,
        network.branch.acts_last,
        per_layer * counts,
        counts,
        network.weights == "orthogonal",
    )
    return GatePaths(chain, persistent, exact, groups.place[kept])
