"""``isocalc density``: the limiting density of the singular values."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import click

from isocalc.cli.amounts import MOST_PREVIEWED
from isocalc.cli.command import Guided, refuse
from isocalc.cli.messages import Caveats, explain_start, say
from isocalc.cli.numbers import read_numbers
from isocalc.cli.options.law import LawsUsed, law_options, require_law
from isocalc.cli.options.network import network_or_c_options
from isocalc.cli.options.output import Output, picture_options
from isocalc.cli.options.types import Listed, OneOf, Whole
from isocalc.cli.pictures import LawPictures, subject_record
from isocalc.cli.rows.laws import (
    COLUMN,
    SUMMARY,
    density_rows,
    described_atoms,
    law_summary,
    summary_row,
)
from isocalc.cli.sweep import PartialRow, Sweep, run
from isocalc.errors import InvalidInputError, NoFixedPointError
from isocalc.limits import MOST_ROWS, MOST_VALUES


@click.command(
    name="density",
    cls=Guided,
    epilog="""\b
Columns: singular_value (or squared_singular_value, log_singular_value), density, cdf.
With --summary: law, law_error, c, support, atoms, mass_at_zero, moments, edge_lower,
edge_upper and bulk_condition_number: edges of the law apart from s = 0, and their ratio.
The law is that of all singular values but a few: outliers has those that lie outside of
it (for ReLU one, far above), joined by ;, empty where there is none, and s_min, s_max,
condition_number are the network's own extremes, with them. Where they are not derived all
four are empty, and status says why.
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

\b
Examples:
  isocalc density --act tanh --depth 100
  isocalc density --act tanh --depth 100 --plot tanh.png
  isocalc density --act relu --sigma-w 0.5:2:4 --points 500 -o densities.csv
  isocalc density --act relu --depth 10 --law layered --summary
  isocalc density --act tanh --depth 1:100:34 --summary --plot -
  isocalc density --act gelu --block pre --sigma-w 2 --depth 24 --law exact
  isocalc density --arch feedforward --act tanh --sigma-w 1.1 --weights orthogonal
  isocalc density --arch feedforward --act relu --layer-widths 784,1000,1000,10
  isocalc density --act all --summary --format csv | cut -d, -f1,5,14-
  isocalc density --c 0.1,1,10 --variable log --format json | jq '.[].density'
  seq 0.5 0.1 2 | isocalc density --act gelu --at -
""",
)
@network_or_c_options
@law_options
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
@click.option(
    "--at",
    type=Listed(),
    metavar="VALUES",
    help="These values instead: a comma list, or - for standard input.",
)
@click.option("--summary", is_flag=True, help="One row for each law: support, atoms, moments, outliers.")
@picture_options
@click.pass_context
def command(ctx: click.Context, /, networks: Sweep, output: Output, *, summary: bool, **given: Any) -> None:
    """Print the density of the singular values of a network's input-output Jacobian, at infinite width.

    Residual networks have the universal law as L -> infinity, which c (see isocalc param) and a^L fix; at
    their own depth that of free layers, and the exact one, which knows of gates correlated across layers, as
    in pre-activation blocks. --law auto takes the first that is off by less than 0.002 (KS distance), and
    says which if it is not the universal one. Feed-forward networks have the layered law alone.
    """
    keys = ("activation", "depth") if "activation" in networks.axes else ("c", "depth", "skip")
    if given["law"] in {"layered", "exact"} and "activation" not in networks.axes:
        advice = "Give --act for the law at finite depth."
        raise InvalidInputError("law", "universal with --c", given["law"], advice)
    require_law(ctx, given["law"], given["paths"])
    if summary:
        refuse(ctx, ("points", "at", "variable"), "with --summary, which is about the whole law")
        values, columns = None, tuple(dict.fromkeys((*keys, *SUMMARY)))
    else:
        values = _values(ctx, given["variable"], given["at"])
        _require_few_rows(networks.size, given["points"], values)
        columns = (COLUMN[given["variable"]], "density", "cdf")
    caveats, alone = Caveats(), output.on_screen and networks.single and not summary
    used = LawsUsed(given["law"], given["paths"])
    pictures = LawPictures(ctx, networks, output.plot, summary=summary)

    def rows(subject: Any) -> Iterator[PartialRow]:
        network = _with_a_law(subject)
        law = used.law_of(network) if hasattr(network, "act") else used.given(network)
        if summary:
            yield {**subject_record(subject, keys), **summary_row(law, caveats)}
        else:
            yield from density_rows(law.using(given["variable"]), given["points"], values, caveats)
        pictures.add(subject, law)

    table, failed = run(networks, columns, rows)
    caveats.report()
    used.report(*_told_of(given["law"], alone=alone))
    table = table.with_caption(_caption(used, alone=alone))
    small = not summary and values is None and networks.size <= MOST_PREVIEWED
    output.write(table, partial(pictures.figure, table), preview=small)
    ctx.exit(int(failed))


def _with_a_law(subject: Any) -> Any:
    """Return the network or law that is shown: where the variance grows without bound, that of q → ∞."""
    if not hasattr(subject, "act"):
        return subject
    try:
        explain_start(subject)
    except NoFixedPointError as error:
        from isocalc.signal.fixed_points import limit_network  # noqa: PLC0415 - numerics load when a command computes

        limit = limit_network(subject)
        if limit is None:
            why = f"{error}, and phi'^2 has no limit as q -> infinity"
            raise NoFixedPointError(why, error.next_steps) from None
        say(f"{error}; this is the law of q -> infinity, --input-variance gives that of the layers' own q")
        return limit
    return subject


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


def _told_of(law: str, *, alone: bool) -> tuple[str, ...]:
    """Return the laws whose choice is said on standard error: where one stands alone, its caption does."""
    if alone:
        return ()
    return ("exact", "layered") if law == "auto" else ("exact",)


def _caption(used: LawsUsed, *, alone: bool) -> str:
    """Return which law it is, its parameter, its error and its point masses; of one alone a summary, too."""
    text = used.caption
    atoms = dict.fromkeys(atom for law in used.laws for atom in described_atoms(law))
    text += f"; point mass {', '.join(atoms)}" if atoms else "; no point mass"
    return f"{text}\n{law_summary(used.laws[0])}" if alone else text
