"""Hold replicates of a simulated spectrum against a law.

Eigenvalues repel, so singular values of one replicate are far from independent: the replicate is the unit.
A statistic agrees with the law where it differs by at most t standard errors over the replicates plus its
allowance for finite width (`isocalc.judging.statistics`); t is the two-sided Student quantile of level α/k
for k statistics judged, α the false-alarm rate of all together (Bonferroni). Where replicates are so few
that t lets a law agree which is far off, the statistic is not judged.

Calibration (tests/bench/calibrate_mc.py; α = 1 %, 64 networks: feed-forward, tied, rectangular and residual,
Gaussian and orthogonal, L from 1 to 100), groups of 8 trials:

    N                                    50      100      200      500
    right law rejected             0 / 6350   0 / 1600    0 / 512    0 / 191
    c off by 5 %, residual, found  6 / 6400  58 / 1600  233 / 512  164 / 192

Allowances hold for the network that needs them most, so that the rate is far below α for most. At N = 500 the
laws of independent gates for a pre-activation tanh network and of Gaussian weights for five orthogonal
networks were rejected in 8 of 8 groups each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from isocalc.errors import InvalidInputError, require_choice, require_network, require_number
from isocalc.judging.allowances import FALSE_ALARM_RATE
from isocalc.judging.outliers import Outlier, outlier_findings, set_aside
from isocalc.judging.statistics import Finding, Verdict, findings, student_quantile
from isocalc.judging.width_law import WidthLaw
from isocalc.laws.law import Law
from isocalc.limits import LEAST_WIDTH
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import DTYPES, GATES, Dtype, Gates

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Statistic(Finding):
    """A statistic and whether it agrees with the law.

    Attributes
    ----------
    tolerance : float
        Largest difference that agrees: t standard errors plus the allowance at this width.
    verdict : {"agrees", "disagrees", "not judged"}
    """

    tolerance: float = math.inf
    verdict: Verdict = "not judged"


@dataclass(frozen=True)
class Judgement:
    """The statistics of replicates, and the singular values that were set aside before.

    Attributes
    ----------
    statistics : tuple of Statistic
        What theory was asked about, the outliers last.
    outliers : tuple of Outlier
        From the top, then from the bottom.
    """

    statistics: tuple[Statistic, ...]
    outliers: tuple[Outlier, ...] = ()

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Verdicts by the names of the statistics."""
        return {s.name: s.verdict for s in self.statistics}

    @property
    def disagrees(self) -> tuple[str, ...]:
        """Names of the statistics that disagree with the law."""
        return tuple(s.name for s in self.statistics if s.verdict == "disagrees")


def judge(
    log_s: npt.ArrayLike,
    network: ResNet | FeedForward,
    *,
    gates: Gates = "own",
    dtype: Dtype = "float64",
    law: Law | None = None,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> Judgement:
    """Judge replicates of a network.

    Parameters
    ----------
    log_s : array_like, shape (trials, N_0)
        Log singular values of `simulate.replicate`, one row each, ascending; at least 2.
    network : ResNet or FeedForward
    gates : {"own", "independent"}
    dtype : {"float64", "float32"}
        Of the simulation.
    law : Law, optional
        What to judge by. By default the layered law: at finite depth the universal law of residual networks
        is off by O(1/L), which enough replicates find.
    false_alarm_rate : float
        Probability α that a right law is rejected by at least one statistic, in (0, 1).

    Returns
    -------
    Judgement

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        The law is not known (`spectrum`).

    Notes
    -----
    The tolerances are those of theory (50) to (55).
    """
    require_network(network, ResNet, FeedForward)
    require_choice("gates", gates, GATES)
    require_choice("dtype", dtype, DTYPES)
    require_number("false_alarm_rate", false_alarm_rate, "between 0 and 1", lambda rate: 0 < rate < 1)
    chain = network.layer_widths if isinstance(network, FeedForward) else None
    if law is not None and not isinstance(law, Law):
        raise InvalidInputError("law", "a Law", law)
    rows = _required_replicates(log_s, chain[0] if chain else None)
    seen = WidthLaw.of(network, rows.shape[1], gates=gates, dtype=dtype, law=law)
    return judged_by(rows, seen, false_alarm_rate)


def judged_by(log_s: Array, law: WidthLaw, false_alarm_rate: float = FALSE_ALARM_RATE) -> Judgement:
    """Judge replicates by a law and the outliers that are predicted beside it.

    Parameters
    ----------
    log_s : array, shape (trials, N_0)
        Log singular values, each row ascending; at least 2 trials.
    law : WidthLaw
    false_alarm_rate : float
        Probability α that a right law is rejected by at least one statistic, in (0, 1).
    """
    bulk, outliers = set_aside(log_s, law)
    found = [*findings(bulk, law, log_s), *outlier_findings(log_s, outliers, law)]
    return Judgement(judged(found, len(log_s), false_alarm_rate), outliers)


def _required_replicates(log_s: npt.ArrayLike, width: int | None) -> Array:
    """Return replicates of a network of this width as an array, or raise InvalidInputError."""
    try:
        rows = np.asarray(log_s, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError("log_s", "rows of numbers, one for each replicate", log_s) from None
    if rows.ndim != 2 or len(rows) < 2:
        raise InvalidInputError("log_s", "of shape (trials, N_0) with at least 2 trials", rows.shape)
    if rows.shape[1] < LEAST_WIDTH if width is None else rows.shape[1] != width:
        rule = f"of shape (trials, N_0) with N_0 {width or f'at least {LEAST_WIDTH}'}"
        raise InvalidInputError("log_s", rule, rows.shape)
    if not np.all(rows < math.inf):
        raise InvalidInputError("log_s", "finite, or -inf where s = 0", float(rows[~(rows < math.inf)][0]))
    falls = rows[:, 1:] < rows[:, :-1]
    if falls.any():
        trial, place = np.argwhere(falls)[0]
        pair = tuple(rows[trial, place : place + 2].tolist())
        raise InvalidInputError("log_s", "ascending in each row", pair, f"They are in row {trial}.")
    return rows


def compare(
    log_s: Array, law: WidthLaw, *, false_alarm_rate: float = FALSE_ALARM_RATE
) -> tuple[Statistic, ...]:
    """Compare replicates with a law.

    Parameters
    ----------
    log_s : array, shape (trials, N_0)
        Log singular values, each row ascending; at least 2 trials, outliers set aside (`set_aside`).
    law : WidthLaw
    false_alarm_rate : float
        Probability α that a right law is rejected by at least one statistic, in (0, 1).

    Returns
    -------
    tuple of Statistic
    """
    return judged(findings(log_s, law), len(log_s), false_alarm_rate)


def judged(
    found: Sequence[Finding], trials: int, false_alarm_rate: float = FALSE_ALARM_RATE
) -> tuple[Statistic, ...]:
    """Return findings with their verdicts."""
    asked = sum(finding.allowance is not None and finding.theory is not None for finding in found)
    rate = false_alarm_rate / max(asked, 1)
    t = student_quantile(trials - 1, rate)
    statistics = [_judge(finding, t) for finding in found]
    blunt = [one for one in statistics if one.verdict == "agrees" and _is_blunt(one, t)]
    if not blunt:
        return tuple(statistics)
    enough = max(_enough_trials(one, trials, rate) for one in blunt)
    why = f"{trials} trials are too few to find a wrong law; about {enough} would do"
    return tuple(
        replace(one, verdict="not judged", obstacle=why) if one in blunt else one for one in statistics
    )


def _is_blunt(finding: Finding, t: float) -> bool:
    """Return whether t standard errors are so many that a law far from the simulation agrees with it."""
    return finding.standard_error is not None and t * finding.standard_error > finding.scale


def _enough_trials(finding: Finding, trials: int, rate: float) -> int:
    """Return about how many trials would make a statistic sharp that is not."""
    spread, enough = (finding.standard_error or 0.0) * math.sqrt(trials), trials
    while student_quantile(enough - 1, rate) * spread > finding.scale * math.sqrt(enough):
        enough += 1 + enough // 8
    return enough


def _judge(finding: Finding, t: float) -> Statistic:
    if finding.unpredicted:
        return Statistic(**vars(finding), verdict="disagrees")
    known = finding.theory, finding.simulation, finding.standard_error, finding.allowance
    theory, simulation, error, allowance = known
    if theory is None or simulation is None or error is None or allowance is None:
        return Statistic(**vars(finding))
    tolerance = t * error + allowance
    agrees = abs(simulation - theory) <= tolerance
    return Statistic(**vars(finding), tolerance=tolerance, verdict="agrees" if agrees else "disagrees")


def enough_judged(verdicts: Mapping[str, Verdict]) -> bool:
    """Return whether agreement means something: a distance, or half of the statistics, could be judged."""
    judged = [name for name, verdict in verdicts.items() if verdict != "not judged"]
    return 2 * len(judged) >= len(verdicts) or any(name.endswith("_distance") for name in judged)
