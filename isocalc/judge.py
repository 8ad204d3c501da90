"""Hold replicates of a simulated spectrum against the law of a network.

Eigenvalues repel, so singular values of one replicate are far from independent: the replicate is the unit.
A statistic agrees with the law where it differs by at most t standard errors over the replicates plus its
allowance for finite width and depth (`isocalc.findings`); t is the two-sided Student quantile of level
α/k for k statistics judged, α the false-alarm rate of all together (Bonferroni; without allowances the
rate measured is 0.8 to 0.9 of α).

Calibration (tests/bench/calibrate_mc.py; α = 1 %, 24 networks, N = 50 to 500): the right law was rejected
in 0 of 1008 groups of 8 trials, and in 0 of 768 of other seeds at N = 50 and 100; c off by 5 % was found
in 86 of 768 groups at N = 100, 187 of 384 at N = 200 and 81 of 96 at N = 500.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from isocalc.findings import Finding, edge_places, findings, rounding
from isocalc.finite_depth import DepthLaw

Array = npt.NDArray[np.float64]
Verdict = Literal["agrees", "disagrees", "not judged"]

FALSE_ALARM_RATE = 0.01
_FURTHEST = 4.0


@dataclass(frozen=True)
class Statistic(Finding):
    """A statistic and whether it agrees with the law.

    Attributes
    ----------
    tolerance : float
        Largest difference that agrees.
    verdict : {"agrees", "disagrees", "not judged"}
    """

    tolerance: float = math.inf
    verdict: Verdict = "not judged"


def compare(
    log_s: Array, law: DepthLaw, *, false_alarm_rate: float = FALSE_ALARM_RATE
) -> tuple[Statistic, ...]:
    """Compare replicates with a law.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, each row ascending; at least 2 trials. Outliers of networks with their own gates
        have been set aside (`set_aside`).
    law : DepthLaw
        The law, at the depth of the networks.
    false_alarm_rate : float
        Probability α that a right law is rejected by at least one statistic, in (0, 1).

    Returns
    -------
    tuple of Statistic
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - the only use of SciPy here

    found = findings(log_s, law)
    judged = sum(finding.allowance is not None and finding.theory is not None for finding in found)
    t = float(stdtrit(len(log_s) - 1, 1 - false_alarm_rate / (2 * max(judged, 1))))
    return tuple(_judge(finding, t) for finding in found)


def _judge(finding: Finding, t: float) -> Statistic:
    if finding.allowance is None or finding.theory is None:
        return Statistic(**vars(finding))
    tolerance = t * finding.standard_error + finding.allowance
    agrees = abs(finding.simulation - finding.theory) <= tolerance
    return Statistic(**vars(finding), tolerance=tolerance, verdict="agrees" if agrees else "disagrees")


def enough_judged(statistics: Sequence[Statistic]) -> bool:
    """Return whether agreement means something: a distance, or half of the statistics, could be judged."""
    judged = [statistic.name for statistic in statistics if statistic.verdict != "not judged"]
    return 2 * len(judged) >= len(statistics) or any(name.endswith("_distance") for name in judged)


def set_aside(log_s: Array, law: DepthLaw) -> tuple[Array, list[float]]:
    """Set aside the singular values of the signal's direction where they have left the law.

    The gates of a post-activation network say what its weights do in one direction, that of the signal. The
    gain there is its own: where E φ ≠ 0, or φ grows faster than linearly, it can be far beyond the edges (a
    ReLU network with σ_w = 1, L = 100: s = e^3.7, the edge being e^1.04). A perturbation of rank one sends
    at most one singular value beyond each edge, a weight of 1/N that no limiting law knows.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values of networks with their own gates, each row ascending.
    law : DepthLaw

    Returns
    -------
    bulk : array, shape (trials, N)
        Every trial without its smallest and its largest singular value where they are more than four spacings
        (and rounding) outside the edges; the others are interpolated to N.
    outliers : list of float
        The values set aside; none where the depth is too small to know the edges.
    """
    width = log_s.shape[1]
    levels = (np.arange(width) + 0.5) / width
    low, high, spacing = edge_places(law, width)
    reach = _FURTHEST * spacing + rounding(law) if law.is_accurate else math.inf
    bulk = log_s.copy()
    outliers: list[float] = []
    for trial in bulk:
        first = int(trial[0] < low - reach)
        last = width - int(trial[-1] > high + reach)
        if 0 < last - first < width:
            outliers += [*trial[:first].tolist(), *trial[last:].tolist()]
            trial[:] = np.quantile(trial[first:last], levels, method="hazen")
    return bulk, outliers
