"""The rows of ``isocalc param``: signal propagation in residual networks, fixed points of the others."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from isocalc.cli.amounts import LONG
from isocalc.cli.messages import Caveats, has_signal, say
from isocalc.cli.rows.laws import EXTREMES, law_cells, outliers_told, own_law, variance_of_lambda
from isocalc.cli.sweep import Cell, PartialRow, Row, Sweep
from isocalc.errors import IsocalcError, NoAnswerError
from isocalc.signal.tolerances import AT_ONCE

if TYPE_CHECKING:
    from isocalc.laws.spectrum import Choice
    from isocalc.networks.descriptions import FeedForward, ResNet
    from isocalc.signal.fixed_points import FixedPoint


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
    "law",
    *EXTREMES,
    "status",
)
FEEDFORWARD = ("activation", "q_star", "chi", "phase", "xi_q", "xi_c", "mean_lambda", "relative_variance")
RESNET_LAYERS = ("activation", "layer", "q", "c", "mean", "second_moment")
OF_DEPTH = ("depth", "lambda_max", "sigma2_jjt")
FEEDFORWARD_LAYERS = ("activation", "layer", "q", "chi", "second_moment")


def resnet_rows(
    net: "ResNet",
    *,
    columns: Sequence[str],  # noqa: ARG001 - other views need them
    caveats: Caveats,
) -> Iterator[PartialRow]:
    """Yield the row of a residual network."""
    from isocalc.laws.spectrum import choose
    from isocalc.signal.propagation import propagate

    signal = propagate(net)
    choice = choose(net, signal=signal)
    variance = caveats.positive if has_signal(net) else caveats.finite
    yield {
        "activation": net.act.name,
        "depth": net.depth,
        "c": caveats.positive("c", signal.c) if net.has_weights else 0.0,
        "q_first": variance("q_first", signal.q_first),
        "q_last": variance("q_last", signal.q_last),
        "output_second_moment": caveats.positive("output_second_moment", signal.output_second_moment),
        "mean_lambda": caveats.positive("mean_lambda", signal.mean_lambda),
        **_errors(choice),
        **law_cells(partial(own_law, net, signal, choice), caveats),
    }


def _errors(choice: "Choice") -> dict[str, Cell]:
    """Return κ and the error of the universal law, nothing with a message where they are not known."""
    errors = choice.errors
    if errors is None:
        say(f"kappa, universal_error: not computed: {choice.why}")
        return {"kappa": None, "universal_error": None}
    if errors.universal is None:
        say("universal_error: not predicted where a layer's own c/L is above 0.3 and gates are correlated")
    return {"kappa": errors.kappa, "universal_error": errors.universal}


def layer_rows(net: "ResNet | FeedForward", *, columns: Sequence[str], caveats: Caveats) -> Iterator[Row]:
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
    gain = caveats.positive if net.has_weights else caveats.finite
    checks = {
        "q": caveats.positive if has_signal(net) else caveats.finite,
        "c": gain,
        "chi": gain,
        "mean": caveats.finite,
        "second_moment": caveats.positive,
    }
    for layer, values in enumerate(zip(*(per_layer[name].tolist() for name in names), strict=True), start=1):
        numbers = {name: checks[name](name, value) for name, value in zip(names, values, strict=True)}
        yield {"activation": net.act.name, "layer": layer, **numbers}


def finder(networks: Sweep) -> "Callable[[FeedForward], Sequence[FixedPoint]]":
    """Return what finds the fixed points of a sweep's networks in turn, many at once."""
    from isocalc.signal.fixed_points import fixed_points_of

    coming = iter(networks)
    answers: dict[FeedForward, tuple[FixedPoint, ...] | IsocalcError] = {}

    def find(net: "FeedForward") -> "Sequence[FixedPoint]":
        if net not in answers:
            answers.clear()
            ahead = list(itertools.islice(coming, AT_ONCE))
            answers.update(zip(ahead, fixed_points_of(ahead), strict=True))
        answer = answers[net]
        if isinstance(answer, IsocalcError):
            raise answer
        return answer

    return find


def fixed_point_rows(
    net: "FeedForward",
    *,
    columns: Sequence[str],
    caveats: Caveats,
    find: "Callable[[FeedForward], Sequence[FixedPoint]]",
) -> Iterator[PartialRow]:
    """Yield a row for each stable fixed point of a feed-forward network, or for the one that it reaches."""
    try:
        found = points = find(net)
    except NoAnswerError as error:
        error.next_steps = ("follow the signal",)
        raise
    if net.input_variance is None:
        _explain(net, points)
    else:
        points = (reached(net, net.input_variance, points),)
    for point in points:
        q_star = point.q_star
        if q_star is None and net.input_variance is not None:  # every q is fixed, so the first one is
            q_star = caveats.finite("q_star", _first_variance(net, net.input_variance))
        yield {
            "activation": net.act.name,
            "q_star": q_star,
            "chi": caveats.finite("chi", point.chi),
            "phase": point.phase,
            "xi_q": point.xi_q,
            "xi_c": point.xi_c,
            "mean_lambda": caveats.finite("mean_lambda", point.mean_lambda),
            "relative_variance": point.relative_variance,
            **(of_depth(net, point, found, caveats) if "lambda_max" in columns else {}),
        }


def of_depth(net: "FeedForward", point: "FixedPoint", found: "Sequence[FixedPoint]", caveats: Caveats) -> Row:
    """Return what the product of as many layers as the network has, all at a fixed point, adds to its row."""
    from dataclasses import replace

    from isocalc.laws.spectrum import spectrum

    start = None
    if point != found[0] and point.q_star is not None:  # by itself a network stays at the first
        start = (point.q_star - net.sigma_b * net.sigma_b) / (net.sigma_w * net.sigma_w)
    net = replace(net, input_variance=start)
    law = spectrum(net)
    caveats.beside("lambda_max", net.act.name, outliers_told(law))
    return {
        "depth": net.depth,
        "lambda_max": caveats.at("lambda_max", law.edge_upper * law.edge_upper, 2 * law.log_edge_upper),
        "sigma2_jjt": variance_of_lambda(law, caveats),
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

    from isocalc.signal.propagation import propagate

    escape = points[0].escape
    if escape is not None and _first_variance(net, input_variance) > escape:
        raise NoAnswerError(
            f"started at input variance {input_variance:g} the variance grows without bound "
            f"(above q = {escape:.6g})",
            ("follow the signal",),
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
    rows: Callable[..., Iterator[PartialRow]]
    caption: str


VIEWS = {
    "resnet": View(
        RESNET, resnet_rows, "ResNet; edges of the law named; extremes of the network, with its outliers"
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
