"""What the judges of a simulation share: verdicts, the false-alarm rate and the quantiles they look at."""

from typing import Literal

Verdict = Literal["agrees", "disagrees", "not judged"]

# Of all statistics of a run together.
FALSE_ALARM_RATE = 0.01
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantile_name(share: float) -> str:
    """Return the name of the statistic that is a quantile of log s."""
    return f"log_s_q{round(100 * share):02d}"
