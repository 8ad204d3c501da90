"""Hold networks with their own gates against networks with independent ones, which theory says are alike.

The free independence principle [1]_: as N → ∞ the singular values of a network's Jacobian are those of a
network whose gates are drawn independently of its weights. No law is needed: the means of a statistic over
replicates of either kind agree where they differ by at most t standard errors plus what finite width may add;
t is the quantile of Welch's two-sided test at level α/k for k statistics, α the false-alarm rate of all
together (Bonferroni).

Finite width: the signal's direction, which the gates of a network know its weights' effect on, is a weight
of 1/N in every layer, and can send one singular value beyond each end of the law. The extremes are shown
without a verdict, and left out of the other statistics, which may still be displaced by one place of N. Where
gates close, the rank is the smallest of the layers' ranks, and its mean is displaced by as much as it varies.

.. [1] Yang, Tensor Programs III, arXiv 2009.10685.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isocalc.judging.allowances import FALSE_ALARM_RATE, QUANTILES, ROUNDING
from isocalc.judging.statistics import Verdict, log_mean_lambda, pooled_error, quantile_name, student_quantile

Array = npt.NDArray[np.float64]

EXTREMES = ("log_s_min", "log_s_max")


@dataclass(frozen=True)
class Contrast:
    """A statistic of log s in networks of either kind.

    Attributes
    ----------
    name : str
    own, independent : float
        Means over the replicates; not finite where s = 0 decides them.
    standard_error : float
        Of their difference.
    tolerance : float
        Largest difference that agrees.
    verdict : {"agrees", "disagrees", "not judged"}
    """

    name: str
    own: float
    independent: float
    standard_error: float
    tolerance: float
    verdict: Verdict


def contrasts(
    own: Array, independent: Array, *, false_alarm_rate: float = FALSE_ALARM_RATE
) -> tuple[Contrast, ...]:
    """Compare replicates with their own gates and replicates with independent ones.

    Parameters
    ----------
    own, independent : arrays, shape (trials, N)
        log s of independent networks, each row ascending, −inf for s = 0; at least 2 trials, N at least 3.
    false_alarm_rate : float
        Probability α that gates which are free are found not to be, in (0, 1).

    Returns
    -------
    tuple of Contrast
        A statistic that is not finite in every replicate is not judged.
    """
    of_own, of_independent = _statistics(own), _statistics(independent)
    allowances = _allowances(independent)
    judged = [
        name
        for name in of_own
        if name not in EXTREMES
        and np.isfinite(np.concatenate((of_own[name], of_independent[name]))).all()
        and math.isfinite(allowances[name])
    ]
    level = false_alarm_rate / max(len(judged), 1)
    return tuple(
        _contrast(name, one, of_independent[name], level, allowances[name] if name in judged else None)
        for name, one in of_own.items()
    )


def _contrast(name: str, one: Array, other: Array, level: float, allowance: float | None) -> Contrast:
    means = float(one.mean()), float(other.mean())
    if allowance is None:
        with np.errstate(invalid="ignore"):
            return Contrast(name, *means, _welch(one, other)[0], math.inf, "not judged")
    error, freedom = _welch(one, other)
    tolerance = student_quantile(freedom, level) * error + allowance
    return Contrast(
        name, *means, error, tolerance, "agrees" if abs(means[0] - means[1]) <= tolerance else "disagrees"
    )


def _statistics(log_s: Array) -> dict[str, Array]:
    """Return every statistic of each replicate; all but the mass and the extremes without the extremes."""
    trials, width = log_s.shape
    zeros = np.isneginf(log_s).sum(axis=1)
    lowest = np.minimum(zeros, width - 1)
    keep = np.ones(log_s.shape, dtype=bool)
    keep[:, -1] = False
    keep[np.arange(trials), np.minimum(zeros, width - 2)] = False
    inner = log_s[keep].reshape(trials, width - 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        quantiles = np.quantile(inner, QUANTILES, axis=1, method="hazen")
        return {
            "mass_at_zero": zeros / width,
            "log_mean_lambda": log_mean_lambda(inner),
            "mean_log_lambda": 2 * inner.mean(axis=1),
            "var_log_lambda": 4 * inner.var(axis=1),
            **{
                quantile_name(mass): np.nan_to_num(values, nan=-math.inf, neginf=-math.inf)
                for mass, values in zip(QUANTILES, quantiles, strict=True)
            },
            "log_s_min": log_s[np.arange(trials), lowest],
            "log_s_max": log_s[:, -1],
        }


def _allowances(log_s: Array) -> dict[str, float]:
    """Return what finite width may add to the difference of each statistic."""
    trials, width = log_s.shape
    shift = 1 / width + float(np.isneginf(log_s).mean(axis=1).std(ddof=1))
    pooled = np.sort(log_s, axis=None)
    finite = pooled[pooled > -math.inf]
    # Without the extremes, of which there is one at each end of every replicate.
    length = 2 * float(finite[-1 - trials] - finite[trials]) if finite.size > 2 * trials else 0.0
    rounding = ROUNDING * (1 + float(np.abs(finite).max(initial=0.0)))
    allowances = {
        "mass_at_zero": shift,
        "log_mean_lambda": 1 / width * length + rounding,
        "mean_log_lambda": 1 / width * length + rounding,
        "var_log_lambda": 1 / width * length**2 / 4 + rounding,
    }
    places = np.clip([[mass - shift, mass, mass + shift] for mass in QUANTILES], 0.0, 1.0)
    with np.errstate(invalid="ignore"):
        below, place, above = np.quantile(pooled, places.T, method="hazen")
        moved = np.maximum(place - below, above - place)
    for mass, distance in zip(QUANTILES, moved.tolist(), strict=True):
        allowances[quantile_name(mass)] = distance + rounding
    return allowances | dict.fromkeys(EXTREMES, math.inf)


def _welch(one: Array, other: Array) -> tuple[float, float]:
    """Return the standard error of a difference of means and its degrees of freedom."""
    variances = np.array([sample.var(ddof=1) / sample.size for sample in (one, other)])
    return pooled_error(variances, np.array([one.size - 1, other.size - 1]))
