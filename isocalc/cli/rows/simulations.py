"""The rows of ``isocalc mc``: singular values, verdicts on the law and on freeness, and their replicates."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from isocalc.cli.messages import Caveats, explain_start, say
from isocalc.cli.options.law import LawsUsed
from isocalc.cli.sweep import Row, Sweep
from isocalc.errors import NoAnswerError

if TYPE_CHECKING:
    from isocalc.judging.judge import Array, Judgement, Statistic
    from isocalc.judging.width_trend import Trend
    from isocalc.laws.law import Law
    from isocalc.networks.descriptions import FeedForward, ResNet
    from isocalc.simulation.replicates import Outcome, Replicate
    from isocalc.simulation.simulate import Dtype, Gates


SPECTRUM_COLUMNS = ("trial", "singular_value", "log_singular_value")


def spectrum_rows(log_s: "Array", caveats: Caveats) -> Iterator[Row]:
    """Yield the singular values of each trial, trials counted from 1."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        s = np.exp(log_s)
    for trial, pairs in enumerate(zip(s.tolist(), log_s.tolist(), strict=True), start=1):
        for value, log in zip(*pairs, strict=True):
            yield {
                "trial": trial,
                "singular_value": caveats.at("singular_value", value, log),
                "log_singular_value": log,
            }


FREENESS_COLUMNS = ("statistic", "own_gates", "independent_gates", "standard_error", "tolerance", "verdict")
_CORRELATED = (
    "see nearly the same x in every layer, so their gates are correlated across layers, and disagree at any "
    "depth, the more clearly the larger the width"
)


def freeness_rows(
    network: "ResNet | FeedForward",
    own: "Array",
    independent: "Array",
    failures: list[str],
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Compare networks with gates of either kind; what tells them apart joins ``failures``."""
    from isocalc.judging.freeness import EXTREMES, contrasts

    found = contrasts(own, independent)
    wrong = [contrast.name for contrast in found if contrast.verdict == "disagrees"]
    left = [one.name for one in found if one.verdict == "not judged" and one.name not in EXTREMES]
    if left:
        tell(f"not judged: {', '.join(left)} (singular values that are 0 decide them)")
    if wrong:
        why = "as width grows they must agree; take a larger one"
        if network.branch.acts_on_stream:
            why = f"blocks x + {network.branch.formula()} {_CORRELATED}"
        failures.append(f"own gates and independent ones disagree: {', '.join(wrong)}; {why}")
        tell(failures[-1])
    for contrast in found:
        yield {
            "statistic": contrast.name,
            "own_gates": _shown(contrast.own),
            "independent_gates": _shown(contrast.independent),
            "standard_error": _shown(contrast.standard_error),
            "tolerance": None if contrast.verdict == "not judged" else contrast.tolerance,
            "verdict": contrast.verdict,
        }


def _shown(value: float) -> float | None:
    return None if math.isnan(value) else value


Tell = Callable[[str], None]

VERDICT_COLUMNS = ("statistic", "theory", "simulation", "standard_error", "tolerance", "verdict")
# Of several widths; the last rows of a network are those of N -> infinity.
COLUMNS_BY_WIDTH = (*VERDICT_COLUMNS[:-1], "rate", VERDICT_COLUMNS[-1])


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
        from isocalc.judging.judge import judge

        law = self._law_of(network)
        judgement = judge(log_s, network, gates=self._gates, dtype=self._dtype, law=law)
        trials, width = log_s.shape
        self._judgements[width], self._trials[width] = judgement, trials
        status = self._status(judgement, tell)
        if judgement.disagrees and not self._several:
            self._disagree(", ".join(judgement.disagrees), network, tell)
        return ({**row_of(statistic), **status} for statistic in judgement.statistics)

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
        from isocalc.judging.width_law import WidthLaw
        from isocalc.judging.width_trend import width_trend

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
        from isocalc.judging.judge import enough_judged

        reasons = "; ".join(reasons_of(judgement.statistics))
        if not enough_judged(judgement.verdicts):
            self._failures.append(f"not enough could be judged: {reasons}")
            tell(self._failures[-1])
            return {"status": self._failures[-1]}
        if reasons:
            tell(f"not judged: {reasons}")
        return {}

    def _disagree(self, what: str, network: "ResNet | FeedForward", tell: Tell) -> None:
        from isocalc.laws.universal_error import has_correlated_gates
        from isocalc.networks.descriptions import ResNet

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
        and (
            one.unpredicted
            or abs((one.simulation or 0.0) - (one.theory or 0.0)) <= tolerance.get(one.name, math.inf)
        )
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
    return judged.tolerance if judged.verdict != "not judged" and math.isfinite(judged.tolerance) else None


def reasons_of(statistics: "Sequence[Statistic]") -> Iterator[str]:
    """Yield why statistics were not judged."""
    found = [statistic for statistic in statistics if statistic.verdict == "not judged"]
    for obstacle in dict.fromkeys(statistic.obstacle for statistic in found):
        names = ", ".join(statistic.name for statistic in found if statistic.obstacle == obstacle)
        yield f"{names} ({obstacle})" if obstacle else names


def kinds(given: dict[str, Any]) -> "Sequence[Gates]":
    """Return the kinds of gates that are simulated."""
    return ("own", "independent") if given["test"] == "freeness" else (given["gates"],)


def tasks(sweep: Sweep, given: dict[str, Any]) -> "Iterator[Replicate]":
    """Yield the replicates of every point of a sweep, point by point."""
    from isocalc.simulation.replicates import Replicate

    for point in sweep.points():
        network = sweep.at(point)
        width = int(point["width"]) if "width" in point else None
        for gates in kinds(given):
            for trial in range(given["trials"]):
                yield Replicate(network, width, given["seed"], trial, gates, given["dtype"])


class Report:
    """Turns outcomes into rows, point by point of a sweep.

    Parameters
    ----------
    sweep : Sweep
    given : dict
        Values of the options.
    outcomes : iterable of Outcome
        Of the replicates, in their order.
    keeps : bool
        Whether ``seen`` gets what there is to draw: networks, widths, log s of each kind of gates, laws, and
        the distance in words.
    """

    def __init__(
        self, sweep: Sweep, given: dict[str, Any], outcomes: "Iterable[Outcome]", *, keeps: bool = False
    ) -> None:
        self.seen: list[tuple[Any, int | None, list[Array], Law | None, str]] = []
        self._keeps = keeps
        self.caveats = Caveats()
        self.failures: list[str] = []
        self._sweep, self._given = sweep, given
        self._outcomes = iter(outcomes)
        self._explained: set[ResNet | FeedForward] = set()
        self._by_width = given["test"] == "law" and not given["spectrum"] and "width" in sweep.swept
        self.laws = LawsUsed(given["law"], given["paths"], own_gates=given["gates"] == "own")
        self._verdicts = Verdicts(
            given["gates"], given["dtype"], self.laws, several=self._by_width, failures=self.failures
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the rows."""
        if self._given["spectrum"]:
            return SPECTRUM_COLUMNS
        if self._given["test"] == "freeness":
            return FREENESS_COLUMNS
        return COLUMNS_BY_WIDTH if self._by_width else VERDICT_COLUMNS

    def rows(self, network: Any, width: int | None = None) -> Iterable[Row]:
        """Return the rows of one network at one width, from the outcomes that come next."""
        found = [list(islice(self._outcomes, self._given["trials"])) for _ in kinds(self._given)]
        if network not in self._explained:
            self._explained.add(network)
            explain_start(network)
        log_s = list(map(_stacked, found))
        if self._given["spectrum"]:
            self._keep(network, width, log_s, ())
            return spectrum_rows(log_s[0], self.caveats)
        tell = _teller(self._sweep, network, width)
        if self._given["test"] == "freeness":
            self._keep(network, width, log_s, ())
            return freeness_rows(network, log_s[0], log_s[1], self.failures, tell)
        rows = list(self._verdicts.rows(network, log_s[0], tell))
        self._keep(network, width, log_s, rows)
        return rows

    def _keep(self, network: Any, width: int | None, log_s: "list[Array]", rows: Sequence[Row]) -> None:
        if self._keeps:
            law = None
            if self._given["test"] == "law":
                with suppress(NoAnswerError):  # histograms stand alone where there is no law
                    law = self.laws.laws[-1] if rows else self.laws.law_of(network)
            self.seen.append((network, width, log_s, law, told_ks(rows)))

    def conclude(self, network: Any) -> Iterable[Row]:
        """Return the rows of a network as N → ∞."""
        return self._verdicts.conclude(network, _teller(self._sweep, network)) if self._by_width else ()


def _teller(sweep: Sweep, network: "ResNet | FeedForward", width: int | None = None) -> Callable[[str], None]:
    """Return what says a message about one network of a sweep, at one width or at all."""
    known = {"width": width} if width is not None else {}
    known |= {name: getattr(network, name) for name in sweep.swept if name != "width"}
    about = ", ".join(f"{name} {known[name]}" for name in sweep.swept if name in known)
    return (lambda message: say(f"{about}: {message}")) if about else say


def _stacked(outcomes: "Sequence[Outcome]") -> "Array":
    """Return the singular values of the trials of a network; raise what kept one from having them."""
    import numpy as np

    found: list[Array] = []
    for outcome in outcomes:
        if isinstance(outcome, NoAnswerError):
            raise outcome
        found.append(outcome)
    return np.stack(found)


def told_ks(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what a table of ``mc`` says of the distance between simulation and law."""
    for row in rows:
        if row["statistic"] == "ks_distance" and row["simulation"] is not None:
            error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2g}"
            within = "" if row["tolerance"] is None else f", tolerance {row['tolerance']:.2g} at this width"
            return f"KS distance {row['simulation']:.2g}{error}{within}: {row['verdict']}"
    return ""
