"""What a terminal shows, by Rich: tables of six significant digits, pictures, long tables' ends, Markdown."""

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, TextIO

from rich.box import SIMPLE
from rich.console import Console
from rich.markdown import Markdown
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from isocalc.display.characters import Paper, Spans, drawing
from isocalc.display.figure import Figure
from isocalc.display.layout import (
    LEAST_ENDS,
    LEAST_PREVIEW,
    MOST_PREVIEW,
    NARROW_TERMINAL,
    NARROWEST_PICTURE,
    NARROWEST_SENTENCE,
    ON_SCREEN,
    PANEL,
    TABLE_HEAD,
    UNBOUNDED,
    WIDEST_PROSE,
)
from isocalc.display.table import Cell, Table
from isocalc.errors import IsocalcError, NoAnswerError

WRAPPED = "status"  # the one column of sentences
PAIRS = ("support", "atoms")  # pairs of numbers as text
LEFT_OUT = ("…", "...")  # what stands for rows that are not shown
NUMBER = re.compile(r"[^:;]+")


def text_table(table: Table, rows: Sequence[Sequence[Cell]], stream: TextIO | None) -> str:
    """Return a table as text for a terminal, a pipe or (``None``) a file, coloured as the place allows.

    On a terminal that is too narrow, one row is turned, and more rows are split into blocks of columns. A
    column "status" that is "ok" all the way is left out.
    """
    table, rows = _for_eyes(table, rows)
    on_terminal = stream is not None and stream.isatty()
    room = get_terminal_size().columns if on_terminal else UNBOUNDED
    console = Console(file=stream or io.StringIO(), width=UNBOUNDED)  # what is wider, Rich cuts
    with console.capture() as capture:
        if table.caption:
            console.print(Text(table.caption), width=room)
        for number, block in enumerate(_blocks(table, rows, console, room)):
            if number:
                console.print()
            width = max(room, _width(block, console))
            console.print(block, width=width, crop=False, no_wrap=True, overflow="ignore")
    return "\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")) + "\n"


def _for_eyes(table: Table, rows: Sequence[Sequence[Cell]]) -> tuple[Table, Sequence[Sequence[Cell]]]:
    """Return the table without a status that says nothing, and with rounded pairs."""
    names = table.columns
    kept = [
        i
        for i, name in enumerate(names)
        if name != WRAPPED or any(row[i] not in {"ok", *LEFT_OUT} for row in rows)
    ]
    shown = [[_rounded(row[i]) if names[i] in PAIRS else row[i] for i in kept] for row in rows]
    return replace(table, columns=[names[i] for i in kept]), shown


def _rounded(pairs: Cell) -> Cell:
    if not isinstance(pairs, str) or pairs in LEFT_OUT:
        return pairs
    return NUMBER.sub(lambda number: f"{float(number[0]):.6g}", pairs)


def _blocks(table: Table, rows: Sequence[Sequence[Cell]], console: Console, room: int) -> Iterator[RichTable]:
    whole = _block(table, rows, range(len(table.columns)))
    if _width(whole, console) <= room:
        yield whole
    elif len(rows) == 1:
        yield _turned(table, rows[0])
    else:
        keys = list(range(table.keys))
        chosen: list[int] = []
        for column in range(table.keys, len(table.columns)):
            if chosen and _width(_block(table, rows, [*keys, *chosen, column]), console) > room:
                yield _block(table, rows, [*keys, *chosen])
                chosen = []
            chosen.append(column)
        yield _block(table, rows, [*keys, *chosen])


def _block(table: Table, rows: Sequence[Sequence[Cell]], chosen: Sequence[int]) -> RichTable:
    block = RichTable(box=SIMPLE, show_edge=False, pad_edge=False)
    for column in chosen:
        name = table.columns[column]
        shown = [_shown(row[column]) for row in rows]
        if name == WRAPPED:
            longest = max([len(name), *map(len, shown)])
            block.add_column(name, overflow="fold", min_width=min(longest, NARROWEST_SENTENCE))
        else:
            text = any(isinstance(row[column], str) and row[column] not in LEFT_OUT for row in rows)
            block.add_column(name, justify="left" if text else "right", no_wrap=True)
    for row in rows:
        block.add_row(*(Text(_shown(row[column])) for column in chosen))
    return block


def _turned(table: Table, row: Sequence[Cell]) -> RichTable:
    block = RichTable(box=None, show_header=False, pad_edge=False)
    block.add_column(style="bold", no_wrap=True)
    block.add_column(overflow="fold")
    for name, cell in zip(table.columns, row, strict=True):
        block.add_row(Text(name), Text(_shown(cell)))
    return block


def _width(block: RichTable, console: Console) -> int:
    """Return the least width at which nothing but sentences is wrapped."""
    options = console.options.update(width=UNBOUNDED)
    width = Measurement.get(console, options, block).maximum
    for column in block.columns:
        if not column.no_wrap:
            longest = max(Measurement.get(console, options, cell).maximum for cell in column.cells)
            width -= max(0, longest - NARROWEST_SENTENCE)
    return width


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


_IN_ASCII = str.maketrans(
    {"σ": "sigma", "λ": "lambda", "χ": "chi", "φ": "phi", "²": "^2", "±": "+-", "→": "->", "∞": "infinity"}
)


def screen_text(
    table: Table,
    rows: Sequence[Sequence[Cell]],
    stream: TextIO,
    figure: Callable[[], Figure] | None,
    see_all: str = "",
) -> str:
    """Return what fits on a terminal of a table, below the picture that ``figure`` makes, if any.

    ``see_all`` says how to see the rows that are left out.

    Raises
    ------
    NoAnswerError
        The terminal is so narrow that numbers would break.
    """
    size = get_terminal_size()
    caption = Text(table.caption).wrap(Console(width=size.columns), size.columns)
    # Below it: names, rows, what is said of the others, the next prompt.
    left = size.lines - len(caption) - TABLE_HEAD - 2
    drawn = ""
    if figure is not None and size.columns >= NARROWEST_PICTURE:
        room = left - LEAST_ENDS - 1
        drawn = _preview(figure, stream, min(max(room, LEAST_PREVIEW), MOST_PREVIEW))
        left -= drawn.count("\n")
    bare = replace(table, caption="")
    head = "".join(f"{line.plain.rstrip()}\n" for line in caption) if table.caption else ""
    ends = _ends(bare, rows, stream, left, see_all)
    widest = max(Text.from_ansi(line).cell_len for line in ends.splitlines())
    if size.columns < NARROW_TERMINAL and size.columns < widest:
        raise NoAnswerError(
            f"the table takes {widest} columns and this terminal has {size.columns}", ("write a file",)
        )
    return head + drawn + ends


def picture_text(figure: Figure, stream: TextIO) -> str:
    """Return a picture for a terminal, or in plain characters for a pipe."""
    size = get_terminal_size()
    rows = PANEL
    if stream.isatty():
        rows = min(max(size.lines // len(figure.panels) - 4, LEAST_PREVIEW), 2 * PANEL)
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
                line.append(text, "" if colour is None else ON_SCREEN[colour % len(ON_SCREEN)])
            line.rstrip()
            console.print(line, soft_wrap=True, highlight=False)
    return capture.get()


def _ends(table: Table, rows: Sequence[Sequence[Cell]], stream: TextIO, left: int, see_all: str) -> str:
    """Return a table, and of one longer than ``left`` lines its first and its last rows."""
    dots = LEFT_OUT[0] if _encodes(stream, LEFT_OUT[0]) else LEFT_OUT[1]
    kept = LEAST_ENDS
    if len(rows) <= kept:
        return text_table(table, rows, stream)
    sample = text_table(table, _cut(rows, kept, dots), stream).count("\n")
    blocks = max(1, round((sample + 1) / (kept + 2 + TABLE_HEAD)))
    whole = blocks * (len(rows) + TABLE_HEAD + 1) - 1
    if whole <= left + TABLE_HEAD + 1:
        return text_table(table, rows, stream)
    kept = max(kept, (left + TABLE_HEAD + 1) // blocks - TABLE_HEAD - 2)
    if len(rows) <= kept + 1:
        return text_table(table, rows, stream)
    told = f"{len(rows) - kept} of {len(rows)} rows are left out{'; ' * bool(see_all)}{see_all}"
    return text_table(table, _cut(rows, kept, dots), stream) + fill(told, get_terminal_size().columns) + "\n"


def _cut(rows: Sequence[Sequence[Cell]], kept: int, dots: str) -> list[Sequence[Cell]]:
    tail = kept // 2
    return [*rows[: kept - tail], [dots] * len(rows[0]), *rows[len(rows) - tail :]]


def markdown_text(text: str, stream: TextIO) -> str:
    """Return a document as the terminal ``stream`` shows it, coloured as that allows."""
    console = Console(file=stream)
    # Addresses in words: not every terminal can follow a link. Code in the terminal's own colours.
    document = Markdown(text, hyperlinks=False, code_theme="ansi_dark")
    with console.capture() as capture:
        console.print(document, width=min(console.width, WIDEST_PROSE))
    return "\n".join(line.rstrip() for line in capture.get().split("\n"))
