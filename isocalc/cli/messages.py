"""What the command line says: messages of one line, errors in the words of the options, and caveats.

Errors name arguments of functions and next steps; which options these are is known here alone. Caveats are
about numbers that are shown: what they leave out, where networks start.
"""
# ruff: noqa: PLC0415 - numerics load when a command computes

import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from isocalc.cli.progress import clear_line
from isocalc.errors import InvalidInputError, IsocalcError, NoAnswerError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isocalc.errors import NextStep
    from isocalc.networks.descriptions import FeedForward, ResNet


# Of options whose name is not that of the argument.
_OPTION_NAMES = {
    "activation": "--act",
    "form": "--format",
    "framework": "--emit",
    "inputs": "--input",
    "path": "--output",
    "target": "TARGET",
    "topic": "TOPIC",
    "whole": "--all",
}
ADVICE: "dict[NextStep, str]" = {
    "ask for other values": "ask for other values with --at",
    "draw in the terminal": "or draw in the terminal: --plot -",
    "find the largest alone": "give --largest, which finds the largest singular values without it",
    "follow the signal": "to follow it layer by layer, give --layers and --input-variance",
    "give another shape": "if that is not its shape, give another --input-shape",
    "give the input": "give --input-variance, the mean square of the input's entries",
    "list the activations": "'isocalc acts' lists them",
    "measure a part": "--module measures a part of it alone",
    "read the language": "'isocalc acts --help' has the language",
    "simulate": "simulate with isocalc mc",
    "take the edges of the law": "--bulk takes the edges of the law instead",
    "take the exact law": "see isocalc density --law exact --summary",
    "take the layered law": "take --law layered",
    "take the universal law": "or take --law universal",
    "write a file": "give -o FILE, or a pipe",
}
SEE_ALL = "--all prints them"


def option_of(parameter: str) -> str:
    """Return the option that gives an argument of the library's functions or of a command."""
    return _OPTION_NAMES.get(parameter, "--" + parameter.replace("_", "-"))


def told(error: IsocalcError) -> str:
    """Return the message of an error in the words of the command line, with what to do next."""
    if not isinstance(error, InvalidInputError):
        return advised(str(error), error.next_steps)
    steps = (ADVICE[step] for step in error.next_steps)
    return error.message(option_of(error.parameter), *(f"{step[0].upper()}{step[1:]}." for step in steps))


def advised(message: str, next_steps: "Iterable[NextStep]") -> str:
    """Return a message that is no whole sentence with what to do next."""
    steps = ", or ".join(ADVICE[step] for step in next_steps)
    return f"{message}; {steps}" if steps else message


def say(message: str) -> None:
    """Write one line to standard error; where it cannot be written, nobody is there to read it."""
    clear_line()
    with suppress(OSError):
        print(f"isocalc: {one_line(message)}", file=sys.stderr, flush=True)  # noqa: T201 - the messages of the program


# What density --variable log shows of a law whose singular values do not fit a double.
_SHOWN_IN_LOG = {
    "singular_value",
    "squared_singular_value",
    "density",
    "support",
    "atoms",
    "edge_lower",
    "edge_upper",
    "bulk_condition_number",
    "outliers",
    "s_min",
    "s_max",
    "condition_number",
}


class Caveats:
    """Remembers what a table leaves out, and says it once, below everything else.

    Numbers that do not fit a double are empty cells, and so are outliers that are not derived.
    """

    def __init__(self) -> None:
        self._lost: dict[str, None] = {}
        self._not_derived: dict[str, None] = {}
        self._beside: dict[str, dict[str, None]] = {}

    def positive(self, name: str, value: float) -> float | None:
        """Return a number that is positive and finite if nothing was lost, ``None`` if it was."""
        return self.finite(name, value if value != 0 else math.inf)

    def at(self, name: str, value: float, log_value: float) -> float | None:
        """Return e^log_value, 0 and infinity too where they are true, ``None`` where a double is lost."""
        return value if math.isinf(log_value) else self.positive(name, value)

    def finite(self, name: str, value: float) -> float | None:
        """Return a number that is finite if nothing was lost, ``None`` if it was."""
        if math.isfinite(value):
            return value
        self._lost[name] = None
        return None

    def not_derived(self, why: str | None) -> str | None:
        """Return the status of a row without outliers, for the reason that they are not derived."""
        if why is not None:
            self._not_derived[why] = None
        return why

    def beside(self, name: str, about: str, outliers: str) -> None:
        """Take what lies outside of the law of a network, in words, where a column is of the law alone."""
        if outliers:
            self._beside.setdefault(name, {})[f"{about}: {outliers}"] = None

    def report(self, beside: str | None = None) -> None:
        """Say on standard error what is left out, if anything is; ``beside`` is the column that has it."""
        if self._lost:
            shown = ", ".join(name for name in self._lost if name in _SHOWN_IN_LOG)
            where = beside or "density --variable log"
            advice = f"; for {shown} see {where}" if shown else ""
            names = ", ".join(self._lost)
            say(f"{names}: some values do not fit a double and are left empty{advice}")
        for name, told in self._beside.items():
            say(f"{name} leaves out single values outside of the law; {'; '.join(told)}")
        if self._not_derived:
            reasons = "; ".join(self._not_derived)
            say(f"{reasons}; outliers, s_min, s_max, condition_number are left empty")


def explain_start(network: "ResNet | FeedForward") -> None:
    """Say which of several fixed points a network stays at, and what to do where there is none."""
    from isocalc.networks.descriptions import FeedForward

    if not isinstance(network, FeedForward) or network.input_variance is not None or network.act.scale_free:
        return
    from isocalc.signal.fixed_points import fixed_points

    try:
        points = fixed_points(network)
    except NoAnswerError as error:
        error.next_steps = ("give the input",)
        raise
    if len(points) > 1:
        say(
            f"{network.act.name}, sigma_w {network.sigma_w!r}, sigma_b {network.sigma_b!r}: {len(points)} "
            f"stable fixed points; isocalc takes the smallest, q = {points[0].q_star:.6g}; "
            "--input-variance starts elsewhere"
        )


def has_signal(net: "ResNet | FeedForward") -> bool:
    """Whether the variance of the pre-activations is greater than 0, however small."""
    return bool(net.sigma_w or net.sigma_b) or net.branch.acts_on_stream
