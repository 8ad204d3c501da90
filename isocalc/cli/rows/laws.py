"""The rows that show laws and fixed points.

The rows that show a law: its density at many values, or its summary.

The rows of feed-forward networks at their fixed points.
"""
# ruff: noqa: PLC0415 - numerics load when a command computes

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from isocalc.cli.sweep import Doubles, Row, Sweep, say
from isocalc.errors import IsocalcError, NoAnswerError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from isocalc.laws.law import Law

    Array = npt.NDArray[np.float64]
    from isocalc.networks.descriptions import FeedForward
    from isocalc.signal.fixed_points import FixedPoint


COLUMN = {"singular": "singular_value", "lambda": "squared_singular_value", "log": "log_singular_value"}
SUMMARY = (
    "law",
    "law_error",
    "c",
    "support",
    "atoms",
    "mass_at_zero",
    "mean_s",
    "mean_lambda",
    "second_moment_lambda",
    "sigma2_jjt",
    "mean_log_s",
    "edge_lower",
    "edge_upper",
    "bulk_condition_number",
)


# A trapezoid sum over so many points or more is off by no more, or it is said.
_MANY, _OFF = 200, 1e-3


def described_atoms(law: "Law") -> list[str]:
    """Return each point mass and its place in words, in terms of log s where s does not fit a double."""
    places = zip(law.using("singular").atoms, law.using("log").atoms, strict=True)
    return [
        f"{mass:g} at s = {s:.6g}"
        if 0 < s < math.inf or log_s == -math.inf
        else f"{mass:g} at log s = {log_s:.6g}"
        for (s, mass), (log_s, _) in places
    ]


def density_rows(law: "Law", points: int, at: Sequence[float] | None, doubles: Doubles) -> Iterator[Row]:
    """Yield the density and the distribution function at each value of ``at``, or of the law's own grid."""
    for atom in described_atoms(law):
        say(f"the law has a point mass {atom}, which density leaves out")
    names = (COLUMN[law.variable], "density", "cdf")
    columns = [column.tolist() for column in _evaluated(law, points, at)]
    for name, column in zip(names, columns, strict=True):
        if not all(map(math.isfinite, column)) and name != COLUMN["log"]:  # log 0 is no number lost
            column[:] = [doubles.finite(name, number) for number in column]
    for numbers in zip(*columns, strict=True):
        yield dict(zip(names, numbers, strict=True))


def _evaluated(law: "Law", points: int, at: Sequence[float] | None) -> tuple["Array", "Array", "Array"]:
    """Return x, density and cdf: infinite where the number does not fit a double."""
    import numpy as np

    if at is not None:
        x = np.array(at)
        return x, law.pdf(x), law.cdf(x)
    x, density, cdf = law.table(points if law.support() else len(law.atoms))
    if law.variable != "log":
        lost = np.isinf(x) | (x == 0)
        if lost.any():
            lost &= np.isfinite(law.using("log").table(x.size)[0])
        x[lost] = density[lost] = np.inf
    if ((x[1:] <= x[:-1]) & (cdf[1:] > cdf[:-1])).any() and np.isfinite(x).all():
        say("the law is narrower than doubles resolve in this variable, so values repeat")
    elif points >= _MANY:
        _tell_trapezoids(law, x, density, cdf)
    return x, density, cdf


def _tell_trapezoids(law: "Law", x: "Array", density: "Array", cdf: "Array") -> None:
    """Say where a trapezoid sum of what is printed is not its mass."""
    import numpy as np

    atoms = math.fsum(mass for place, mass in law.atoms if x[0] < place)
    with np.errstate(over="ignore", invalid="ignore"):
        off = float(np.trapezoid(density, x)) - float(cdf[-1] - cdf[0] - atoms)
    if abs(off) > _OFF:
        say(
            f"trapezoid sums of the density are off by {off:.1g} on these points, so much does it vary: take "
            "--variable log or more --points, or differences of cdf"
        )


def variance_of_lambda(law: "Law", doubles: Doubles) -> float | None:
    """Return σ²_JJᵀ, the variance of λ: 0 of a point mass, else positive."""
    if math.fsum(mass for _, mass in law.atoms) == 1:
        return 0.0
    return doubles.positive("sigma2_jjt", law.using("lambda").var())


def summary_row(law: "Law", doubles: Doubles) -> Row:
    """Return the row that sums up a law of singular values."""
    squared = law.using("lambda")
    masses = [mass for _, mass in law.atoms]
    at_zero = math.fsum(mass for place, mass in law.using("log").atoms if place == -math.inf)
    vanishes = at_zero == 1
    row: dict[str, float | None] = {
        "c": getattr(law, "c", None),
        "mass_at_zero": at_zero,
        "mean_s": 0.0 if vanishes else doubles.positive("mean_s", law.mean()),
        "mean_lambda": 0.0 if vanishes else doubles.positive("mean_lambda", squared.mean()),
        "second_moment_lambda": 0.0
        if vanishes
        else doubles.positive("second_moment_lambda", squared.moment(2)),
        "sigma2_jjt": variance_of_lambda(law, doubles),
        "mean_log_s": law.mean_log_s,
        "edge_lower": doubles.at("edge_lower", law.edge_lower, law.log_edge_lower),
        "edge_upper": doubles.at("edge_upper", law.edge_upper, law.log_edge_upper),
        "bulk_condition_number": doubles.at(
            "bulk_condition_number",
            law.bulk_condition_number,
            law.log_edge_upper - law.log_edge_lower if not vanishes else math.inf,
        ),
    }
    in_log = law.using("log")
    edges = [
        doubles.at("support", end, log_end)
        for interval, log_interval in zip(law.support(), in_log.support(), strict=True)
        for end, log_end in zip(interval, log_interval, strict=True)
    ]
    places = [
        doubles.at("atoms", place, log_place)
        for (place, _), (log_place, _) in zip(law.atoms, in_log.atoms, strict=True)
    ]
    return row | {
        "law": law.name,
        "law_error": law.error,
        "support": None if None in edges else ";".join(map("{!r}:{!r}".format, edges[::2], edges[1::2])),
        "atoms": None if None in places else ";".join(map("{!r}:{!r}".format, places, masses)),
    }


MANY = 4  # networks worth the modules that solve for many at once
AT_ONCE = 8192
LONG = 10_000  # layers after which the variance is near its fixed point
FOLLOW = "to follow it layer by layer, give --layers and --input-variance"


def finder(networks: Sweep) -> "Callable[[FeedForward], Sequence[FixedPoint]]":
    """Return what finds the fixed points of a sweep's networks in turn, of a large one many at once."""
    if networks.size < MANY:
        from isocalc.signal.fixed_points import fixed_points

        return fixed_points
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

    from isocalc.laws.spectrum import spectrum

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

    from isocalc.signal.propagation import propagate

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
