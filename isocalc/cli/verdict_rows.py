"""The rows of ``isocalc mc``: what simulations say of the law, at each width and as widths grow."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from isocalc.cli.law_options import LawsUsed
from isocalc.cli.sweep import Row

if TYPE_CHECKING:
    from isocalc.judge import Array, Judgement, Outlier, Statistic
    from isocalc.law import Law
    from isocalc.network import FeedForward, ResNet
    from isocalc.simulate import Dtype, Gates
    from isocalc.width_trend import Trend

Tell = Callable[[str], None]

COLUMNS = ("statistic", "theory", "simulation", "standard_error", "tolerance", "verdict")
# Of several widths; the last rows of a network are those of N -> infinity.
COLUMNS_BY_WIDTH = (*COLUMNS[:-1], "rate", COLUMNS[-1])


class Verdicts:
    """Holds simulations against the law, one network after the other, each at one width after the other.

    Parameters
    ----------
    gates : {"own", "independent"}
    dtype : {"float64", "float32"}
        Of the simulations.
    laws : LawsUsed
        Makes the laws that judge.
    several : bool
        Whether networks are simulated at several widths, so that `conclude` decides.
    failures : list of str
        Gets what keeps a law from being confirmed.
    """

    def __init__(
        self, gates: "Gates", dtype: "Dtype", laws: LawsUsed, *, several: bool, failures: list[str]
    ) -> None:
        self._gates, self._dtype, self._laws = gates, dtype, laws
        self._several = several
        self._failures = failures
        self._law: tuple[ResNet | FeedForward, Law] | None = None
        self._judgements: dict[int, Judgement] = {}
        self._trials: dict[int, int] = {}

    def rows(self, network: "ResNet | FeedForward", log_s: "Array", tell: Tell) -> Iterator[Row]:
        """Judge the singular values of a network at one width."""
        from isocalc.judge import judge

        law = self._law_of(network)
        judgement = judge(log_s, network, gates=self._gates, dtype=self._dtype, law=law)
        trials, width = log_s.shape
        self._judgements[width], self._trials[width] = judgement, trials
        if judgement.outliers:
            tell(told_of_outliers(judgement.outliers, trials))
        status = self._status(judgement, tell)
        if judgement.disagrees and not self._several:
            self._disagree(", ".join(judgement.disagrees), network, tell)
        return ({**row_of(statistic), **status} for statistic in judgement.rows)

    def conclude(self, network: "ResNet | FeedForward", tell: Tell) -> Iterator[Row]:
        """Judge a network by what its widths say together of N → ∞, where they are two or more."""
        judgements, self._judgements = self._judgements, {}
        trends = self._trends(network, judgements) if len(judgements) > 1 else ()
        wrong = [trend.name for trend in trends if trend.verdict == "disagrees"]
        at_widths = "; ".join(
            f"{', '.join(judgement.disagrees)} at width {width}"
            for width, judgement in judgements.items()
            if judgement.disagrees
        )
        if wrong:
            self._disagree(f"{', '.join(wrong)} as N grows", network, tell)
        elif trends and (unresolved := _unresolved(judgements[max(judgements)], trends)):
            what = f"{', '.join(unresolved)} at width {max(judgements)}; what is extrapolated cannot tell"
            self._disagree(f"{what} whether that goes away, take more trials", network, tell)
        elif at_widths and any(trend.verdict == "agrees" for trend in trends):
            tell(f"the disagreement goes away as N grows, so it is one of finite width: {at_widths}")
        elif at_widths:
            self._disagree(at_widths, network, tell)
        return map(_row_of_limit, trends)

    def _trends(
        self, network: "ResNet | FeedForward", judgements: "dict[int, Judgement]"
    ) -> "tuple[Trend, ...]":
        from isocalc.width_law import WidthLaw
        from isocalc.width_trend import width_trend

        law = WidthLaw.of(network, max(judgements), law=self._law_of(network))
        found = {width: judgement.statistics for width, judgement in judgements.items()}
        return width_trend(found, self._trials, law)

    def _law_of(self, network: "ResNet | FeedForward") -> "Law":
        """Return the law of a network, kept until another one asks."""
        if self._law is None or self._law[0] != network:
            self._law = network, self._laws.law_of(network)
        return self._law[1]

    def _status(self, judgement: "Judgement", tell: Tell) -> Row:
        """Say what could not be judged, and return the status of rows where that is too much."""
        from isocalc.judge import enough_judged

        reasons = "; ".join(reasons_of(judgement.statistics))
        if not enough_judged(judgement.verdicts):
            self._failures.append(f"not enough could be judged: {reasons}")
            tell(self._failures[-1])
            return {"status": self._failures[-1]}
        if reasons:
            tell(f"not judged: {reasons}")
        return {}

    def _disagree(self, what: str, network: "ResNet | FeedForward", tell: Tell) -> None:
        from isocalc.network import ResNet
        from isocalc.universal_error import has_correlated_gates

        law, why = self._law_of(network), ""
        correlated = isinstance(network, ResNet) and has_correlated_gates(network)
        if self._gates == "own" and correlated and law.name != "exact":
            why = " (gates correlated across layers, which it leaves out; --gates independent has none)"
        self._failures.append(f"the simulation disagrees with the law{why}: {what}")
        tell(self._failures[-1])


def _unresolved(widest: "Judgement", trends: "Sequence[Trend]") -> list[str]:
    """Return what disagrees at the largest width by no more than extrapolation could see."""
    tolerance = {trend.name: trend.tolerance for trend in trends}
    return [
        one.name
        for one in widest.statistics
        if one.verdict == "disagrees"
        and one.simulation is not None
        and one.theory is not None
        and abs(one.simulation - one.theory) <= tolerance.get(one.name, math.inf)
    ]


def row_of(statistic: "Statistic") -> Row:
    """Return the row of a statistic."""
    return {
        "statistic": statistic.name,
        "theory": statistic.theory,
        "simulation": statistic.simulation,
        "standard_error": statistic.standard_error,
        "tolerance": _told(statistic),
        "rate": None,
        "verdict": statistic.verdict,
    }


def _row_of_limit(trend: "Trend") -> Row:
    return {
        "width": math.inf,
        "statistic": trend.name,
        "theory": trend.theory,
        "simulation": trend.extrapolated,
        "standard_error": trend.standard_error,
        "tolerance": _told(trend),
        "rate": trend.rate,
        "verdict": trend.verdict,
    }


def _told(judged: "Statistic | Trend") -> float | None:
    return None if judged.verdict == "not judged" else judged.tolerance


def told_of_outliers(outliers: "Sequence[Outlier]", trials: int) -> str:
    """Say which singular values were set aside."""
    values = [value for outlier in outliers for value in outlier.log_s]
    return (
        f"{len(values)} singular values in {trials} trials are set aside, log s from "
        f"{min(values):.6g} to {max(values):.6g}: in the direction of its signal a network with its "
        "own gates, or with LayerNorm, can leave the law"
    )


def reasons_of(statistics: "Sequence[Statistic]") -> Iterator[str]:
    """Yield why statistics were not judged."""
    found = [statistic for statistic in statistics if statistic.verdict == "not judged"]
    for obstacle in dict.fromkeys(statistic.obstacle for statistic in found):
        names = ", ".join(statistic.name for statistic in found if statistic.obstacle == obstacle)
        yield f"{names} ({obstacle})" if obstacle else names
