"""The options of ``isocalc init``: what is wanted, and what may be said beside it."""

from collections.abc import Mapping
from typing import Any

import click

from isocalc.cli.option_types import Activations, Numbers, OneOf
from isocalc.cli.options import HIDDEN_NAMES, NETWORK_NAMES, is_given, networks_of, refuse
from isocalc.cli.sweep import Sweep
from isocalc.errors import InvalidInputError

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
TARGETS = ("target_c", "target_condition", "target_smax", "target_variance")

OPTIONS = (
    click.option("--target-c", type=Numbers(), metavar="NUMBERS", help="ResNet: the parameter c."),
    click.option(
        "--target-condition", type=Numbers(), metavar="NUMBERS", help="ResNet: the condition number s_max/s_min."
    ),
    click.option(
        "--target-smax", type=Numbers(), metavar="NUMBERS", help="ResNet: the largest singular value."
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
        help="Feed-forward: the variance sigma2_JJT of s^2 at --depth, on the critical line.",
    ),
    click.option("--gain", is_flag=True, help="Gains of activations, beside PyTorch's; --act is all by default."),
    click.option(
        "--emit", type=OneOf(["torch", "jax", "numpy"]), help="Print code that draws the network, not the table."
    ),
)


def question_of(ctx: click.Context, given: Mapping[str, Any]) -> str:
    """Return which question is asked; refuse none, several, and options that do not belong to it."""
    asked = [name for name in QUESTIONS if is_given(ctx, name)]
    if not asked:
        shown = ", ".join(map(_option, QUESTIONS))
        raise click.UsageError(f"One of {shown} must be given: what is wanted.", ctx)
    question = asked[0]
    refuse(ctx, asked[1:], f"with {_option(question)}, which is another question")
    _refuse_beside(ctx, question)
    network = QUESTIONS[question]
    if network and is_given(ctx, "arch") and given["arch"] != network:
        raise InvalidInputError("arch", f"{network} with {_option(question)}", given["arch"])
    return question


def _refuse_beside(ctx: click.Context, question: str) -> None:
    """Refuse the options that cannot matter to a question."""
    option = _option(question)
    if question not in {"critical", "gain"}:
        refuse(ctx, ["q_star"], f"with {option}, but with --critical or --gain")
    if question not in {"target_c", "target_condition", "target_smax", "like"}:
        refuse(ctx, ["compare"], f"with {option}, but with a target of a residual network")
    if question in {"schemes", "gain"}:
        refuse(ctx, ["emit"], f"with {option}, which describes many networks")
    refuse(ctx, ["compare", "form", "path"] if is_given(ctx, "emit") else [], "with --emit, which prints code")
    if question == "gain":
        others = [name for name in NETWORK_NAMES if name != "act"]
        refuse(ctx, others, "with --gain, which is about an activation at one variance, --q-star")
    if QUESTIONS[question] == "feedforward":
        why = f"with {option}, which is about square layers at a fixed point"
        refuse(ctx, ("input_variance", "layer_widths", "tied"), why)
    if question == "target_variance":
        refuse(ctx, ("sigma_w", "sigma_b"), "with --target-variance, which finds it")
    if question == "critical":
        fixed = [name for name in ("sigma_w", "sigma_b", "q_star") if is_given(ctx, name)]
        refuse(ctx, fixed[1:], f"with {_option((fixed or [''])[0])}, which fixes the critical network")


def networks_asked(ctx: click.Context, question: str, given: Mapping[str, Any]) -> Sweep:
    """Return the networks a question is about, each beside its target."""
    values = {name: given[name] for name in NETWORK_NAMES}
    values["arch"] = QUESTIONS[question] or "feedforward"
    if question == "gain" and values["act"] is None:
        values["act"] = ("all",)
    if values["arch"] == "resnet" and question != "schemes":
        _require_unknown(ctx, question, values)
    sweep = networks_of(ctx, values)
    if question in TARGETS:
        return sweep.crossed(**{question: given[question]})
    if given["q_star"] is not None:
        return sweep.crossed(q_star=given["q_star"])
    return sweep


def _require_unknown(ctx: click.Context, question: str, values: Mapping[str, Any]) -> None:
    """Refuse a scale that is looked for; with --like it is that of the other network, and one."""
    preln = values["block"] == "preln"
    unknown = "sigma_w2" if preln else "sigma_w"
    if question != "like":
        refuse(ctx, [unknown], f"with {_option(question)}, which finds it")
    elif len(values[unknown]) > 1:
        raise InvalidInputError(unknown, "one number with --like", ",".join(map(str, values[unknown])))
    if not preln:
        refuse(ctx, HIDDEN_NAMES, "without --block preln, whose blocks alone have two matrices")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
