"""The pictures of ``isocalc param``."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from isocalc.cli.pictures import acts_of, title_of
from isocalc.cli.sweep import Sweep
from isocalc.network import FeedForward, ResNet
from isocalc.output import Table
from isocalc.table_figure import SPECTRUM, Chart, Quantity, require_few, table_figure

if TYPE_CHECKING:
    from isocalc.figure import Figure

_VARIANCE = "variance q of φ's input"
_CHI = "χ = σ_w² E φ'²"
RESNET = (Chart("parameter c", (Quantity("c", "c"),)), SPECTRUM)
FEEDFORWARD = (
    Chart("fixed point q*", (Quantity("q*", "q_star"),)),
    Chart(_CHI, (Quantity("χ", "chi"),), rule=(1.0, "edge of chaos, χ = 1")),
)
OF_DEPTH = (Chart("variance σ²_JJᵀ of s²", (Quantity("variance", "sigma2_jjt"),)),)
RESNET_LAYERS = (Chart(_VARIANCE, (Quantity("q", "q"),)), Chart("c of the layer", (Quantity("c", "c"),)))
FEEDFORWARD_LAYERS = (
    RESNET_LAYERS[0],
    Chart(_CHI, (Quantity("χ", "chi"),), rule=(1.0, "edge of chaos, χ = 1")),
)
_MOST_LAYERS = 2000
_MOST_DIAGRAMS = 4


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
        from isocalc.phase_figure import map_figure

        (network,) = sweep
        names = list(table.columns)
        fixed = [row[names.index("q_star")] for row in table.rows]
        return map_figure(network, [float(q) for q in fixed if q is not None], title)
    if not residual and _is_diagram(sweep):
        from isocalc.phase_figure import phase_figure

        require_few("phase diagrams", len(sweep.axes["activation"]), _MOST_DIAGRAMS)
        return phase_figure(table, acts_of(sweep), sweep.axes["sigma_w"], sweep.axes["sigma_b"], title)
    if residual:
        return replace(table_figure(table, sweep.axes, RESNET, title), caption=table.caption)
    charts = (*FEEDFORWARD, *OF_DEPTH) if "sigma2_jjt" in table.columns else FEEDFORWARD
    return table_figure(table, sweep.axes, charts, title)


def profile(network: ResNet | FeedForward) -> Table:
    """Return q and c of a network layer by layer, of a deep one of so many layers as can be seen."""
    import numpy as np

    from isocalc.propagation import propagate

    signal = propagate(network)
    layers = np.unique(np.linspace(1, network.depth, min(network.depth, _MOST_LAYERS)).round().astype(int))
    rows = zip(
        layers.tolist(), signal.q[layers - 1].tolist(), signal.c_per_layer[layers - 1].tolist(), strict=True
    )
    return Table(("layer", "q", "c"), list(rows))


def _is_diagram(sweep: Sweep) -> bool:
    """Whether both scales, and no more than the activation beside them, were swept."""
    from isocalc.phase_figure import LEAST

    swept = set(sweep.swept) - {"activation"}
    return swept == {"sigma_w", "sigma_b"} and all(len(set(sweep.axes[name])) >= LEAST for name in swept)
