"""``isocalc param``: the parameter that fixes the spectrum, and what signal propagation says."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from functools import partial
from typing import TYPE_CHECKING

import click

from isocalc.cli.command import Guided, is_given, refuse
from isocalc.cli.messages import Caveats
from isocalc.cli.options.network import network_options
from isocalc.cli.options.output import Output, picture_options
from isocalc.cli.rows.param import VIEWS, finder, fixed_point_rows
from isocalc.cli.sweep import Sweep, run
from isocalc.errors import InvalidInputError
from isocalc.limits import MOST_ROWS

if TYPE_CHECKING:
    from isocalc.display.figure import Figure
    from isocalc.display.table import Table


@click.command(
    name="param",
    cls=Guided,
    epilog="""\b
Columns of a ResNet: activation, depth, c (the parameter), q_first and q_last
(variance of the pre-activations), output_second_moment, mean_lambda (of the
squared singular values), edge_lower, edge_upper, bulk_condition_number (edges of the
bulk of singular values and their ratio, by the law at this depth that isocalc density
takes, named in the column law), kappa (by which correlated gates raise the relative
variance of lambda over 2 c), universal_error (predicted KS distance of the universal law
from the network's), outliers (singular values outside of the bulk, joined by ;, empty
where there is none), s_min, s_max, condition_number (of the network, outliers included),
status: where outliers are not derived, these four are empty, and it says why.
Feed-forward, one row for each stable fixed point (with --input-variance the one
that this start reaches): activation, q_star, chi, phase (by chi; chaotic at every chi
where the activation jumps, as two inputs part there), xi_q, xi_c, and per layer
mean_lambda, relative_variance. With --depth, of the product of so many layers at
the fixed point: depth, lambda_max (upper edge, squared; outliers are said), sigma2_jjt
(variance of the squared singular values).
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

\b
Examples:
  isocalc param --act relu
  isocalc param --act relu,tanh,gelu --depth 10,100,1000
  isocalc param --act relu --depth 100:1000:10 | cut -d, -f1,16
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
    caveats = Caveats()
    residual = ctx.params["arch"] == "resnet"
    if layers:
        _require_few_rows(networks)
    of_depth = not residual and is_given(ctx, "depth")
    view = VIEWS[ctx.params["arch"] + (" --layers" if layers else " --depth" if of_depth else "")]
    rows = partial(view.rows, columns=view.columns, caveats=caveats)
    if view.rows is fixed_point_rows:
        rows = partial(rows, find=finder(networks))
    table, failed = run(networks, view.columns, rows, caption=view.caption)
    caveats.report()
    output.write(table, partial(_figure, ctx, networks, table))
    ctx.exit(int(failed))


def _figure(ctx: click.Context, networks: Sweep, table: "Table") -> "Figure":
    from isocalc.cli.table_pictures import param_figure

    return param_figure(ctx, networks, table)


def _require_few_rows(networks: Sweep) -> None:
    depths = [int(depth) for depth in networks.axes["depth"]]
    if sum(depths) * (networks.size // len(depths)) > MOST_ROWS:
        rule = f"so small that --layers prints at most {MOST_ROWS} rows"
        raise InvalidInputError("depth", rule, max(depths), f"There are {networks.size} networks.")
