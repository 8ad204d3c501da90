"""Pictures of laws and of simulations, and the titles of all; `table_pictures` draws tables of networks."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.amounts import COARSE, FINE, MOST_LAWS, MOST_SIMULATIONS
from isocalc.cli.command import is_given
from isocalc.cli.sweep import Sweep
from isocalc.errors import InvalidInputError
from isocalc.networks.branches import BRANCHES, POST

if TYPE_CHECKING:
    from isocalc.activations.catalogue import Activation
    from isocalc.cli.rows.simulations import Report
    from isocalc.display.figure import Figure
    from isocalc.display.table import Cell, Table
    from isocalc.laws.law import Law


_SYMBOLS = {"sigma_w": "σ_w", "sigma_b": "σ_b", "sigma_w2": "σ_w2"}
_ALWAYS = ("activation", "depth", "width")


def title_of(ctx: click.Context, sweep: Sweep) -> str:
    """Return what all networks of a sweep have in common."""
    given = ctx.params
    forward = given.get("arch") == "feedforward" or "skip" not in sweep.axes
    if "activation" not in sweep.axes:
        text = "Residual networks"
    elif forward:
        text = "Feed-forward network" + (", shared weights" if given.get("tied") else "")
    else:
        branch = BRANCHES[given["block"]]
        text = "Residual network" + ("" if branch is POST else f" of {branch.title} blocks")
    parts = [text]
    for name, values in sweep.axes.items():
        default = name in _ALWAYS and not (name == "depth" and ctx.info_name in {"param", "init"} and forward)
        if len(values) == 1 and (default or is_given(ctx, name)):
            value = values[0]
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            parts.append(
                shown if name == "activation" else f"{_SYMBOLS.get(name, name.replace('_', ' '))} {shown}"
            )
    if given.get("layer_widths"):
        parts.append("widths " + ", ".join(map(str, given["layer_widths"])))
    return ", ".join(parts)


def acts_of(sweep: Sweep) -> "list[Activation]":
    """Return the activations of a sweep of networks, a user's own ones too."""
    first = next(sweep.points())
    return [sweep.at(first | {"activation": name}).act for name in sweep.axes["activation"]]


def subject_record(subject: Any, swept: Sequence[str]) -> "dict[str, Cell]":
    """Return the swept values of a network or a law."""
    return {
        name: subject.act.name if name == "activation" else getattr(subject, name)
        for name in swept
        if hasattr(subject, name) or name == "activation"
    }


def require_few_simulations(sweep: Sweep) -> None:
    """Refuse a picture of more histograms than can be seen."""
    if sweep.size > MOST_SIMULATIONS:
        rule = f"of at most {MOST_SIMULATIONS} simulations"
        raise InvalidInputError("plot", rule, sweep.size, "Give fewer values.")


class LawPictures:
    """The picture of a table of ``density``.

    Parameters
    ----------
    ctx : click.Context
    sweep : Sweep
    plot : str or None
        Where the picture goes, "-" for the terminal, if one is asked for.
    summary : bool
        Whether the table has a row for each law.

    Raises
    ------
    InvalidInputError
        A picture of more densities than can be told apart is asked for.
    """

    def __init__(self, ctx: click.Context, sweep: Sweep, plot: str | None, *, summary: bool) -> None:
        if plot is not None and not summary and sweep.size > MOST_LAWS:
            advice = "Give fewer values, or --summary, which draws how far they reach."
            raise InvalidInputError("plot", f"of at most {MOST_LAWS} densities", sweep.size, advice)
        self._ctx, self._sweep, self._plot, self._summary = ctx, sweep, plot, summary
        self._laws: list[tuple[Any, Law]] = []

    def add(self, subject: Any, law: "Law") -> None:
        """Take the law of a network, or one that is its own subject."""
        self._laws.append((subject, law))

    def figure(self, table: "Table") -> "Figure":
        """Return densities over each other, of a summary how far the singular values of each law reach."""
        from dataclasses import replace

        from isocalc.display.figure import SPECTRUM, Chart, Quantity, named, table_figure
        from isocalc.laws.figure import law_figure

        title, swept = title_of(self._ctx, self._sweep), self._sweep.swept
        if self._summary and swept:
            upper, largest, _, lower = SPECTRUM.quantities
            chart = Chart(SPECTRUM.label, (upper, largest, Quantity("mean", "mean_s"), lower), log=True)
            figure = table_figure(table, self._sweep.axes, (chart,), title)
            return replace(figure, caption=table.caption)
        names = [named(subject_record(subject, swept), swept) for subject, _ in self._laws]
        return law_figure(
            list(zip(names, (law for _, law in self._laws), strict=True)),
            self._ctx.params["variable"],
            title,
            asked_for=is_given(self._ctx, "variable"),
            caption=table.caption,
            points=COARSE if self._plot in {None, "-"} else FINE,
        )


def simulation_figure(ctx: click.Context, sweep: Sweep, report: "Report", kinds: Sequence[str]) -> "Figure":
    """Return the histograms of the simulations that a report has seen."""
    from isocalc.display.figure import named
    from isocalc.judging.histogram import Simulated
    from isocalc.judging.histogram import simulation_figure as drawn

    seen = []
    for network, width, log_s, law, ks in report.seen:
        record = subject_record(network, sweep.swept) | ({} if width is None else {"width": width})
        seen.append(Simulated(named(record, sweep.swept), log_s, law, ks))
    return drawn(seen, kinds, title_of(ctx, sweep))
