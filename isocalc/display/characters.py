"""Pictures of characters, for terminals: braille dots, eight to a cell, or one ASCII symbol to a cell."""

import bisect
import itertools
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from isocalc.display.figure import Bars, Field, Figure, Line, Note, Panel, Rule, Stem
from isocalc.display.layout import LEAST_PANEL, MOST_DECADES, NARROWEST_PICTURE
from isocalc.errors import NoAnswerError

# Bits of the dots of a braille cell, by row and column from the top left.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
SYMBOLS = "*o+x=@%&"
Cell = tuple[str, int | None]


class Canvas:
    """Cells of a terminal that points, lines and words are drawn on; what comes later is on top.

    Parameters
    ----------
    width, height : int
        In cells.
    braille : bool
        Whether a cell has 2 × 4 dots; otherwise it has one symbol, another one for each colour.
    x, y : tuple of (float, float)
        What the left and right, lower and upper border are; x runs to the right, y up.
    """

    def __init__(
        self, width: int, height: int, *, braille: bool, x: tuple[float, float], y: tuple[float, float]
    ) -> None:
        self.width, self.height = width, height
        self._across, self._down = (2, 4) if braille else (1, 1)
        self.braille = braille
        self._x, self._y = x, y
        self._dots = [[0] * width for _ in range(height)]
        self._cells: list[list[Cell]] = [[(" ", None)] * width for _ in range(height)]

    @property
    def columns(self) -> int:
        """Number of columns of dots."""
        return self.width * self._across

    def value_at(self, column: int) -> float:
        """Return the x in the middle of a column of dots."""
        low, high = self._x
        return low + (high - low) * column / max(1, self.columns - 1)

    def dot(self, column: int, row: int, colour: int | None, symbol: str = "") -> None:
        """Set a dot, counted from the upper left; outside the canvas nothing. Without braille, a symbol."""
        if not (0 <= column < self.columns and 0 <= row < self.height * self._down):
            return
        i, j = row // self._down, column // self._across
        if self.braille:
            self._dots[i][j] |= _DOTS[row % 4][column % 2]
            self._cells[i][j] = (chr(_BRAILLE + self._dots[i][j]), colour)
        else:
            self._cells[i][j] = (symbol or SYMBOLS[(colour or 0) % len(SYMBOLS)], colour)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the column and the row of dots, not rounded, of a point."""
        (left, right), (low, high) = self._x, self._y
        column = (x - left) / (right - left) * (self.columns - 1)
        return column, (high - y) / (high - low) * (self.height * self._down - 1)

    def line(
        self, x: Sequence[float], y: Sequence[float], colour: int | None, dash: int = 0, symbol: str = ""
    ) -> None:
        """Join points, with gaps at NaN; a dash of n leaves out every other n dots."""
        places = [self.place(*point) for point in zip(x, y, strict=True)]
        drawn = 0
        for start, end in itertools.pairwise(places):
            for column, row in _between(start, end, self.columns, self.height * self._down):
                if not (dash and column // dash % 2):
                    self.dot(column, row, colour, symbol)
                drawn += 1
        if not drawn:
            for place in places:
                if all(map(math.isfinite, place)):
                    self.dot(round(place[0]), round(place[1]), colour, symbol)

    def write(self, column: int, row: int, text: str, colour: int | None = None) -> None:
        """Write words from a cell on, as far as there is room."""
        if 0 <= row < self.height:
            for i, letter in enumerate(text, start=column):
                if 0 <= i < self.width:
                    self._cells[row][i] = (letter, colour)

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Return the column and the row of the cell of a point."""
        column, row = self.place(x, y)
        return round(column) // self._across, round(row) // self._down

    def lines(self) -> list[list[Cell]]:
        """Return the cells, row by row, each a letter and its colour."""
        return self._cells


def _between(
    start: tuple[float, float], end: tuple[float, float], columns: int, rows: int
) -> Iterator[tuple[int, int]]:
    """Yield the dots from one place to another, as far as they are near the canvas."""
    if not all(map(math.isfinite, (*start, *end))):
        return
    low, high = -1.0, 2.0 * max(columns, rows)
    (x, y), (to_x, to_y) = ([min(max(value, low), high) for value in place] for place in (start, end))
    steps = max(1, math.ceil(max(abs(to_x - x), abs(to_y - y))))
    for step in range(steps + 1):
        share = step / steps
        yield round(x + (to_x - x) * share), round(y + (to_y - y) * share)


SHADES, SHADED_FROM = ":.+#", (0.5, 1.0, 2.0)
"""Characters of a field, and from which value on each but the first stands"""
Spans = list[tuple[str, int | None]]
"""Pieces of a line, each with the number of a colour or none"""


def beside(parts: Sequence[Spans], width: int) -> Iterator[Spans]:
    """Yield parts beside each other, as many as a line takes."""
    line: Spans = []
    used = 0
    for part in parts:
        length = sum(len(text) for text, _ in part)
        if line and used + 3 + length > width:
            yield line
            line, used = [], 0
        line = [*line, *([("   ", None)] if line else []), *part]
        used += length + (3 if used else 0)
        if used > width:
            text = "".join(text for text, _ in line)
            yield from ([(piece, part[0][1])] for piece in textwrap.wrap(text, width))
            line, used = [], 0
    if line:
        yield line


def legend(panel: Panel, *, symbols: bool) -> Iterator[Spans]:
    """Yield what is said of the marks; symbols have no styles, whose curves are named from top to bottom."""
    styles = [mark for mark in panel.marks if isinstance(mark, Line) and not len(mark.x)]
    for mark in panel.marks:
        if symbols and mark in styles:
            if mark == styles[0]:
                yield [(f"each: {', '.join(style.label for style in styles)}", None)]
        elif isinstance(mark, Line | Stem | Bars) and mark.label:
            colour = None if isinstance(mark, Bars) else mark.colour
            yield [(f"{_key(mark, symbols=symbols)} ", colour), (mark.label, colour)]
        elif isinstance(mark, Rule) and mark.axis == "x" and mark.label and not panel.rows:
            yield [(f"{'|' if symbols else '⡇'} ", mark.colour), (mark.label, mark.colour)]
        elif isinstance(mark, Field):
            lower = [f"{shade} below {end:g}" for shade, end in zip(SHADES, SHADED_FROM[:2], strict=False)]
            upper = [f"{shade} from {end:g}" for shade, end in zip(SHADES[2:], SHADED_FROM[1:], strict=True)]
            for part in (mark.label, *lower, *upper):
                yield [(part, None)]


def _key(mark: Line | Stem | Bars, *, symbols: bool) -> str:
    if isinstance(mark, Bars):
        return ":" if symbols else "⢕"
    if symbols:
        return SYMBOLS[mark.colour % len(SYMBOLS)]
    if isinstance(mark, Stem):
        return "⢸"
    if mark.style == "none":
        return SYMBOLS[mark.colour % len(SYMBOLS)]
    return {"solid": "⠒⠒", "dashed": "⠒ ⠒", "dotted": "⠂⠂", "dashdot": "⠒⠂"}[mark.style]


_DASH = {"solid": 0, "dashed": 4, "dotted": 1, "dashdot": 2}


class Paper(NamedTuple):
    """What is drawn on: columns, rows of one panel with its axes, whether braille and colours show."""

    width: int
    rows: int
    braille: bool
    colour: bool


def drawing(figure: Figure, paper: Paper, *, bare: bool = False) -> Iterator[Spans]:
    """Yield the lines of a picture as pieces of text with the number of a colour, or none.

    ``bare`` leaves out title and caption.

    Raises
    ------
    NoAnswerError
        The paper is narrower than `NARROWEST_PICTURE`.
    """
    if paper.width < NARROWEST_PICTURE:
        raise NoAnswerError(f"a picture takes {NARROWEST_PICTURE} columns; here are {paper.width}")
    if figure.title and not bare:
        yield from _words(figure.title, paper)
    for number, panel in enumerate(figure.panels):
        if number:
            yield []
        yield from _panel(panel, paper)
    if figure.caption and not bare:
        yield from _words(figure.caption, paper)


def _words(text: str, paper: Paper) -> Iterator[Spans]:
    for part in text.split("\n"):
        for line in textwrap.wrap(part, paper.width):
            yield [(line, None)]


def _panel(panel: Panel, paper: Paper) -> Iterator[Spans]:
    symbols = not paper.braille or (not paper.colour and len(_colours(panel)) > 1)
    if panel.title:
        yield from _words(panel.title, paper)
    explained = list(legend(panel, symbols=symbols))
    head: Spans = [] if panel.rows else [(panel.y.label, None)]
    yield from beside([*([head] if head else []), *explained], paper.width)
    x, y = _ends(panel, "x"), _ends(panel, "y")
    high = max(LEAST_PANEL, paper.rows - 3)
    if panel.rows:
        high, y = len(panel.rows), (len(panel.rows) - 0.5, -0.5)
        labels = dict(enumerate(panel.rows))
    else:
        labels = {round((high - 1) * share): _at(panel.y.log, y, 1 - share) for share in (0.0, 0.5, 1.0)}
    margin = min(max(map(len, labels.values())), paper.width // 2)
    width = paper.width - margin - 2
    canvas = Canvas(width, high, braille=not symbols, x=x, y=y)
    for mark in sorted(panel.marks, key=lambda mark: _ORDER.index(type(mark))):
        _DRAW[type(mark)](canvas, mark, panel)
    wall, corner, floor = ("│", "└", "─") if paper.braille else ("|", "+", "-")
    for row, cells in enumerate(canvas.lines()):
        label = labels.get(row, "")
        label = label if len(label) <= margin else label[: margin - 1] + ("…" if paper.braille else ".")
        yield [(f"{label:>{margin}} {wall}", None), *_joined(cells)]
    yield [(f"{'':{margin}} {corner}{floor * width}", None)]
    yield [(" " * (margin + 2) + _ticks(panel, x, width), None)]
    for line in textwrap.wrap(panel.x.label, paper.width):
        yield [(f"{line:>{margin + 2 + width}}", None)]


def _joined(cells: Sequence[tuple[str, int | None]]) -> Spans:
    spans: Spans = []
    for letter, colour in cells:
        if spans and spans[-1][1] == colour:
            spans[-1] = (spans[-1][0] + letter, colour)
        else:
            spans.append((letter, colour))
    return spans


def _colours(panel: Panel) -> set[int]:
    return {mark.colour for mark in panel.marks if isinstance(mark, Line | Stem)}


def _scaled(value: float, *, log: bool) -> float:
    if not log:
        return value
    return math.log10(value) if 0 < value < math.inf else math.nan


def _ends(panel: Panel, which: str) -> tuple[float, float]:
    """Return the ends of an axis, logarithms where it is logarithmic."""
    axis = panel.x if which == "x" else panel.y
    if axis.ends is not None:
        return _scaled(axis.ends[0], log=axis.log), _scaled(axis.ends[1], log=axis.log)
    found: list[float] = []
    for mark in panel.marks:
        if isinstance(mark, Line | Field | Note):
            values = getattr(mark, which)
            found += values if isinstance(values, Sequence) else [values]
        elif isinstance(mark, Bars):
            found += mark.edges if which == "x" else (0.0, *mark.heights)
        elif (isinstance(mark, Stem) and which == "x") or (isinstance(mark, Rule) and mark.axis == which):
            found.append(mark.x if isinstance(mark, Stem) else mark.at)
    numbers = [
        number for number in (_scaled(value, log=axis.log) for value in found) if math.isfinite(number)
    ]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = 0.5 if axis.log else 0.05 * abs(low) or 0.5
        return low - room, high + room
    return low, high


def _at(log: bool, ends: tuple[float, float], share: float) -> str:  # noqa: FBT001 - of an axis
    value = ends[0] * (1 - share) + ends[1] * share
    if log:
        return f"{10**value:.3g}" if abs(value) < MOST_DECADES else f"1e{value:.0f}"
    return f"{0.0 if abs(value) < 1e-12 * (ends[1] - ends[0]) else value:.3g}"


def _ticks(panel: Panel, ends: tuple[float, float], width: int) -> str:
    """Return the numbers below an axis: at its ends, and between them where there is room."""
    shares = (0.0, 0.25, 0.5, 0.75, 1.0) if width >= 50 else (0.0, 0.5, 1.0) if width >= 24 else (0.0, 1.0)
    line = ""
    for share in shares:
        text = _at(panel.x.log, ends, share)
        start = round(share * (width - len(text)))
        if len(text) <= width and (start > len(line) or not line):
            line = line.ljust(start) + text
    return line


def _draw_line(canvas: Canvas, line: Line, panel: Panel) -> None:
    x = [_scaled(value, log=panel.x.log) for value in line.x]
    y = [_scaled(value, log=panel.y.log) for value in line.y]
    if panel.rows and not line.points:
        (start, row), (end, _) = (canvas.cell(*place) for place in zip(x, y, strict=True))
        canvas.write(start, row, ("─" if canvas.braille else "-") * (end - start + 1))
    elif line.style == "none":
        for place in zip(x, y, strict=True):
            if all(map(math.isfinite, place)):
                canvas.write(*canvas.cell(*place), SYMBOLS[line.colour % len(SYMBOLS)], line.colour)
    else:
        canvas.line(x, y, line.colour, _DASH[line.style] if canvas.braille else 0)


def _draw_bars(canvas: Canvas, bars: Bars, panel: Panel) -> None:
    bottom = canvas.place(0.0, 0.0)[1]
    edges = [_scaled(value, log=panel.x.log) for value in bars.edges]
    for column in range(canvas.columns):
        x = canvas.value_at(column)
        for low, high, height in zip(edges, edges[1:], bars.heights, strict=False):
            if low <= x < high and height > 0:
                top = canvas.place(x, height)[1]
                for row in range(math.ceil(top), round(bottom) + 1):
                    if (row + column) % 2:
                        canvas.dot(column, row, None, ":")


def _draw_stem(canvas: Canvas, stem: Stem, panel: Panel) -> None:
    x = _scaled(stem.x, log=panel.x.log)
    low, high = _ends(panel, "y")
    canvas.line([x, x], [low, low + stem.mass * (high - low)], stem.colour)


def _draw_rule(canvas: Canvas, rule: Rule, panel: Panel) -> None:
    if rule.axis == "y" and not panel.rows:
        (left, right), at = _ends(panel, "x"), _scaled(rule.at, log=panel.y.log)
        canvas.line([left, right], [at, at], rule.colour, 1, "-")
    elif rule.axis == "x" and rule.label and not panel.rows:
        (low, high), at = _ends(panel, "y"), _scaled(rule.at, log=panel.x.log)
        canvas.line([at, at], [low, high], rule.colour, 0, "|")


def _draw_field(canvas: Canvas, field: Field, panel: Panel) -> None:
    left, right = _ends(panel, "x")
    low, high = _ends(panel, "y")
    for row in range(canvas.height):
        j = _nearest(field.y, high - (high - low) * row / max(1, canvas.height - 1))
        for column in range(canvas.width):
            i = _nearest(field.x, left + (right - left) * column / max(1, canvas.width - 1))
            value = field.values[j][i]
            shade = SHADES[bisect.bisect(SHADED_FROM, value)]
            canvas.write(column, row, " " if math.isnan(value) else shade)


def _nearest(places: Sequence[float], value: float) -> int:
    return min(range(len(places)), key=lambda i: abs(places[i] - value))


def _draw_note(canvas: Canvas, note: Note, panel: Panel) -> None:
    place = _scaled(note.x, log=panel.x.log), _scaled(note.y, log=panel.y.log)
    column, row = canvas.cell(*place)
    start = min(max(column - len(note.text) // 2 - 1, 0), canvas.width - len(note.text) - 2)
    canvas.write(start, row, f" {note.text} ")


_DRAW: dict[type, Callable[[Canvas, Any, Panel], None]] = {
    Line: _draw_line,
    Bars: _draw_bars,
    Stem: _draw_stem,
    Rule: _draw_rule,
    Field: _draw_field,
    Note: _draw_note,
}
_ORDER = (Field, Bars, Rule, Line, Stem, Note)
