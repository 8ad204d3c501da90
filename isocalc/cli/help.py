"""Help that begins with what people come for: what a command does, and examples."""

from inspect import cleandoc

import click

_EXAMPLES = "\b\nExamples:\n"


class Guided(click.Command):
    """A command whose help shows the examples of its epilog before its options."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, the first paragraph, examples, the other paragraphs, options and the rest."""
        self.format_usage(ctx, formatter)
        first, _, more = cleandoc(self.help or "").partition("\n\n")
        about, heading, examples = (self.epilog or "").rpartition(_EXAMPLES)
        _write(formatter, first)
        _write(formatter, heading + examples)
        _write(formatter, more)
        self.format_options(ctx, formatter)
        _write(formatter, about)


def _write(formatter: click.HelpFormatter, text: str) -> None:
    if text.strip():
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
