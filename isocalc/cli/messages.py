"""What the command line says: messages of one line, and the library's errors in the words of the options.

Errors name arguments of functions and next steps; which options these are is known here alone.
"""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from isocalc.errors import InvalidInputError, IsocalcError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isocalc.errors import NextStep


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
    with suppress(OSError):
        print(f"isocalc: {one_line(message)}", file=sys.stderr, flush=True)  # noqa: T201 - the messages of the program
