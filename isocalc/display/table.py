"""A table of results, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of results.

    Parameters
    ----------
    columns : sequence of str
        Names of the columns.
    rows : sequence of sequence
        Cells: text, numbers, or ``None`` where a value does not exist or does not fit a double. Infinity is
        an answer; NaN is not.
    caption : str
        What stands above the table on a terminal.
    keys : int
        Number of leading columns that say what a row is about; a terminal too narrow for the table repeats
        them.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    keys: int = 1

    def with_caption(self, caption: str) -> "Table":
        """Return the same table under another caption."""
        return replace(self, caption=caption)
