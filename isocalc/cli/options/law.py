"""The options that choose a law, shared by commands, and what has to be said about the laws used."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.command import decorated
from isocalc.cli.messages import say
from isocalc.cli.options.types import OneOf, Whole
from isocalc.cli.progress import about, on_terminal
from isocalc.errors import InvalidInputError
from isocalc.limits import GOOD_ENOUGH, LEAST_PATHS, MOST_PATHS

if TYPE_CHECKING:
    from isocalc.laws.law import Law
    from isocalc.laws.spectrum import Choice, LawName, UniversalLaw
    from isocalc.networks.descriptions import FeedForward, ResNet

# Seconds from which on it is said beforehand how long a law takes.
_LONG = 3.0

CAPTIONS = {
    "universal": "Universal law (L -> infinity)",
    "layered": "Law at this depth (layers asymptotically free)",
    "exact": "Exact law at this depth (gates correlated across layers)",
}


def law_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a law; the function gets them as ``law`` and ``paths``."""
    return decorated(
        function,
        (
            click.option(
                "--law",
                type=OneOf(["auto", "universal", "layered", "exact"]),
                default="auto",
                show_default=True,
                help="Of ResNets: the limit L -> infinity (universal); at this depth with free layers "
                "(layered), or correlated gates too (exact). auto: the first off by less than 0.002.",
            ),
            click.option(
                "--paths",
                type=Whole(LEAST_PATHS, MOST_PATHS),
                metavar="N",
                help="Neurons whose gates stand for all in the exact law: the more, the smaller its error.  "
                "[default: 1024]",
            ),
        ),
    )


def require_law(ctx: click.Context, law: str, paths: int | None) -> None:
    """Refuse a law that feed-forward networks do not have, and a number of paths for one that has none."""
    if law in {"universal", "exact"} and ctx.params["arch"] == "feedforward":
        advice = f"The {law} law is that of residual networks."
        raise InvalidInputError("law", "layered with --arch feedforward", law, advice)
    if paths is not None and law not in {"auto", "exact"}:
        raise InvalidInputError("paths", f"left out with --law {law}", paths, "It is of --law exact.")


class LawsUsed:
    """Makes the laws of networks, and remembers them.

    Parameters
    ----------
    law : {"auto", "universal", "layered", "exact"}
    paths : int or None
        Gate paths of the exact law.
    own_gates : bool
        Whether networks have their own gates, not independent ones.
    """

    def __init__(self, law: "LawName", paths: int | None, *, own_gates: bool = True) -> None:
        self.laws: list[Law] = []
        self._law, self._paths, self._own_gates = law, paths, own_gates
        self._choices: list[Choice] = []
        self._wrong: list[tuple[str, Choice]] = []

    def given(self, law: "UniversalLaw") -> "UniversalLaw":
        """Take a law that is of no network."""
        self.laws.append(law)
        return law

    def law_of(self, network: "ResNet | FeedForward") -> "Law":
        """Return the law of a network."""
        from isocalc.laws.spectrum import choose, of_independent_gates, taken  # noqa: PLC0415 - numerics load when a command computes
        from isocalc.networks.descriptions import ResNet  # noqa: PLC0415

        choice = choose(network, self._law, own_gates=self._own_gates)
        if choice.law == "exact" and isinstance(network, ResNet) and not self.laws and on_terminal():
            self._foretell(network)
        law, choice = taken(network, choice, paths=self._paths)
        if not self._own_gates:
            law = of_independent_gates(law, network)
        self.laws.append(law)
        if isinstance(network, ResNet):
            self._choices.append(choice)
            asked_for = self._law in {"universal", "layered"}
            if asked_for and (choice.error is None or choice.error >= GOOD_ENOUGH):
                self._wrong.append((network.act.name, choice))
        return law

    def _foretell(self, network: "ResNet") -> None:
        """Say how long a law will take that takes long."""
        from isocalc.laws.spectrum import expected_seconds  # noqa: PLC0415 - as above

        seconds = expected_seconds(network, paths=self._paths)
        if seconds > _LONG:
            say(f"the exact law of {network.depth} layers: {about(seconds)}, Ctrl-C ends it")

    @property
    def caption(self) -> str:
        """Which law it is, why, and its error."""
        text = "; ".join(dict.fromkeys(CAPTIONS[law.name] for law in self.laws))
        parameter = getattr(self.laws[0], "c", None) if len(self.laws) == 1 else None
        text += "" if parameter is None else f", c = {parameter:.6g}"
        if self._law == "auto" and len(self._choices) == len(self.laws) == 1:
            why = self._choices[0].why
            text += f", {why}" if self._choices[0].law == "universal" else f", as {why}"
        return text + _told_error(self.laws, "KS error")

    def report(self, *told: str) -> None:
        """Say on standard error which laws were used, if one of ``told`` was, and what is wrong with them."""
        if any(choice.law in told for choice in self._choices):
            self._tell_choice()
        if self._wrong:
            acts = ", ".join(dict.fromkeys(name for name, _ in self._wrong))
            why = "; ".join(dict.fromkeys(choice.why for _, choice in self._wrong))
            sizes = [choice.error for _, choice in self._wrong if choice.error is not None]
            most = "up to " if len(self._wrong) > 1 else "about "
            size = f"off by {most}{max(sizes):.2g} (KS distance)" if sizes else "off by an unknown distance"
            say(f"the {self._law} law of {acts} is {size}, through {why}; --law auto takes one that is not")

    def _tell_choice(self) -> None:
        used = self.laws
        if len(used) == 1:
            why = self._choices[0].why if self._law == "auto" else ""
            say(f"{used[0].name} law{', as ' * bool(why)}{why}{_told_error(used, 'its KS error')}")
            return
        counts = Counter(law.name for law in used)
        names = ", ".join(f"{name} for {count}" for name, count in counts.items())
        say(f"law of {len(used)} networks: {names}{_told_error(used, 'KS error')}")


def _told_error(laws: "list[Law]", what: str) -> str:
    """Return the largest error that laws state, as the end of a sentence."""
    errors = [law.error for law in laws if law.error]
    if not errors:
        return ""
    return f"; {what} {'up to ' * (len(laws) > 1)}{max(errors):.2g}"
