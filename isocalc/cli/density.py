"""``isocalc density``: the limiting density of the singular values."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.caveats import Doubles, warn_of_correlated_gates
from isocalc.cli.law_rows import COLUMN, SUMMARY, density_rows, described_atoms, summary_row
from isocalc.cli.option_types import OneOf, Whole
from isocalc.cli.options import Output, network_or_c_options, output_options, refuse
from isocalc.cli.sweep import Row, Sweep, run
from isocalc.cli.values import read_numbers
from isocalc.errors import InvalidInputError
from isocalc.limits import MOST_ROWS, MOST_VALUES

if TYPE_CHECKING:
    from isocalc.laws import UniversalLaw


@click.command(
    name="density",
    epilog="""\b
Columns: singular_value (or squared_singular_value, log_singular_value), density, cdf.
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

\b
Examples:
  isocalc density --act tanh --depth 100
  isocalc density --act relu --sigma-w 0.5:2:4 --points 500 -o densities.csv
  isocalc density --act all --summary --format csv | cut -d, -f1,4,13-
  isocalc density --c 0.1,1,10 --variable log --format json | jq '.[].density'
  seq 0.5 0.1 2 | isocalc density --act gelu --at -
""",
)
@network_or_c_options
@click.option(
    "--law",
    type=OneOf(["auto", "universal"]),
    default="auto",
    show_default=True,
    help="Both mean the universal law, the limit L -> infinity.",
)
@click.option(
    "--variable",
    type=OneOf(list(COLUMN)),
    default="singular",
    show_default=True,
    help="Density of s, of lambda = s^2 or of log s.",
)
@click.option(
    "--points",
    type=Whole(2, MOST_VALUES),
    metavar="N",
    default="200",
    show_default=True,
    help="Values from edge to edge, dense at both edges.",
)
@click.option("--at", metavar="VALUES", help="These values instead: a comma list, or - for standard input.")
@click.option("--summary", is_flag=True, help="One row for each law: support, atoms, moments.")
@output_options
@click.pass_context
def command(ctx: click.Context, /, networks: Sweep, output: Output, *, summary: bool, **given: Any) -> None:
    """Print the density of the singular values of a residual network's input-output Jacobian.

    In the limit of infinite width, by the universal law, which c (see isocalc param) and a^L fix. This
    version has no law of feed-forward networks.
    """
    keys = ("activation", "depth") if "activation" in networks.axes else ("c", "depth", "skip")
    if summary:
        refuse(ctx, ("points", "at", "variable"), "with --summary, which is about the whole law")
        values, columns = None, tuple(dict.fromkeys((*keys, *SUMMARY)))
    else:
        values = _values(ctx, given["variable"], given["at"])
        _require_few_rows(networks.size, given["points"], values)
        columns = (COLUMN[given["variable"]], "density", "cdf")
    if "activation" in networks.axes:
        warn_of_correlated_gates(ctx.params["block"], networks.axes["activation"])
    doubles = Doubles()
    laws: list[UniversalLaw] = []

    def rows(subject: Any) -> Iterator[Row]:
        laws.append(law := _law(subject))
        if summary:
            about = subject.act.name if "activation" in keys else None
            return iter(
                [{"activation": about, "depth": law.depth, "skip": law.skip, **summary_row(law, doubles)}]
            )
        return density_rows(law.using(given["variable"]), given["points"], values, doubles)

    table, failed = run(networks, columns, rows)
    doubles.report()
    output.write(table.with_caption(_caption(laws)))
    ctx.exit(int(failed))


def _law(subject: Any) -> "UniversalLaw":
    """Return the law of a network; a law is its own."""
    from isocalc.laws import UniversalLaw, spectrum  # noqa: PLC0415 - numerics load when a command computes

    return subject if isinstance(subject, UniversalLaw) else spectrum(subject)


def _values(ctx: click.Context, variable: str, at: str | None) -> list[float] | None:
    """Return the values of --at, ``None`` where a grid is wanted."""
    if at is None:
        return None
    refuse(ctx, ("points",), "with --at, which gives the values")
    return read_numbers("at", at, least=None if variable == "log" else 0.0)


def _require_few_rows(networks: int, points: int, values: Sequence[float] | None) -> None:
    parameter, each = ("points", points) if values is None else ("at", len(values))
    if networks * each > MOST_ROWS:
        rule = f"so few that the table has at most {MOST_ROWS} rows"
        raise InvalidInputError(parameter, rule, each, f"There are {networks} networks.")


def _caption(laws: Sequence["UniversalLaw"]) -> str:
    """Return which law it is, its parameter and its point masses."""
    text = "Universal law (L -> infinity)" + (f", c = {laws[0].c:.6g}" if len(laws) == 1 else "")
    atoms = dict.fromkeys(atom for law in laws for atom in described_atoms(law))
    return f"{text}; point mass {', '.join(atoms)}" if atoms else f"{text}; no point mass"
