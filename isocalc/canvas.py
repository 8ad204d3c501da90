"""A canvas of characters: braille dots, eight to a cell, or one ASCII symbol to a cell."""

import itertools
import math
from collections.abc import Iterator, Sequence

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
