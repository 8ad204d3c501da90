"""How statistics of simulations of several widths approach the law as N → ∞.

A statistic of a right law differs from it by O(1/N), the extremes by a part of N^(−2/3) (of their own
fluctuations), and what the low end decides by N^(−1/2) where gates close and the rank fluctuates: d(N) = a +
b N^(−p), theory (56). The difference that is left at N → ∞, a, is what a wrong law shows; a disagreement of
finite width goes away. Replicates of different widths are independent, and the errors of most statistics go
like 1/N, so that widths are weighted with N²: weights by estimated errors would favour widths whose few
trials happen to lie together.

Calibration (tests/bench/calibrate_widths.py; α = 1 %, 11 networks, 8 trials at each of N = 50, 100 and 200):
right laws were rejected in 0 of 33 groups; c off by 5 % was found in 9 of 30, the laws of independent gates
for a pre-activation tanh network were rejected in 3 of 3.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isocalc.judging.allowances import FALSE_ALARM_RATE, QUANTILES, REMAINDER, SEEN
from isocalc.judging.judge import Judgement, judge
from isocalc.judging.statistics import NAMES, Finding, Verdict, pooled_error, quantile_name, student_quantile
from isocalc.judging.width_law import WidthLaw
from isocalc.laws.law import Law
from isocalc.laws.spectrum import spectrum
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import Dtype, Gates

Array = npt.NDArray[np.float64]

_EDGES = {"log_s_min", "log_s_max"}
_LOW_END = {
    "mean_log_lambda",
    "var_log_lambda",
    quantile_name(min(QUANTILES)),
    "ks_distance",
    "wasserstein_distance",
}


@dataclass(frozen=True)
class Trend:
    """A statistic as N → ∞.

    Attributes
    ----------
    name : str
        Of the statistic.
    theory : float or None
        What the law says as N → ∞.
    extrapolated : float or None
        The same by the simulations.
    standard_error : float or None
        Of the extrapolated value.
    rate : float or None
        Fitted power p of |simulation − theory| ~ N^(−p): about what is expected where the law is right, 0
        where it is wrong; ``None`` where fewer than two widths differ from theory by two standard errors.
    verdict : {"agrees", "disagrees", "not judged"}
    tolerance : float
        Largest difference of the extrapolated value from theory that agrees.
    """

    name: str
    theory: float | None
    extrapolated: float | None
    standard_error: float | None
    rate: float | None
    verdict: Verdict
    tolerance: float = math.inf


def judge_widths(
    log_s: Mapping[int, Array],
    network: ResNet | FeedForward,
    *,
    gates: Gates = "own",
    dtype: Dtype = "float64",
    law: Law | None = None,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> tuple[dict[int, Judgement], tuple[Trend, ...]]:
    """Judge replicates of a network at several widths.

    Parameters
    ----------
    log_s : mapping of int to array, shape (trials, N)
        Log singular values by width N, at least two widths.
    network, gates, dtype, law, false_alarm_rate
        As in `judge.judge`.

    Returns
    -------
    judgements : dict of int to Judgement
        Of each width alone.
    trends : tuple of Trend
        Of all together: the false-alarm rate is that of these.

    Raises
    ------
    InvalidInputError, NoAnswerError
        As `judge.judge`.

    Notes
    -----
    The form of the approach is theory (56).
    """
    law = spectrum(network, law="layered") if law is None else law
    judgements = {
        width: judge(
            log_s[width], network, gates=gates, dtype=dtype, law=law, false_alarm_rate=false_alarm_rate
        )
        for width in sorted(log_s)
    }
    found = {width: judgement.statistics for width, judgement in judgements.items()}
    trials = {width: len(values) for width, values in log_s.items()}
    seen = WidthLaw.of(network, max(log_s), law=law)
    return judgements, width_trend(found, trials, seen, false_alarm_rate=false_alarm_rate)


def width_trend(
    found: Mapping[int, Sequence[Finding]],
    trials: Mapping[int, int],
    law: WidthLaw,
    *,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> tuple[Trend, ...]:
    """Extrapolate every statistic to N → ∞ and hold it against the law.

    Parameters
    ----------
    found : mapping of int to sequence of Finding
        By width, at least two.
    trials : mapping of int to int
        Number of replicates by width.
    law : WidthLaw
        At any width.
    false_alarm_rate : float
        Probability α that a right law is rejected by at least one statistic, in (0, 1).

    Returns
    -------
    tuple of Trend
        Of the statistics that all widths have.
    """
    widths = sorted(found)
    by_name = [{finding.name: finding for finding in found[width]} for width in widths]
    common = [name for name in by_name[0] if all(name in other for other in by_name)]
    series = {name: [other[name] for other in by_name] for name in common}
    judged = sum(all(map(_is_known, findings)) for findings in series.values())
    level = false_alarm_rate / max(judged, 1)
    freedom = np.array([trials[width] - 1 for width in widths], dtype=float)
    size = np.array(widths, dtype=float)
    theory = limits(law)
    return tuple(
        _trend(these, theory.get(name), _extrapolation(size, _power(name, law)), size, freedom, level=level)
        for name, these in series.items()
    )


def limits(law: WidthLaw) -> dict[str, float | None]:
    """Return what the law says of each statistic as N → ∞, ``None`` where nothing finite."""
    limit = law.limit
    if limit.vanishes:
        return {"mass_at_zero": limit.zero_mass}
    values = [limit.zero_mass, limit.log_mean_lambda, 2 * limit.mean, 4 * limit.var]
    values += [*limit.ppf(QUANTILES).tolist(), *limit.edges, 0.0, 0.0]
    named = dict(zip(NAMES, values, strict=True))
    for end, places in (("outlier", limit.above), ("outlier_below", limit.below)):
        named |= {f"{end}_{number}": place for number, place in enumerate(places, start=1)}
    return {
        name: value if value is not None and math.isfinite(value) else None for name, value in named.items()
    }


def _is_known(finding: Finding) -> bool:
    known = finding.theory, finding.simulation, finding.standard_error, finding.allowance
    return None not in known


def _trend(
    findings: Sequence[Finding],
    limit: float | None,
    shares: Array,
    size: Array,
    freedom: Array,
    *,
    level: float,
) -> Trend:
    name = findings[0].name
    if limit is None or not all(map(_is_known, findings)):
        return Trend(name, limit, None, None, None, "not judged")
    simulation, theory, errors, allowances = (
        np.array([getattr(finding, field) for finding in findings], dtype=float)
        for field in ("simulation", "theory", "standard_error", "allowance")
    )
    difference = simulation - theory
    left = float(shares @ difference)
    error, effective = pooled_error((shares * errors) ** 2, freedom)
    displaced = findings[-1].displaced
    remainder = REMAINDER * (allowances[-1] - displaced) + displaced
    chance = student_quantile(effective, level) * error
    tolerance = chance + remainder
    verdict: Verdict = "disagrees"
    if abs(left) <= tolerance:
        verdict = "agrees" if chance <= findings[-1].scale else "not judged"
    return Trend(name, limit, limit + left, error, _rate(size, difference, errors), verdict, tolerance)


def _power(name: str, law: WidthLaw) -> float:
    """Return the power of 1/N with which a statistic of the law approaches it."""
    if name in _EDGES:
        return 2 / 3
    return 1 / 2 if name in _LOW_END and law.rank.deviation > 0 else 1.0


def _extrapolation(size: Array, power: float) -> Array:
    """Return the weights with which differences add up to the least-squares a of a + b N^(−power)."""
    x = (size / size[-1]) ** -power
    weights = size**2 / (size**2).sum()
    centre = weights @ x
    shares: Array = weights * (1 - centre * (x - centre) / (weights @ (x - centre) ** 2))
    return shares


def _rate(size: Array, difference: Array, errors: Array) -> float | None:
    """Fit |difference| ~ N^(−p) to the widths that see a difference, weighted by relative errors."""
    seen = (np.abs(difference) > SEEN * errors) & (difference != 0)
    if np.count_nonzero(seen) < 2:
        return None
    x, y = np.log(size[seen]), np.log(np.abs(difference[seen]))
    weights = np.abs(difference[seen]) / np.maximum(errors[seen], 1e-12 * np.abs(difference[seen]))
    return -float(np.polyfit(x, y, 1, w=weights)[0])
