"""Fixed points of signal propagation in feed-forward networks: q*, χ, the phase and the depth scales.

Fixed points of signal propagation in feed-forward networks: q*, χ, the phase and the depth scales.

Poole et al., arXiv 1606.05340; Schoenholz et al., arXiv 1611.01232.

Fixed points of many feed-forward networks at once, as phase diagrams need them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, second_moment_and_slope
from isocalc.activations.catalogue import Activation
from isocalc.activations.definition import Function
from isocalc.errors import InvalidInputError, IsocalcError, NoAnswerError, require_network
from isocalc.networks.descriptions import FeedForward
from isocalc.signal.correlation import stable_correlation, stable_correlations
from isocalc.signal.variance_map import CRITICAL, VarianceMap, VarianceMaps, fixed_variances, variance_roots

Array = npt.NDArray[np.float64]
Phase = Literal["ordered", "critical", "chaotic"]

# Then no square leaves the doubles, and a pair of inputs is averaged in seconds.
SMALLEST_SIGMA, LARGEST_SIGMA = 1e-100, 1e10
# Of the square of the length over which φ changes: ratios of averages are at their limit there.
_NEXT_TO_ZERO = 1e-20
# So many times the square of its largest length, and once more so many, are at the limit of large q; how
# nearly factors agree there.
_FAR, _LONGEST, _SAME = 1e20, 1e70, 1e-6


@dataclass(frozen=True)
class FixedPoint:
    """A stable fixed point of signal propagation in a feed-forward network.

    ``xi_c`` and ``c_star`` are computed when they are asked for, which takes up to a second.

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
    _solved: tuple[float, float] | None = field(default=None, repr=False, compare=False)

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
        return self._solved or stable_correlation(
            self.network, self.q_star, self.chi, critical=self.phase == "critical"
        )

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
    NoAnswerError
        There is none: q grows without bound.

    Notes
    -----
    Poole et al., arXiv 1606.05340; Schoenholz et al., arXiv 1611.01232: theory (12) to (17).
    """
    require_network(network, FeedForward)
    for parameter, value in (("sigma_w", network.sigma_w), ("sigma_b", network.sigma_b)):
        if value and not SMALLEST_SIGMA <= value <= LARGEST_SIGMA:
            raise InvalidInputError(parameter, "0 or from 1e-100 to 1e10 at a fixed point", value)
    variance_map = VarianceMap(network)
    if network.act.scale_free:
        return (_describe(variance_map, _scale_free_fixed_point(variance_map)),)
    roots, falls_at_zero, grows = fixed_variances(variance_map)
    # No slope is below -1/2, since z² − 1 >= −1: q never oscillates.
    stable = [q for q in roots if variance_map.slope_at(q) < 1 or (q == 0 and falls_at_zero)]
    if stable:
        return tuple(_describe(variance_map, q, roots[-1] if grows else None) for q in stable)
    raise no_fixed_point(network)


def fixed_point_at(network: FeedForward, q_star: float | None, escape: float | None = None) -> FixedPoint:
    """Return the fixed point of a network that is known to be at a variance q*; ``None`` where all are."""
    return _describe(VarianceMap(network), q_star, escape)


def no_fixed_point(network: FeedForward) -> NoAnswerError:
    """Return what is raised where there is none."""
    return NoAnswerError(
        f"{network.act.name} has no fixed point here: q grows without bound, {_growth(VarianceMap(network))}"
    )


def _growth(variance_map: VarianceMap) -> str:
    """Say how the variance grows where it does so without bound."""
    if variance_map.act.scale_free:
        slope = variance_map.slope_at(0.0)
        if abs(slope - 1) <= CRITICAL:
            return f"by sigma_b^2 = {variance_map.bias:.6g} a layer"
        return f"by a factor {'that tends to' if variance_map.bias else 'of'} {slope:.6g} a layer"
    near, far = (
        variance_map.weight * ratio for ratio in _ratios_far_out(variance_map.act, variance_map.act.phi)
    )
    if abs(far - near) <= _SAME * near:
        return f"by a factor that tends to {far:.6g} a layer"
    return f"by a factor that {'falls' if far < near else 'rises'} from layer to layer"


@lru_cache(maxsize=32)
def _ratios_far_out(act: Activation, _: Function) -> tuple[float, float]:
    """Return E φ²/q at two q where biases do not count; φ itself tells activations of one name apart."""
    q = _FAR * max(min(max(act.lengths), _LONGEST), LARGEST_SIGMA) ** 2 * np.array([1.0, _FAR])
    with np.errstate(over="ignore", invalid="ignore"):
        first, second = (averages(act, q).second / q).tolist()
    return first, second


def _scale_free_fixed_point(variance_map: VarianceMap) -> float | None:
    slope = variance_map.slope_at(0.0)
    if abs(slope - 1) <= CRITICAL and variance_map.bias == 0:
        return None
    if slope < 1:
        return variance_map.bias / (1 - slope)
    raise no_fixed_point(variance_map.network)


class OneLayer(NamedTuple):
    """What one layer does at variances q, of a network with σ_w = 1."""

    slope: Array
    """Slope of E φ² in q"""
    gate: Array
    """E φ'²"""
    excess: Array
    """E φ'⁴ / (E φ'²)² − 1"""


def one_layer(act: Activation, q: Array) -> OneLayer:
    """Return what one layer does at variances q >= 0, shape (n,); at 0 the limits q → 0+."""
    own = averages(act, q)
    slope, positive = own.gate.copy(), q > 0
    slope[positive] = second_moment_and_slope(act, q[positive])[1]
    gate, fourth = own.gate, own.gate_squared
    if not gate.all():
        limit = averages(act, _NEXT_TO_ZERO * min(max(min(act.lengths), 1e-140), 1e150) ** 2)
        gate, fourth = np.where(gate, gate, limit.gate), np.where(gate, fourth, limit.gate_squared)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return OneLayer(slope, own.gate, np.where(gate, fourth / gate / gate - 1, np.inf))


def _describe(variance_map: VarianceMap, q_star: float | None, escape: float | None = None) -> FixedPoint:
    layer = one_layer(variance_map.act, np.array([1.0 if q_star is None else q_star]))
    return described(variance_map.network, q_star, *(float(numbers[0]) for numbers in layer), escape=escape)


def described(
    network: FeedForward,
    q_star: float | None,
    slope: float,
    gate: float,
    excess: float,
    *,
    escape: float | None,
    correlation: tuple[float, float] | None = None,
) -> FixedPoint:
    """Return a fixed point from the numbers of `OneLayer` there, and from c* and the slope there if known."""
    weight = network.sigma_w * network.sigma_w
    chi = weight * gate
    phase: Phase = "critical" if abs(chi - 1) <= CRITICAL else "ordered" if chi < 1 else "chaotic"
    if network.act.jumps and weight and q_star:
        phase = "chaotic"
    return FixedPoint(
        q_star=q_star,
        chi=chi,
        phase=phase,
        xi_q=depth_scale(weight * slope),
        relative_variance=excess + (network.weights == "gaussian") if weight else math.inf,
        escape=escape,
        network=network,
        _solved=correlation,
    )


def depth_scale(slope: float) -> float:
    """Return −1/log|slope|, the layers in which a deviation falls by a factor e; inf at |slope| = 1."""
    size = abs(slope)
    if size == 0:
        return 0.0
    return math.inf if abs(size - 1) <= CRITICAL else -1 / math.log(size)


Answer = tuple[FixedPoint, ...] | IsocalcError

# Networks of one activation from which solving them together pays, and how many fill some ten megabytes.
_FEW, _TOGETHER = 4, 8192


def fixed_points_of(networks: Sequence[FeedForward]) -> list[Answer]:
    """Return what :func:`isocalc.fixed_points` returns or raises for each network.

    ``q_star`` and ``chi`` agree with those to the same accuracy, the depth scales to 1e-12 times the
    conditioning of the problem. Networks of one activation share their Gaussian averages.
    """
    answers: list[Answer] = [()] * len(networks)
    together: dict[int, list[int]] = {}
    for i, network in enumerate(networks):
        together.setdefault(id(network.act), []).append(i)
    for members in together.values():
        act = networks[members[0]].act
        for start in range(0, len(members), _TOGETHER):
            chosen = members[start : start + _TOGETHER]
            some = [networks[i] for i in chosen]
            alone = act.scale_free or len(some) < _FEW
            for i, answer in zip(chosen, map(_alone, some) if alone else _together(act, some), strict=True):
                answers[i] = answer
    return answers


def _alone(network: FeedForward) -> Answer:
    try:
        return fixed_points(network)
    except IsocalcError as error:
        return error


def _together(act: Activation, networks: Sequence[FeedForward]) -> list[Answer]:
    sigmas = np.array([(network.sigma_w, network.sigma_b) for network in networks])
    inside = ((sigmas == 0) | ((sigmas >= SMALLEST_SIGMA) & (sigmas <= LARGEST_SIGMA))).all(axis=1)
    weight, bias = np.where(inside, sigmas.T, 1.0) ** 2
    roots = variance_roots(VarianceMaps(act, weight, bias))
    alone = ~inside | roots.unclear
    alone[roots.network[np.isnan(roots.q)]] = True
    last = dict(zip(roots.network.tolist(), roots.q.tolist(), strict=True))
    escapes = [last.get(i) if grows else None for i, grows in enumerate(roots.grows.tolist())]
    chosen = ~alone[roots.network]
    network, q = roots.network[chosen], roots.q[chosen]
    layer = one_layer(act, q)
    stable = weight[network] * layer.slope < 1
    network, *numbers = (array[stable] for array in (network, q, *layer))
    solved = _correlations(act, numbers[0], weight[network], bias[network], numbers[2])
    found: list[list[FixedPoint]] = [[] for _ in networks]
    for i, pair, *point in zip(network.tolist(), solved, *(array.tolist() for array in numbers), strict=True):
        found[i].append(described(networks[i], *point, escape=escapes[i], correlation=pair))
    return [
        _alone(one) if apart else tuple(points) or no_fixed_point(one)
        for one, apart, points in zip(networks, alone.tolist(), found, strict=True)
    ]


def _correlations(
    act: Activation, q: Array, weight: Array, bias: Array, gate: Array
) -> list[tuple[float, float] | None]:
    """Return c* of chaotic networks and the slope there, where they can be solved for together."""
    pairs = np.full((q.size, 2), np.nan)
    chosen = (q > 0) & (weight > 0) & ((bias > 0) | (not act.odd))
    weight, q = weight[chosen], q[chosen]
    pairs[chosen] = np.stack(stable_correlations(act, q, weight, weight * gate[chosen]), axis=1)
    return [None if math.isnan(c_star) else (c_star, slope) for c_star, slope in pairs.tolist()]
