"""Statistics of replicates of a simulated spectrum, what the law says of them, and how far it may be off.

The allowance of a statistic is what separates theory and simulation apart from chance: finite width and
depth.

Finite width: the spectrum of a real random matrix is displaced from its limit by O(1) of its N places, 1/N
in the distribution function, and its extremes by a part of their spacing, N^(−2/3). The constants come from
tests/bench/calibrate_mc.py: 24 networks (linear, ReLU, tanh, GELU, SiLU, ELU, SELU, softplus, sigmoid,
Gaussian, tanhshrink, hardshrink, squared ReLU, sin, snake and a threshold; both kinds of weights, L from 8
to 60, c from 0.02 to 9), N = 50, 100, 200 and 500, 16 to 128 trials each. The largest differences found,
less two standard errors, are 0.8 of the allowances (0.83 with other seeds at N = 50 and 100).

Finite depth: the error of `DepthLaw`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from isocalc.finite_depth import DepthLaw

Array = npt.NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# Displacements in places: of quantiles and distances, of means in half-widths, of variances in their squares.
PLACES = 0.85
MEAN_PLACES = 1.6
VARIANCE_PLACES = 0.5
EDGE_SPACINGS = 1.3

# N times the mass beyond −1.2065, the mean of the Tracy-Widom law of real matrices (Bornemann 2010).
_EDGE_MASS = 2 / (3 * math.pi) * 1.2065335745820**1.5
_EDGE_ERRORS = 2.5
_GATE_VARIANCE_PER_LAYER = 1 / 8
_ROUNDING = 1e-12
_MOST_MASS_ROUNDED = 0.5

_FEW_VALUES = "a few singular values make up the mean of lambda at this width"
_FEW_NEURONS = "at this depth a single neuron can send a singular value beyond the edges"
_POINT_MASS = "the law is a point mass"
_NARROW = "the law is narrower than the rounding of log s"


@dataclass(frozen=True)
class Finding:
    """A statistic before it is judged.

    Attributes
    ----------
    name : str
    theory : float or None
        What the law says at this depth (for the edges: at this width too); ``None`` where it is not known.
    simulation : float
        The mean over the replicates; of the distances the one of all replicates pooled (from the universal
        law where the correction for depth is not accurate).
    standard_error : float
        Of the simulation, from the spread over the replicates.
    allowance : float or None
        Largest difference between theory and simulation apart from chance; ``None`` where it is not known.
    obstacle : str
        What keeps the statistic from being judged at this width; empty where nothing does.
    """

    name: str
    theory: float | None
    simulation: float
    standard_error: float
    allowance: float | None
    obstacle: str = ""


def findings(log_s: Array, law: DepthLaw) -> tuple[Finding, ...]:
    """Compute every statistic of replicates and what the law says of it.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, each row ascending; at least 2 trials.
    law : DepthLaw

    Returns
    -------
    tuple of Finding
    """
    return (*_means(log_s, law), *_quantiles(log_s, law), *_edges(log_s, law), *_distances(log_s, law))


def edge_places(law: DepthLaw, width: int) -> tuple[float, float, float]:
    """Return where the extreme log s are at this width, and the larger of their distances from the edges."""
    mass = _EDGE_MASS / width
    bottom, low, high, top = law.ppf([0.0, mass, 1 - mass, 1.0]).tolist()
    return low, high, max(low - bottom, top - high)


def rounding(law: DepthLaw) -> float:
    """Return how far rounding may displace simulated log s."""
    return _ROUNDING * (1 + abs(law.mean_log_s))


def _means(log_s: Array, law: DepthLaw) -> Sequence[Finding]:
    width = log_s.shape[1]
    log_lambda = 2 * log_s
    top = log_lambda.max()
    log_mean = top + np.log(np.exp(log_lambda - top).mean(axis=1))
    places = MEAN_PLACES * 2 * law.half_width / width + rounding(law)
    # The relative variance of λ is 2c: on fewer places a few singular values make up the mean of λ.
    obstacle = "" if width > 2 * (1 + 2 * law.c) else _FEW_VALUES
    centre = 2 * law.mean_log_s if law.strongest < 1 else None
    deviation = math.sqrt(law.var_log_lambda)
    spread = VARIANCE_PLACES * 4 * law.half_width**2 / width + 4 * deviation * law.error + rounding(law) ** 2
    return (
        _over_trials("log_mean_lambda", law.log_mean_lambda, log_mean, places, obstacle),
        _over_trials("mean_log_lambda", centre, log_lambda.mean(axis=1), places),
        _over_trials("var_log_lambda", _shape(law, law.var_log_lambda), log_lambda.var(axis=1), spread),
    )


def _quantiles(log_s: Array, law: DepthLaw) -> Sequence[Finding]:
    found = []
    shift = PLACES / log_s.shape[1]
    for mass, values in zip(QUANTILES, np.quantile(log_s, QUANTILES, axis=1, method="hazen"), strict=True):
        below, place, above = law.ppf([mass - shift, mass, mass + shift]).tolist()
        allowance = max(place - below, above - place) + law.error + rounding(law)
        found.append(_over_trials(f"log_s_q{round(100 * mass):02d}", _shape(law, place), values, allowance))
    return found


def _edges(log_s: Array, law: DepthLaw) -> Sequence[Finding]:
    low, high, spacing = edge_places(law, log_s.shape[1])
    allowance = EDGE_SPACINGS * spacing + _EDGE_ERRORS * law.error + rounding(law)
    # In few layers, a neuron whose φ'² is far above its mean has a singular value of its own beyond the
    # edges.
    obstacle = _FEW_NEURONS if law.gate_variance > _GATE_VARIANCE_PER_LAYER * law.depth else ""
    return (
        _over_trials("log_s_min", _shape(law, low), log_s[:, 0], allowance, obstacle),
        _over_trials("log_s_max", _shape(law, high), log_s[:, -1], allowance, obstacle),
    )


def _distances(log_s: Array, law: DepthLaw) -> Sequence[Finding]:
    pooled = np.sort(log_s, axis=None)
    steps = np.arange(pooled.size + 1) / pooled.size
    mass = law.cdf(pooled)
    ks = float(max((steps[1:] - mass).max(), (mass - steps[:-1]).max()))
    moved = float(np.abs(pooled - law.ppf((steps[1:] + steps[:-1]) / 2)).mean())
    ks_error = float(_standard_errors(law.cdf(log_s)).max())
    moved_error = float(_standard_errors(log_s).mean())
    places = PLACES / log_s.shape[1]
    error = law.error + rounding(law)
    moved_allowance = places * 2 * law.half_width + error
    nothing = _shape(law, 0.0)
    ks_found = Finding("ks_distance", nothing, ks, ks_error, places + error * law.largest_density)
    if rounding(law) * law.largest_density > _MOST_MASS_ROUNDED:
        obstacle = _POINT_MASS if law.c == 0 else _NARROW
        ks_found = replace(ks_found, allowance=None, obstacle=obstacle)
    return ks_found, Finding("wasserstein_distance", nothing, moved, moved_error, moved_allowance)


def _over_trials(
    name: str, theory: float | None, values: Array, allowance: float, obstacle: str = ""
) -> Finding:
    error = float(_standard_errors(values))
    return Finding(name, theory, float(values.mean()), error, None if obstacle else allowance, obstacle)


def _standard_errors(values: Array) -> Array:
    """Return the standard errors of the means over the first axis, the trials."""
    errors: Array = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return errors


def _shape(law: DepthLaw, theory: float) -> float | None:
    """Return what the law says of its shape, ``None`` where the depth is too small to know it."""
    return theory if law.is_accurate else None
