"""``isocalc init``: the scales of weights and biases that give the spectrum which is wanted, or code."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from isocalc.cli.command import Function, Guided, decorated, is_given
from isocalc.cli.messages import Caveats, say, told
from isocalc.cli.options.init import OPTIONS, networks_asked, question_of, require_in_range
from isocalc.cli.options.network import NETWORK_OPTIONS
from isocalc.cli.options.output import Output, picture_options
from isocalc.cli.progress import waiting
from isocalc.cli.rows.init import (
    COMPARED,
    FEEDFORWARD,
    GAIN,
    OF_NETWORK,
    RESNET,
    SCHEMES,
    compared_rows,
    critical_rows,
    gain_rows,
    scheme_rows,
    solved_row,
)
from isocalc.cli.sweep import PartialRow, Row, Sweep, run
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.networks.branches import BRANCHES

if TYPE_CHECKING:
    from isocalc.design.initialize import Solution
    from isocalc.display.figure import Figure
    from isocalc.display.table import Table
    from isocalc.laws.law import Law
    from isocalc.networks.descriptions import FeedForward, ResNet
    from isocalc.signal.criticality import CriticalPoint


def _options(function: Function) -> Function:
    return decorated(function, (NETWORK_OPTIONS[0], *OPTIONS, *NETWORK_OPTIONS[1:]))


@click.command(
    name="init",
    cls=Guided,
    epilog="""\b
Columns of a ResNet: activation, depth, sigma_w, sigma_b, c, edge_lower, edge_upper,
bulk_condition_number (their ratio), q_first, q_last, mean_lambda, universal_error (see
isocalc param), law (whose edges they are: what isocalc density --law auto takes); with
--block preln sigma_w2, which is found at the given sigma_w; with --compare scheme,
branch_factor (0: ReZero, SkipInit); outliers, s_min, s_max, condition_number, status.
--schemes: activation, depth, scheme, branch_scale (of block l of L; GPT-2's L counts
layers of two branches: by branches it is inverse_sqrt_depth), and the spectrum.
Feed-forward: activation, sigma_w, sigma_b, q_star, chi, xi_q, weights, depth,
relative_variance (of one layer), sigma2_jjt (of all), stability (of q_star; half-stable:
the variance tends to it from one side alone, as at ends of critical lines; neutral: every
q is a fixed point), other_q_star (its further stable fixed points). --gain: activation,
forward_gain 1/sqrt(E phi^2), backward_gain 1/sqrt(E phi'^2), critical_gain (the same,
where sigma_b >= 0 keeps the variance, stably), critical_sigma_b, pytorch_gain (of
torch.nn.init.calculate_gain), status (why there is no critical_gain).
Edges are those of the law, N -> infinity: of all singular values but a few. outliers has
those few, joined by ;, empty where there are none; s_min, s_max and condition_number are
of the network itself, with them, and so are --target-smax and --target-condition.
A row without edges or without s_max says why in status; rows of --compare and --schemes
have the exact law with 256 gate paths.
Every solution has a row. NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count.

\b
Examples:
  isocalc init --act relu,tanh,gelu --depth 100 --target-c 0.5
  isocalc init --act all --like relu --depth 10,100
  isocalc init --act relu,tanh,gelu --target-c 0.1:2:20 --plot scales.png
  isocalc init --act gelu --target-condition 10 --compare
  isocalc init --act gelu --block preln --depth 24 --schemes
  isocalc init --act tanh --critical --sigma-b 0:1:51 -o critical-line.csv
  isocalc init --act hardtanh,erf --target-variance 0.25 --depth 10,100
  isocalc init --gain
  isocalc init --act tanh --target-c 0.5 --emit torch > network.py
""",
)
@_options
@picture_options
@click.pass_context
def command(ctx: click.Context, /, output: Output, **given: Any) -> None:
    """Find the initialisation that gives the spectrum of gradients which is wanted.

    Of a residual network, sigma_w from 1e-6 to 1e6 with the parameter c, the largest singular value, its
    ratio to the smallest or the isometry of another network; of a feed-forward one,
    sigma_w and sigma_b at the edge of chaos, chi = 1, with given biases, weights, q* or variance of the
    squared singular values.
    """
    question = question_of(ctx, given)
    require_in_range(question, given)
    networks = networks_asked(ctx, question, given)
    caveats = Caveats()
    if given["emit"]:
        _emit(networks, _solutions(ctx, question, given), given["emit"])
        return
    view = _view(ctx, question, given, caveats)
    table, failed = run(networks, view.columns, view.rows, caption=view.caption)
    caveats.report()
    output.write(table, partial(_figure, ctx, networks, table, question))
    ctx.exit(int(failed))


def _figure(ctx: click.Context, networks: Sweep, table: "Table", question: str) -> "Figure":
    from isocalc.cli.table_pictures import init_figure

    return init_figure(ctx, networks, table, question)


class View(NamedTuple):
    """A table of ``init``: its columns, what yields its rows, its caption."""

    columns: Sequence[str]
    rows: Callable[..., Iterator[PartialRow]]
    caption: str


OF_GAIN = "sigma_w of weights of variance sigma_w^2/N, for pre-activations of variance q_star"
OF_RESNET = "ResNet; edges of the bulk by the law named, extremes of the network with its outliers"
OF_FEEDFORWARD = "Feed-forward networks at the edge of chaos; the mean of s^2 is 1"


def _view(ctx: click.Context, question: str, given: dict[str, Any], caveats: Caveats) -> View:
    """Return the table of a question."""
    if question == "gain":
        return View(GAIN, gain_rows, OF_GAIN)
    if question == "schemes":
        return View(SCHEMES, partial(scheme_rows, caveats=caveats), OF_RESNET)
    solutions = _solutions(ctx, question, given)
    if question in {"critical", "target_variance"}:
        both = question == "target_variance" and not is_given(ctx, "weights")
        of_points = partial(_of_points, solutions=solutions, caveats=caveats, both=both)
        return View(FEEDFORWARD, of_points, OF_FEEDFORWARD)
    scheme = COMPARED if given["compare"] else ()
    rows = partial(_of_networks, solutions=solutions, caveats=caveats, compare=given["compare"])
    columns = (*RESNET, *BRANCHES[given["block"]].scales[1:], *scheme, *OF_NETWORK)
    return View(columns, rows, OF_RESNET)


def _of_networks(
    net: "ResNet", *, solutions: Callable[..., Any], caveats: Caveats, compare: bool, **target: float
) -> Iterator[PartialRow]:
    for found in solutions(net, **target):
        network, law = found if isinstance(found, tuple) else (found, None)
        yield {**solved_row(network, caveats, law), "scheme": "solution", "branch_factor": 1.0}
    if compare:
        yield from compared_rows(net, caveats)


def _of_points(
    net: "FeedForward", *, solutions: Callable[..., Any], caveats: Caveats, both: bool, **target: float
) -> Iterator[Row]:
    from dataclasses import replace

    for point in solutions(net, **target):
        if both:
            yield critical_rows(replace(net, weights="gaussian"), point, caveats)
            yield critical_rows(replace(net, weights="orthogonal"), point, caveats)
        else:
            yield critical_rows(net, point, caveats)


def _solutions(ctx: click.Context, question: str, given: dict[str, Any]) -> Callable[..., Any]:
    """Return what finds the answers for a network and its target."""
    if question == "critical":
        known = next((name for name in ("sigma_w", "q_star") if is_given(ctx, name)), "sigma_b")
        return partial(_critical, known=known)
    if question == "target_variance":
        return _isometric
    if question == "like":
        scale = BRANCHES[given["block"]].scale
        return partial(_alike, activation=given["like"][0], **{scale: given[scale][0]})
    return partial(_with_target, bulk=given["bulk"])


def _alike(net: "ResNet", **other: Any) -> tuple["ResNet", ...]:
    from dataclasses import replace

    from isocalc.design.initialize import like

    return like(net, replace(net, **other))


def _with_target(net: "ResNet", *, bulk: bool, **target: float) -> "tuple[ResNet | Solution, ...]":
    from isocalc.design.initialize import for_c, for_condition, for_s_max

    ((name, value),) = target.items()
    if name == "target_c":
        return for_c(net, value)
    return (for_condition if name == "target_condition" else for_s_max)(net, value, bulk=bulk)


def _critical(net: "FeedForward", *, known: str, q_star: float | None = None) -> Sequence["CriticalPoint"]:
    from isocalc.signal import criticality

    if q_star is not None:
        return (criticality.at_q_star(net.act, q_star),)
    if known == "sigma_w":
        return criticality.at_sigma_w(net.act, net.sigma_w)
    return criticality.at_sigma_b(net.act, net.sigma_b)


def _isometric(net: "FeedForward", *, target_variance: float) -> Sequence["CriticalPoint"]:
    from isocalc.signal.criticality import at_sigma2_jjt

    return at_sigma2_jjt(net.act, target_variance, depth=net.depth, weights=net.weights)


def _emit(networks: Sweep, solutions: Callable[..., Any], framework: str) -> None:
    """Print code that draws the first solution of the only network."""
    if not networks.single:
        raise InvalidInputError("emit", "of one network", framework, "Give one value of each option.")
    (point,) = networks.points()
    net = networks.at(point)
    with waiting(1):
        found = solutions(net, **{name: point[name] for name in networks.beside})
    if len(found) > 1:
        say(f"{len(found)} solutions; this is the one of the smallest scale or q*")
    with waiting(1):
        code = _code(net, found[0], framework)
    click.echo(code, nl=False)


def _code(net: "ResNet | FeedForward", found: Any, framework: Any) -> str:
    """Return the code of a residual network, or of a critical point of a feed-forward one.

    Raises
    ------
    InvalidInputError
        The activation is not one of isocalc's own.
    """
    from isocalc.design.source_code import source
    from isocalc.networks.descriptions import ResNet

    if isinstance(net, ResNet):
        network, law = found if isinstance(found, tuple) else (found, None)
        return source(network, framework, _about_residual(network, law))
    return source(found.network(net.depth, net.weights), framework, _about_critical(net, found))


def _about_residual(net: "ResNet", law: "Law | None") -> str:
    from isocalc.laws.spectrum import choose, require_quick, taken
    from isocalc.signal.propagation import propagate

    signal = propagate(net)
    try:
        if law is None:
            choice = choose(net, signal=signal)
            if choice.law == "exact":
                require_quick(net, signal)
            law, _ = taken(net, choice)
        ends = f"from {law.edge_lower:.6g} to {law.edge_upper:.6g} ({law.name} law)"
        edges = f", singular values of the Jacobian {ends}{_beyond(law)}"
    except NoAnswerError as error:
        edges = f"; the singular values of the Jacobian are not known: {told(error)}"
    return (
        f"{net.depth} residual blocks x + {net.branch.formula()}, phi = {net.act.name}, "
        f"{net.weights} weights:\n"
        f"c = {signal.c:.6g}{edges},\n"
        f"for inputs whose entries have mean square {net.input_variance:.6g}."
    )


def _beyond(law: "Law") -> str:
    """Say which singular values lie outside of the law, where there are some, or that it is not known."""
    from isocalc.cli.rows.laws import outliers_told

    told = outliers_told(law)
    return f",\n{told}" if told else ""


def _about_critical(net: "FeedForward", point: "CriticalPoint") -> str:
    from dataclasses import replace

    from isocalc.laws.spectrum import spectrum

    spread = point.sigma2_jjt(net.depth, net.weights)
    place = "chi = 1" if net.act.jumps else "edge of chaos"
    text = (
        f"{net.depth} layers phi(W x + b), phi = {net.act.name}, {net.weights} weights, {place}:\n"
        f"squared singular values of the Jacobian of mean 1 and variance {spread:.6g}"
    )
    network, inputs = point.network(net.depth, net.weights), ""
    if point.q_star:
        start = (point.q_star - point.sigma_b**2) / point.sigma_w**2
        network = replace(network, input_variance=start)
        inputs = f",\nfor inputs whose entries have mean square {start:.6g}"
        if point.side:
            from_where = "least" if point.side == "above" else "most"
            inputs = f",\nfor inputs whose entries have a mean square of at {from_where} {start:.10g}"
    elif point.q_star is not None:
        inputs = ", for small inputs"
    return f"{text}{inputs}{_beyond(spectrum(network))}."
