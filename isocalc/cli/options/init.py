"""The options of ``isocalc init``: what is wanted, and what may be said beside it."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from isocalc.cli.command import is_given, refuse
from isocalc.cli.messages import option_of
from isocalc.cli.options.network import NETWORK_NAMES, networks_of, refuse_of_other_blocks
from isocalc.cli.options.types import Activations, Numbers, OneOf
from isocalc.cli.sweep import Sweep
from isocalc.errors import InvalidInputError
from isocalc.limits import (
    LEAST_C,
    LEAST_CONDITION,
    LEAST_Q,
    LEAST_SPREAD,
    MOST_C,
    MOST_CONDITION,
    MOST_Q,
    MOST_SPREAD,
)
from isocalc.networks.branches import BRANCHES

if TYPE_CHECKING:
    from isocalc.activations.catalogue import Activation


# What can be asked for, and of which networks.
QUESTIONS = {
    "target_c": "resnet",
    "target_condition": "resnet",
    "target_smax": "resnet",
    "like": "resnet",
    "schemes": "resnet",
    "critical": "feedforward",
    "target_variance": "feedforward",
    "gain": None,
}
RANGES = {
    "target_c": (LEAST_C, MOST_C),
    "target_condition": (LEAST_CONDITION, MOST_CONDITION),
    "target_smax": (sys.float_info.min, sys.float_info.max),
    "target_variance": (LEAST_SPREAD, MOST_SPREAD),
    "q_star": (LEAST_Q, MOST_Q),
}

OPTIONS = (
    click.option("--target-c", type=Numbers(), metavar="NUMBERS", help="ResNet: the parameter c."),
    click.option(
        "--target-condition",
        type=Numbers(),
        metavar="NUMBERS",
        help="ResNet: condition_number = s_max/s_min, outliers included.",
    ),
    click.option(
        "--target-smax",
        type=Numbers(),
        metavar="NUMBERS",
        help="ResNet: s_max, the largest singular value, outliers included.",
    ),
    click.option(
        "--bulk",
        is_flag=True,
        help="With these two: edge_upper and bulk_condition_number instead, of the bulk of singular values.",
    ),
    click.option(
        "--like",
        type=Activations(),
        metavar="NAME",
        help="ResNet: the c of this activation with the other options, --sigma-w included.",
    ),
    click.option(
        "--compare", is_flag=True, help="ResNet, with one of these: rows of common initialisations too."
    ),
    click.option("--schemes", is_flag=True, help="ResNet: compare ways to scale residual branches."),
    click.option(
        "--critical",
        is_flag=True,
        help="Feed-forward: the edge of chaos, for the given --sigma-b, --sigma-w or --q-star.",
    ),
    click.option(
        "--q-star",
        type=Numbers(),
        metavar="NUMBERS",
        help="Variance of the pre-activations, with --critical or --gain (there by default 1).",
    ),
    click.option(
        "--target-variance",
        type=Numbers(),
        metavar="NUMBERS",
        help="Feed-forward: the variance sigma2_JJT of s^2 at --depth, on the critical line; by default "
        "that of orthogonal weights, with the Gaussian one beside it.",
    ),
    click.option(
        "--gain", is_flag=True, help="Gains of activations, beside PyTorch's; --act is all by default."
    ),
    click.option(
        "--emit",
        type=OneOf(["torch", "jax", "numpy"]),
        help="Print code that draws the network, not the table; of --act, expressions too.",
    ),
)


def question_of(ctx: click.Context, given: Mapping[str, Any]) -> str:
    """Return which question is asked; refuse none, several, and options that do not belong to it."""
    asked = [name for name in QUESTIONS if is_given(ctx, name)]
    if not asked:
        shown = ", ".join(map(option_of, QUESTIONS))
        raise click.UsageError(f"One of {shown} must be given: what is wanted.", ctx)
    question = asked[0]
    refuse(ctx, asked[1:], f"with {option_of(question)}, which is another question")
    _refuse_beside(ctx, question)
    network = QUESTIONS[question]
    if network and is_given(ctx, "arch") and given["arch"] != network:
        raise InvalidInputError("arch", f"{network} with {option_of(question)}", given["arch"])
    return question


def _refuse_beside(ctx: click.Context, question: str) -> None:
    """Refuse the options that cannot matter to a question."""
    option = option_of(question)
    if question not in {"critical", "gain"}:
        refuse(ctx, ["q_star"], f"with {option}, but with --critical or --gain")
    if question not in {"target_c", "target_condition", "target_smax", "like"}:
        refuse(ctx, ["compare"], f"with {option}, but with a target of a residual network")
    if question not in {"target_condition", "target_smax"}:
        refuse(ctx, ["bulk"], f"with {option}, but with --target-condition or --target-smax")
    if question in {"schemes", "gain"}:
        refuse(ctx, ["emit"], f"with {option}, which describes many networks")
    if is_given(ctx, "emit"):
        refuse(ctx, ("compare", "form", "path", "plot", "whole"), "with --emit, which prints code")
    if question == "gain":
        others = [name for name in NETWORK_NAMES if not name.startswith("act")]
        refuse(ctx, others, "with --gain, which is about an activation at one variance, --q-star")
    if QUESTIONS[question] == "feedforward":
        why = f"with {option}, which is about square layers at a fixed point"
        refuse(ctx, ("input_variance", "layer_widths", "tied"), why)
    if question == "target_variance":
        refuse(ctx, ("sigma_w", "sigma_b"), "with --target-variance, which finds it")
    if question == "critical":
        fixed = [name for name in ("sigma_w", "sigma_b", "q_star") if is_given(ctx, name)]
        refuse(ctx, fixed[1:], f"with {option_of((fixed or [''])[0])}, which fixes the critical network")


def require_in_range(question: str, given: Mapping[str, Any]) -> None:
    """Refuse numbers that no network could be found for."""
    for name, (least, most) in RANGES.items():
        for value in given[name] or ():
            if not least <= value <= most:
                rule = f"a number from {least:g} to {most:g}" if name != "target_smax" else "greater than 0"
                raise InvalidInputError(name, rule, value)
    if question == "like" and (len(given["like"]) != 1 or given["like"] == ("all",)):
        raise InvalidInputError("like", "one activation", ",".join(given["like"]))


def networks_asked(ctx: click.Context, question: str, given: Mapping[str, Any]) -> Sweep:
    """Return the networks a question is about, each beside its target."""
    values = {name: given[name] for name in NETWORK_NAMES}
    values["arch"] = QUESTIONS[question] or "feedforward"
    if question == "gain" and not any(is_given(ctx, name) for name in NETWORK_NAMES):
        values["act"] = ("all",)
    if question == "target_variance" and not is_given(ctx, "weights"):
        values["weights"] = ("orthogonal",)
    if question == "gain" and _has_steps(values["act"] or ()):
        sweep = _functions(values["act"])
        return sweep if given["q_star"] is None else sweep.crossed(q_star=given["q_star"])
    if values["arch"] == "resnet" and question != "schemes":
        _require_unknown(ctx, question, values)
    sweep = networks_of(ctx, values)
    if question == "like":
        try:
            networks_of(ctx, values | {"act": given["like"]})
        except InvalidInputError as error:
            error.parameter = "like" if error.parameter == "activation" else error.parameter
            raise
    for name in _unknown(ctx, question, values):
        del sweep.axes[name]
    if question in RANGES:
        return sweep.crossed(**{question: given[question]})
    if given["q_star"] is not None:
        return sweep.crossed(q_star=given["q_star"])
    return sweep


class _Function(NamedTuple):
    """What gains are of: an activation, or a function made of steps, which no network has."""

    act: "Activation"


def _has_steps(specs: Sequence[str]) -> bool:
    """Whether some expression is made of steps, in a list of single functions."""
    if "all" in specs or not any("x" in spec for spec in specs):
        return False
    from isocalc.activations.expressions.build import step_function_of  # noqa: PLC0415 - numerics load when a command computes

    return any(step_function_of(spec) for spec in specs)


def _functions(specs: Sequence[str]) -> Sweep:
    from isocalc.design.gains import function_of  # noqa: PLC0415 - numerics load when a command computes

    return Sweep(
        lambda activation: _Function(function_of(activation)),
        {"activation": [function_of(spec).name for spec in specs]},
    )


def _unknown(ctx: click.Context, question: str, values: Mapping[str, Any]) -> Sequence[str]:
    """Return the axes that are looked for: the row of a network that is not found leaves them empty."""
    if question in {"schemes", "gain"}:
        return ()
    if question == "target_variance":
        return ("sigma_w", "sigma_b")
    if question == "critical":
        known = next((name for name in ("sigma_w", "q_star") if is_given(ctx, name)), "sigma_b")
        return [name for name in ("sigma_w", "sigma_b") if name != known]
    return (BRANCHES[values["block"]].scale,)


def _require_unknown(ctx: click.Context, question: str, values: Mapping[str, Any]) -> None:
    """Refuse a scale that is looked for; with --like it is that of the other network, and one."""
    unknown = BRANCHES[values["block"]].scale
    if question != "like":
        refuse(ctx, [unknown], f"with {option_of(question)}, which finds it")
    elif len(values[unknown]) > 1:
        raise InvalidInputError(unknown, "one number with --like", ",".join(map(str, values[unknown])))
    refuse_of_other_blocks(ctx, values["block"])
