"""``isocalc param``: the parameter that fixes the spectrum, and what signal propagation says."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from isocalc.cli.help import Guided
from isocalc.cli.options.network import is_given, network_options, refuse
from isocalc.cli.options.output import Output, picture_options
from isocalc.cli.rows.laws import finder, fixed_point_rows
from isocalc.cli.sweep import Doubles, Row, Sweep, has_signal, run, say
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.limits import MOST_ROWS

if TYPE_CHECKING:
    from isocalc.display.figure import Figure
    from isocalc.display.table import Table
    from isocalc.networks.descriptions import FeedForward, ResNet
    from isocalc.signal.propagation import Propagation


RESNET = (
    "activation",
    "depth",
    "c",
    "q_first",
    "q_last",
    "output_second_moment",
    "mean_lambda",
    "edge_lower",
    "edge_upper",
    "bulk_condition_number",
    "kappa",
    "universal_error",
)
FEEDFORWARD = ("activation", "q_star", "chi", "phase", "xi_q", "xi_c", "mean_lambda", "relative_variance")
RESNET_LAYERS = ("activation", "layer", "q", "c", "mean", "second_moment")
OF_DEPTH = ("depth", "lambda_max", "sigma2_jjt")
FEEDFORWARD_LAYERS = ("activation", "layer", "q", "chi", "second_moment")
MOST_C = 1e6  # of the universal law


@click.command(
    name="param",
    cls=Guided,
    epilog="""\b
Columns of a ResNet: activation, depth, c (the parameter), q_first and q_last
(variance of the pre-activations), output_second_moment, mean_lambda (of the
squared singular values), edge_lower, edge_upper, bulk_condition_number (edges of the
bulk of singular values and their ratio, by the universal law, that of infinite depth:
isocalc density --summary has those at this depth), kappa (by which correlated gates
raise the relative variance of lambda over 2 c), universal_error (predicted KS distance
of the universal law from the network's). Where E phi is not 0, one singular value can
lie far outside of the edges (isocalc mc --spectrum shows it).
Feed-forward, one row for each stable fixed point (with --input-variance the one
that this start reaches): activation, q_star, chi, phase (by chi; chaotic at every chi
where the activation jumps, as two inputs part there), xi_q, xi_c, and per layer
mean_lambda, relative_variance. With --depth, of the product of so many layers at
the fixed point: depth, lambda_max (upper edge, squared), sigma2_jjt
(variance of the squared singular values).
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

\b
Examples:
  isocalc param --act relu
  isocalc param --act relu,tanh,gelu --depth 10,100,1000
  isocalc param --act all --arch feedforward --sigma-w 1.5 --format csv | sort -t, -k3 -g
  isocalc param --act linear,tanh --arch feedforward --weights gaussian,orthogonal --depth 100
  isocalc param --act tanh --sigma-w 0.5:2:16 -o sweep.csv
  isocalc param --act tanh --depth 10:200:20 --plot c.svg -o c.csv
  isocalc param --arch feedforward --act erf --sigma-w 0.5:3:51 --sigma-b 0:1:31 --plot -
  isocalc param --act gelu --layers | tail -n 1
""",
)
@network_options
@click.option("--layers", is_flag=True, help="One row for each layer.")
@picture_options
@click.pass_context
def command(ctx: click.Context, networks: Sweep, output: Output, *, layers: bool) -> None:
    """Print the parameter c of a residual network, or the fixed point of a feed-forward one.

    c = sum of sigma_w^2 E phi'^2 over the layers, divided by L a^2. As L -> infinity, residual networks of
    post-activation blocks with the same c and a^L have the same singular values, whatever their activation.
    A feed-forward network's fixed point has no depth: --depth, if given, adds the spectrum of so many layers.
    """
    refuse(ctx, ("layer_widths", "tied"), "in param, which is about one layer or square, independent ones")
    doubles = Doubles()
    residual = ctx.params["arch"] == "resnet"
    if layers:
        _require_few_rows(networks)
    of_depth = not residual and is_given(ctx, "depth")
    view = VIEWS[ctx.params["arch"] + (" --layers" if layers else " --depth" if of_depth else "")]
    rows = partial(view.rows, columns=view.columns, doubles=doubles)
    if view.rows is fixed_point_rows:
        rows = partial(rows, find=finder(networks))
    table, failed = run(networks, view.columns, rows, caption=view.caption)
    doubles.report()
    output.write(table, partial(_figure, ctx, networks, table))
    ctx.exit(int(failed))


def _figure(ctx: click.Context, networks: Sweep, table: "Table") -> "Figure":
    from isocalc.cli.figures import param_figure

    return param_figure(ctx, networks, table)


def _require_few_rows(networks: Sweep) -> None:
    depths = [int(depth) for depth in networks.axes["depth"]]
    if sum(depths) * (networks.size // len(depths)) > MOST_ROWS:
        rule = f"so small that --layers prints at most {MOST_ROWS} rows"
        raise InvalidInputError("depth", rule, max(depths), f"There are {networks.size} networks.")


def resnet_rows(net: "ResNet", *, columns: Sequence[str], doubles: Doubles) -> Iterator[Row]:
    """Yield the row of a residual network."""
    from isocalc.laws.spectrum import UniversalLaw
    from isocalc.signal.propagation import propagate

    signal = propagate(net)
    law = UniversalLaw(signal.c, depth=net.depth, skip=net.skip)
    of_law: dict[str, float | None] = dict.fromkeys(columns[-5:])
    if signal.c > MOST_C:
        say(f"{', '.join(of_law)}: not computed beyond c = {MOST_C:g}; here c is {signal.c:.6g}")
    else:
        of_law = {name: doubles.positive(name, getattr(law, name)) for name in columns[-5:-2]}
        of_law |= _errors(net, signal)
        doubles.strays.look_at(net, signal)
    variance = doubles.positive if has_signal(net) else doubles.finite
    yield {
        "activation": net.act.name,
        "depth": net.depth,
        "c": doubles.positive("c", signal.c) if net.has_weights else 0.0,
        "q_first": variance("q_first", signal.q_first),
        "q_last": variance("q_last", signal.q_last),
        "output_second_moment": doubles.positive("output_second_moment", signal.output_second_moment),
        "mean_lambda": doubles.positive("mean_lambda", signal.mean_lambda),
        **of_law,
    }


def _errors(net: "ResNet", signal: "Propagation") -> dict[str, float | None]:
    """Return κ and the error of the universal law, nothing with a message where they are not known."""
    from isocalc.laws.universal_error import law_errors

    try:
        errors = law_errors(net, signal)
    except NoAnswerError as error:
        say(f"kappa, universal_error: not computed: {error}")
        return {"kappa": None, "universal_error": None}
    if errors.universal is None:
        say("universal_error: not predicted where a layer's own c/L is above 0.3 and gates are correlated")
    return {"kappa": errors.kappa, "universal_error": errors.universal}


def layer_rows(net: "ResNet | FeedForward", *, columns: Sequence[str], doubles: Doubles) -> Iterator[Row]:
    """Yield a row for each layer of a network."""
    from isocalc.signal.propagation import propagate

    signal = propagate(net)
    per_layer = {
        "q": signal.q,
        "c": signal.c_per_layer,
        "chi": signal.c_per_layer,
        "mean": signal.mean,
        "second_moment": signal.second_moment,
    }
    names = columns[2:]
    gain = doubles.positive if net.has_weights else doubles.finite
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


class View(NamedTuple):
    """A table of ``param``: its columns, what yields its rows, its caption."""

    columns: Sequence[str]
    rows: Callable[..., Iterator[Row]]
    caption: str


VIEWS = {
    "resnet": View(
        RESNET, resnet_rows, "ResNet; edges of the bulk and their ratio of infinite depth (universal law)"
    ),
    "resnet --layers": View(RESNET_LAYERS, layer_rows, "ResNet, layer by layer"),
    "feedforward": View(
        FEEDFORWARD, fixed_point_rows, "Feed-forward network; mean_lambda and relative_variance are per layer"
    ),
    "feedforward --depth": View(
        (*FEEDFORWARD, *OF_DEPTH),
        fixed_point_rows,
        "Feed-forward network; lambda_max, sigma2_jjt of all layers, mean_lambda, relative_variance of one",
    ),
    "feedforward --layers": View(FEEDFORWARD_LAYERS, layer_rows, "Feed-forward network, layer by layer"),
}
