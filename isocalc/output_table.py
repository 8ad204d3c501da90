"""Tables for eyes: six significant digits, nothing cut off."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from shutil import get_terminal_size
from typing import TextIO

from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from isocalc.output import Cell, Table

UNBOUNDED = 100_000
WRAPPED = "status"  # the one column of sentences
NARROWEST = 24
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
            block.add_column(name, overflow="fold", min_width=min(longest, NARROWEST))
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
            width -= max(0, longest - NARROWEST)
    return width


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
