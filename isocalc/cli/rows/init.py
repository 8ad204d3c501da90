"""The rows of ``isocalc init``: the networks that were looked for."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from isocalc.cli.amounts import FEW_PATHS
from isocalc.cli.messages import Caveats, has_signal, say
from isocalc.cli.rows.laws import EXTREMES, law_cells, own_law
from isocalc.cli.sweep import Cell, PartialRow, Row
from isocalc.errors import NoAnswerError

if TYPE_CHECKING:
    from isocalc.laws.law import Law
    from isocalc.networks.descriptions import FeedForward, ResNet
    from isocalc.signal.criticality import CriticalPoint
    from isocalc.signal.propagation import Propagation


SPECTRUM = (
    "c",
    "edge_lower",
    "edge_upper",
    "bulk_condition_number",
    "q_first",
    "q_last",
    "mean_lambda",
    "universal_error",
    "law",
)
RESNET = ("activation", "depth", "sigma_w", "sigma_b", *SPECTRUM)
COMPARED = ("scheme", "branch_factor")
OF_NETWORK = (*EXTREMES, "status")
SCHEMES = ("activation", "depth", "scheme", "branch_scale", *SPECTRUM, *OF_NETWORK)
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
    "stability",
    "other_q_star",
)
GAIN = (
    "activation",
    "forward_gain",
    "backward_gain",
    "critical_gain",
    "critical_sigma_b",
    "pytorch_gain",
    "status",
)


def solved_row(
    net: "ResNet", caveats: Caveats, law: "Law | None" = None, paths: int | None = None
) -> PartialRow:
    """Return the row of a residual network, with the edges of the law that it takes, or of one."""
    from isocalc.signal.propagation import propagate

    signal = propagate(net)
    known = {"sigma_w": net.sigma_w, "sigma_b": net.sigma_b, "sigma_w2": net.sigma_w2}
    return _row(net, signal, caveats, law or partial(own_law, net, paths=paths)) | known


def _row(
    net: "ResNet", signal: "Propagation", caveats: Caveats, law: "Law | Callable[..., Law]"
) -> dict[str, Cell]:
    """Return a row from the signal in a network and its law, or what makes that."""
    from isocalc.laws.spectrum import choose

    variance = caveats.positive if has_signal(net) else caveats.finite
    row: dict[str, Cell] = dict.fromkeys((*RESNET, *OF_NETWORK)) | {
        "activation": net.act.name,
        "depth": net.depth,
        "c": caveats.positive("c", signal.c) if net.has_weights else 0.0,
        "q_first": variance("q_first", signal.q_first),
        "q_last": variance("q_last", signal.q_last),
        "mean_lambda": caveats.positive("mean_lambda", signal.mean_lambda),
    }
    choice = choose(net, signal=signal)
    row["universal_error"] = choice.errors and choice.errors.universal
    found = partial(law, signal=signal, choice=choice) if callable(law) else law
    return row | law_cells(found, caveats)


def compared_rows(net: "ResNet", caveats: Caveats) -> Iterator[PartialRow]:
    """Yield the rows of a network with the common initialisations."""
    from isocalc.design.schemes import INITIALISATIONS, initialised

    for scheme in INITIALISATIONS:
        start, branch = initialised(net, scheme), initialised(net, scheme._replace(last=1.0))
        row: dict[str, Cell] = dict.fromkeys((*RESNET, *OF_NETWORK)) | {"activation": net.act.name}
        row |= {"depth": net.depth, "sigma_b": start.sigma_b, "sigma_w": start.sigma_w}
        try:
            row |= solved_row(start, caveats, paths=FEW_PATHS)
        except NoAnswerError as error:
            row["status"] = error
        yield {
            **row,
            "sigma_w2": start.sigma_w2,
            net.branch.scale: branch.branch_scale,
            "scheme": scheme.name,
            "branch_factor": scheme.last,
        }


def scheme_rows(net: "ResNet", *, caveats: Caveats) -> Iterator[PartialRow]:
    """Yield the row of a residual network under each way to scale its branches."""
    from isocalc.design.schemes import BRANCH_SCALES, law_scaled, propagate_scaled, scaled

    for scheme in BRANCH_SCALES:
        row: dict[str, Cell] = dict.fromkeys(SCHEMES)
        row |= {"activation": net.act.name, "depth": net.depth}
        try:
            factors = scheme.factors(net.depth)
            uniform = scaled(net, factors)
            if uniform is None:
                law = partial(law_scaled, net, factors)
                row |= _row(net, propagate_scaled(net, factors), caveats, law)
            else:
                row |= solved_row(uniform, caveats, paths=FEW_PATHS)
        except NoAnswerError as error:
            row["status"] = error
        yield {**row, "scheme": scheme.name, "branch_scale": scheme.formula}


def critical_rows(net: "FeedForward", point: "CriticalPoint", caveats: Caveats) -> Row:
    """Return the row of a critical network."""
    fixed = point.fixed_point
    _explain_start(point)
    return {
        "activation": net.act.name,
        "sigma_w": point.sigma_w,
        "sigma_b": point.sigma_b,
        "q_star": point.q_star,
        "chi": fixed.chi,
        "xi_q": fixed.xi_q,
        "weights": net.weights,
        "depth": net.depth,
        "relative_variance": caveats.finite("relative_variance", point.relative_variance(net.weights)),
        "sigma2_jjt": caveats.finite("sigma2_jjt", point.sigma2_jjt(net.depth, net.weights)),
        "stability": point.stability,
        "other_q_star": ";".join(repr(other.q_star) for other in point.others) or None,
    }


def _explain_start(point: "CriticalPoint") -> None:
    """Say from where a critical network comes to q*, where it does not from everywhere."""
    which = f"{point.activation.name}, sigma_w {point.sigma_w!r}, sigma_b {point.sigma_b!r}"
    if point.activation.jumps:
        say(f"{which}: phi jumps, so that two inputs part at every chi; chi = 1 keeps the mean of s^2 alone")
    q_star = point.q_star or 0.0
    start = (q_star - point.sigma_b**2) / point.sigma_w**2
    if point.side:
        least, leaves = ("least", "below") if point.side == "above" else ("most", "above")
        say(
            f"{which}: q_star is half-stable, the variance tends to it from {point.side} and leaves it "
            f"{leaves}; inputs of at {least} --input-variance {start:.10g} lead to it"
        )
    elif point.others and (first := point.others[0].q_star or 0.0) < q_star:
        say(f"{which}: small inputs lead to q = {first:.6g}; --input-variance {start:.6g} starts at q_star")


def gain_rows(net: "FeedForward", q_star: float = 1.0) -> Iterator[Row]:
    """Yield the row of an activation's gains."""
    from isocalc.design.gains import gains

    found = gains(net.act, q_star)
    yield {
        "activation": net.act.name,
        "q_star": q_star,
        "forward_gain": found.forward,
        "backward_gain": found.backward,
        "critical_gain": found.critical,
        "critical_sigma_b": found.critical_sigma_b,
        "pytorch_gain": found.pytorch,
        "status": found.why_not_critical or "ok",
    }
