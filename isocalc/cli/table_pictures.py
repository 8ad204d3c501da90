"""Pictures of tables of networks, those of ``isocalc param`` and ``isocalc init``; loads what draws."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from isocalc.cli.amounts import MARGIN, MOST_DIAGRAMS, MOST_LAYERS, MOST_LINES
from isocalc.cli.pictures import acts_of, title_of
from isocalc.cli.sweep import Sweep
from isocalc.display.figure import (
    AXES,
    SPECTRUM,
    Axis,
    Chart,
    Figure,
    Line,
    Panel,
    Quantity,
    require_few,
    table_figure,
)
from isocalc.display.table import Table
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.signal.phase_diagram import critical_curve

if TYPE_CHECKING:
    from isocalc.activations.catalogue import Activation
    from isocalc.display.table import Cell


_VARIANCE = "variance q of φ's input"
_CHI_CHART = Chart("χ = σ_w² E φ'²", (Quantity("χ", "chi"),), rule=(1.0, "edge of chaos, χ = 1"))
RESNET = (Chart("parameter c", (Quantity("c", "c"),)), SPECTRUM)
FEEDFORWARD = (Chart("fixed point q*", (Quantity("q*", "q_star"),)), _CHI_CHART)
OF_DEPTH = (Chart("variance σ²_JJᵀ of s²", (Quantity("variance", "sigma2_jjt"),)),)
RESNET_LAYERS = (Chart(_VARIANCE, (Quantity("q", "q"),)), Chart("c of the layer", (Quantity("c", "c"),)))
FEEDFORWARD_LAYERS = (RESNET_LAYERS[0], _CHI_CHART)


def param_figure(ctx: click.Context, sweep: Sweep, table: Table) -> "Figure":
    """Return the picture of a table of ``param``."""
    title = title_of(ctx, sweep)
    residual = ctx.params["arch"] == "resnet"
    if ctx.params["layers"]:
        return table_figure(
            table, sweep.axes, RESNET_LAYERS if residual else FEEDFORWARD_LAYERS, title, "layer"
        )
    if sweep.single and residual:
        (network,) = sweep
        return table_figure(profile(network), {}, RESNET_LAYERS, title, "layer")
    if sweep.single:
        from isocalc.signal.phase_diagram import map_figure

        (network,) = sweep
        names = list(table.columns)
        fixed = [row[names.index("q_star")] for row in table.rows]
        return map_figure(network, [float(q) for q in fixed if q is not None], title)
    if not residual and _is_diagram(sweep):
        from isocalc.signal.phase_diagram import phase_figure

        require_few("phase diagrams", len(sweep.axes["activation"]), MOST_DIAGRAMS)
        return phase_figure(table, acts_of(sweep), sweep.axes["sigma_w"], sweep.axes["sigma_b"], title)
    if residual:
        return replace(table_figure(table, sweep.axes, RESNET, title), caption=table.caption)
    charts = (*FEEDFORWARD, *OF_DEPTH) if "sigma2_jjt" in table.columns else FEEDFORWARD
    return table_figure(table, sweep.axes, charts, title)


def profile(network: ResNet | FeedForward) -> Table:
    """Return q and c of a network layer by layer, of a deep one of so many layers as can be seen."""
    import numpy as np

    from isocalc.signal.propagation import propagate

    signal = propagate(network)
    layers = np.unique(np.linspace(1, network.depth, min(network.depth, MOST_LAYERS)).round().astype(int))
    rows = zip(
        layers.tolist(), signal.q[layers - 1].tolist(), signal.c_per_layer[layers - 1].tolist(), strict=True
    )
    return Table(("layer", "q", "c"), list(rows))


def _is_diagram(sweep: Sweep) -> bool:
    """Whether both scales, and no more than the activation beside them, were swept."""
    from isocalc.signal.phase_diagram import LEAST

    swept = set(sweep.swept) - {"activation"}
    return swept == {"sigma_w", "sigma_b"} and all(len(set(sweep.axes[name])) >= LEAST for name in swept)


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
    require_few("critical lines", len(acts), MOST_LINES)
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
    room = MARGIN * (high - low)
    return max(0.0, low - room), high + room
