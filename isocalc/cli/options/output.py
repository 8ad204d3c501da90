"""Where the table of a command goes, and its picture: --format, -o, --all and --plot."""
# ruff: noqa: PLC0415 - --help must not pay for what writes

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.command import Function, decorated, is_given
from isocalc.cli.messages import SEE_ALL
from isocalc.cli.options.types import OneOf
from isocalc.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isocalc.display.figure import Figure
    from isocalc.display.table import Table


# Endings of formats that readers know and isocalc does not write.
_OTHER_FORMATS = (
    *(".7z", ".arrow", ".avro", ".bz2", ".db", ".dta", ".feather", ".gz", ".h5", ".hdf5", ".jsonl", ".mat"),
    *(".ndjson", ".npy", ".npz", ".ods", ".orc", ".parquet", ".pickle", ".pkl", ".rds", ".sqlite", ".tar"),
    *(".tgz", ".tsv", ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zip", ".zst"),
)


class Output:
    """Where the table of a command and its picture go, and in which form.

    Parameters
    ----------
    form : {"auto", "table", "csv", "json"}
        ``auto``: a table on a terminal, JSON in a file that is named so, CSV elsewhere.
    path : str or None
        File to write; ``None`` or "-" is standard output.
    plot : str or None
        File of the picture; "-" prints it, in place of a table that goes to standard output.
    whole : bool
        Whether a terminal gets every row of a table that is longer than its screen.
    """

    def __init__(self, form: str, path: str | None, plot: str | None = None, *, whole: bool = True) -> None:
        self.form, self.path, self.plot, self.whole = form, path, plot, whole

    @property
    def on_screen(self) -> bool:
        """Whether a reader sees the table on a terminal, as much of it as a screen holds."""
        printed = self.path in {None, "-"} and self.form in {"auto", "table"} and self.plot != "-"
        return not self.whole and printed and sys.stdout is not None and sys.stdout.isatty()

    def check(self) -> None:
        """Raise InvalidInputError where a file could not be written; leave nothing behind."""
        if self.path is not None and self.path != "-":
            from isocalc.files import check_writable

            if self.form == "auto":
                _require_form(self.path)
            check_writable(self.path)
        if self.plot is not None and self.plot != "-":
            from isocalc.display.image_files import check_picture

            check_picture(self.plot)

    def write(
        self, table: "Table", figure: "Callable[[], Figure] | None" = None, *, preview: bool = False
    ) -> None:
        """Write the table, and the picture that ``figure`` makes where one is asked for.

        Parameters
        ----------
        table : Table
        figure : callable, optional
            Makes the picture.
        preview : bool
            Whether a terminal shows it, in small, without being asked.

        Raises
        ------
        OSError
            A place cannot be written to.
        InvalidInputError
            The table cannot be drawn; nothing is written.
        """
        from isocalc.display.writer import Screen, print_picture, write

        drawn = figure() if self.plot is not None and figure is not None else None
        if drawn is not None and self.plot == "-":
            print_picture(drawn)
            if self.path in {None, "-"}:
                return
        elif drawn is not None and self.plot is not None:
            from isocalc.display.image_files import write_picture

            write_picture(drawn, self.plot)
        if self.on_screen:
            write(table, self.form, self.path, Screen(figure if preview and drawn is None else None, SEE_ALL))
        else:
            write(table, self.form, self.path)


def _require_form(path: str) -> None:
    """Raise InvalidInputError where the name of a file promises another format than is written."""
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122 - pathlib is not loaded yet
    if ending in _OTHER_FORMATS:
        rule = "a file of a format that isocalc writes, .csv or .json"
        raise InvalidInputError("output", rule, path, "Give --format csv to have CSV under that name.")


_TABLE_OPTIONS = (
    click.option(
        "--format",
        "form",
        type=OneOf(["auto", "table", "csv", "json"]),
        default="auto",
        show_default=True,
        help="auto: a table on a terminal, JSON in a file that ends in .json, CSV elsewhere.",
    ),
    click.option("-o", "--output", "path", type=click.Path(), metavar="FILE", help="Write there instead."),
)
_PICTURE_OPTIONS = (
    click.option(
        "--all",
        "whole",
        is_flag=True,
        help="On a terminal, every row; else a long table is cut there. Pipes and files get all anyway.",
    ),
    click.option(
        "--plot",
        type=click.Path(),
        metavar="FILE",
        help="Draw it, too: a .png, .svg or .pdf. - draws in the terminal, in place of the table.",
    ),
)


def output_options(function: Function) -> Function:
    """Add --format and -o; the function gets them as ``output``, an Output whose file can be written."""

    @functools.wraps(function)
    def with_output(*, form: str, path: str | None, **values: Any) -> Any:
        output = Output(form, path)
        output.check()
        return function(output=output, **values)

    return decorated(with_output, _TABLE_OPTIONS)


def picture_options(function: Function) -> Function:
    """Add --plot and --all to the options that `output_options` adds."""

    @functools.wraps(function)
    def with_output(*, form: str, path: str | None, whole: bool, plot: str | None, **values: Any) -> Any:
        ctx = click.get_current_context()
        if plot == "-" and path in {None, "-"} and is_given(ctx, "form"):
            why = "with --plot -, which prints the picture in place of the table"
            raise click.UsageError(f"--format cannot be given {why}. Leave it out, or give -o FILE.", ctx)
        output = Output(form, path, plot, whole=whole)
        output.check()
        return function(output=output, **values)

    return decorated(with_output, (*_TABLE_OPTIONS, *_PICTURE_OPTIONS))
