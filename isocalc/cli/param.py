"""``isocalc param``: the parameter that fixes the spectrum, and what signal propagation says."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from isocalc.cli.caveats import Doubles, warn_of_correlated_gates
from isocalc.cli.options import Output, network_options, output_options
from isocalc.cli.sweep import Row, Sweep, run, say
from isocalc.errors import InvalidInputError

if TYPE_CHECKING:
    from isocalc.network import FeedForward, ResNet

RESNET = (
    "activation",
    "depth",
    "c",
    "q_first",
    "q_last",
    "output_second_moment",
    "mean_lambda",
    "s_min",
    "s_max",
    "condition_number",
)
FEEDFORWARD = ("activation", "q_star", "chi", "phase", "xi_q", "xi_c", "mean_lambda", "relative_variance")
RESNET_LAYERS = ("activation", "layer", "q", "c", "mean", "second_moment")
FEEDFORWARD_LAYERS = ("activation", "layer", "q", "chi", "second_moment")
MOST_ROWS = 5_000_000


@click.command(
    name="param",
    epilog="""\b
Columns of a ResNet: activation, depth, c (the parameter), q_first and q_last
(variance of the pre-activations), output_second_moment, mean_lambda (of the
squared singular values), s_min, s_max, condition_number (universal law).
Feed-forward, one row for each stable fixed point: activation, q_star, chi,
phase, xi_q, xi_c, and per layer mean_lambda, relative_variance.
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

\b
Examples:
  isocalc param --act relu
  isocalc param --act relu,tanh,gelu --depth 10,100,1000
  isocalc param --act all --arch feedforward --sigma-w 1.5 --format csv | sort -t, -k3 -g
  isocalc param --act tanh --sigma-w 0.5:2:16 -o sweep.csv
  isocalc param --act gelu --layers | tail -n 1
""",
)
@network_options
@click.option("--layers", is_flag=True, help="One row for each layer.")
@output_options
@click.pass_context
def command(ctx: click.Context, networks: Sweep, output: Output, *, layers: bool) -> None:
    """Print the parameter c of a residual network, or the fixed point of a feed-forward one.

    c = sum of sigma_w^2 E phi'^2 over the layers, divided by L a^2. Residual networks with the same c and a^L
    have the same singular values, whatever their activation.
    """
    doubles = Doubles()
    residual = ctx.params["arch"] == "resnet"
    if layers:
        _require_few_rows(networks)
    elif residual:
        warn_of_correlated_gates(ctx.params["block"], networks.axes["activation"])
    columns, rows, caption = TABLES[residual, layers]
    table, failed = run(networks, columns, partial(rows, doubles=doubles), caption=caption)
    doubles.report()
    output.write(table)
    ctx.exit(int(failed))


def _require_few_rows(networks: Sweep) -> None:
    depths = [int(depth) for depth in networks.axes["depth"]]
    if sum(depths) * (networks.size // len(depths)) > MOST_ROWS:
        rule = f"so small that --layers prints at most {MOST_ROWS} rows"
        raise InvalidInputError("depth", rule, max(depths), f"There are {networks.size} networks.")


def resnet_rows(net: "ResNet", *, doubles: Doubles) -> Iterator[Row]:
    """Yield the row of a residual network."""
    from isocalc.laws import UniversalLaw
    from isocalc.propagation import propagate

    signal = propagate(net)
    law = UniversalLaw(signal.c, depth=net.depth, skip=net.skip)
    yield {
        "activation": net.act.name,
        "depth": net.depth,
        "c": doubles.finite("c", signal.c),
        "q_first": doubles.finite("q_first", signal.q_first),
        "q_last": doubles.finite("q_last", signal.q_last),
        "output_second_moment": doubles.positive("output_second_moment", signal.output_second_moment),
        "mean_lambda": doubles.positive("mean_lambda", signal.mean_lambda),
        "s_min": doubles.positive("s_min", law.s_min),
        "s_max": doubles.positive("s_max", law.s_max),
        "condition_number": doubles.positive("condition_number", law.condition_number),
    }


def resnet_layers(net: "ResNet", *, doubles: Doubles) -> Iterator[Row]:
    """Yield a row for each layer of a residual network."""
    from isocalc.propagation import propagate

    signal = propagate(net)
    arrays = (signal.q, signal.c_per_layer, signal.mean, signal.second_moment)
    for layer, values in enumerate(zip(*(array.tolist() for array in arrays), strict=True), start=1):
        named = zip(RESNET_LAYERS[2:], values, strict=True)
        numbers = {name: doubles.finite(name, value) for name, value in named}
        yield {"activation": net.act.name, "layer": layer, **numbers}


def feedforward_rows(net: "FeedForward", *, doubles: Doubles) -> Iterator[Row]:
    """Yield a row for each stable fixed point of a feed-forward network."""
    from isocalc.feedforward import fixed_points

    points = fixed_points(net)
    which = f"{net.act.name}, sigma_w {net.sigma_w!r}, sigma_b {net.sigma_b!r}"
    if len(points) > 1:
        say(f"{which}: {len(points)} stable fixed points, one row each, smallest first")
    for point in points:
        if point.q_star is None:
            say(f"{which}: every q is a fixed point, so q_star is empty")
        if point.escape is not None:
            say(f"{which}: started above q = {point.escape:.6g}, the variance grows without bound")
        yield {
            "activation": net.act.name,
            "q_star": point.q_star,
            "chi": doubles.finite("chi", point.chi),
            "phase": point.phase,
            "xi_q": point.xi_q,
            "xi_c": point.xi_c,
            "mean_lambda": doubles.finite("mean_lambda", point.mean_lambda),
            "relative_variance": point.relative_variance if point.chi > 0 else None,
        }


def feedforward_layers(net: "FeedForward", *, doubles: Doubles) -> Iterator[Row]:
    """Yield a row for each layer of a feed-forward network."""
    from isocalc.propagation import propagate

    signal = propagate(net)
    arrays = (signal.q, signal.c_per_layer, signal.second_moment)
    for layer, values in enumerate(zip(*(array.tolist() for array in arrays), strict=True), start=1):
        named = zip(FEEDFORWARD_LAYERS[2:], values, strict=True)
        numbers = {name: doubles.finite(name, value) for name, value in named}
        yield {"activation": net.act.name, "layer": layer, **numbers}


# Columns, rows and caption of residual and other networks, without and with --layers.
TABLES: dict[tuple[bool, bool], tuple[Sequence[str], Callable[..., Iterator[Row]], str]] = {
    (True, False): (
        RESNET,
        resnet_rows,
        "ResNet; s_min, s_max, condition_number of the universal law (L -> infinity)",
    ),
    (True, True): (RESNET_LAYERS, resnet_layers, "ResNet, layer by layer"),
    (False, False): (
        FEEDFORWARD,
        feedforward_rows,
        "Feed-forward network; mean_lambda and relative_variance are per layer",
    ),
    (False, True): (FEEDFORWARD_LAYERS, feedforward_layers, "Feed-forward network, layer by layer"),
}
