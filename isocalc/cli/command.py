"""What every command of isocalc shares: examples first, options given twice, files apart, refusals."""

from collections.abc import Callable, Sequence
from inspect import cleandoc
from itertools import combinations
from typing import Any

import click
from click.core import ParameterSource
from click.parser import _OptionParser

from isocalc.cli.messages import option_of
from isocalc.errors import InvalidInputError, shortened

Function = Callable[..., Any]

_EXAMPLES = "\b\nExamples:\n"


class Guided(click.Command):
    """A command of isocalc: what its options have in common.

    Its help shows the examples of the epilog before the options; lists join where an option is given twice;
    options that name files name different ones.
    """

    def make_parser(self, ctx: click.Context) -> _OptionParser:
        """Return the parser of the options."""
        parser = _Parser(ctx)
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
        about, _, examples = (self.epilog or "").rpartition(_EXAMPLES)
        _write(formatter, first)
        _write(formatter, _EXAMPLES + examples)
        _write(formatter, more)
        self.format_options(ctx, formatter)
        _write(formatter, about)


def refuse(ctx: click.Context, names: Sequence[str], why: str) -> None:
    """Refuse options given on the command line that cannot matter to what was asked."""
    for name in names:
        if is_given(ctx, name):
            raise click.UsageError(f"{option_of(name)} cannot be given {why}. Leave it out.", ctx)


def is_given(ctx: click.Context, name: str) -> bool:
    """Whether an option is on the command line."""
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def decorated(function: Function, options: Sequence[Callable[[Function], Function]]) -> Function:
    """Return a command with options added, shown in their order."""
    for option in reversed(options):
        function = option(function)
    return function


class _Parser(_OptionParser):
    """A parser that keeps every value of an option; click's own keeps the last."""

    def add_option(  # noqa: PLR0917 - click's signature
        self,
        obj: click.Option,
        opts: Sequence[str],
        dest: str | None,
        action: str | None = None,
        nargs: int = 1,
        const: Any | None = None,
    ) -> None:
        """Add an option; what would be stored is appended."""
        super().add_option(obj, opts, dest, "append" if action == "store" else action, nargs, const)

    def parse_args(self, args: list[str]) -> tuple[dict[str, Any], list[str], list[click.Parameter]]:
        """Parse, and make one of the values of each option."""
        values, rest, order = super().parse_args(args)
        for option in dict.fromkeys(order):
            if isinstance(option, click.Option) and not option.multiple:
                given = values[option.name or ""]
                if isinstance(given, list):
                    values[option.name or ""] = self._together(option, given)
        return values, rest, order

    def _together(self, option: click.Option, given: Sequence[str]) -> str:
        """Return the text that all values of an option stand for; the same again says nothing new."""
        texts = list(dict.fromkeys(given))
        if getattr(option.type, "joins", False):
            return ",".join(texts)
        if len(texts) > 1 and self.ctx is not None and not self.ctx.resilient_parsing:
            first, *others = (option.type_cast_value(self.ctx, text) for text in texts)
            for text, value in zip(texts[1:], others, strict=True):
                if value != first:
                    both = f"{shortened(repr(texts[0]))} and {shortened(repr(text))}"
                    raise click.UsageError(
                        f"{option.opts[-1]} must have one value, got {both}. Leave one out.", self.ctx
                    )
        return texts[-1]


def _write(formatter: click.HelpFormatter, text: str) -> None:
    if text.strip():
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
