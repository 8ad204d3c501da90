"""The correlation c of two inputs in feed-forward networks: its stable value c* and how fast it is reached.

Theory (15) and (16): q (1 − C(c)) = σ_w² E (φ(u1) − φ(u2))² / 2, and the slope of the map C is
σ_w² E φ'(u1) φ'(u2). Three classes have the two means, of many variances q at a time:

`CorrelationSeries`, where φ has no kink but at 0. With b_n the coefficients of φ'(√q z) in normalised Hermite
polynomials, E φ'(u1) φ'(u2) = Σ b_n² cⁿ (Mehler), and E (φ(u1) − φ(u2))² / 2q = Σ b_n² (1 − cⁿ⁺¹)/(n + 1): no
term is negative, nothing cancels as c → 1.

`CorrelationKinks`, of piecewise linear φ. φ' jumps by Δ_i at b_i, so that d/dc E φ'(u1) φ'(u2) =
q Σ Δ_i Δ_j p(b_i, b_j), p the density of (u1, u2) (Price's theorem); with c = cos t the root of 1 − c² in p
cancels. Where φ itself jumps, by J_i, its slope has J_i δ(u − b_i) too: E φ'(u1) φ'(u2) gains
2 Σ J_i p(b_i) E[φ'(u2) | u1 = b_i] + Σ J_i J_j p(b_i, b_j), and E (φ(u1) − φ(u2))² / 2q the integral of that
over c.

`CorrelationPairs`, of any φ, by integrals over the plane, one q after another. Pre-activations of correlation
c are u = √q (α x ± β y), x and y standard normal and independent, α² = (1 + c)/2, β² = (1 − c)/2: 1 − c is a
difference of neighbours, computed without cancellation.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Self

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages, by_octaves, normal_rule
from isocalc.activations.catalogue import Activation
from isocalc.numerics.quadrature import central_edges, doubling_edges, legendre_rule, panel_rule
from isocalc.numerics.roots import find_roots
from isocalc.numerics.special import erfc
from isocalc.numerics.tolerances import EPS, EXP_IS_0
from isocalc.signal.tolerances import (
    AT_ONCE,
    CANCELS,
    CRITICAL,
    ENOUGH,
    LAST_TERM,
    LEAST_GAP,
    LEAST_GAP_OF_JUMPS,
    LEFT_OUT,
    NEAR_ONE,
)

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

# A series: how many degrees there can be, and the panels of 16 nodes each that follow the polynomials' turns.
_PANELS = {128: 13, 384: 18, 1024: 26, 4096: 52, 16384: 104}
DEGREES = tuple(_PANELS)
# Degrees at a time, as the terms are often few.
_AT_A_TIME = 64


class CorrelationKinks:
    """Means of φ and φ' over pairs of inputs at many variances q.

    Parameters
    ----------
    act : Activation
        Piecewise linear.
    q : array, shape (n,)
        Variances greater than 0.
    """

    def __init__(self, act: Activation, q: Array) -> None:
        self._q, self._gate = q, averages(act, q).gate
        slopes = act.slopes or ()
        self._farthest = max(map(abs, act.breakpoints), default=0.0)
        kinks = [
            (point, after - before)
            for point, (before, after) in zip(act.breakpoints, itertools.pairwise(slopes), strict=True)
        ]
        self._kinks, self._first_slope = kinks, slopes[0] if slopes else 0.0
        self._jumps = [(point, _height(act, point)) for point in act.jumps]
        self._pairs, self._jump_pairs = _products(kinks), _products(self._jumps)

    def at(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return E (φ(u1) − φ(u2))² / 2q (1 − c) and E φ'(u1) φ'(u2) of the chosen, with 1 − c = ``gap``."""
        gate = self._gate[chosen]
        ratio, slope = self.beyond(chosen, gap)
        return gate + ratio, gate + slope

    def beyond(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return both less E φ'², which they have as c → 1 where φ does not jump, without cancellation."""
        q = self._q[chosen, None]
        angle = 2 * np.arcsin(np.sqrt(gap / 2))[:, None]
        x, weights = self._panels(q, float(angle.max()))
        t = angle * x
        density = _density(self._pairs, q, t)
        share = np.sin((angle + t) / 2) * np.sin((angle - t) / 2) / np.sin(angle / 2) ** 2
        angle = angle[:, 0]
        ratio, slope = -angle * ((density * share) @ weights), -angle * (density @ weights)
        if self._jumps:
            ratio += angle / gap * ((np.sin(t) * self._across(q, t)) @ weights)
            slope += self._across(q, 2 * np.arcsin(np.sqrt(gap / 2))[:, None])[:, 0]
        return ratio, slope

    def _across(self, q: Array, t: Array) -> Array:
        """Return what jumps of φ add to E φ'(u1) φ'(u2) at c = cos t; arrays of the shape of ``t``."""
        sine = np.sin(t)
        found = _density(self._jump_pairs, q, t) / (q * sine)
        with np.errstate(under="ignore"):
            for a, height in self._jumps:
                mean = np.full_like(t, self._first_slope)
                for b, change in self._kinks:
                    # cos(t) a - b, without cancellation where a is b
                    centre = a - b - 2 * a * np.sin(t / 2) ** 2
                    mean += change * erfc(-centre / (np.sqrt(2 * q) * sine)) / 2
                found += 2 * height * np.exp(-a * a / (2 * q)) / np.sqrt(2 * math.pi * q) * mean
        return found

    def _panels(self, q: Array, angle: float) -> tuple[Array, Array]:
        """Return nodes and weights on [0, 1], in panels that halve towards 0 until nothing changes there."""
        apart = min((abs(a - b) for a, b, _ in self._pairs if a != b), default=math.inf)
        steepest = max(
            math.sqrt(2 * float(q.max()) * EXP_IS_0) / apart, self._farthest / math.sqrt(float(q.min()))
        )
        count = min(math.ceil(1 + math.log2(1 + angle * steepest)), 40)  # 2⁻⁴⁰ of an angle is nothing
        ends = np.concatenate(([0.0], 0.5 ** np.arange(count, -1, -1)))
        x, weights = legendre_rule()
        half = np.diff(ends)[:, None] / 2
        return (ends[:-1, None] + half * (1 + x)).ravel(), (half * weights).ravel()

    def bracket(self, weight: Array, least: Array) -> tuple[Array, Array, Array]:
        """Return gaps between which σ_w² times the ratio is 1, or beyond ``least``, and where to begin."""
        return least, np.ones_like(weight), np.full_like(weight, 0.1)

    def holds(self, gap: Array) -> Flags:
        """Whether the means keep their digits at a gap, for each q."""
        _, slope = self.at(np.arange(gap.size), gap)
        return np.asarray(slope > CANCELS * self._gate)


def _height(act: Activation, point: float) -> float:
    """Return by how much φ jumps at a point."""
    below, above = act.phi(np.nextafter(point, [-math.inf, math.inf]))
    return float(above - below)


def _products(changes: Sequence[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """Return all pairs of places and the products of what changes there, over 2π, equal pairs once."""
    return [
        (a, b, change_a * change_b * (1 if i == j else 2) / (2 * math.pi))
        for (i, (a, change_a)), (j, (b, change_b)) in itertools.combinations_with_replacement(
            enumerate(changes), 2
        )
    ]


def _density(pairs: Sequence[tuple[float, float, float]], q: Array, t: Array) -> Array:
    """Return q sin t times the density of (u1, u2) at c = cos t, summed over pairs."""
    density = np.zeros_like(t)
    cosine, square = np.cos(t), np.sin(t) ** 2
    with np.errstate(under="ignore"):
        for a, b, factor in pairs:
            # 1 − cos t = sin² t / (1 + cos t)
            exponent = (a - b) ** 2 / (2 * q * square) + a * b / (q * (1 + cosine))
            density += factor * np.exp(-exponent)
    return density


class CorrelationSeries:
    """Means of φ and φ' over pairs of inputs at many variances q.

    Parameters
    ----------
    squares : array, shape (n, terms)
        b_n² at each q, of degrees 0, 1, 2 ... or 0, 2, 4 ...
    step : {1, 2}
        From one degree to the next.
    variance : array, shape (n,), or None
        Σ b_n²/(n + 1) over all degrees, to which terms left out are added; ``None`` where there are none.
    """

    def __init__(self, squares: Array, step: int, variance: Array | None) -> None:
        self._squares, self._step = squares, step
        self._degrees = np.arange(0.0, step * squares.shape[1], step)
        shares = squares / (self._degrees + 1)
        sums = np.cumsum(shares[:, ::-1], axis=1)[:, ::-1]
        # 1 − cⁿ⁺¹ over 1 − c is 1 + c (1 + ... + cⁿ⁻¹), at even n 1 + c (1 + c) (1 + c² + ... + cⁿ⁻²).
        self._first, self._later = sums[:, 0], np.zeros_like(sums)
        self._later[:, :-1] = sums[:, 1:]
        self._last = squares[:, -_AT_A_TIME // step :].max(axis=1) / squares.sum(axis=1)
        if variance is not None:
            ends = squares[:, -8:].max(axis=1) / squares.sum(axis=1)
            left_out = np.where(ends > LEFT_OUT, variance - self._first, 0.0)
            self._first = self._first + left_out
            self._later += left_out[:, None]

    @classmethod
    def of(cls, act: Activation, q: Array, most: int = DEGREES[-1]) -> Self:
        """Return the series at variances q > 0, shape (n,), of an activation with no breakpoint but 0."""
        step = 2 if act.odd else 1

        def rows(q: Array) -> Array:
            return _coefficients(act, q, most, step)

        found = by_octaves(rows, q, relative=False)
        last = 1 + int(np.flatnonzero(found[:, :-1].any(axis=0))[-1]) if found[:, :-1].any() else 1
        left_out = bool(found[:, -1].any())
        return cls(found[:, :last] ** 2, step, found[:, -1] ** 2 if left_out else None)

    def at(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return E (φ(u1) − φ(u2))² / 2q (1 − c) and E φ'(u1) φ'(u2) of the chosen, with 1 − c = ``gap``."""
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log1p(-gap), -EXP_IS_0)
        enough = min(-ENOUGH / min(float(logs.max()), -1e-9), self._degrees[-1])
        terms = 1 + math.ceil(enough / self._step)
        with np.errstate(under="ignore"):
            powers = np.exp(np.maximum(logs[:, None] * self._degrees[:terms], -EXP_IS_0))
        later = np.einsum("ij,ij->i", self._later[chosen, :terms], powers)
        slope = np.einsum("ij,ij->i", self._squares[chosen, :terms], powers)
        c = 1 - gap
        return self._first[chosen] + (c if self._step == 1 else c * (1 + c)) * later, slope

    def bracket(self, weight: Array, least: Array) -> tuple[Array, Array, Array]:
        """Return gaps as `CorrelationKinks.bracket` does, to begin with a step of Newton's from 0."""
        excess = weight * self._squares.sum(axis=1) - 1
        start = excess / (weight * (self._squares @ self._degrees / 2))
        return least, np.ones_like(weight), np.clip(start, 2 * least, 0.5)

    def holds(self, gap: Array) -> Flags:
        """Whether the terms left out are nothing at a gap, for each q."""
        terms = self._degrees[-1] + 1
        with np.errstate(divide="ignore", under="ignore"):
            power = np.exp(np.maximum(terms * np.log1p(-gap), -EXP_IS_0))
        # By the gap the rounding of all terms less those known, some 1e-15, is divided.
        far = (terms * self._last * power <= LEFT_OUT) & (gap >= max(2e-2, 25 / terms))
        return np.asarray((self._last <= LAST_TERM) | far)


def _coefficients(act: Activation, q: Array, most: int, step: int) -> Array:
    """Return b_n at q, degrees as columns, and √Σ b_n²/(n + 1) behind them, 0 where all terms are there."""
    sigma = np.sqrt(q)
    # A normalised Hermite polynomial times the normal density is below 1e-18 beyond 13.
    widest = float(sigma.max())
    narrow = act.edges(13.0 * widest) / widest
    wide = np.linspace(0, 13.0, 1 + _PANELS[most])
    z, weights = panel_rule(np.sort(np.concatenate((wide, narrow[narrow > 0]))))
    with np.errstate(over="ignore", under="ignore"):
        right = act.dphi(sigma[:, None] * z)
        left = right if act.odd else act.dphi(-sigma[:, None] * z)
    gate = (right * right + left * left) @ weights
    parities = [(right + left) * weights] if act.odd else [(right + left) * weights, (right - left) * weights]
    found = np.zeros((q.size, most // step + 1))
    polynomials = _hermite_polynomials(z)
    for start in range(0, most, _AT_A_TIME):
        rows = np.stack([next(polynomials) for _ in range(_AT_A_TIME)])
        block = found[:, start // step : (start + _AT_A_TIME) // step]
        for parity, part in enumerate(parities):
            block[:, parity :: len(parities)] = part @ rows[parity::2].T
        if (block * block <= LAST_TERM * gate[:, None]).all():
            return found
    found[:, -1] = np.sqrt(_variance(act, sigma, z, weights))
    return found


def _hermite_polynomials(z: Array) -> Iterator[Array]:
    """Yield the values of the normalised Hermite polynomials, of degree 0 on."""
    before, here = np.zeros_like(z), np.ones_like(z)
    for n in itertools.count():
        yield here
        before, here = here, (z * here - math.sqrt(n) * before) / math.sqrt(n + 1)


def _variance(act: Activation, sigma: Array, z: Array, weights: Array) -> Array:
    """Return the variance of φ over q, from nodes of z > 0."""
    with np.errstate(over="ignore", under="ignore"):
        right, left = act.phi(sigma[:, None] * z), act.phi(-sigma[:, None] * z)
    mean = ((right + left) @ weights)[:, None]
    return np.asarray(((right - mean) ** 2 + (left - mean) ** 2) @ weights / sigma**2)


class CorrelationPairs:
    """Means of φ and φ' over pairs of inputs at many variances q > 0, of any activation."""

    def __init__(self, act: Activation, q: Array) -> None:
        self._act, self._q = act, q

    def at(self, chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return E (φ(u1) − φ(u2))² / 2q (1 − c) and E φ'(u1) φ'(u2) of the chosen, with 1 − c = ``gap``."""
        q = self._q[chosen]
        pairs = [moments_of_pair(self._act, *pair) for pair in zip(q.tolist(), gap.tolist(), strict=True)]
        half_square, slope = np.array(pairs).reshape(-1, 2).T
        return half_square / (q * gap), slope

    def bracket(self, weight: Array, least: Array) -> tuple[Array, Array, Array]:
        """Return gaps as the others do; near c = 1 the ratio is E φ'² and a power of the gap."""
        near = np.full(weight.size, NEAR_ONE)
        ratio, slope = (weight * mean for mean in self.at(np.arange(weight.size), near))
        chi = weight * averages(self._act, self._q).gate
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            power = (slope - ratio) / (ratio - chi)
            start = NEAR_ONE * ((1 - chi) / (ratio - chi)) ** (1 / power)
        low, high = np.where(ratio > 1, near, least), np.where(ratio > 1, 1.0, near)
        return low, high, np.where((low < start) & (start < high), start, np.sqrt(low) * np.sqrt(high))

    def holds(self, gap: Array) -> Flags:
        """Whether the means keep their digits at a gap, for each q."""
        return np.ones(gap.size, dtype=bool)


Means = CorrelationKinks | CorrelationSeries | CorrelationPairs


class StableCorrelations:
    """Stable correlations c* of two inputs at fixed points of networks of one activation, and slopes there.

    Those that are quick to solve for are solved for together when one of them is asked for, the others one
    by one.

    Parameters
    ----------
    act : Activation
    q, weight, bias, chi : array, shape (n,)
        q*, NaN where every q is a fixed point, σ_w², σ_b² and χ of each point; χ is the slope of the
        correlation map at 1, which is infinite where φ jumps.
    """

    def __init__(self, act: Activation, q: Array, weight: Array, bias: Array, chi: Array) -> None:
        self._act, self._q, self._weight, self._bias, self._chi = act, q, weight, bias, chi

    def at(self, i: int) -> tuple[float | None, float | None]:
        """Return c* and the slope of the correlation map there, ``None`` where no correlation is stable."""
        act, q, weight, chi = self._act, *(float(each[i]) for each in (self._q, self._weight, self._chi))
        critical = abs(chi - 1) <= CRITICAL
        if (critical or chi < 1) and not (act.jumps and weight):
            return 1.0, 1.0 if critical else chi
        if not q > 0:  # φ jumps
            return None, None
        if act.odd and self._bias[i] == 0:
            return 0.0, weight * _squared_mean_slope(act, q)
        gap, slope = self._together[:, i].tolist()
        if math.isnan(gap):
            one = (array[[i]] for array in (self._q, self._weight, self._chi))
            gap, slope = (float(*found) for found in _solve(act, CorrelationPairs, *one))
        return (1 - gap if gap < 1 - 4 * EPS else 0.0), slope

    def of_all(self) -> tuple[Array, Array]:
        """Return c* and the slope of the correlation map there, NaN where no correlation is stable."""
        critical = np.abs(self._chi - 1) <= CRITICAL
        c, slope = np.ones_like(self._chi), np.where(critical, 1.0, self._chi)
        others = ~(critical | (self._chi < 1)) | (bool(self._act.jumps) & (self._weight != 0))
        if others.any():
            gap, found = self._together
            c[others] = np.where(gap < 1 - 4 * EPS, 1 - gap, 0.0)[others]
            slope[others] = found[others]
            for i in np.flatnonzero(others & np.isnan(gap)).tolist():
                c[i], slope[i] = (math.nan if number is None else number for number in self.at(i))
        return c, slope

    @cached_property
    def _together(self) -> Array:
        found = np.full((2, self._q.size), np.nan)
        chosen = (self._q > 0) & (self._weight > 0) & ((self._bias > 0) | (not self._act.odd))
        found[:, chosen] = _quick_gaps(self._act, *(a[chosen] for a in (self._q, self._weight, self._chi)))
        return found


def stable_correlations(act: Activation, q: Array, weight: Array, chi: Array) -> tuple[Array, Array]:
    """Return c* of chaotic networks with a bias and the slope of their maps there, where it is quick.

    Parameters
    ----------
    act : Activation
    q, weight, chi : array, shape (n,)
        q* > 0, σ_w² and χ > 1 of each network.

    Returns
    -------
    c_star, slope : array, shape (n,)
        To 1e-13 times the conditioning of the problem; NaN where that is not reached.
    """
    gap, slope = _quick_gaps(act, q, weight, chi)
    return np.where(gap < 1 - 4 * EPS, 1 - gap, np.where(np.isnan(gap), gap, 0.0)), slope


def _quick_gaps(act: Activation, q: Array, weight: Array, chi: Array) -> Array:
    """Return 1 − c* and the slope, shape (2, n), NaN where it takes integrals over the plane."""
    found = np.full((2, q.size), np.nan)
    kinked = act.slopes is not None
    if math.isfinite(act.period) or ((act.jumps or any(act.breakpoints)) and not kinked):
        return found
    # Nearer to criticality a series' σ_w² E φ² / q has lost the digits.
    left = np.flatnonzero((chi > 1 + (CRITICAL if kinked else 1e-9)) | bool(act.jumps))
    left = left[np.argsort(chi[left])]
    for degree in DEGREES[:1] if kinked else DEGREES:
        # Many terms are worth it for many networks: else integrals over the plane are quicker.
        if degree > 1024 * left.size:
            break
        count = 64 * AT_ONCE // degree
        for start in range(0, left.size, count):
            chosen = left[start : start + count]
            means = CorrelationKinks if kinked else partial(CorrelationSeries.of, most=degree)
            found[:, chosen] = _solve(act, means, q[chosen], weight[chosen], chi[chosen])
        left = left[np.isnan(found[0, left])]
    return found


def _solve(
    act: Activation, means_of: Callable[[Activation, Array], Means], q: Array, weight: Array, chi: Array
) -> tuple[Array, Array]:
    """Return the gap 1 − c where σ_w² E (φ(u1) − φ(u2))² / 2q is it, and the slope of the correlation map."""
    means = means_of(act, q)
    least = np.full(q.size, LEAST_GAP_OF_JUMPS if act.jumps else LEAST_GAP)

    def beyond_one(chosen: Indices, gap: Array) -> tuple[Array, Array]:
        """Return σ_w² E (φ(u1) − φ(u2))² / 2q (1 − c) and the slope of the correlation map, less 1."""
        if isinstance(means, CorrelationKinks):
            ratio, slope = means.beyond(chosen, gap)
            above = chi[chosen] - 1
            return above + weight[chosen] * ratio, above + weight[chosen] * slope
        ratio, slope = means.at(chosen, gap)
        return weight[chosen] * ratio - 1, weight[chosen] * slope - 1

    def excess(chosen: Indices, gap: Array) -> tuple[Array, Array]:
        ratio, slope = beyond_one(chosen, gap)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log1p(ratio), (slope - ratio) / (1 + ratio)

    low, high, start = means.bracket(weight, least)
    # Where φ has breakpoints, 1 − c may be too small to be told.
    none = np.zeros(q.size, dtype=bool)
    if act.jumps or (act.breakpoints and isinstance(means, CorrelationPairs)):
        lowest = np.flatnonzero(low == least)
        none[lowest] = beyond_one(lowest, least[lowest])[0] <= 0
    some = np.flatnonzero(~none)
    found = find_roots(
        lambda chosen, gap: excess(some[chosen], gap),
        low[some],
        high[some],
        (np.full(some.size, np.inf), np.full(some.size, -np.inf)),
        start=start[some],
    )
    # Where 1 − c is too small to be told, from the map near c = 1: 1 − C is χ (1 − c) + k √(1 − c) where φ
    # jumps, χ (1 − c) − k (1 − c)^1.5 where it has kinks. Where that is 1 − c the slope is 1 − |χ − 1|/2.
    gap, slope, good = np.zeros(q.size), 1 - np.abs(chi - 1) / 2, none.copy()
    if some.size:
        gap[some] = np.where(found.reached, found.x, 1.0)
        slope[some] = 1 + beyond_one(some, gap[some])[1]
        good[some] = found.reached & means.holds(np.where(none, 1.0, gap))[some]
    return np.where(good, gap, np.nan), np.where(good, slope, np.nan)


def _squared_mean_slope(act: Activation, q: float) -> float:
    """(E φ')², of which E φ z / √q counts jumps of φ too."""
    if act.closed_correlation is not None:
        return _slope(act, q, 1.0)
    z, weights = normal_rule(act, np.array([q]))
    return float((weights * act.phi(math.sqrt(q) * z) * z).sum()) ** 2 / q


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
    if gap < NEAR_ONE * min(1.0, act.scale / q * act.scale):
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
    central = central_edges(6)
    reach = float(central[-1])
    doubling = act.edges(reach * sigma) / sigma
    crossings = (lines[:, None] + lines).ravel() / (2 * alpha)
    smear = doubling_edges(beta / alpha, 3.0)
    outer = np.concatenate(
        (central, doubling / alpha, crossings, (crossings[:, None] + smear).ravel()),
    )
    x, x_weights = panel_rule(np.sort(np.clip(outer, -reach, reach)))
    if 1.5 * beta * sigma > act.scale:
        lines = np.concatenate((lines, doubling))
    inner = np.abs(lines - alpha * x[:, None]) / beta
    middle = np.broadcast_to(central[central >= 0], (x.size, 7))
    edges = np.sort(np.concatenate((middle, np.minimum(inner, reach)), axis=1), axis=1)
    y, y_weights = panel_rule(edges)
    return x[:, None], y, 2 * x_weights[:, None] * y_weights
