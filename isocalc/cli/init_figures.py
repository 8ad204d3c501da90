"""The pictures of ``isocalc init``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from isocalc.cli.pictures import acts_of, title_of
from isocalc.cli.sweep import Sweep
from isocalc.figure import Axis, Figure, Line, Panel
from isocalc.output import Table
from isocalc.phase_figure import critical_curve
from isocalc.table_figure import AXES, SPECTRUM, Chart, Quantity, require_few, table_figure

if TYPE_CHECKING:
    from isocalc.activations import Activation
    from isocalc.output import Cell

_W, _B = AXES["sigma_w"], AXES["sigma_b"]
_GAINS = (
    Quantity("forward 1/√E φ²", "forward_gain"),
    Quantity("backward 1/√E φ'²", "backward_gain"),
    Quantity("critical, kept by biases", "critical_gain"),
    Quantity("torch.nn.init", "pytorch_gain"),
)
CHARTS = {
    "sigma_w": (Chart(_W, (Quantity("σ_w", "sigma_w"),)), SPECTRUM),
    "sigma_w2": (Chart(AXES["sigma_w2"], (Quantity("σ_w2", "sigma_w2"),)), SPECTRUM),
    "schemes": (Chart("parameter c", (Quantity("c", "c"),)), SPECTRUM),
    "feedforward": (
        Chart(_W, (Quantity("σ_w", "sigma_w"),)),
        Chart(_B, (Quantity("σ_b", "sigma_b"),)),
        Chart("fixed point q*", (Quantity("q*", "q_star"),)),
    ),
    "gain": (Chart("gain: σ_w of weights of variance σ_w²/N", _GAINS),),
}
_MOST_LINES = 8
_ROOM = 0.1


def init_figure(ctx: click.Context, sweep: Sweep, table: Table, question: str) -> Figure:
    """Return the picture of a table of ``init``."""
    title = title_of(ctx, sweep)
    names = list(table.columns)
    if question == "critical" and len(sweep.axes.get("sigma_b", sweep.axes.get("sigma_w", ()))) > 2:
        return _critical_lines(table, acts_of(sweep), title)
    axes = dict(sweep.axes)
    if "scheme" in names:
        place = names.index("scheme")
        axes["scheme"] = list(dict.fromkeys(str(row[place]) for row in table.rows))
        require_few("depth", len(axes.pop("depth")), 1)
    if question in {"critical", "target_variance"}:
        kind = "feedforward"
    elif question in {"gain", "schemes"}:
        kind = question
    else:
        kind = "sigma_w2" if "sigma_w2" in names else "sigma_w"
    return table_figure(_once(table) if kind == "feedforward" else table, axes, CHARTS[kind], title)


def _once(table: Table) -> Table:
    """Return the table without rows that say the same of other weights."""
    names = list(table.columns)
    told = [names.index(name) for name in ("weights", "relative_variance", "sigma2_jjt")]
    rows: dict[tuple[Cell, ...], Sequence[Cell]] = {}
    for row in table.rows:
        rows.setdefault(tuple(cell for i, cell in enumerate(row) if i not in told), row)
    return Table(table.columns, list(rows.values()), table.caption, table.keys)


def _critical_lines(table: Table, acts: "Sequence[Activation]", title: str) -> Figure:
    """Return σ_b over σ_w of critical networks, the rows on the whole lines between their ends."""
    require_few("critical lines", len(acts), _MOST_LINES)
    places = [list(table.columns).index(name) for name in ("activation", "sigma_w", "sigma_b")]
    rows = [tuple(row[place] for place in places) for row in table.rows]
    known = [(str(act), float(w), float(b)) for act, w, b in rows if w is not None and b is not None]
    ends = _widened([w for _, w, _ in known]), _widened([b for _, _, b in known])
    marks = []
    for colour, act in enumerate(acts):
        (curve,) = critical_curve(act, *ends) or (Line((), ()),)
        label = f"χ = 1 of {act.name}"
        marks.append(
            Line(curve.x, curve.y, label, colour, ("solid", "dashed", "dotted", "dashdot")[colour % 4])
        )
        of_act = [(w, b) for name, w, b in known if name == act.name]
        marks.append(
            Line([w for w, _ in of_act], [b for _, b in of_act], "", colour, "none", points=len(of_act) <= 60)
        )
    return Figure(title, (Panel(Axis(_W), Axis(_B), marks),), "on a line: the edge of chaos")


def _widened(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = _ROOM * (high - low)
    return max(0.0, low - room), high + room
