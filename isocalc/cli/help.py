"""What every command of isocalc shares: help that begins with examples, options given twice, files apart."""

from inspect import cleandoc
from itertools import combinations

import click

from isocalc.cli.options.repeated import Parser
from isocalc.errors import InvalidInputError

_EXAMPLES = "\b\nExamples:\n"


class Guided(click.Command):
    """A command of isocalc: what its options have in common.

    Its help shows the examples of the epilog before the options; lists join where an option is given twice;
    options that name files name different ones.
    """

    def make_parser(self, ctx: click.Context) -> Parser:
        """Return the parser of the options."""
        parser = Parser(ctx)
        for param in self.get_params(ctx):
            param.add_to_parser(parser, ctx)
        return parser

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; refuse one file for two options, however it is spelt."""
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:  # to complete a line
            return rest
        files = {
            param.opts[-1]: path
            for param in self.params
            if isinstance(param.type, click.Path)
            and (path := ctx.params[param.name or ""]) not in (None, "-")
        }
        for (first, one), (second, other) in combinations(files.items(), 2):
            from isocalc.files import is_same_file  # noqa: PLC0415 - --help must not pay for it

            if is_same_file(one, other):
                name = second.lstrip("-")
                raise InvalidInputError(name, f"another file than that of {first}", other)
        return rest

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, the first paragraph, examples, the other paragraphs, options and the rest."""
        self.format_usage(ctx, formatter)
        first, _, more = cleandoc(self.help or "").partition("\n\n")
        about, found, examples = (self.epilog or "").rpartition(_EXAMPLES)
        _write(formatter, first)
        if found:
            _write(formatter, _EXAMPLES + examples)
        _write(formatter, more)
        self.format_options(ctx, formatter)
        _write(formatter, about if found else examples)


def _write(formatter: click.HelpFormatter, text: str) -> None:
    if text.strip():
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
