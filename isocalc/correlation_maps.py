"""The stable correlations of many networks of one activation."""

import math

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.correlation_kinks import CorrelationKinks
from isocalc.correlation_series import DEGREES, CorrelationSeries
from isocalc.root_arrays import roots_in_log
from isocalc.variance_map import CRITICAL

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_SMALLEST_GAP = 1e-32
# Closer to criticality, where a series' σ_w² E φ² / q has lost these digits, the solution is left to others.
_TOO_CLOSE = 1e-9
# Terms of all series at a time: they fill some ten megabytes.
_TOGETHER = 2**19


def stable_correlations(act: Activation, q: Array, weight: Array, chi: Array) -> tuple[Array, Array]:
    """Return the stable correlation c* of chaotic networks and the slope of the correlation map there.

    Parameters
    ----------
    act : Activation
    q, weight, chi : array, shape (n,)
        q* > 0, σ_w² and χ > 1 of each network.

    Returns
    -------
    c_star, slope : array, shape (n,)
        As `stable_correlation` has them, to 1e-13 times the conditioning of the problem; NaN where that is
        not reached.
    """
    gap, slope = np.full(q.size, np.nan), np.full(q.size, np.nan)
    kinked = act.slopes is not None
    if math.isfinite(act.period) or ((act.jumps or any(act.breakpoints)) and not kinked):
        return gap, slope
    left = np.argsort(chi)
    left = left[(chi[left] > 1 + (CRITICAL if kinked else _TOO_CLOSE)) | bool(act.jumps)]
    for degree in DEGREES[:1] if kinked else DEGREES:
        count = _TOGETHER // degree
        for start in range(0, left.size, count):
            chosen = left[start : start + count]
            some = q[chosen]
            means = CorrelationKinks(act, some) if kinked else CorrelationSeries.of(act, some, degree)
            gap[chosen], slope[chosen] = _solve(means, weight[chosen], chi[chosen])
            if act.jumps:
                # As `stable_correlation` has it: closer to 1 than can be told.
                ratio, _ = means.at(np.arange(chosen.size), np.full(chosen.size, _SMALLEST_GAP))
                none = weight[chosen] * ratio <= 1
                gap[chosen[none]], slope[chosen[none]] = 0.0, 1 - abs(chi[chosen[none]] - 1) / 2
        left = left[np.isnan(gap[left])]
    return np.where(gap < 1 - 1e-15, 1 - gap, np.where(np.isnan(gap), gap, 0.0)), slope


def _solve(means: CorrelationKinks | CorrelationSeries, weight: Array, chi: Array) -> tuple[Array, Array]:
    """Return where σ_w² E (φ(u1) − φ(u2))² / 2q is 1 − c, and the slope of the correlation map there."""

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

    every = np.ones_like(weight)
    gap = roots_in_log(
        excess,
        _SMALLEST_GAP * every,
        every,
        rising=np.zeros(weight.size, dtype=bool),
        start=np.clip(means.first_gap(weight), 2 * _SMALLEST_GAP, 0.5),
    )
    solved = ~np.isnan(gap)
    gap = np.where(solved, gap, 1.0)
    _, slope = beyond_one(np.arange(gap.size), gap)
    good = solved & means.holds(gap)
    return np.where(good, gap, np.nan), np.where(good, 1 + slope, np.nan)
