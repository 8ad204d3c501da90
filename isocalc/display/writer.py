"""The only writer: tables as CSV, JSON or text, to standard output or to a file."""
# ruff: noqa: PLC0415 - csv, json, rich and the file system load where they are asked for

import errno
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import ne
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TextIO

from isocalc.display.table import Cell, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from isocalc.display.figure import Figure


# Rows of CSV that are text at a time.
_ROWS_AT_ONCE = 4096
# Text with one of these is quoted in CSV (RFC 4180).
_QUOTED = frozenset(',"\r\n')


class Screen(NamedTuple):
    """A terminal that gets the ends of a long table only, below the picture that ``figure`` makes, if any.

    ``see_all`` says how to see the rows that are left out.
    """

    figure: "Callable[[], Figure] | None" = None
    see_all: str = ""


def write(table: Table, form: str = "auto", path: str | None = None, screen: Screen | None = None) -> None:
    """Write a table.

    Parameters
    ----------
    table : Table
        What to write.
    form : {"auto", "table", "csv", "json"}
        ``auto``: text on a terminal, JSON in a file whose name ends so, else CSV.
    path : str or None
        The file, replaced as a whole or not at all; ``None`` or "-" is standard output.
    screen : Screen, optional
        What to make of a table that is printed on a terminal; by default all of it is shown.

    Raises
    ------
    OSError
        The place cannot be written to; ``filename`` names it.
    """
    _require_no_nan(table)
    if path is None or path == "-":
        on_terminal = sys.stdout is not None and sys.stdout.isatty()
        form = {"auto": "table" if on_terminal else "csv"}.get(form, form)
        if screen is not None and on_terminal and form == "table":
            from isocalc.display.terminal import screen_text

            _print(screen_text(table, _cells(table), sys.stdout, *screen))
        else:
            for text in _texts(table, form, sys.stdout):
                _print(text)
    else:
        from isocalc.files import replace_file

        by_name = "json" if path.lower().endswith(".json") else "csv"
        replace_file(path, "".join(_texts(table, by_name if form == "auto" else form, None)))


def print_picture(figure: "Figure") -> None:
    """Draw a figure on standard output; raise OSError where that cannot be written to."""
    from isocalc.display.terminal import picture_text

    _require_output()
    _print(picture_text(figure, sys.stdout))


def print_text(text: str) -> None:
    """Write text to standard output; raise OSError where that cannot be written to."""
    _print(text)


def _cells(table: Table) -> list[list[Cell]]:
    return [[_plain(cell) for cell in row] for row in table.rows]


def _texts(table: Table, form: str, stream: TextIO | None) -> Iterator[str]:
    """Yield the parts of a table's text, one after the other."""
    if form == "csv":
        yield from _csv(table)
    elif form == "json":
        yield _json(table.columns, _cells(table))
    else:
        from isocalc.display.terminal import text_table

        yield text_table(table, _cells(table), stream)


def _plain(cell: Any) -> Cell:
    """Return a cell as a Python object."""
    if type(cell) not in (float, str, int, type(None)):
        cell = cell.item()  # a numpy scalar
    return cell  # type: ignore[no-any-return] # text, a number or None


def _require_no_nan(table: Table) -> None:
    """Stop before anything is written; NaN is a fault of the program."""
    one, same = (chain.from_iterable(table.rows) for _ in range(2))
    if any(map(ne, one, same)):  # true of NaN alone
        raise AssertionError("a cell of the table is NaN")


def _csv(table: Table) -> Iterator[str]:
    """Yield the lines of many rows at a time."""
    yield ",".join(map(_field, table.columns)) + "\n"
    for start in range(0, len(table.rows), _ROWS_AT_ONCE):
        columns = zip(*table.rows[start : start + _ROWS_AT_ONCE], strict=True)
        lines: Iterator[str] = map(",".join, zip(*map(_fields, columns), strict=True))
        if len(table.columns) == 1:
            lines = (line or '""' for line in lines)  # an empty line is none
        yield "\n".join(lines) + "\n"


def _fields(cells: Sequence[Cell]) -> Iterable[str]:
    """Return the cells of a column as fields of CSV."""
    kinds = set(map(type, cells))
    if kinds == {float}:
        return map(repr, cells)
    if kinds == {str}:
        known = {text: _field(text) for text in set(cells)}
        return map(known.__getitem__, cells)
    return map(_field, map(_plain, cells))


def _field(cell: Cell) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        return repr(cell)
    return '"' + cell.replace('"', '""') + '"' if set(cell) & _QUOTED else cell


def _json(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    import json

    infinite = (float("inf"), float("-inf"))
    named = (
        {name: str(cell) if cell in infinite else cell for name, cell in zip(columns, row, strict=True)}
        for row in rows
    )
    return "[" + ",\n ".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in named) + "]\n"


def _require_output() -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed", "standard output")


def _print(text: str) -> None:
    _require_output()
    try:
        sys.stdout.flush()
        # Not through the text layer: unbuffered (python -u) it drops what one write does not take. Nor
        # through the buffer, which gives up where a pipe that does not block is full.
        raw = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        rest = memoryview(text.encode(sys.stdout.encoding, "backslashreplace"))
        while rest:
            taken = raw.write(rest)
            if taken is None:
                _wait_for_room(raw)
            else:
                rest = rest[taken:]
    except OSError as error:
        error.filename = "standard output"
        raise


def _wait_for_room(raw: IO[bytes]) -> None:
    """Wait until a full pipe that does not block takes more."""
    import select

    select.select([], [raw], [])
