"""The rows of ``isocalc init``: the networks that were looked for."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Iterator
from typing import TYPE_CHECKING

from isocalc.cli.caveats import Doubles
from isocalc.cli.param import RESNET as PARAM_COLUMNS
from isocalc.cli.param import resnet_rows
from isocalc.cli.sweep import Row, say
from isocalc.errors import NoAnswerError

if TYPE_CHECKING:
    from isocalc.critical_point import CriticalPoint
    from isocalc.network import FeedForward, ResNet

RESNET = (
    "activation",
    "depth",
    "sigma_w",
    "sigma_b",
    "c",
    "s_min",
    "s_max",
    "condition_number",
    "q_first",
    "q_last",
    "mean_lambda",
    "universal_error",
)
SCHEMES = (
    "activation",
    "depth",
    "scheme",
    "branch_scale",
    "c",
    "s_min",
    "s_max",
    "condition_number",
    "q_first",
    "q_last",
    "mean_lambda",
)
FEEDFORWARD = (
    "activation",
    "sigma_w",
    "sigma_b",
    "q_star",
    "chi",
    "xi_q",
    "weights",
    "depth",
    "relative_variance",
    "sigma2_jjt",
)
GAIN = (
    "activation",
    "forward_gain",
    "backward_gain",
    "critical_gain",
    "critical_sigma_b",
    "pytorch_gain",
)


def solved_row(net: "ResNet", doubles: Doubles, scheme: str = "solution") -> Row:
    """Return the row of a residual network."""
    found = next(resnet_rows(net, columns=PARAM_COLUMNS, doubles=doubles))
    return {
        **found,
        "sigma_w": net.sigma_w,
        "sigma_b": net.sigma_b,
        "sigma_w2": net.sigma_w2,
        "scheme": scheme,
    }


def compared_rows(net: "ResNet", doubles: Doubles) -> Iterator[Row]:
    """Yield the rows of a network with the common initialisations."""
    from isocalc.schemes import INITIALISATIONS, initialised

    for scheme in INITIALISATIONS:
        start = initialised(net, scheme)
        try:
            yield solved_row(start, doubles, scheme.name)
        except NoAnswerError as error:
            say(f"{net.act.name}, {scheme.name}: {error}")
            known = {"activation": net.act.name, "depth": net.depth, "scheme": scheme.name}
            scales = {"sigma_w": start.sigma_w, "sigma_b": start.sigma_b, "sigma_w2": start.sigma_w2}
            yield dict.fromkeys(RESNET) | known | scales


def scheme_rows(net: "ResNet", *, doubles: Doubles) -> Iterator[Row]:
    """Yield the row of a residual network under each way to scale its branches."""
    from isocalc.laws import UniversalLaw
    from isocalc.schemes import BRANCH_SCALES, propagate_scaled
    from isocalc.universal_error import STRONG

    for scheme in BRANCH_SCALES:
        row: dict[str, str | float | None] = dict.fromkeys(SCHEMES)
        row |= {"activation": net.act.name, "depth": net.depth}
        row |= {"scheme": scheme.name, "branch_scale": scheme.formula}
        try:
            signal = propagate_scaled(net, scheme.factors(net.depth))
            law = UniversalLaw(signal.c, depth=net.depth, skip=net.skip)
            edges: dict[str, float | None] = dict.fromkeys(SCHEMES[5:8])
            strongest = float(signal.c_per_layer.max()) / net.depth
            if strongest > STRONG:
                say(
                    f"{net.act.name}, {scheme.name}: no universal law where a layer alone has c/L = "
                    f"{strongest:.2g}; s_min, s_max and condition_number are left empty"
                )
            else:
                edges = {name: doubles.positive(name, getattr(law, name)) for name in edges}
        except NoAnswerError as error:
            say(f"{net.act.name}, {scheme.name}: {error}")
        else:
            row |= {"c": signal.c, **edges, "q_first": signal.q_first, "q_last": signal.q_last}
            row["mean_lambda"] = doubles.positive("mean_lambda", signal.mean_lambda)
        yield row


def critical_rows(net: "FeedForward", point: "CriticalPoint", doubles: Doubles) -> Row:
    """Return the row of a critical network."""
    from isocalc.feedforward import fixed_points

    fixed, first = point.fixed_point, fixed_points(point.network(1))[0]
    if first.q_star != fixed.q_star:
        start = ((point.q_star or 0.0) - point.sigma_b**2) / point.sigma_w**2
        say(
            f"{net.act.name}, sigma_w {point.sigma_w!r}, sigma_b {point.sigma_b!r}: small inputs lead to "
            f"q = {first.q_star:.6g}; --input-variance {start:.6g} starts at q_star"
        )
    return {
        "activation": net.act.name,
        "sigma_w": point.sigma_w,
        "sigma_b": point.sigma_b,
        "q_star": point.q_star,
        "chi": fixed.chi,
        "xi_q": fixed.xi_q,
        "weights": net.weights,
        "depth": net.depth,
        "relative_variance": doubles.finite("relative_variance", point.relative_variance(net.weights)),
        "sigma2_jjt": doubles.finite("sigma2_jjt", point.sigma2_jjt(net.depth, net.weights)),
    }


def gain_rows(net: "FeedForward", q_star: float = 1.0) -> Iterator[Row]:
    """Yield the row of an activation's gains."""
    from isocalc.gains import gains

    found = gains(net.act, q_star)
    yield {
        "activation": net.act.name,
        "q_star": q_star,
        "forward_gain": found.forward,
        "backward_gain": found.backward,
        "critical_gain": found.critical,
        "critical_sigma_b": found.critical_sigma_b,
        "pytorch_gain": found.pytorch,
    }
