"""What the marks of a picture of characters mean."""

import textwrap
from collections.abc import Iterator, Sequence

from isocalc.canvas import SYMBOLS
from isocalc.figure import Bars, Field, Line, Panel, Stem

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
