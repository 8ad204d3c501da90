"""Numbers as a user writes them, one by one, in lists or on standard input."""

import math
import re
import sys
from collections.abc import Iterator
from typing import Self

from isocalc.errors import InvalidInputError

_WRITTEN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?|nan", re.ASCII | re.IGNORECASE)


class Typed(float):
    """A float that shows itself as it was typed, for messages."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Return the number that a text means; raise ValueError where it means none."""
        number = super().__new__(cls, parse_number(text))
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


def parse_number(text: str) -> float:
    """Return the number that a text writes.

    Raises
    ------
    ValueError
        It writes none (Python's ``1_0`` and other scripts' digits among them), or one too small for a double.
    """
    if not _WRITTEN.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    number = float(text)
    if number == 0 and re.search("[1-9]", text.lower().split("e", maxsplit=1)[0]):
        raise ValueError(f"{text!r} is too small for a double")
    return number


def read_numbers(parameter: str, text: str, least: float | None) -> list[float]:
    """Return the numbers of a comma list, or of standard input for "-", in the order given.

    Parameters
    ----------
    parameter : str
        Name of the option, for messages.
    text : str
        What the option was given.
    least : float or None
        The least value allowed.

    Raises
    ------
    InvalidInputError
        Something is not a finite number of at least ``least``, or there is none, or nothing can be read.
    """
    rule = "finite numbers" if least is None else f"finite numbers of at least {least:g}"
    if text.strip() != "-":
        return [_number(parameter, item.strip(), rule, least, "") for item in text.split(",")]
    found = [
        _number(parameter, word, rule, least, f"It is on line {line} of standard input.")
        for line, word in _words(parameter)
    ]
    if not found:
        raise InvalidInputError(parameter, rule, "-", "Standard input holds no numbers.")
    return found


def _number(parameter: str, word: str, rule: str, least: float | None, where: str) -> float:
    try:
        number = parse_number(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (least is not None and number < least):
        raise InvalidInputError(parameter, rule, word, where)
    return number + 0.0  # -0.0 becomes 0.0


def _words(parameter: str) -> Iterator[tuple[int, str]]:
    try:
        for line, content in enumerate(sys.stdin or (), start=1):
            for word in re.split(r"[,\s]+", content.strip(" \t\r\n,")):
                if word:
                    yield line, word
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(parameter, "readable from standard input", "-", f"{reason}.") from None
