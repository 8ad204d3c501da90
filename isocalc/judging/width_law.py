"""A law as the singular values of networks of finite width are expected to follow it: `WidthLaw`.

Width decides how many singular values are not 0 (`expected_rank`), where the extreme ones are and how much
they fluctuate: the lowest of N has a mass of about 1/N below it, on the scale of Tracy and Widom's law. A
residual network in which few neurons respond can send a singular value beyond the edges (`lone_neurons`). The
law's distribution function becomes a table (`law_table`), for thousands of singular values at once.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages
from isocalc.errors import NoAnswerError
from isocalc.judging.allowances import (
    AT_ATOM,
    BRIDGED,
    EDGE_MASS,
    EDGE_PART,
    FINER,
    LAYERS,
    POINTS,
    ROUNDING,
    SAME_GATE,
    SAME_VARIANCE,
    SINGLE_NOISE,
)
from isocalc.laws.gates.nodes import gate_rule
from isocalc.laws.law import Law
from isocalc.laws.spectrum import spectrum
from isocalc.laws.tolerances import LARGEST
from isocalc.limits import GOOD_ENOUGH
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.numerics.special import exp_or_inf
from isocalc.signal.propagation import propagate
from isocalc.simulation.simulate import Dtype, Gates


class Rank(NamedTuple):
    """The rank of a Jacobian as a random number, over N_0.

    Attributes
    ----------
    mean : float
        Expected share of the singular values that are not 0, in [0, 1].
    deviation : float
        Standard deviation of that share from one network to the next.
    """

    mean: float = 1.0
    deviation: float = 0.0


FULL = Rank()


def expected_rank(network: ResNet | FeedForward, width: int | None) -> Rank:
    """Return the rank of J at finite width, for gates that open independently of each other.

    The rank is that of the narrowest layer, counted in open gates: the minimum of N_0 and of one binomial
    count for each layer. Where many layers open with the same probability p it falls short of the limit p N
    by a part of √N (ReLU, N = 300, L = 10: 0.456 N instead of N/2). A residual network has full rank.

    Parameters
    ----------
    network : ResNet or FeedForward
    width : int or None
        N of every layer; of no consequence where the network has ``layer_widths``.

    Returns
    -------
    Rank

    Raises
    ------
    NoAnswerError
        There is no fixed point to start from.
    """
    if isinstance(network, ResNet):
        return FULL
    if network.sigma_w == 0:
        return Rank(0.0, 0.0)
    widths = network.layer_widths or (width or 0,) * (network.depth + 1)
    layers = Counter(zip(widths[1:], _opening(network), strict=True))
    return least_rank(widths[0], layers)


def _opening(network: FeedForward) -> list[float]:
    """Return the probability that φ' ≠ 0, for each layer."""
    if network.act.scale_free:
        return [1 - gate_rule(network.act, 1.0).zero_mass] * network.depth
    variances = propagate(network).q.tolist()
    alike = {_rounded(q): q for q in variances}
    opening = {key: 1 - gate_rule(network.act, q).zero_mass for key, q in alike.items()}
    return [opening[_rounded(q)] for q in variances]


def _rounded(q: float) -> float:
    return round(math.log(q) / SAME_VARIANCE) if q > 0 else -math.inf


def least_rank(inputs: int, layers: Counter[tuple[int, float]]) -> Rank:
    """Return the rank of a chain of layers, counted by width and by the probability that a gate is open."""
    from scipy.special import bdtrc  # noqa: PLC0415 - most networks do not need it

    fewest = min(inputs, *(width for width, _ in layers))
    if all(opening == 1 for _, opening in layers):
        return Rank(fewest / inputs, 0.0)
    counts = np.arange(fewest)
    above = np.ones(fewest)
    for (width, opening), times in layers.items():
        if opening < 1:
            above *= bdtrc(counts, width, opening) ** times
    mean = float(above.sum())
    variance = float(((2 * counts + 1) * above).sum()) - mean * mean
    return Rank(mean / inputs, math.sqrt(max(variance, 0.0)) / inputs)


def lone_neurons(network: ResNet | FeedForward) -> float:
    """Return how much the gates of a residual network vary between neurons.

    Returns
    -------
    float
        Relative variance of φ'², averaged over the layers with weights c_l², over the depth, and over ρ of a
        hidden layer; 0 where it is at most 1, and for feed-forward networks, whose law knows it.
    """
    if not isinstance(network, ResNet):
        return 0.0
    found = propagate(network)
    some = np.unique(np.linspace(0, network.depth - 1, LAYERS).round().astype(int))
    gates = averages(network.act, np.minimum(found.q[some], LARGEST))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        squares = np.square(found.c_per_layer[some] / found.c_per_layer[some].max())
        relative = gates.gate_squared / gates.gate / gates.gate - 1
    known = np.isfinite(relative) & (squares > 0)
    mean = float(np.average(relative[known], weights=squares[known])) if known.any() else 0.0
    neurons = network.hidden_ratio if network.branch.has_hidden_layer else 1.0
    # Gates that are 0 or 1 half of the time have 1, and none of them is far above the mean.
    return mean / (network.depth * neurons) if mean > 1 + SAME_GATE else 0.0


Array = npt.NDArray[np.float64]


def law_table(law: Law) -> tuple[Array, Array]:
    """Tabulate a law's distribution function.

    Parameters
    ----------
    law : Law
        In the variable "log".

    Returns
    -------
    place, mass : arrays, shape (n,)
        Log s and the mass at or below it, ascending, from the mass at s = 0 to 1, for linear interpolation to
        1e-5; a point mass has two entries. Empty where all is at s = 0. Towards s = 0 and infinity the table
        ends where a mass of 1e-9 is left.

    Raises
    ------
    NoAnswerError
        The law is not known at some places, with more than 1e-3 of the mass between their neighbours.
    """
    place, mass = _continuous(law)
    at_zero = sum(weight for where, weight in law.atoms if where == -math.inf)
    mass = mass + at_zero
    for where, weight in law.atoms:
        if where > -math.inf:
            k = int(np.searchsorted(place, where))
            before = float(np.interp(where, place, mass)) if place.size else at_zero
            place = np.concatenate((place[:k], [where, where], place[k:]))
            mass = np.concatenate((mass[:k], [before, before + weight], mass[k:] + weight))
    if place.size:
        mass[0], mass[-1] = at_zero, 1.0
    return place, mass


def upper_part(table: tuple[Array, Array], share: float) -> tuple[Array, Array]:
    """Return the part of a table that has a share of the mass, in (0, 1], from above."""
    place, mass = table
    rest = max(1 - share, mass[0])
    first = max(int(np.searchsorted(mass, rest, side="right")) - 1, 0)
    start = np.interp(rest, mass, place)
    return np.append(start, place[first + 1 :]), np.append(rest, mass[first + 1 :])


def _continuous(law: Law) -> tuple[Array, Array]:
    """Return places from end to end of the density and its mass below them."""
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - only where a simulation is judged

    if not law.support():
        return np.empty(0), np.empty(0)
    grid = np.unique(law.grid(POINTS))
    inner, mass = _solved(law, grid[1:-1])
    for where, weight in law.atoms:
        mass = mass - weight * (where <= inner)
    whole = 1 - math.fsum(weight for _, weight in law.atoms)
    x = np.concatenate((grid[:1], inner, grid[-1:]))
    mass = np.maximum.accumulate(np.clip(np.concatenate(([0.0], mass, [whole])), 0.0, 1.0))
    across = np.diff(mass)[np.searchsorted(x, np.setdiff1d(grid, x)) - 1]
    if (across > BRIDGED).any():
        raise NoAnswerError(f"the solver finds no way to a part of this law's mass, {across.max():.2g}")
    finer = np.interp(np.arange((x.size - 1) * FINER + 1) / FINER, np.arange(x.size), x)
    return finer, np.maximum.accumulate(np.asarray(PchipInterpolator(x, mass)(finer)))


def _solved(law: Law, x: Array) -> tuple[Array, Array]:
    """Return the distribution function at x, without the points that the solver does not reach."""
    try:
        return x, law.cdf(x)
    except NoAnswerError:
        if x.size == 1:
            return np.empty(0), np.empty(0)
        halves = [_solved(law, half) for half in np.array_split(x, 2)]
        found, mass = (np.concatenate(parts) for parts in zip(*halves, strict=True))
        return found, mass


@dataclass(frozen=True, eq=False)
class WidthLaw:
    """A law of log s at N → ∞, and what is known beforehand of networks of width N.

    Where the rank at width N falls short of the limit's, the law's smallest singular values are taken to be
    the ones that are 0.

    Parameters
    ----------
    law : Law
        In any variable.
    width : int
        N; of a chain of rectangular layers N_0.
    rank : Rank
        Share of the singular values that are not 0 at this width.
    log_mean_lambda : float or None
        Logarithm of the mean squared singular value; ``None`` where it is not known.
    strays : int
        How many singular values may leave the law at each end: one where gates are correlated with the
        weights in the direction of the signal; two where LayerNorm lets nothing of the signal and of the mean
        pass.
    lone_neurons : float
        Relative variance of φ'² over the depth of a residual network, where it is above 1; 0 otherwise.
        From 1/8 on a single neuron can send a singular value beyond the edges.
    noise : float
        Rounding of small singular values as a share of the largest: 0 for float64, which keeps them all.
    error : float
        Mass by which the law's distribution function may be off.
    above, below : tuple of float
        Log s of the outliers that are predicted, N → ∞, from either end inwards.
    excess : float or None
        The limit of N (E λ at width N − E λ of the law); ``None`` where it is not derived.
    not_derived : str or None
        Why outliers are not predicted, as a sentence; ``None`` where they are.
    """

    law: Law
    width: int
    rank: Rank = FULL
    log_mean_lambda: float | None = None
    strays: int = 0
    lone_neurons: float = 0.0
    noise: float = 0.0
    error: float = 0.0
    above: tuple[float, ...] = ()
    below: tuple[float, ...] = ()
    excess: float | None = None
    not_derived: str | None = None

    @classmethod
    def of(
        cls,
        network: ResNet | FeedForward,
        width: int | None,
        *,
        gates: Gates = "own",
        dtype: Dtype = "float64",
        law: Law | None = None,
    ) -> Self:
        """Return the law of a network as seen at a width.

        Parameters
        ----------
        network : ResNet or FeedForward
        width : int or None
            ``None`` where the network has ``layer_widths``.
        gates : {"own", "independent"}
        dtype : {"float64", "float32"}
            Of the simulation.
        law : Law, optional
            By default the layered law. What it states as its error is allowed for up to 0.002: a larger one
            is for the simulation to find.

        Raises
        ------
        NoAnswerError
            As `spectrum`.
        """
        law = spectrum(network, law="layered") if law is None else law
        chain = network.layer_widths if isinstance(network, FeedForward) else None
        branch = network.branch
        return cls(
            law,
            chain[0] if chain else width or 0,
            expected_rank(network, width),
            _log_mean_lambda(network, law),
            strays=2 if branch.normalises else int(gates == "own" and not branch.acts_on_stream),
            lone_neurons=lone_neurons(network),
            noise=SINGLE_NOISE * math.sqrt(network.depth) if dtype == "float32" else 0.0,
            error=law.error if law.error is not None and law.error <= GOOD_ENOUGH else 0.0,
        ).expecting(law if gates == "own" else None)

    def expecting(self, law: Law | None) -> Self:
        """Return the same with the outliers that a law knows of; without a law there are none."""
        if law is None:
            return replace(self, excess=0.0)
        try:
            if law.not_derived is not None:
                return replace(self, not_derived=law.not_derived)
            above, below = law.log_s_of_outliers
        except NoAnswerError as error:
            return replace(self, not_derived=str(error))
        strays = max(self.strays, int(bool(above or below)))
        return replace(self, above=above, below=below, excess=law.excess, strays=strays)

    @property
    def limit(self) -> Self:
        """The same as N → ∞, where the rank is that of the law, and outliers have no weight."""
        at_zero = sum(mass for where, mass in self.law.using("log").atoms if where == -math.inf)
        return replace(self, rank=Rank(1 - at_zero, 0.0), excess=0.0)

    @property
    def mean_at_width(self) -> float | None:
        """Logarithm of the mean squared singular value at this width, with what outliers add."""
        if self.log_mean_lambda is None or not self.excess:
            return self.log_mean_lambda
        ratio = self._excess_ratio
        return self.log_mean_lambda + math.log1p(ratio) if -1 < ratio < math.inf else None

    @property
    def outliers_share(self) -> float:
        """What part of the mean squared singular value at this width outliers make."""
        if self.log_mean_lambda is None or not self.excess:
            return 0.0
        ratio = abs(self._excess_ratio)
        return ratio / (1 + ratio) if ratio < math.inf else 1.0

    @property
    def _excess_ratio(self) -> float:
        """The excess over N E λ of the law."""
        excess, log_mean = self.excess or 0.0, self.log_mean_lambda or 0.0
        return math.copysign(exp_or_inf(math.log(abs(excess) / self.width) - log_mean), excess)

    @property
    def count(self) -> float:
        """Expected number of singular values that are not 0."""
        return self.width * self.rank.mean

    @property
    def zero_mass(self) -> float:
        """Expected share of the singular values that are 0."""
        return 1 - self.rank.mean

    @property
    def places(self) -> float:
        """What the law's error displaces, in places of the width."""
        return self.error * self.width

    @property
    def vanishes(self) -> bool:
        """Whether all singular values are 0."""
        return self.rank.mean == 0 or self._whole[0].size == 0

    @property
    def is_point(self) -> bool:
        """Whether the part that is not 0 is a single point mass."""
        return not self.vanishes and self.edges[0] == self.edges[1]

    def cdf(self, log_s: Array) -> tuple[Array, Array]:
        """Return the mass below log s and the mass at or below."""
        place, mass = self._rest
        below = at_or_below = np.interp(log_s, place, mass, left=self.zero_mass, right=1.0)
        below = np.where(log_s == -math.inf, 0.0, below)
        for where, _ in self.atoms:
            before, after = mass[place == where][[0, -1]]
            below = np.where(log_s == where, before, below)
            at_or_below = np.where(log_s == where, after, at_or_below)
        return below, at_or_below

    def ppf(self, share: npt.ArrayLike) -> Array:
        """Quantiles of the part that is not 0; below 0, of those that the law has and this width lacks."""
        place, mass = self._whole
        return np.interp(self.zero_mass + self.rank.mean * np.asarray(share, dtype=float), mass, place)

    @cached_property
    def mean(self) -> float:
        """Mean of log s over the part that is not 0."""
        if self.rank.mean == 1:
            return self.law.mean_log_s
        place, mass = self._rest
        return float(np.sum(np.diff(mass) * (place[1:] + place[:-1]))) / (2 * self.rank.mean)

    @cached_property
    def var(self) -> float:
        """Variance of log s over the part that is not 0."""
        place, mass = self._rest
        square = (place - self.mean) ** 2
        return float(np.sum(np.diff(mass) * (square[1:] + square[:-1]))) / (2 * self.rank.mean)

    @property
    def edges(self) -> tuple[float, float]:
        """Ends of the law itself, apart from s = 0; infinite where it has no edge."""
        law = self.law.using("log")
        return law.log_edge_lower, law.log_edge_upper

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """Expected smallest and largest log s."""
        low, high = self.ppf([EDGE_MASS / self.count, 1 - EDGE_MASS / self.count]).tolist()
        return low, high

    @cached_property
    def spacings(self) -> tuple[float, float]:
        """Scales of the fluctuations of the smallest and the largest log s: from the edges, if there are."""
        beyond = EDGE_MASS * EDGE_PART / self.count
        (low, high), (bottom, top) = self.extremes, self.ppf([beyond, 1 - beyond]).tolist()
        return (low - bottom) / (1 - EDGE_PART ** (2 / 3)), (top - high) / (1 - EDGE_PART ** (2 / 3))

    @cached_property
    def reach(self) -> tuple[float, float]:
        """Places of the first and the last of N values: half of a value is beyond each."""
        low, high = self.ppf([0.5 / self.count, 1 - 0.5 / self.count]).tolist()
        return low, high

    @property
    def rounding(self) -> float:
        """How far rounding may displace simulated log s."""
        exact = ROUNDING * (1 + abs(self.mean))
        return exact + self.noise * math.exp(self.reach[1] - self.mean) if self.noise else exact

    @cached_property
    def steepest(self) -> float:
        """Largest density of log s, as far as rounding tells places apart."""
        place, mass = self._rest
        return float((np.diff(mass) / np.maximum(np.diff(place), self.rounding)).max())

    @cached_property
    def participation(self) -> float:
        """E λ² / (E λ)²: on fewer places a few singular values make up the mean of λ."""
        place, mass = self._rest
        weights, s = np.diff(mass), np.exp(place[1:] + place[:-1] - 2 * place[-1])
        return float((weights * s**2).sum() / (weights * s).sum() ** 2)

    @cached_property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Point masses of log s that are not at s = 0."""
        return tuple(pair for pair in self.law.using("log").atoms if pair[0] > -math.inf)

    def snapped(self, log_s: Array) -> Array:
        """Return simulated values, those next to a point mass at it."""
        for where, _ in self.atoms:
            with np.errstate(invalid="ignore"):
                near = np.abs(log_s - where) <= max(AT_ATOM, self.rounding)
            log_s = np.where(near, where, log_s)
        return log_s

    @cached_property
    def _whole(self) -> tuple[Array, Array]:
        return law_table(self.law.using("log"))

    @cached_property
    def _rest(self) -> tuple[Array, Array]:
        """The part that is not 0 at this width."""
        return upper_part(self._whole, self.rank.mean)


def _log_mean_lambda(network: ResNet | FeedForward, law: Law) -> float | None:
    mean = law.using("lambda").mean()
    if 1 / LARGEST < mean < LARGEST:
        return math.log(mean)
    if law.name == "layered" and isinstance(network, ResNet):
        return propagate(network).log_mean_lambda
    return None
