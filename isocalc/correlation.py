"""The correlation of two inputs in a feed-forward network: its stable value c* and how fast it is reached.

Two pre-activations of variance q and correlation c are u = √q (α x ± β y), x and y standard normal and
independent, α² = (1 + c)/2, β² = (1 − c)/2. In these coordinates 1 − c is a difference of neighbours,
computed without cancellation: q (1 − C(c)) = σ_w² E (φ(u1) − φ(u2))² / 2.
The map and its rate are theory (15) and (16).
"""

import math

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.correlation_maps import stable_correlations
from isocalc.gaussian import doubling_edges, legendre_rule, normal_rule, panel_rule
from isocalc.network import FeedForward
from isocalc.roots import root_in_log

Array = npt.NDArray[np.float64]

_REACH = 9.0
# Where φ jumps, and where not; then c* is further from 1 than the square of the least χ − 1.
_SMALLEST_GAP_OF_JUMPS, _SMALLEST_GAP = 1e-17, 1e-32
# Nearer to 1, differences of φ lose digits.
_NEAR = 1e-4
_CENTRAL = 1.5 * np.arange(-6, 7)


def stable_correlation(
    network: FeedForward, q: float | None, chi: float, *, critical: bool
) -> tuple[float | None, float | None]:
    """Return the stable correlation c* at a fixed point and the slope of the correlation map there.

    Parameters
    ----------
    network : FeedForward
    q : float or None
        The fixed point q*, None where every q is one.
    chi : float
        Slope of the correlation map at 1; it is infinite where φ jumps.
    critical : bool
        Whether χ is 1 to rounding.

    Returns
    -------
    c_star, slope : float or None
        Both None where φ jumps and q = 0: no correlation is stable then.
    """
    act = network.act
    if not (act.jumps and network.sigma_w) and (critical or chi < 1):
        return 1.0, 1.0 if critical else chi
    if not q:
        return None, None
    weight = network.sigma_w * network.sigma_w
    if act.odd and network.sigma_b == 0:
        return 0.0, weight * _squared_mean_slope(act, q)
    if act.slopes is not None and act.closed_correlation is None:
        # Integrals in one dimension keep digits that differences of φ lose.
        known = [float(*found) for found in stable_correlations(act, *np.array([[q], [weight], [chi]]))]
        if not math.isnan(known[0]):
            return known[0], known[1]
    gap = _solve_gap(act, q, weight, chi)
    if gap == 0:
        # With k > 0, 1 − C is χ (1 − c) ± k √(1 − c) or ± k (1 − c)^1.5: this is its slope where it is 1 − c.
        return 1.0, 1 - abs(chi - 1) / 2
    return (1 - gap if gap < 1 - 1e-15 else 0.0), weight * moments_of_pair(act, q, gap)[1]


def _squared_mean_slope(act: Activation, q: float) -> float:
    """(E φ')², of which E φ z / √q counts jumps of φ too."""
    if act.closed_correlation is not None:
        return _slope(act, q, 1.0)
    z, weights = normal_rule(act, np.array([q]))
    return float((weights * act.phi(math.sqrt(q) * z) * z).sum()) ** 2 / q


def _solve_gap(act: Activation, q: float, weight: float, chi: float) -> float:
    """Solve σ_w² E (φ(u1) − φ(u2))² / 2q = 1 − c for 1 − c in (0, 1], where the left side is concave.

    Returns 0 where the solution is smaller than can be told.
    """

    def excess(gap: float) -> tuple[float, float]:
        half_square, slope = moments_of_pair(act, q, gap)
        ratio = weight * half_square / (q * gap)
        return (math.log(ratio), weight * slope / ratio - 1) if ratio else (-math.inf, 0.0)

    near, tilt = excess(_NEAR)
    if near > 0:
        return root_in_log(excess, _NEAR, 1.0, rising=False)
    smallest = _SMALLEST_GAP_OF_JUMPS if act.jumps else _SMALLEST_GAP
    if act.breakpoints and excess(smallest)[0] <= 0:
        return 0.0
    start = _extrapolated(math.exp(near), tilt, chi)
    return root_in_log(
        excess, smallest, _NEAR, rising=False, start=start if smallest < start < _NEAR else None
    )


def _extrapolated(ratio: float, tilt: float, chi: float) -> float:
    """Return where χ plus a power of the gap is 1, from value and log-slope at _NEAR; 0 for nowhere."""
    power_law, slope = ratio - chi, tilt * ratio
    if not power_law or not slope or not (1 - chi) / power_law > 0:
        return 0.0
    return _NEAR * math.exp(min(math.log((1 - chi) / power_law) * power_law / slope, 0.0))


def moments_of_pair(act: Activation, q: float, gap: float) -> tuple[float, float]:
    """Return E (φ(u1) − φ(u2))² / 2 and its derivative in 1 − c, over q.

    Parameters
    ----------
    act : Activation
    q : float
        Variance of both pre-activations, greater than 0.
    gap : float
        1 − c, c their correlation, greater than 0 and at most 1.
    """
    if act.jumps:
        return _moments_with_jumps(act, q, gap)
    slope = _slope(act, q, gap)
    if gap < _NEAR * min(1.0, act.scale / q * act.scale):
        # The integral of the slope, which is smooth in √(1 − c), in 4 nodes.
        nodes, weights = legendre_rule(4)
        t = (1 + nodes) / 2
        slopes = [_slope(act, q, gap * s * s) for s in t.tolist()]
        return q * gap * float(weights @ (t * slopes)), slope
    if act.closed_correlation is not None:
        product = act.closed_correlation(q, np.array([1.0, 1 - gap]))[0]
        return float(product[0] - product[1]), slope
    u1, u2, weights = _pair_rule(act, q, gap)
    return float((weights * (act.phi(u1) - act.phi(u2)) ** 2).sum()) / 2, slope


def _slope(act: Activation, q: float, gap: float) -> float:
    if act.closed_correlation is not None:
        return float(act.closed_correlation(q, np.array([1 - gap]))[1][0])
    u1, u2, weights = _pair_rule(act, q, gap)
    return float((weights * act.dphi(u1) * act.dphi(u2)).sum())


def _moments_with_jumps(act: Activation, q: float, gap: float) -> tuple[float, float]:
    """Return both moments, the derivative by parts since φ' misses the jumps."""
    alpha, beta = math.sqrt(1 - gap / 2), math.sqrt(gap / 2)
    x, y, weights = _plane_rule(act, math.sqrt(q), alpha, beta)
    u1, u2 = math.sqrt(q) * (alpha * x + beta * y), math.sqrt(q) * (alpha * x - beta * y)
    half_square = weights * (act.phi(u1) - act.phi(u2)) ** 2 / 2
    score = (y * y - 1) / (4 * beta**2) - (x * x - 1) / (4 * alpha**2)
    return float(half_square.sum()), float((half_square * score).sum()) / q


def _pair_rule(act: Activation, q: float, gap: float) -> tuple[Array, Array, Array]:
    """Return u1, u2 and the weights of their law."""
    alpha, beta = math.sqrt(1 - gap / 2), math.sqrt(gap / 2)
    x, y, weights = _plane_rule(act, math.sqrt(q), alpha, beta)
    return math.sqrt(q) * (alpha * x + beta * y), math.sqrt(q) * (alpha * x - beta * y), weights


def _plane_rule(act: Activation, sigma: float, alpha: float, beta: float) -> tuple[Array, Array, Array]:
    """Return nodes x, y >= 0 and weights of the normal law in the plane, shapes (n, 1), (n, k), (n, k).

    The integrand is even in y. Panels end where u1 or u2 is at a breakpoint of φ, and double away from 0.
    """
    lines = np.array([*act.breakpoints, *([0.0] if math.isfinite(act.scale) else [])]) / sigma
    doubling = doubling_edges(act.scale / sigma, _REACH)
    crossings = (lines[:, None] + lines).ravel() / (2 * alpha)
    smear = doubling_edges(beta / alpha, 3.0)
    outer = np.concatenate(
        (_CENTRAL, doubling / alpha, crossings, (crossings[:, None] + smear).ravel()),
    )
    x, x_weights = panel_rule(np.sort(np.clip(outer, -_REACH, _REACH)))
    if 1.5 * beta * sigma > act.scale:
        lines = np.concatenate((lines, doubling))
    inner = np.abs(lines - alpha * x[:, None]) / beta
    middle = np.broadcast_to(_CENTRAL[_CENTRAL >= 0], (x.size, 7))
    edges = np.sort(np.concatenate((middle, np.minimum(inner, _REACH)), axis=1), axis=1)
    y, y_weights = panel_rule(edges)
    return x[:, None], y, 2 * x_weights[:, None] * y_weights
