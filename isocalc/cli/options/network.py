"""The options that describe networks, and the networks they describe."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from isocalc.cli.command import Function, decorated, is_given, refuse
from isocalc.cli.options.types import Activations, Numbers, OneOf, SeveralOf, Widths
from isocalc.cli.sweep import Sweep, Value
from isocalc.errors import InvalidInputError
from isocalc.networks.branches import BRANCHES, HIDDEN_OPTIONS, owners

NETWORK_OPTIONS = (
    click.option(
        "--act",
        type=Activations(),
        metavar="NAMES",
        help="Activation such as relu or leaky_relu:0.2, an expression such as 'x*tanh(x)', a comma list, or "
        "all; see isocalc acts --help.",
    ),
    click.option(
        "--act-from",
        metavar="MODULE:FUNCTION",
        help="Instead of --act, a Python function of your own, which is run; ,DERIVATIVE may follow.",
    ),
    click.option(
        "--arch",
        type=OneOf(["resnet", "feedforward"]),
        default="resnet",
        show_default=True,
        help="With or without skip connections.",
    ),
    click.option(
        "--block",
        type=OneOf(tuple(BRANCHES)),
        default="post",
        show_default=True,
        help="Activation after or before the weights of a residual block, or x + W2 phi(W1 LayerNorm(x)).",
    ),
    click.option(
        "--depth",
        type=Numbers(whole=True),
        metavar="NUMBERS",
        default="100",
        show_default=True,
        help="Layers L.",
    ),
    click.option(
        "--weights",
        type=SeveralOf(["gaussian", "orthogonal"]),
        default="gaussian",
        show_default=True,
        help="Independent entries, or orthogonal matrices; or a comma list of both.",
    ),
    click.option(
        "--sigma-w",
        type=Numbers(),
        metavar="NUMBERS",
        default="1",
        show_default=True,
        help="Scale of the weights: an entry has variance sigma_w^2/N, in a ResNet sigma_w^2/(N L).",
    ),
    click.option(
        "--sigma-b",
        type=Numbers(),
        metavar="NUMBERS",
        default="0",
        show_default=True,
        help="Standard deviation of the biases.",
    ),
    click.option(
        "--skip",
        type=Numbers(),
        metavar="NUMBERS",
        default="1",
        show_default=True,
        help="Weight of the skip connection.",
    ),
    click.option(
        "--input-variance",
        type=Numbers(),
        metavar="NUMBERS",
        help="Mean square of the input's entries.  [default: 1; feed-forward: that of the fixed point]",
    ),
    click.option(
        "--hidden-ratio",
        type=Numbers(),
        metavar="NUMBERS",
        default="4",
        show_default=True,
        help="--block preln: hidden neurons over N.",
    ),
    click.option(
        "--sigma-w2",
        type=Numbers(),
        metavar="NUMBERS",
        default="1",
        show_default=True,
        help="--block preln: scale of W2, entries sigma_w2^2/(L hidden neurons); those of W1 sigma_w^2/N.",
    ),
    click.option(
        "--layer-widths",
        type=Widths(),
        metavar="WIDTHS",
        help="Feed-forward, not in param: those of input and layers, such as 784,1000,10, and so the depth.",
    ),
    click.option(
        "--tied",
        is_flag=True,
        help="Feed-forward, not in param: layers share weights, like steps in time; the law is the same.",
    ),
)


def _names(options: Sequence[Callable[[click.Command], click.Command]]) -> tuple[str, ...]:
    """Return the names under which a command gets the values of options."""
    command = click.Command(None)
    for option in options:
        option(command)
    return tuple(str(parameter.name) for parameter in command.params)


NETWORK_NAMES = _names(NETWORK_OPTIONS)
C_OPTION = click.option(
    "--c",
    type=Numbers(),
    metavar="NUMBERS",
    help="The parameter itself, with --depth and --skip, instead of --act.",
)


def network_options(function: Function) -> Function:
    """Add the options that describe a network; the function gets them as ``networks``, a Sweep."""

    @functools.wraps(function)
    def with_networks(**values: Any) -> Any:
        network = {name: values.pop(name) for name in NETWORK_NAMES}
        return function(networks=networks_of(click.get_current_context(), network), **values)

    return decorated(with_networks, NETWORK_OPTIONS)


def network_or_c_options(function: Function) -> Function:
    """Add the options that describe a network, or --c: ``networks`` is of networks or UniversalLaw."""

    @functools.wraps(function)
    def with_laws(*, c: tuple[float, ...] | None, **values: Any) -> Any:
        ctx = click.get_current_context()
        network = {name: values.pop(name) for name in NETWORK_NAMES}
        networks = networks_of(ctx, network) if c is None else _laws_of(ctx, c, network)
        return function(networks=networks, **values)

    return decorated(with_laws, (*NETWORK_OPTIONS[:2], C_OPTION, *NETWORK_OPTIONS[2:]))


def _laws_of(ctx: click.Context, c: Sequence[float], values: Mapping[str, Any]) -> Sweep:
    """Return the universal laws with the values of --c, --depth and --skip."""
    others = [name for name in NETWORK_NAMES if name not in ("depth", "skip")]
    refuse(ctx, others, "with --c, which stands for all of the network but --depth and --skip")
    from isocalc.laws.spectrum import UniversalLaw  # noqa: PLC0415 - loads numpy

    return Sweep(UniversalLaw, {"c": c, "depth": values["depth"], "skip": values["skip"]})


def networks_of(ctx: click.Context, values: Mapping[str, Any]) -> Sweep:
    """Return the networks that the values of the network options describe."""
    own = values["act_from"]
    if own is not None:
        refuse(ctx, ("act",), "with --act-from, which stands for it")
    elif values["act"] is None:
        raise click.UsageError("--act must be given: an activation such as relu, a comma list, or all.", ctx)
    residual = values["arch"] == "resnet"
    _refuse_of_others(ctx, values, residual=residual)
    from isocalc.networks.descriptions import FeedForward, ResNet  # noqa: PLC0415 - loads numpy

    widths = values["layer_widths"]
    by_widths = widths is not None and not is_given(ctx, "depth")
    axes: dict[str, Sequence[Value]] = {
        "activation": _canonical(values["act"]) if own is None else (own,),
        "depth": (len(widths) - 1,) if by_widths else values["depth"],
        "weights": values["weights"],
        "sigma_w": values["sigma_w"],
        "sigma_b": values["sigma_b"],
    }
    if residual:
        axes["skip"] = values["skip"]
    if values["input_variance"] is not None:
        axes["input_variance"] = values["input_variance"]
    if residual:
        axes |= {name: values[name] for name in BRANCHES[values["block"]].options}
    fixed = {"block": values["block"]} if residual else {"layer_widths": widths, "tied": values["tied"]}
    build: Callable[..., Any] = functools.partial(ResNet if residual else FeedForward, **fixed)
    if own is not None:
        from isocalc.activations.own import building_with  # noqa: PLC0415 - loads numpy, runs the user's code

        build = building_with(own, build)
    return Sweep(build, axes)


def _refuse_of_others(ctx: click.Context, values: Mapping[str, Any], *, residual: bool) -> None:
    """Refuse the options of other kinds of networks."""
    if not residual:
        others = ("block", "skip", *HIDDEN_OPTIONS)
        refuse(ctx, others, "with --arch feedforward, which has no skip connections")
        return
    refuse(ctx, ("layer_widths", "tied"), "with --arch resnet, whose layers are square and independent")
    refuse_of_other_blocks(ctx, values["block"])


def _canonical(specs: Sequence[str]) -> list[str]:
    from isocalc.activations.catalogue import FAMILIES, activation  # noqa: PLC0415 - loads numpy

    complete = [
        family.name for family in FAMILIES.values() if all(p.default is not None for p in family.parameters)
    ]
    listed = itertools.chain.from_iterable(complete if spec == "all" else [spec] for spec in specs)
    try:
        return [activation(spec).name for spec in listed]
    except InvalidInputError as error:
        if str(error.value).partition(":")[0] == "threshold":
            error.advice = "An example: threshold:0.1:0.5."
        raise


def refuse_of_other_blocks(ctx: click.Context, block: str) -> None:
    """Refuse options given on the command line that belong to other blocks than this one."""
    for name in HIDDEN_OPTIONS:
        if name not in BRANCHES[block].options:
            why = f"without --block {owners(name)}, whose blocks alone have two matrices"
            refuse(ctx, (name,), why)
