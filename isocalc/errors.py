"""The exceptions isocalc raises: bad input, and questions whose answer is no."""


class IsocalcError(Exception):
    """Base class of every error that isocalc raises on purpose."""


class InvalidInputError(IsocalcError, ValueError):
    """An argument breaks its rule.

    Parameters
    ----------
    parameter : str
        Python name of the argument, such as ``"sigma_w"``; the command line shows it as ``--sigma-w``.
    rule : str
        What the argument must be, completing "<parameter> must be ...".
    value : object
        What was received.
    advice : str, optional
        What to do instead, a full sentence.
    """

    def __init__(self, parameter: str, rule: str, value: object, advice: str = "") -> None:
        self.parameter, self.rule, self.value, self.advice = parameter, rule, value, advice
        super().__init__(self.message(parameter))

    def __reduce__(self) -> tuple[type, tuple[str, str, object, str]]:
        return type(self), (self.parameter, self.rule, self.value, self.advice)

    def message(self, shown_name: str) -> str:
        """Return the one-line message, calling the parameter ``shown_name``."""
        text = f"{shown_name} must be {self.rule}, got {shortened(repr(self.value))}"
        return f"{text}. {self.advice}" if self.advice else text


class NoAnswerError(IsocalcError, ArithmeticError):
    """The question was put rightly; its answer does not exist or was not reached to the stated accuracy."""


def shortened(text: str, most: int = 200) -> str:
    """Return a text for a message, without its middle where it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... ({len(text)} characters) ... {text[-most // 4 :]}"


def one_line(message: str) -> str:
    """Return a message as one line that a reader can take in, whatever is quoted in it."""
    return shortened(" ".join(map(shortened, message.split())), 2000)
