"""The replicates behind a table of ``isocalc mc``, and the rows that come of them."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from isocalc.cli import freeness_rows as freeness
from isocalc.cli import spectrum_rows as spectrum
from isocalc.cli.caveats import Doubles, explain_start
from isocalc.cli.law_options import LawsUsed
from isocalc.cli.pictures import told_ks
from isocalc.cli.sweep import Row, Sweep, say
from isocalc.cli.verdict_rows import COLUMNS, COLUMNS_BY_WIDTH, Verdicts
from isocalc.errors import NoAnswerError

if TYPE_CHECKING:
    from isocalc.judge import Array
    from isocalc.law import Law
    from isocalc.network import FeedForward, ResNet
    from isocalc.replicates import Outcome, Replicate
    from isocalc.simulate import Gates


def kinds(given: dict[str, Any]) -> "Sequence[Gates]":
    """Return the kinds of gates that are simulated."""
    return ("own", "independent") if given["test"] == "freeness" else (given["gates"],)


def tasks(sweep: Sweep, given: dict[str, Any]) -> "Iterator[Replicate]":
    """Yield the replicates of every point of a sweep, point by point."""
    from isocalc.replicates import Replicate

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
        self.doubles = Doubles()
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
            return spectrum.COLUMNS
        if self._given["test"] == "freeness":
            return freeness.COLUMNS
        return COLUMNS_BY_WIDTH if self._by_width else COLUMNS

    def rows(self, network: Any, width: int | None = None) -> Iterable[Row]:
        """Return the rows of one network at one width, from the outcomes that come next."""
        found = [list(islice(self._outcomes, self._given["trials"])) for _ in kinds(self._given)]
        if network not in self._explained:
            self._explained.add(network)
            explain_start(network)
        log_s = list(map(_stacked, found))
        if self._given["spectrum"]:
            self._keep(network, width, log_s, ())
            return spectrum.spectrum_rows(log_s[0], self.doubles)
        tell = _teller(self._sweep, network, width)
        if self._given["test"] == "freeness":
            self._keep(network, width, log_s, ())
            return freeness.freeness_rows(network, log_s[0], log_s[1], self.failures, tell)
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
