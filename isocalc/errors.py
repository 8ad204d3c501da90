"""The exceptions isocalc raises: bad input, and questions whose answer is no."""

import math
import operator
from collections.abc import Callable
from typing import Literal

NextStep = Literal[
    "ask for other values",
    "draw in the terminal",
    "find the largest alone",
    "follow the signal",
    "give another shape",
    "give the input",
    "list the activations",
    "measure a part",
    "read the language",
    "simulate",
    "take the edges of the law",
    "take the exact law",
    "take the layered law",
    "take the universal law",
    "write a file",
]
"""What may be done after an error; each interface has words of its own for it, `cli.messages` the options."""


class IsocalcError(Exception):
    """Base class of every error that isocalc raises on purpose.

    Attributes
    ----------
    next_steps : tuple of str
        What may be done instead, of `NextStep`, where the message does not say it.
    """

    next_steps: tuple[NextStep, ...] = ()


class InvalidInputError(IsocalcError, ValueError):
    """An argument breaks its rule.

    Parameters
    ----------
    parameter : str
        Python name of the argument, such as ``"sigma_w"``; the command line shows the option's.
    rule : str
        What the argument must be, completing "<parameter> must be ...".
    value : object
        What was received.
    advice : str, optional
        What to do instead, a full sentence.
    next_steps : tuple of str
        What else may be done, of `NextStep`.
    """

    def __init__(
        self,
        parameter: str,
        rule: str,
        value: object,
        advice: str = "",
        next_steps: tuple[NextStep, ...] = (),
    ) -> None:
        self.parameter, self.rule, self.value, self.advice = parameter, rule, value, advice
        self.next_steps = next_steps
        super().__init__(self.message(parameter))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.parameter, self.rule, self.value, self.advice, self.next_steps)

    def message(self, shown_name: str, *more: str) -> str:
        """Return the one-line message, calling the parameter ``shown_name``; ``more`` is more advice."""
        text = f"{shown_name} must be {self.rule}, got {shortened(repr(self.value))}"
        advice = " ".join(filter(None, (self.advice, *more)))
        return f"{text}. {advice}" if advice else text


class NoAnswerError(IsocalcError, ArithmeticError):
    """The question was put rightly; its answer does not exist or was not reached to the stated accuracy.

    Parameters
    ----------
    message : str
    next_steps : tuple of str
        What may be done instead, of `NextStep`.
    """

    def __init__(self, message: str, next_steps: tuple[NextStep, ...] = ()) -> None:
        super().__init__(message)
        self.next_steps = next_steps


class NoFixedPointError(NoAnswerError):
    """A feed-forward network has no fixed point: the variance of its signal grows without bound."""


class LimitWarning(UserWarning):
    """The answer is that of a limit, as the network itself has none."""


def shortened(text: str, most: int = 200) -> str:
    """Return a text for a message, without its middle where it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... ({len(text)} characters) ... {text[-most // 4 :]}"


def one_line(message: str) -> str:
    """Return a message as one line that a reader can take in, whatever is quoted in it."""
    return shortened(" ".join(map(shortened, message.split())), 2000)


def require_number(parameter: str, value: object, rule: str, holds: Callable[[float], bool]) -> float:
    """Return ``value`` as a float, or raise InvalidInputError where it is not finite or breaks ``rule``."""
    if hasattr(value, "__float__") and not isinstance(value, bool):
        try:
            number = float(value)
        except TypeError:  # an array of several numbers
            number = math.nan
        if math.isfinite(number) and holds(number):
            return number
    raise InvalidInputError(parameter, rule, value)


def require_network(network: object, *kinds: type) -> None:
    """Raise InvalidInputError where ``network`` is of none of the kinds."""
    if not isinstance(network, kinds):
        raise InvalidInputError("network", " or ".join(kind.__name__ for kind in kinds), network)


def require_whole(parameter: str, value: object, least: int, most: int) -> int:
    """Return ``value`` as an int, or raise InvalidInputError where it is not whole or outside the range."""
    try:
        number = operator.index(value)  # type: ignore[arg-type] # what it cannot take, it refuses
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise InvalidInputError(parameter, f"a whole number from {least} to {most}", value)
    return number


def require_choice(parameter: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise InvalidInputError where ``value`` is not one of ``choices``."""
    if value not in choices:
        raise InvalidInputError(parameter, f"one of {', '.join(choices)}", value)
