"""The options that choose a law, shared by commands."""

from collections.abc import Callable
from typing import Any

import click

from isocalc.cli.option_types import OneOf, Whole
from isocalc.cli.options import decorated
from isocalc.errors import InvalidInputError

MOST_PATHS = 10**6


def law_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a law; the function gets them as ``law`` and ``paths``."""
    return decorated(
        function,
        (
            click.option(
                "--law",
                type=OneOf(["auto", "universal", "layered", "exact"]),
                default="auto",
                show_default=True,
                help="Of ResNets: the limit L -> infinity (universal); at this depth with free layers (layered) or "
                "correlated gates too (exact). auto: the first that is off by less than 0.002.",
            ),
            click.option(
                "--paths",
                type=Whole(2, MOST_PATHS),
                metavar="N",
                help="Gate paths of the exact law, which its error falls with.  [default: 512]",
            ),
        ),
    )


def require_paths(law: str, paths: int | None) -> None:
    """Refuse a number of paths for a law that has none."""
    if paths is not None and law not in {"auto", "exact"}:
        raise InvalidInputError("paths", f"left out with --law {law}", paths, "It is of --law exact.")
