"""Statistics of replicates of a simulated spectrum, what a law says of them, and how far it may be off.

The allowance of a statistic is what separates theory and simulation at finite width, apart from chance. The
spectrum of a real random matrix is displaced from its limit by O(1) of its N places: 1/N in the distribution
function, and its extremes by a part of their fluctuations. Units follow from that. `PLACES` bounds the
displacement of quantiles and of the distances; moved by as many places, all N values change a mean by the
distance from the first to the last of them over N, which at a hard edge grows like log N. Where gates close,
the rank fluctuates by √N places and the low end of the rest with it. A law that states an error displaces by
that share of all places besides, at every width: theory (50) to (55).

The constants, `allowances`, come from tests/bench/calibrate_mc.py (64 networks, N = 50 to 500). With 800
trials at N = 50 the largest differences found are 0.9 of the allowances (mean and variance, ReLU of 10 and 40
layers), 0.8 of them for quantiles and 0.6 for extremes; of the KS distance, which a largest difference of
finitely many trials adds to, 1.1 (± 0.1). `plain_findings` are the same statistics where there is no law.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from isocalc.judging.allowances import (
    ATOM_DEVIATIONS,
    EDGE_SPACINGS,
    FURTHEST,
    LONE_NEURON,
    LONE_SQUARES,
    MEAN_PLACES,
    MOST_MASS_ROUNDED,
    OUTLIER_IN_MEAN,
    PLACES,
    QUANTILES,
    RANK_MEAN_PLACES,
    RANK_PLACES,
    RANK_VARIANCE_PLACES,
    ROUNDING,
    VARIANCE_PLACES,
)
from isocalc.judging.width_law import WidthLaw
from isocalc.laws.tolerances import LARGEST

Verdict = Literal["agrees", "disagrees", "not judged"]
Array = npt.NDArray[np.float64]

_FEW_VALUES = "a few singular values make up the mean of lambda at this width"
_NO_DOUBLE = "it does not fit a double"
_FEW_NEURONS = "at this depth a single neuron can send a singular value beyond the edges"
_NO_EDGE = "the law has no edge there"
_POINT_MASS = "the law is a point mass"
_NARROW = "the law is narrower than the rounding of log s"
_HALF = 0.5  # of all mass
_ALL_ZERO = "in some trial fewer than two singular values are not 0"


def quantile_name(share: float) -> str:
    """Return the name of the statistic that is a quantile of log s."""
    return f"log_s_q{round(100 * share):02d}"


@dataclass(frozen=True)
class Finding:
    """A statistic before it is judged.

    Attributes
    ----------
    name : str
    theory : float or None
        What the law says; of the extremes and of the mass at zero, at this width. ``None`` where it says
        nothing finite.
    simulation : float or None
        The mean over the replicates; of the distances the one of all replicates pooled. ``None`` where it is
        not finite.
    standard_error : float or None
        Of the simulation, from the spread over the replicates.
    allowance : float or None
        Largest difference between theory and simulation apart from chance; ``None`` where it is not known.
    displaced : float
        What of the allowance, at most, is the law's own error, which no width removes.
    obstacle : str
        What keeps the statistic from being judged; empty where nothing does.
    scale : float
        Largest part of a tolerance that chance may make, so that a wrong law can be found: what the statistic
        differs by where a law is moved by half of its length.
    unpredicted : bool
        Whether it is there although theory has none, which is a disagreement.
    """

    name: str
    theory: float | None
    simulation: float | None
    standard_error: float | None
    allowance: float | None
    obstacle: str = ""
    displaced: float = 0.0
    scale: float = math.inf
    unpredicted: bool = False


def findings(log_s: Array, law: WidthLaw, whole: Array | None = None) -> tuple[Finding, ...]:
    """Compute every statistic of replicates and what the law says of it.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, each row ascending, −inf for s = 0; at least 2 trials.
    law : WidthLaw
    whole : array, shape (trials, N), optional
        The same with the outliers that were set aside, of which the mean of λ is where theory knows it.

    Returns
    -------
    tuple of Finding
        ``mass_at_zero`` only where the law or a trial has some. All others but ``log_mean_lambda`` and
        ``ks_distance`` are of the singular values that are not 0.
    """
    log_s = law.snapped(log_s)
    rest, values = above_zero(log_s), in_each_trial(log_s)
    found = [*_zeros(values["mass_at_zero"], law)]
    if law.vanishes or min(map(len, rest)) < 2:
        names = [name for name in NAMES if name != "mass_at_zero"]
        return (*found, *(Finding(name, None, None, None, None, _ALL_ZERO) for name in names))
    outside = whole is not None and law.excess is not None
    if whole is not None and outside:
        values["log_mean_lambda"] = log_mean_lambda(law.snapped(whole))
    found += [
        _mean_lambda(values, law, outside=outside),
        *_moments(values, law),
        *_quantiles(values, law),
        *edges(rest, law),
    ]
    return (*found, _ks(log_s, law), _wasserstein(rest, law))


NAMES = (
    "mass_at_zero",
    "log_mean_lambda",
    "mean_log_lambda",
    "var_log_lambda",
    *map(quantile_name, QUANTILES),
    "log_s_min",
    "log_s_max",
    "ks_distance",
    "wasserstein_distance",
)


def above_zero(log_s: Array) -> list[Array]:
    """Return the singular values of each trial that are not 0."""
    return [trial[trial > -math.inf] for trial in log_s]


def log_mean_lambda(log_s: Array) -> Array:
    """Return the logarithm of the mean of λ = s² in each trial, shape (trials,), of log s, (trials, N)."""
    top = np.maximum(log_s.max(axis=1, keepdims=True), -LARGEST)
    with np.errstate(divide="ignore"):
        return np.asarray(2 * top[:, 0] + np.log(np.exp(2 * (log_s - top)).mean(axis=1)))


def in_each_trial(log_s: Array) -> dict[str, Array]:
    """Return the value of each statistic in each trial, by name; the mass at 0 alone where a trial is all 0.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, each row ascending, −inf for s = 0.
    """
    values = {"mass_at_zero": (log_s == -math.inf).mean(axis=1)}
    rest = above_zero(log_s)
    if all(trial.size for trial in rest):
        values["log_mean_lambda"] = log_mean_lambda(log_s)
        values["mean_log_lambda"] = np.array([2 * trial.mean() for trial in rest])
        values["var_log_lambda"] = np.array([4 * trial.var() for trial in rest])
        for share in QUANTILES:
            quantiles = [np.quantile(trial, share, method="hazen") for trial in rest]
            values[quantile_name(share)] = np.array(quantiles)
        values["log_s_min"] = np.array([trial[0] for trial in rest])
        values["log_s_max"] = np.array([trial[-1] for trial in rest])
    return values


def _zeros(share: Array, law: WidthLaw) -> Iterator[Finding]:
    if law.zero_mass > 0 or share.any():
        # Gates of an orthogonal or tied network are not quite independent: by a part of the deviation.
        allowance = (PLACES / law.width if law.rank.deviation else ROUNDING) + law.rank.deviation / 2
        yield _over_trials("mass_at_zero", law.zero_mass, share, allowance, scale=_HALF)


def _mean_lambda(values: Mapping[str, Array], law: WidthLaw, *, outside: bool) -> Finding:
    theory = law.mean_at_width if outside else law.log_mean_lambda
    obstacle = "" if law.width > 2 * law.participation else _FEW_VALUES
    if theory is None:
        obstacle = obstacle or _NO_DOUBLE
    allowance = MEAN_PLACES * 2 * _length(law) / law.width + law.rounding
    # What outliers add to the mean may be off as much as they are.
    allowance += outside * law.outliers_share * OUTLIER_IN_MEAN / math.sqrt(law.width)
    displaced = 2 * law.error * _length(law)
    name, scale = "log_mean_lambda", 2 * _seen_from(law)
    return _over_trials(
        name, theory, values[name], allowance, obstacle=obstacle, displaced=displaced, scale=scale
    )


def _moments(values: Mapping[str, Array], law: WidthLaw) -> Iterator[Finding]:
    low, high = law.reach
    slack = law.rank.deviation * law.width
    places = (MEAN_PLACES + RANK_MEAN_PLACES * slack) / law.width
    allowance = 2 * places * _length(law) + law.rounding
    displaced = 2 * law.error * _length(law)
    name = "mean_log_lambda"
    scale = 2 * _seen_from(law)
    yield _over_trials(name, 2 * law.mean, values[name], allowance, displaced=displaced, scale=scale)
    square = (high - law.mean) ** 2 + (law.mean - low) ** 2
    places = (VARIANCE_PLACES + RANK_VARIANCE_PLACES * slack) / law.width
    allowance = 4 * (places * square + _lone_square(law) / law.width) + law.rounding**2
    displaced = 4 * law.error * square
    name = "var_log_lambda"
    # Moved by half of its length either way at random, a law has so much more of it.
    scale = 4 * _seen_from(law) ** 2
    yield _over_trials(name, 4 * law.var, values[name], allowance, displaced=displaced, scale=scale)


def _quantiles(values: Mapping[str, Array], law: WidthLaw) -> Iterator[Finding]:
    for share in QUANTILES:
        name = quantile_name(share)
        slack = RANK_PLACES * (1 - share) * law.rank.deviation * law.width
        place = float(law.ppf(share))
        moved = max(_moved(law, share, PLACES + slack), _moved_by_atoms(law, share))
        displaced = _moved(law, share, law.places)
        allowance, scale = moved + law.rounding, _seen_from(law)
        yield _over_trials(name, place, values[name], allowance, displaced=displaced, scale=scale)


def _moved(law: WidthLaw, share: float, places: float) -> float:
    """Return how far a quantile moves with the mass below it."""
    shift = places / law.count
    below, place, above = law.ppf([share - shift, share, share + shift]).tolist()
    return float(max(place - below, above - place))


def _moved_by_atoms(law: WidthLaw, share: float) -> float:
    """Return how far a quantile moves where it is next to the end of a point mass, which fluctuates."""
    for where, mass in law.atoms:
        places = ATOM_DEVIATIONS * math.sqrt(law.width * mass * (1 - mass))
        low, high = law.ppf([share - places / law.count, share + places / law.count]).tolist()
        if low < where <= high or low <= where < high:
            return _moved(law, share, places)
    return 0.0


def edges(rest: Sequence[Array], law: WidthLaw) -> Iterator[Finding]:
    """Yield the findings of the smallest and of the largest value of each trial."""
    obstacle = _FEW_NEURONS if law.lone_neurons > LONE_NEURON else ""
    allowed = FURTHEST if law.strays else EDGE_SPACINGS
    for k, name in ((0, "log_s_min"), (-1, "log_s_max")):
        values = np.array([trial[k] for trial in rest])
        if not math.isfinite(law.edges[k]) or (k == 0 and law.rank.deviation > 0):
            yield _over_trials(name, None, values, None, obstacle=_NO_EDGE, scale=math.inf)
            continue
        allowance = allowed * law.spacings[k] + law.rounding
        displaced = _moved(law, float(k != 0), law.places)
        known = values, allowance
        yield _over_trials(
            name, law.extremes[k], *known, obstacle=obstacle, displaced=displaced, scale=_seen_from(law)
        )


def _ks(log_s: Array, law: WidthLaw) -> Finding:
    pooled = np.sort(log_s, axis=None)
    below, at_or_below = law.cdf(pooled)
    before = np.searchsorted(pooled, pooled, side="left") / pooled.size
    after = np.searchsorted(pooled, pooled, side="right") / pooled.size
    distance = float(max(np.abs(after - at_or_below).max(), np.abs(before - below).max()))
    error = float(_standard_errors(law.cdf(log_s)[1]).max())
    rounded = law.rounding * law.steepest
    if rounded > MOST_MASS_ROUNDED:
        return Finding("ks_distance", 0.0, distance, error, None, _POINT_MASS if law.is_point else _NARROW)
    allowance = (PLACES + RANK_PLACES * law.rank.deviation * law.width) / law.width + rounded
    allowance += law.error
    return Finding("ks_distance", 0.0, distance, error, allowance, displaced=law.error, scale=_HALF)


def _wasserstein(rest: Sequence[Array], law: WidthLaw) -> Finding:
    pooled = np.sort(np.concatenate(rest))
    moved = np.abs(pooled - law.ppf((np.arange(pooled.size) + 0.5) / pooled.size)).mean()
    count = min(map(len, rest))
    levels = (np.arange(count) + 0.5) / count
    alike = np.array([trial if len(trial) == count else np.quantile(trial, levels) for trial in rest])
    places = (PLACES + RANK_MEAN_PLACES * law.rank.deviation * law.width) / law.count
    lone = law.strays * min(FURTHEST * sum(law.spacings), _length(law))
    allowance = places * _length(law) + lone / law.count + law.rounding
    error, displaced = float(_standard_errors(alike).mean()), law.error * _length(law)
    allowance, scale = allowance + displaced, _seen_from(law)
    return Finding(
        "wasserstein_distance", 0.0, float(moved), error, allowance, displaced=displaced, scale=scale
    )


def _lone_square(law: WidthLaw) -> float:
    """Return what singular values beyond each end, not far enough to be set aside, add to squares."""
    if not law.strays:
        return 0.0
    square = 0.0
    for place, spacing in zip(law.reach, law.spacings, strict=True):
        inside = abs(place - law.mean)
        square += min((inside + FURTHEST * spacing) ** 2 - inside**2, LONE_SQUARES * inside**2)
    return law.strays * square


def _length(law: WidthLaw) -> float:
    """Return the distance in log s from the first to the last value."""
    low, high = law.reach
    return high - low


def _seen_from(law: WidthLaw) -> float:
    """Return half of the law's length, or rounding where that is more."""
    return max(_length(law) / 2, law.rounding)


def _over_trials(
    name: str,
    theory: float | None,
    values: Array,
    allowance: float | None,
    *,
    obstacle: str = "",
    displaced: float = 0.0,
    scale: float,
) -> Finding:
    error = float(_standard_errors(values))
    allowed = None if obstacle or allowance is None else allowance + displaced
    return Finding(name, theory, float(values.mean()), error, allowed, obstacle, displaced, scale)


def _standard_errors(values: Array) -> Array:
    """Return the standard errors of the means over the first axis, the trials."""
    errors: Array = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return errors


def pooled_error(variances: Array, freedom: Array) -> tuple[float, float]:
    """Return the standard error of a sum of independent estimates, and its degrees of freedom.

    Parameters
    ----------
    variances, freedom : arrays, shape (n,)
        Of the estimates: squares of their standard errors, and degrees of freedom of those.

    References
    ----------
    Satterthwaite, Biometrics Bulletin 2 (1946) 110; of two means it is Welch's test.
    """
    total = variances.sum()
    effective = total**2 / (variances**2 / freedom).sum() if total > 0 else freedom.sum()
    return math.sqrt(total), float(effective)


def student_quantile(freedom: float, rate: float) -> float:
    """Return how many standard errors a right mean is off by with a probability of ``rate``, either way."""
    from scipy.special import stdtrit  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    return float(stdtrit(freedom, 1 - rate / 2))


def plain_findings(log_s: Array) -> tuple[Finding, ...]:
    """Return the statistics that `statistics.findings` compares with a law, without one.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, each row ascending, −inf for s = 0; at least 2 trials.

    Returns
    -------
    tuple of Finding
        The same names in the same order, but for the distances; ``mass_at_zero`` only where it is not 0.
    """
    values = in_each_trial(log_s)
    if not values["mass_at_zero"].any():
        del values["mass_at_zero"]
    return tuple(plain_finding(name, found) for name, found in values.items())


def plain_finding(name: str, values: Array) -> Finding:
    """Return one statistic from its value in each trial; without numbers where s = 0 makes one infinite."""
    if not np.isfinite(values).all():
        return Finding(name, None, None, None, None, "it is of s = 0 in some trial")
    return Finding(name, None, float(values.mean()), float(_standard_errors(values)), None)
