"""Options that are given several times: lists join, one value stays one value."""

from collections.abc import Sequence
from typing import Any

import click
from click.parser import _OptionParser

from isocalc.errors import shortened


class Parser(_OptionParser):
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
