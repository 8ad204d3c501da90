"""Singular values outside of the law: set aside, and held against the outliers that theory predicts.

The gates of a network say what its weights do in the direction of the signal, and the gain there is its own:
a perturbation of rank one in every layer (theory, "Outliers"). As many values as are predicted are taken from
each end of every replicate, whether they have left the bulk at this width or not. Values further out than
the extremes of the rest fluctuate are set aside too: they speak against a theory that has none for them if
more than half of the replicates have them.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.judging.allowances import EDGE_SPACINGS, FURTHEST, LONE_NEURON, OUTLIER_DEVIATIONS, OUTLIER_SCALE
from isocalc.judging.statistics import Finding
from isocalc.judging.width_law import WidthLaw

Array = npt.NDArray[np.float64]

# Ends of the spectrum: names of their outliers, and the order of places from the end inwards.
_ENDS = ("outlier_below", "outlier")


class Outlier(NamedTuple):
    """A singular value that was set aside, by its place among those at one end.

    Attributes
    ----------
    name : str
        ``"outlier_1"``, the largest, and so on; ``"outlier_below_1"``, the smallest, and so on.
    log_s : tuple of float
        Its logarithm in each trial that has it.
    """

    name: str
    log_s: tuple[float, ...]


def set_aside(log_s: Array, law: WidthLaw) -> tuple[Array, tuple[Outlier, ...]]:
    """Set aside the singular values that are predicted outside of the law, and those that are found there.

    A perturbation of rank one sends at most one singular value beyond each edge, a weight of 1/N that no
    limiting law knows; LayerNorm, which blocks the signal and the mean, two. Where the law ends in a long
    tail, its own extremes fluctuate more than that and nothing is set aside but what is predicted.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, each row ascending.
    law : WidthLaw

    Returns
    -------
    bulk : array, shape (trials, N)
        Every trial without the outliers that are predicted, and without as many as `WidthLaw.strays` more at
        each end that are more than four spacings (and rounding) outside the expected extremes; the others are
        interpolated to N.
    outliers : tuple of Outlier
        The values set aside, from the top, then from the bottom.
    """
    if law.vanishes or not (law.strays or law.above or law.below):
        return log_s, ()
    width = log_s.shape[1]
    above: dict[int, list[float]] = {}
    below: dict[int, list[float]] = {}
    bulk = log_s.copy()
    for trial in bulk:
        zeros = int(np.count_nonzero(trial == -math.inf))
        first, last = _kept(trial, zeros, law)
        if first < last - 1 and last - first < width - zeros:
            for place, value in enumerate(reversed(trial[last:].tolist()), start=1):
                above.setdefault(place, []).append(value)
            for place, value in enumerate(trial[zeros:first].tolist(), start=1):
                below.setdefault(place, []).append(value)
            kept = trial[first:last]
            places = (np.arange(width - zeros) + 0.5) / (width - zeros)
            trial[zeros:] = np.quantile(kept, places, method="hazen")
    found = [(f"outlier_{place}", above[place]) for place in sorted(above)]
    found += [(f"outlier_below_{place}", below[place]) for place in sorted(below)]
    return bulk, tuple(Outlier(name, tuple(values)) for name, values in found)


def _kept(trial: Array, zeros: int, law: WidthLaw) -> tuple[int, int]:
    """Return the places from where and up to where the values of a trial are those of the law."""
    lowest, highest = _limits(law)
    first, last = zeros + len(law.below), trial.size - len(law.above)
    if zeros == 0:
        first += int(np.count_nonzero(trial[first : first + law.strays] < lowest))
    last -= int(np.count_nonzero(trial[max(last - law.strays, 0) : max(last, 0)] > highest))
    return first, last


def _limits(law: WidthLaw) -> tuple[float, float]:
    """Return the log s beyond which a value is not one of the law's."""
    low, high = law.extremes
    beyond_low, beyond_high = (FURTHEST * spacing + law.rounding for spacing in law.spacings)
    return low - beyond_low, high + beyond_high


def outlier_findings(log_s: Array, outliers: Sequence[Outlier], law: WidthLaw) -> Iterator[Finding]:
    """Yield what theory says of each outlier, and what the simulation does.

    Parameters
    ----------
    log_s : array, shape (trials, N)
        Log singular values, nothing set aside.
    outliers : sequence of Outlier
        Of `set_aside`.
    law : WidthLaw

    Yields
    ------
    Finding
        The mean over the trials that have it. One that is not predicted has no theory: it disagrees if more
        than half of the trials have it, and otherwise is not judged.
    """
    for outlier in outliers:
        end, place = outlier.name.rsplit("_", 1)
        side = _ENDS.index(end)
        yield _finding(outlier, log_s, law, side, int(place))


def _finding(outlier: Outlier, log_s: Array, law: WidthLaw, side: int, place: int) -> Finding:
    values = np.array(outlier.log_s)
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else None
    predicted = (law.below, law.above)[side]
    length = law.reach[1] - law.reach[0]
    if place <= len(predicted):
        theory = predicted[place - 1]
        allowed = _allowance(theory, values, law, side)
        return Finding(outlier.name, theory, mean, error, allowed, scale=max(length / 2, law.rounding))
    obstacle = _why_not_judged(law, side)
    if not obstacle and 2 * values.size <= len(log_s):
        obstacle = f"in {values.size} of {len(log_s)} trials, which may be chance"
    return Finding(outlier.name, None, mean, error, None, obstacle, unpredicted=not obstacle)


def _why_not_judged(law: WidthLaw, side: int) -> str:
    """Why a value that is not predicted does not speak against theory; empty where it does."""
    if law.not_derived is not None:
        return law.not_derived
    if law.lone_neurons > LONE_NEURON:
        return "at this depth a single neuron can send a singular value beyond the edges"
    return "" if math.isfinite(law.edges[side]) else "the law has no edge there"


def _allowance(theory: float, values: Array, law: WidthLaw, side: int) -> float:
    """Return how far the mean of an outlier may be off: a part of its deviation, which is O(N^(-1/2)).

    The mean is off by about the variance, O(1/N). Next to the edge an outlier is one with the extreme of the
    bulk, which fluctuates more.
    """
    allowed = OUTLIER_DEVIATIONS * float(values.std()) + OUTLIER_SCALE / math.sqrt(law.width) + law.rounding
    spacing = law.spacings[side]
    if math.isfinite(spacing) and abs(theory - law.edges[side]) < FURTHEST * spacing:
        allowed += EDGE_SPACINGS * spacing
    return allowed
