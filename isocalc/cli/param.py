"""``isocalc param``: the parameter that fixes the spectrum, and what signal propagation says."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from isocalc.cli.caveats import Doubles, warn_of_correlated_gates
from isocalc.cli.options import Output, network_options, output_options, refuse
from isocalc.cli.sweep import Row, Sweep, run, say
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.limits import MOST_ROWS

if TYPE_CHECKING:
    from isocalc.feedforward import FixedPoint
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
MOST_C = 1e6  # of the universal law
LONG = 10_000  # layers after which the variance is near its fixed point


@click.command(
    name="param",
    epilog="""\b
Columns of a ResNet: activation, depth, c (the parameter), q_first and q_last
(variance of the pre-activations), output_second_moment, mean_lambda (of the
squared singular values), s_min, s_max, condition_number (universal law).
Feed-forward, one row for each stable fixed point (with --input-variance the one
that this start reaches): activation, q_star, chi, phase, xi_q, xi_c, and per layer
mean_lambda, relative_variance.
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

    c = sum of sigma_w^2 E phi'^2 over the layers, divided by L a^2. As L -> infinity, residual networks of
    post-activation blocks with the same c and a^L have the same singular values, whatever their activation.
    A feed-forward network's fixed point has no depth: --depth goes with --layers there.
    """
    doubles = Doubles()
    residual = ctx.params["arch"] == "resnet"
    if layers:
        _require_few_rows(networks)
    elif residual:
        warn_of_correlated_gates(ctx.params["block"], networks.axes["activation"])
    else:
        refuse(ctx, ("depth",), "with --arch feedforward without --layers, as a fixed point has no depth")
    view = VIEWS[ctx.params["arch"] + (" --layers" if layers else "")]
    rows = partial(view.rows, columns=view.columns, doubles=doubles)
    table, failed = run(networks, view.columns, rows, caption=view.caption)
    doubles.report()
    output.write(table)
    ctx.exit(int(failed))


def _require_few_rows(networks: Sweep) -> None:
    depths = [int(depth) for depth in networks.axes["depth"]]
    if sum(depths) * (networks.size // len(depths)) > MOST_ROWS:
        rule = f"so small that --layers prints at most {MOST_ROWS} rows"
        raise InvalidInputError("depth", rule, max(depths), f"There are {networks.size} networks.")


def resnet_rows(net: "ResNet", *, columns: Sequence[str], doubles: Doubles) -> Iterator[Row]:
    """Yield the row of a residual network."""
    from isocalc.laws import UniversalLaw
    from isocalc.propagation import propagate

    signal = propagate(net)
    law = UniversalLaw(signal.c, depth=net.depth, skip=net.skip)
    edges: dict[str, float | None] = dict.fromkeys(columns[-3:])
    if signal.c > MOST_C:
        say(f"{', '.join(edges)}: not computed beyond c = {MOST_C:g}; here c is {signal.c:.6g}")
    else:
        edges = {name: doubles.positive(name, getattr(law, name)) for name in edges}
    variance = doubles.positive if has_signal(net) else doubles.finite
    yield {
        "activation": net.act.name,
        "depth": net.depth,
        "c": doubles.positive("c", signal.c) if net.sigma_w else 0.0,
        "q_first": variance("q_first", signal.q_first),
        "q_last": variance("q_last", signal.q_last),
        "output_second_moment": doubles.positive("output_second_moment", signal.output_second_moment),
        "mean_lambda": doubles.positive("mean_lambda", signal.mean_lambda),
        **edges,
    }


def has_signal(net: "ResNet | FeedForward") -> bool:
    """Whether the variance of the pre-activations is greater than 0, however small."""
    return bool(net.sigma_w or net.sigma_b) or getattr(net, "block", "post") == "pre"


def layer_rows(net: "ResNet | FeedForward", *, columns: Sequence[str], doubles: Doubles) -> Iterator[Row]:
    """Yield a row for each layer of a network."""
    from isocalc.propagation import propagate

    signal = propagate(net)
    per_layer = {
        "q": signal.q,
        "c": signal.c_per_layer,
        "chi": signal.c_per_layer,
        "mean": signal.mean,
        "second_moment": signal.second_moment,
    }
    names = columns[2:]
    gain = doubles.positive if net.sigma_w else doubles.finite
    checks = {
        "q": doubles.positive if has_signal(net) else doubles.finite,
        "c": gain,
        "chi": gain,
        "mean": doubles.finite,
        "second_moment": doubles.positive,
    }
    for layer, values in enumerate(zip(*(per_layer[name].tolist() for name in names), strict=True), start=1):
        numbers = {name: checks[name](name, value) for name, value in zip(names, values, strict=True)}
        yield {"activation": net.act.name, "layer": layer, **numbers}


def feedforward_rows(net: "FeedForward", *, columns: Sequence[str], doubles: Doubles) -> Iterator[Row]:
    """Yield a row for each stable fixed point of a feed-forward network, or for the one that it reaches."""
    from isocalc.feedforward import fixed_points

    del columns
    points = fixed_points(net)
    if net.input_variance is None:
        _explain(net, points)
    else:
        points = (reached(net, net.input_variance, points),)
    for point in points:
        q_star = point.q_star
        if q_star is None and net.input_variance is not None:  # every q is fixed, so the first one is
            q_star = doubles.finite("q_star", _first_variance(net, net.input_variance))
        yield {
            "activation": net.act.name,
            "q_star": q_star,
            "chi": doubles.finite("chi", point.chi),
            "phase": point.phase,
            "xi_q": point.xi_q,
            "xi_c": point.xi_c,
            "mean_lambda": doubles.finite("mean_lambda", point.mean_lambda),
            "relative_variance": point.relative_variance,
        }


def _explain(net: "FeedForward", points: "Sequence[FixedPoint]") -> None:
    """Say what the rows of a network without a given start leave open."""
    which = f"{net.act.name}, sigma_w {net.sigma_w!r}, sigma_b {net.sigma_b!r}"
    if len(points) > 1:
        say(f"{which}: {len(points)} stable fixed points, one row each, smallest first")
    for point in points:
        if point.q_star is None:
            say(f"{which}: every q is a fixed point, so q_star is empty")
        if point.xi_c is None:
            say(f"{which}: two inputs keep no stable correlation, so xi_c is empty")
        if point.escape is not None:
            say(f"{which}: started above q = {point.escape:.6g}, the variance grows without bound")


def reached(net: "FeedForward", input_variance: float, points: "Sequence[FixedPoint]") -> "FixedPoint":
    """Return which of a network's stable fixed points its variance tends to from that of the input.

    Raises
    ------
    NoAnswerError
        The variance grows without bound.
    """
    from dataclasses import replace

    from isocalc.propagation import propagate

    escape = points[0].escape
    if escape is not None and _first_variance(net, input_variance) > escape:
        raise NoAnswerError(
            f"started at input variance {input_variance:g} the variance grows without bound "
            f"(above q = {escape:.6g})"
        )
    if len(points) == 1:
        return points[0]
    last = propagate(replace(net, depth=LONG)).q_last
    return min(points, key=lambda point: abs((point.q_star or 0.0) - last))


def _first_variance(net: "FeedForward", input_variance: float) -> float:
    return net.sigma_w * net.sigma_w * input_variance + net.sigma_b * net.sigma_b


class View(NamedTuple):
    """A table of ``param``: its columns, what yields its rows, its caption."""

    columns: Sequence[str]
    rows: Callable[..., Iterator[Row]]
    caption: str


VIEWS = {
    "resnet": View(
        RESNET, resnet_rows, "ResNet; s_min, s_max, condition_number of the universal law (L -> infinity)"
    ),
    "resnet --layers": View(RESNET_LAYERS, layer_rows, "ResNet, layer by layer"),
    "feedforward": View(
        FEEDFORWARD, feedforward_rows, "Feed-forward network; mean_lambda and relative_variance are per layer"
    ),
    "feedforward --layers": View(FEEDFORWARD_LAYERS, layer_rows, "Feed-forward network, layer by layer"),
}
