"""The rows of feed-forward networks at their fixed points."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from isocalc.cli.caveats import Doubles
from isocalc.cli.law_rows import variance_of_lambda
from isocalc.cli.sweep import Row, Sweep, say
from isocalc.errors import IsocalcError, NoAnswerError

if TYPE_CHECKING:
    from isocalc.feedforward import FixedPoint
    from isocalc.network import FeedForward

MANY = 4  # networks worth the modules that solve for many at once
AT_ONCE = 8192
LONG = 10_000  # layers after which the variance is near its fixed point
FOLLOW = "to follow it layer by layer, give --layers and --input-variance"


def finder(networks: Sweep) -> "Callable[[FeedForward], Sequence[FixedPoint]]":
    """Return what finds the fixed points of a sweep's networks in turn, of a large one many at once."""
    if networks.size < MANY:
        from isocalc.feedforward import fixed_points

        return fixed_points
    from isocalc.fixed_point_sets import fixed_points_of

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
    doubles: Doubles,
    find: "Callable[[FeedForward], Sequence[FixedPoint]]",
) -> Iterator[Row]:
    """Yield a row for each stable fixed point of a feed-forward network, or for the one that it reaches."""
    try:
        found = points = find(net)
    except NoAnswerError as error:
        raise NoAnswerError(f"{error}; {FOLLOW}") from None
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
            **(of_depth(net, point, found, doubles) if "lambda_max" in columns else {}),
        }


def of_depth(net: "FeedForward", point: "FixedPoint", found: "Sequence[FixedPoint]", doubles: Doubles) -> Row:
    """Return what the product of as many layers as the network has, all at a fixed point, adds to its row."""
    from dataclasses import replace

    from isocalc.laws import spectrum

    start = None
    if point != found[0] and point.q_star is not None:  # by itself a network stays at the first
        start = (point.q_star - net.sigma_b * net.sigma_b) / (net.sigma_w * net.sigma_w)
    net = replace(net, input_variance=start)
    law = spectrum(net)
    doubles.strays.look_at(net)
    return {
        "depth": net.depth,
        "lambda_max": doubles.at("lambda_max", law.edge_upper * law.edge_upper, 2 * law.log_edge_upper),
        "sigma2_jjt": variance_of_lambda(law, doubles),
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
            f"(above q = {escape:.6g}); {FOLLOW}"
        )
    if len(points) == 1:
        return points[0]
    last = propagate(replace(net, depth=LONG)).q_last
    return min(points, key=lambda point: abs((point.q_star or 0.0) - last))


def _first_variance(net: "FeedForward", input_variance: float) -> float:
    return net.sigma_w * net.sigma_w * input_variance + net.sigma_b * net.sigma_b
