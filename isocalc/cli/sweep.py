"""Sweeps: one computation for every combination of the values given, one table for all of them.

Numbers that a user lists or pipes in.

Sweeps: one computation for every combination of the values given, one table for all of them.

What has to be said about numbers before they are shown.
"""

import itertools
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from isocalc.errors import InvalidInputError, IsocalcError, NoAnswerError, one_line
from isocalc.limits import MOST_REASONS, MOST_VALUES

if TYPE_CHECKING:
    from isocalc.display.table import Table
    from isocalc.networks.descriptions import FeedForward, ResNet
    from isocalc.signal.propagation import Propagation


_WRITTEN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?|nan", re.ASCII | re.IGNORECASE)


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


Value = str | int | float
Row = Mapping[str, Value | None]


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


class Sweep:
    """Every combination of option values, each made into the object to compute on (a network, a law).

    Parameters
    ----------
    build : callable
        Makes the object from one value of each axis, passed by name; raises InvalidInputError.
    axes : mapping of str to sequence
        Column name and values of each option, in the order of the options.
    beside : sequence of str
        Axes that are not passed to ``build`` but to the computation.

    Raises
    ------
    InvalidInputError
        A value breaks its rule, or there are more than a million combinations.
    """

    def __init__(
        self, build: Callable[..., Any], axes: Mapping[str, Sequence[Value]], beside: Sequence[str] = ()
    ) -> None:
        self.axes = dict(axes)
        self.beside = beside
        self._build = build
        if self.size > MOST_VALUES:
            longest = max(self.axes, key=lambda name: len(self.axes[name]))
            rule = f"such that a sweep has at most {MOST_VALUES} combinations"
            raise InvalidInputError(longest, rule, self.size)
        first = {name: values[0] for name, values in self.axes.items()}
        for name, values in self.axes.items():
            for value in values:
                self.at(first | {name: value})
        self.axes = {
            name: [float(value) if isinstance(value, Typed) else value for value in values]
            for name, values in self.axes.items()
        }

    @property
    def size(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.axes.values())

    @property
    def points_each(self) -> int:
        """Number of combinations, one after the other, that have the same object."""
        return math.prod(len(self.axes[name]) for name in self.beside)

    @property
    def swept(self) -> list[str]:
        """Names of the axes that have several values, in the order of the options."""
        return [name for name, values in self.axes.items() if len(values) > 1]

    @property
    def single(self) -> bool:
        """Whether there is one combination only."""
        return not self.swept

    def points(self) -> Iterator[dict[str, Value]]:
        """Yield the values of each combination, the last axis changing fastest."""
        for values in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def __iter__(self) -> Iterator[Any]:
        return map(self.at, self.points())

    def at(self, point: Mapping[str, Value]) -> Any:
        """Return the object at a point."""
        return self._build(**{name: value for name, value in point.items() if name not in self.beside})

    def compute(self, function: Callable[..., Iterable[Row]], point: Mapping[str, Value]) -> Iterator[Row]:
        """Call ``function`` with the object at a point, and the values of the axes beside it by name.

        Raises
        ------
        NoAnswerError
            A number does not fit a double, where it is not foreseen.
        """
        try:
            yield from function(self.at(point), **{name: point[name] for name in self.beside})
        except OverflowError as error:
            raise NoAnswerError("a number on the way to the answer does not fit a double") from error

    def crossed(self, **axes: Sequence[Value]) -> "Sweep":
        """Return the sweep with more axes that do not belong to the object, such as a simulation's width."""
        return Sweep(self._build, self.axes | axes, beside=(*self.beside, *axes))


def run(
    sweep: Sweep,
    columns: Sequence[str],
    compute: Callable[..., Iterable[Row]],
    *,
    conclude: Callable[[Any], Iterable[Row]] | None = None,
    caption: str = "",
) -> tuple["Table", bool]:
    """Compute every point of a sweep and return its table, and whether any point failed.

    Parameters
    ----------
    sweep : Sweep
        What to compute on.
    columns : sequence of str
        Columns of the table of one point; ``status`` among them is the last one.
    compute : callable
        Called with the object of each point (and the values of extra axes by name); returns rows as
        mappings with the columns as keys.
    conclude : callable, optional
        Called in a sweep with each object when all its points are computed; returns more rows, which have
        values of their own in the columns of the axes beside the object.
    caption : str, optional
        Caption of the table.

    Returns
    -------
    table : Table
        A sweep's starts with the swept options and ends with ``status``, "ok" or the reason why the row is
        empty.
    failed : bool
        Whether any point failed.

    Raises
    ------
    IsocalcError
        The only point failed.
    """
    from isocalc.display.table import Table  # noqa: PLC0415 - --help must not pay for it

    if sweep.single:
        (point,) = sweep.points()
        return Table(columns, _cells(columns, sweep.compute(compute, point)), caption), False
    others = [name for name in columns if name not in sweep.swept and name != "status"]
    columns = [*sweep.swept, *others, "status"]
    rows: list[list[Value | None]] = []
    failures = 0
    for count, point in enumerate(sweep.points(), start=1):
        done = point | {"status": "ok"}
        try:
            rows += _cells(columns, (done | dict(row) for row in sweep.compute(compute, point)))
        except IsocalcError as error:
            rows += _cells(columns, [dict.fromkeys(columns) | point | {"status": str(error)}])
            failures += 1
            if failures <= MOST_REASONS:
                say(", ".join(f"{name} {point[name]}" for name in sweep.swept) + f": {error}")
        if conclude is not None and count % sweep.points_each == 0:
            rows += _cells(columns, (done | dict(row) for row in conclude(sweep.at(point))))
    if failures > MOST_REASONS:
        say(f"{failures - MOST_REASONS} more rows could not be computed; the column status says why")
    return Table(columns, rows, caption, len(sweep.swept)), failures > 0


def _cells(columns: Sequence[str], rows: Iterable[Row]) -> list[list[Value | None]]:
    return [[row[name] for name in columns] for row in rows]


def say(message: str) -> None:
    """Write one line to standard error; where it cannot be written, nobody is there to read it."""
    with suppress(OSError):
        print(f"isocalc: {one_line(message)}", file=sys.stderr, flush=True)  # noqa: T201 - the messages of the program


# What density --variable log shows of a law whose singular values do not fit a double.
SHOWN_IN_LOG = {
    "singular_value",
    "squared_singular_value",
    "density",
    "support",
    "atoms",
    "edge_lower",
    "edge_upper",
    "bulk_condition_number",
}


class Doubles:
    """Leaves out the numbers that do not fit a double, and remembers which they were.

    Attributes
    ----------
    strays : Strays
        Says in the same report what the numbers that are shown leave out.
    """

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}
        self.strays = Strays()

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
        self.missing[name] = None
        return None

    def report(self, beside: str | None = None) -> None:
        """Say on standard error what was left out, if anything was; ``beside`` is the column that has it."""
        if self.missing:
            shown = ", ".join(name for name in self.missing if name in SHOWN_IN_LOG)
            where = beside or "density --variable log"
            advice = f"; for {shown} see {where}" if shown else ""
            names = ", ".join(self.missing)
            say(f"{names}: some values do not fit a double and are left empty{advice}")
        self.strays.report()


class Strays:
    """Remembers the networks that can have a singular value far outside of the law that is shown."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def look_at(self, network: "ResNet | FeedForward", signal: "Propagation | None" = None) -> None:
        """Take a network whose law is shown."""
        from isocalc.signal.propagation import can_leave_law  # noqa: PLC0415 - loads numpy

        if network.act.name not in self._names and can_leave_law(network, signal):
            self._names[network.act.name] = None

    def report(self) -> None:
        """Say on standard error of which networks the law may not tell the largest singular value."""
        if self._names:
            say(
                f"{', '.join(self._names)}: E phi is not 0, so that one singular value can lie far outside "
                "of the law's edges; isocalc mc --spectrum shows it"
            )


def explain_start(network: "ResNet | FeedForward") -> None:
    """Say which of several fixed points a network stays at, and what to do where there is none."""
    from isocalc.networks.descriptions import FeedForward  # noqa: PLC0415 - loads numpy

    if not isinstance(network, FeedForward) or network.input_variance is not None or network.act.scale_free:
        return
    from isocalc.signal.fixed_points import fixed_points  # noqa: PLC0415 - numerics load when a command computes

    try:
        points = fixed_points(network)
    except NoAnswerError as error:
        advice = "give --input-variance, the mean square of the input's entries"
        raise NoAnswerError(f"{error}; {advice}") from None
    if len(points) > 1:
        say(
            f"{network.act.name}, sigma_w {network.sigma_w!r}, sigma_b {network.sigma_b!r}: {len(points)} "
            f"stable fixed points; isocalc takes the smallest, q = {points[0].q_star:.6g}; "
            "--input-variance starts elsewhere"
        )


def has_signal(net: "ResNet | FeedForward") -> bool:
    """Whether the variance of the pre-activations is greater than 0, however small."""
    return bool(net.sigma_w or net.sigma_b) or net.branch.acts_on_stream
