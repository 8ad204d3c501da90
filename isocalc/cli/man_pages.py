"""Manual pages, from the commands' own help: ``python -m isocalc.cli.man_pages DIR`` writes them."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from isocalc import __version__
from isocalc.cli.group import COMMANDS, isocalc

TITLES: dict[str, str | None] = {"isocalc": None, **{f"isocalc-{name}": name for name in COMMANDS}}
_LAST = r"""
.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
The computation failed, in a sweep in at least one row, or the simulation disagrees with the theory.
.TP
.B 2
Bad usage.
.TP
.B 130
Interrupted by Ctrl-C.
.TP
.B 141
The reader of the output is gone.
.SH ENVIRONMENT
.TP
.BR NO_COLOR ", " FORCE_COLOR
No colours, or colours in a pipe too.
.TP
.BR COLUMNS ", " TERM
Width and abilities of the terminal.
.TP
.B NUMBA_CACHE_DIR
Where compiled code is kept; by default beside the program or in the user's cache folder.
"""


class _Roff(click.HelpFormatter):
    """Writes what click writes as help in the language of manual pages."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        del prefix
        self.write(f".SH SYNOPSIS\n.B {_escaped(prog)}\n{_escaped(args)}\n.SH DESCRIPTION\n")

    def write_heading(self, heading: str) -> None:
        self.write(f".SH {_escaped(heading.upper())}\n")

    def write_paragraph(self) -> None:
        """Write nothing: every text begins with a paragraph."""

    def write_text(self, text: str) -> None:
        for paragraph in text.replace("\b\n", "").strip("\n").split("\n\n"):
            first, _, rest = paragraph.partition("\n")
            if first.startswith("Columns"):
                self.write_heading("Output")
            if first.startswith("Examples"):
                self.write_heading(first.rstrip(":"))
                self.write(f".nf\n{_escaped(rest)}\n.fi\n")
            else:
                self.write(f".PP\n{_escaped(paragraph)}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], *_: int) -> None:
        for term, meaning in rows:
            self.write(f".TP\n.B {_escaped(term)}\n{_escaped(meaning)}\n")


def _escaped(text: str) -> str:
    """Return text that roff prints as it is, its hyphens such that they can be copied."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("^", r"\(ha").replace("~", r"\(ti")
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in text.split("\n"))


def page(name: str | None = None) -> str:
    """Return the manual page of a command, without a name that of the program."""
    context = click.Context(isocalc, info_name="isocalc", **isocalc.context_settings)
    summary = (isocalc.help or "").partition("\n")[0]
    if name is not None and (command := isocalc.get_command(context, name)):
        context = click.Context(command, info_name=name, parent=context)
        summary = COMMANDS[name]
    title = context.command_path.replace(" ", "-")
    formatter = _Roff()
    context.command.format_help(context, formatter)
    others = ",\n".join(f".BR {_escaped(other)} (1)" for other in TITLES if other != title)
    return (
        f'.TH {title.upper()} 1 "" "isocalc {__version__}" "User Commands"\n'
        f".SH NAME\n{_escaped(title)} \\- {_escaped(summary.rstrip('.'))}\n"
        f"{formatter.getvalue().rstrip()}{_LAST}.SH SEE ALSO\n{others}\n"
    )


def main(folder: str) -> None:
    """Write all pages into a folder."""
    for title, name in TITLES.items():
        Path(folder, f"{title}.1").write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
