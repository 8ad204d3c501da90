"""Markdown laid out for a terminal, by Rich."""

from typing import TextIO

from rich.console import Console
from rich.markdown import Markdown

from isocalc.display.layout import WIDEST_PROSE


def markdown_text(text: str, stream: TextIO) -> str:
    """Return a document as the terminal ``stream`` shows it, coloured as that allows."""
    console = Console(file=stream)
    # Addresses in words: not every terminal can follow a link. Code in the terminal's own colours.
    document = Markdown(text, hyperlinks=False, code_theme="ansi_dark")
    with console.capture() as capture:
        console.print(document, width=min(console.width, WIDEST_PROSE))
    return "\n".join(line.rstrip() for line in capture.get().split("\n"))
