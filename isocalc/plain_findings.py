"""Statistics of replicates of a spectrum for which there is no law."""

import math

import numpy as np
import numpy.typing as npt

from isocalc.findings import Finding
from isocalc.verdicts import QUANTILES, quantile_name

Array = npt.NDArray[np.float64]


def plain_findings(log_s: Array) -> tuple[Finding, ...]:
    """Return the statistics that `findings.findings` compares with a law, without one.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, each row ascending, −inf for s = 0; at least 2 trials.

    Returns
    -------
    tuple of Finding
        The same names in the same order, but for the distances; ``mass_at_zero`` only where it is not 0.
    """
    found = {}
    if (log_s == -math.inf).any():
        found["mass_at_zero"] = (log_s == -math.inf).mean(axis=1)
    rest = [trial[trial > -math.inf] for trial in log_s]
    if all(trial.size for trial in rest):
        top = log_s.max()
        found["log_mean_lambda"] = 2 * top + np.log(np.exp(2 * (log_s - top)).mean(axis=1))
        found["mean_log_lambda"] = np.array([2 * trial.mean() for trial in rest])
        found["var_log_lambda"] = np.array([4 * trial.var() for trial in rest])
        for share in QUANTILES:
            values = [np.quantile(trial, share, method="hazen") for trial in rest]
            found[quantile_name(share)] = np.array(values)
        found["log_s_min"] = np.array([trial[0] for trial in rest])
        found["log_s_max"] = np.array([trial[-1] for trial in rest])
    return tuple(plain_finding(name, values) for name, values in found.items())


def plain_finding(name: str, values: Array) -> Finding:
    """Return one statistic from its value in each trial; without numbers where s = 0 makes one infinite."""
    if not np.isfinite(values).all():
        return Finding(name, None, None, None, None, "it is of s = 0 in some trial")
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Finding(name, None, float(values.mean()), error, None)
