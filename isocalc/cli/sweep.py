"""Sweeps: one computation for every combination of the values given, one table for all of them."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from isocalc.cli.messages import say, told
from isocalc.cli.numbers import Typed
from isocalc.cli.progress import waiting
from isocalc.errors import InvalidInputError, IsocalcError, NoAnswerError
from isocalc.limits import MOST_REASONS, MOST_VALUES

if TYPE_CHECKING:
    from isocalc.display.table import Table


Value = str | int | float
Row = Mapping[str, Value | None]
# A row whose status is the error that kept it, or a part of it, from being computed.
Cell = Value | IsocalcError | None
PartialRow = Mapping[str, Cell]


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

    def compute(
        self, function: Callable[..., Iterable[PartialRow]], point: Mapping[str, Value]
    ) -> Iterator[PartialRow]:
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
    compute: Callable[..., Iterable[PartialRow]],
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
        mappings with the columns as keys. A row that could not be computed, or not all of it, has the error
        as its ``status``.
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

    failures: list[str] = []
    if sweep.single:
        (point,) = sweep.points()
        with waiting(1):
            rows = _cells(columns, sweep.compute(compute, point), (), failures)
        _tell_rest(failures)
        return Table(columns, rows, caption), bool(failures)
    others = [name for name in columns if name not in sweep.swept and name != "status"]
    columns = [*sweep.swept, *others, "status"]
    rows = []
    with waiting(sweep.size) as tell:
        for count, point in enumerate(sweep.points(), start=1):
            done: dict[str, Cell] = {**point, "status": "ok"}
            try:
                found = [done | dict(row) for row in sweep.compute(compute, point)]
            except IsocalcError as error:
                found = [dict.fromkeys(columns) | point | {"status": error}]
            rows += _cells(columns, found, sweep.swept, failures)
            if conclude is not None and count % sweep.points_each == 0:
                found = [done | dict(row) for row in conclude(sweep.at(point))]
                rows += _cells(columns, found, sweep.swept, failures)
            tell(count)
    _tell_rest(failures)
    return Table(columns, rows, caption, len(sweep.swept)), bool(failures)


def _cells(
    columns: Sequence[str], rows: Iterable[PartialRow], swept: Sequence[str], failures: list[str]
) -> list[tuple[Value | None, ...]]:
    """Return the cells of rows; say of which one, and why, it was not computed."""
    cells: list[tuple[Value | None, ...]] = []
    in_order = itemgetter(columns[0], *columns)  # a tuple of one column, too
    for row in rows:
        values = row
        if isinstance(error := row.get("status"), IsocalcError):
            why = told(error)
            values = {**row, "status": why}
            failures.append(why)
            if len(failures) <= MOST_REASONS:
                names = [*swept, *(["scheme"] if row.get("scheme") and "scheme" in columns else [])]
                about = ", ".join(f"{name} {row[name]}" for name in names)
                say(f"{about}: {why}" if about else why)
        cells.append(in_order(values)[1:])
    return cells


def _tell_rest(failures: Sequence[str]) -> None:
    if len(failures) > MOST_REASONS:
        say(f"{len(failures) - MOST_REASONS} more rows could not be computed; the column status says why")
