"""Statistics of replicates of a simulated spectrum, what the law says of them, and how far it may be off.

The allowance of a statistic is what separates theory and simulation apart from chance: finite width and
depth.

Finite width: the spectrum of a real random matrix is displaced from its limit by O(1) of its N places, 1/N
in the distribution function, and its extremes by a part of their spacing, N^(−2/3). The constants come from
tests/bench/calibrate_mc.py: 24 networks (linear, ReLU, tanh, GELU, SiLU, ELU, SELU, softplus, sigmoid,
Gaussian, tanhshrink, hardshrink, squared ReLU, sin, snake and a threshold; both kinds of weights, L from 8
to 60, c from 0.02 to 9), N = 50, 100, 200 and 500, 16 to 128 trials each. The largest differences found,
less two standard errors, are 0.7 of the allowances.

Finite depth: the error of `DepthLaw`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isocalc.finite_depth import DepthLaw

Array = npt.NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# Displacements in places: of quantiles and distances, of means in half-widths, of variances in their squares.
PLACES = 1.0
MEAN_PLACES = 2.0
VARIANCE_PLACES = 0.75
EDGE_SPACINGS = 1.5

# N times the mass beyond −1.2065, the mean of the Tracy-Widom law of real matrices (Bornemann 2010).
_EDGE_MASS = 2 / (3 * math.pi) * 1.2065335745820**1.5
_EDGE_ERRORS = 2.5
_GATE_VARIANCE_PER_LAYER = 1 / 8
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Finding:
    """A statistic before it is judged.

    Attributes
    ----------
    name : str
    theory : float or None
        What the law says at this depth (for the edges: at this width too); ``None`` where it is not known.
    simulation : float
        The mean over the replicates; of the distances the one of all replicates pooled.
    standard_error : float
        Of the simulation, from the spread over the replicates.
    allowance : float or None
        Largest difference between theory and simulation apart from chance; ``None`` where it is not known.
    """

    name: str
    theory: float | None
    simulation: float
    standard_error: float
    allowance: float | None


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


def _means(log_s: Array, law: DepthLaw) -> Sequence[Finding]:
    width = log_s.shape[1]
    log_lambda = 2 * log_s
    top = log_lambda.max()
    log_mean = top + np.log(np.exp(log_lambda - top).mean(axis=1))
    places = MEAN_PLACES * 2 * law.half_width / width + _rounding(law)
    # The relative variance of λ is 2c: on fewer places a few singular values make up the mean of λ.
    typical = width > 2 * (1 + 2 * law.c)
    centre = 2 * law.mean_log_s if law.strongest < 1 else None
    deviation = math.sqrt(law.var_log_lambda)
    spread = VARIANCE_PLACES * 4 * law.half_width**2 / width + 4 * deviation * law.error + _rounding(law) ** 2
    return (
        _over_trials("log_mean_lambda", law.log_mean_lambda, log_mean, places if typical else None),
        _over_trials("mean_log_lambda", centre, log_lambda.mean(axis=1), places),
        _over_trials("var_log_lambda", _shape(law, law.var_log_lambda), log_lambda.var(axis=1), spread),
    )


def _quantiles(log_s: Array, law: DepthLaw) -> Sequence[Finding]:
    found = []
    shift = PLACES / log_s.shape[1]
    for mass, values in zip(QUANTILES, np.quantile(log_s, QUANTILES, axis=1, method="hazen"), strict=True):
        below, place, above = law.ppf([mass - shift, mass, mass + shift]).tolist()
        allowance = max(place - below, above - place) + law.error + _rounding(law)
        found.append(_over_trials(f"log_s_q{round(100 * mass):02d}", _shape(law, place), values, allowance))
    return found


def _edges(log_s: Array, law: DepthLaw) -> Sequence[Finding]:
    low, high, spacing = edge_places(law, log_s.shape[1])
    allowance = EDGE_SPACINGS * spacing + _EDGE_ERRORS * law.error + _rounding(law)
    # In few layers, a neuron whose φ'² is far above its mean has a singular value of its own beyond the
    # edges.
    few_layers = law.terms > _GATE_VARIANCE_PER_LAYER * law.depth * law.squares
    return (
        _over_trials("log_s_min", _shape(law, low), log_s[:, 0], None if few_layers else allowance),
        _over_trials("log_s_max", _shape(law, high), log_s[:, -1], None if few_layers else allowance),
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
    error = law.error + _rounding(law)
    ks_allowance = places + error * law.largest_density
    moved_allowance = places * 2 * law.half_width + error
    nothing = _shape(law, 0.0)
    return (
        Finding("ks_distance", nothing, ks, ks_error, ks_allowance if ks_allowance < 1 else None),
        Finding("wasserstein_distance", nothing, moved, moved_error, moved_allowance),
    )


def _over_trials(name: str, theory: float | None, values: Array, allowance: float | None) -> Finding:
    error = float(_standard_errors(values[:, None])[0])
    return Finding(name, theory, float(values.mean()), error, allowance)


def _standard_errors(values: Array) -> Array:
    """Return the standard error of the mean over the first axis."""
    errors: Array = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return errors


def _shape(law: DepthLaw, theory: float) -> float | None:
    """Return what the law says of its shape, ``None`` where the depth is too small to know it."""
    return theory if law.is_accurate else None


def _rounding(law: DepthLaw) -> float:
    return _ROUNDING * (1 + abs(law.mean_log_s))
