"""Where the table of a command goes: --format and -o."""

import functools
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.option_types import OneOf
from isocalc.cli.options import Function, decorated

if TYPE_CHECKING:
    from isocalc.output import Table


class Output:
    """Where the table of a command goes, and in which form.

    Parameters
    ----------
    form : {"auto", "table", "csv", "json"}
        ``auto``: a table on a terminal, JSON in a file that is named so, CSV elsewhere.
    path : str or None
        File to write; ``None`` or "-" is standard output.
    """

    def __init__(self, form: str, path: str | None) -> None:
        self.form, self.path = form, path

    def check(self) -> None:
        """Raise InvalidInputError where the file could not be written; leave nothing behind."""
        if self.path is not None and self.path != "-":
            from isocalc.output_file import check_writable  # noqa: PLC0415 - --help must not pay for it

            check_writable(self.path)

    def write(self, table: "Table") -> None:
        """Write the table; raise OSError where that fails."""
        from isocalc.output import write  # noqa: PLC0415 - --help must not pay for it

        write(table, self.form, self.path)


def output_options(function: Function) -> Function:
    """Add --format and -o; the function gets them as ``output``, an Output whose file can be written."""

    @functools.wraps(function)
    def with_output(*, form: str, path: str | None, **values: Any) -> Any:
        output = Output(form, path)
        output.check()
        return function(output=output, **values)

    return decorated(
        with_output,
        (
            click.option(
                "--format",
                "form",
                type=OneOf(["auto", "table", "csv", "json"]),
                default="auto",
                show_default=True,
                help="auto: a table on a terminal, JSON in a file that ends in .json, CSV elsewhere.",
            ),
            click.option(
                "-o", "--output", "path", type=click.Path(), metavar="FILE", help="Write there instead."
            ),
        ),
    )
