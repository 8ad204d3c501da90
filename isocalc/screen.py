"""What a terminal shows: a caption, a picture, the ends of a long table."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from isocalc.errors import IsocalcError, NoAnswerError
from isocalc.figure import Figure
from isocalc.legend import Spans
from isocalc.output import Cell, Table
from isocalc.output_table import LEFT_OUT, text_table
from isocalc.picture_text import COLOURS, NARROWEST, Paper, drawing

_IN_ASCII = str.maketrans(
    {"σ": "sigma", "λ": "lambda", "χ": "chi", "φ": "phi", "²": "^2", "±": "+-", "→": "->", "∞": "infinity"}
)
_LEAST_ROWS, _MOST_ROWS = 7, 17  # of a picture beside a table
_LEAST_ENDS = 6  # rows of a table that is cut
_NARROW = 40  # columns below which a terminal is no place for what does not fit
_HEAD = 2  # lines: names and a rule
_ROWS_ALONE = 20


def screen_text(
    table: Table, rows: Sequence[Sequence[Cell]], stream: TextIO, figure: Callable[[], Figure] | None
) -> str:
    """Return what fits on a terminal of a table, below the picture that ``figure`` makes, if any.

    Raises
    ------
    NoAnswerError
        The terminal is so narrow that numbers would break.
    """
    size = get_terminal_size()
    caption = Text(table.caption).wrap(Console(width=size.columns), size.columns)
    # Below it: names, rows, what is said of the others, the next prompt.
    left = size.lines - len(caption) - _HEAD - 2
    drawn = ""
    if figure is not None and size.columns >= NARROWEST:
        room = left - _LEAST_ENDS - 1
        drawn = _preview(figure, stream, min(max(room, _LEAST_ROWS), _MOST_ROWS))
        left -= drawn.count("\n")
    bare = replace(table, caption="")
    head = "".join(f"{line.plain.rstrip()}\n" for line in caption) if table.caption else ""
    ends = _ends(bare, rows, stream, left)
    widest = max(Text.from_ansi(line).cell_len for line in ends.splitlines())
    if size.columns < _NARROW and size.columns < widest:
        raise NoAnswerError(
            f"the table takes {widest} columns and this terminal has {size.columns}: give -o FILE, or a pipe"
        )
    return head + drawn + ends


def picture_text(figure: Figure, stream: TextIO) -> str:
    """Return a picture for a terminal, or in plain characters for a pipe."""
    size = get_terminal_size()
    rows = _ROWS_ALONE
    if stream.isatty():
        rows = min(max(size.lines // len(figure.panels) - 4, _LEAST_ROWS), 2 * _ROWS_ALONE)
    console, paper = _paper(stream, rows, size.columns)
    return _coloured(drawing(_readable(figure, stream), paper), console)


def _preview(figure: Callable[[], Figure], stream: TextIO, rows: int) -> str:
    console, paper = _paper(stream, rows - 1, get_terminal_size().columns)
    try:
        return _coloured(drawing(_readable(figure(), stream), paper, bare=True), console)
    except IsocalcError:  # the table says what there is to say
        return ""


def _paper(stream: TextIO, rows: int, columns: int) -> tuple[Console, Paper]:
    console = Console(file=stream, width=columns)
    colour = console.is_terminal and console.color_system is not None and not console.no_color
    braille = os.environ.get("TERM") not in {"dumb", "unknown"} and _encodes(stream, "⠿│└─…")
    return console, Paper(columns, rows, braille, colour)


def _encodes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _readable(part: Any, stream: TextIO) -> Any:
    """Return a figure, or a part of one, in the letters that a stream has."""
    if isinstance(part, str):
        return part if _encodes(stream, part) else part.translate(_IN_ASCII)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(
            part, **{each.name: _readable(getattr(part, each.name), stream) for each in fields(part)}
        )
    if isinstance(part, list | tuple) and part and not isinstance(part[0], float):
        return type(part)(_readable(each, stream) for each in part)
    return part


def _coloured(lines: Iterable[Spans], console: Console) -> str:
    with console.capture() as capture:
        for spans in lines:
            line = Text()
            for text, colour in spans:
                line.append(text, "" if colour is None else COLOURS[colour % len(COLOURS)])
            line.rstrip()
            console.print(line, soft_wrap=True, highlight=False)
    return capture.get()


def _ends(table: Table, rows: Sequence[Sequence[Cell]], stream: TextIO, left: int) -> str:
    """Return a table, and of one longer than ``left`` lines its first and its last rows."""
    dots = LEFT_OUT[0] if _encodes(stream, LEFT_OUT[0]) else LEFT_OUT[1]
    kept = _LEAST_ENDS
    if len(rows) <= kept:
        return text_table(table, rows, stream)
    sample = text_table(table, _cut(rows, kept, dots), stream).count("\n")
    blocks = max(1, round((sample + 1) / (kept + 2 + _HEAD)))
    whole = blocks * (len(rows) + _HEAD + 1) - 1
    if whole <= left + _HEAD + 1:
        return text_table(table, rows, stream)
    kept = max(kept, (left + _HEAD + 1) // blocks - _HEAD - 2)
    if len(rows) <= kept + 1:
        return text_table(table, rows, stream)
    told = f"{len(rows) - kept} of {len(rows)} rows are left out; --all prints them"
    return text_table(table, _cut(rows, kept, dots), stream) + fill(told, get_terminal_size().columns) + "\n"


def _cut(rows: Sequence[Sequence[Cell]], kept: int, dots: str) -> list[Sequence[Cell]]:
    tail = kept // 2
    return [*rows[: kept - tail], [dots] * len(rows[0]), *rows[len(rows) - tail :]]
