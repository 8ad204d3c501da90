"""The law of a network as the singular values of networks of finite width are expected to follow it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from isocalc.law import Law
from isocalc.law_table import law_table, upper_part
from isocalc.laws import spectrum
from isocalc.limits import GOOD_ENOUGH
from isocalc.lone_neurons import lone_neurons
from isocalc.network import FeedForward, ResNet
from isocalc.propagation import propagate
from isocalc.rank import FULL, Rank, expected_rank
from isocalc.simulate import Dtype, Gates

Array = npt.NDArray[np.float64]

# N times the mass beyond −1.2065, the mean of the Tracy-Widom law of real matrices (Bornemann 2010).
_EDGE_MASS = 2 / (3 * math.pi) * 1.2065335745820**1.5
# Next to an edge, quantiles go like the mass to the power 2/3: an eighth of the mass is a quarter of the way.
_PART, _LEFT = 1 / 8, 3 / 4
_ROUNDING = 1e-12
# Simulated log s this close to a point mass are at it.
_AT_ATOM = 1e-7
# Of a float32 product of L layers, over √L (6e-7 at most were seen).
_SINGLE_NOISE = 2e-6
_SAFE = 1e300


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
    """

    law: Law
    width: int
    rank: Rank = FULL
    log_mean_lambda: float | None = None
    strays: int = 0
    lone_neurons: float = 0.0
    noise: float = 0.0
    error: float = 0.0

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
        block = network.block if isinstance(network, ResNet) else ""
        return cls(
            law,
            chain[0] if chain else width or 0,
            expected_rank(network, width),
            _log_mean_lambda(network, law),
            strays=2 if block == "preln" else int(gates == "own" and block != "pre"),
            lone_neurons=lone_neurons(network),
            noise=_SINGLE_NOISE * math.sqrt(network.depth) if dtype == "float32" else 0.0,
            error=law.error if law.error is not None and law.error <= GOOD_ENOUGH else 0.0,
        )

    @property
    def limit(self) -> Self:
        """The same as N → ∞, where the rank is that of the law."""
        at_zero = sum(mass for where, mass in self.law.using("log").atoms if where == -math.inf)
        return replace(self, rank=Rank(1 - at_zero, 0.0))

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
        low, high = self.ppf([_EDGE_MASS / self.count, 1 - _EDGE_MASS / self.count]).tolist()
        return low, high

    @cached_property
    def spacings(self) -> tuple[float, float]:
        """Scales of the fluctuations of the smallest and the largest log s: from the edges, if there are."""
        beyond = _EDGE_MASS * _PART / self.count
        (low, high), (bottom, top) = self.extremes, self.ppf([beyond, 1 - beyond]).tolist()
        return (low - bottom) / _LEFT, (top - high) / _LEFT

    @cached_property
    def reach(self) -> tuple[float, float]:
        """Places of the first and the last of N values: half of a value is beyond each."""
        low, high = self.ppf([0.5 / self.count, 1 - 0.5 / self.count]).tolist()
        return low, high

    @property
    def rounding(self) -> float:
        """How far rounding may displace simulated log s."""
        exact = _ROUNDING * (1 + abs(self.mean))
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
                near = np.abs(log_s - where) <= max(_AT_ATOM, self.rounding)
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
    if 1 / _SAFE < mean < _SAFE:
        return math.log(mean)
    if law.name == "layered" and isinstance(network, ResNet):
        return propagate(network).log_mean_lambda
    return None
