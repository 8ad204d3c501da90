"""The options that commands share, declared once."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from isocalc.cli.sweep import Sweep, Value
from isocalc.errors import InvalidInputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from isocalc.output import Table

Function = Callable[..., Any]
MOST_VALUES = 1_000_000


class Numbers(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.4
    """A number, a comma list, or ``start:stop:count`` with both ends included; a tuple of floats or ints."""

    name = "numbers"

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        kind = "a whole number" if whole else "a number"
        self.rule = f"{kind}, a list such as {'10,100' if whole else '0.5,1,2'} or a range start:stop:count"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Parse the text of the option; raise InvalidInputError where it is not of the form."""
        del ctx
        if not isinstance(value, str):
            return tuple(value)
        name = (param.name if param else None) or "value"
        values = [number for item in value.split(",") for number in self._item(name, item.strip(), value)]
        return tuple(values)

    def _item(self, name: str, item: str, text: str) -> Sequence[float]:
        try:
            numbers = [float(part) for part in item.split(":")]
        except ValueError:
            raise InvalidInputError(name, self.rule, text) from None
        if len(numbers) == 1:
            return [self._whole(name, numbers[0], item)] if self.whole else numbers
        return self._range(name, numbers, item)

    def _range(self, name: str, numbers: list[float], item: str) -> Sequence[float]:
        from fractions import Fraction  # noqa: PLC0415 - only ranges need it

        rule = f"a range start:stop:count with start < stop and a whole count from 2 to {MOST_VALUES}"
        finite = all(map(math.isfinite, numbers))
        if not (finite and len(numbers) == 3 and numbers[0] < numbers[1]):
            raise InvalidInputError(name, rule, item)
        if not (numbers[2].is_integer() and 2 <= numbers[2] <= MOST_VALUES):
            raise InvalidInputError(name, rule, item)
        start, stop = (Fraction(repr(number)) for number in numbers[:2])
        step = (stop - start) / (int(numbers[2]) - 1)
        values = [float(start + i * step) for i in range(int(numbers[2]))]
        return [self._whole(name, value, item) for value in values] if self.whole else values

    def _whole(self, name: str, value: float, item: str) -> float:
        if not value.is_integer():
            raise InvalidInputError(name, self.rule.replace("range", "range of whole numbers"), item)
        return int(value)


class Activations(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.4
    """Names of activations, separated by commas outside parentheses; ``all`` stands for every one."""

    name = "activations"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split the list; the names are looked up when the networks are built."""
        del param, ctx
        return tuple(value) if not isinstance(value, str) else tuple(split_outside_parentheses(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """Complete the last name of a list."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only to complete

        from isocalc.activations import FAMILIES  # noqa: PLC0415 - loads numpy

        del ctx, param
        before, comma, last = incomplete.rpartition(",")
        names = [*FAMILIES] if comma else [*FAMILIES, "all"]
        return [CompletionItem(before + comma + name) for name in names if name.startswith(last)]


def split_outside_parentheses(text: str) -> list[str]:
    """Split at the commas that are in no parentheses."""
    items, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            items.append("")
        else:
            items[-1] += letter
    return [item.strip() for item in items]


NETWORK_OPTIONS = (
    click.option("--act", type=Activations(), metavar="NAMES", help="Activation, comma list, or all."),
    click.option("--arch", type=click.Choice(["resnet", "feedforward"]), default="resnet", show_default=True),
    click.option(
        "--block",
        type=click.Choice(["post", "pre"]),
        default="post",
        show_default=True,
        help="Activation after or before the weights of a residual block.",
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
        "--weights", type=click.Choice(["gaussian", "orthogonal"]), default="gaussian", show_default=True
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
        show_default="1; feed-forward: start at the fixed point",
        help="Mean square of the entries of the input.",
    ),
)
NETWORK_NAMES = ("act", "arch", "block", "depth", "weights", "sigma_w", "sigma_b", "skip", "input_variance")


def network_options(function: Function) -> Function:
    """Add the options that describe a network; the function gets them as ``networks``, a Sweep."""

    @functools.wraps(function)
    def with_networks(**values: Any) -> Any:
        network = {name: values.pop(name) for name in NETWORK_NAMES}
        return function(networks=networks_of(click.get_current_context(), network), **values)

    return _decorated(with_networks, NETWORK_OPTIONS)


def networks_of(ctx: click.Context, values: Mapping[str, Any]) -> Sweep:
    """Return the networks that the values of the network options describe."""
    if values["act"] is None:
        raise click.UsageError("--act must be given: an activation such as relu, a comma list, or all.", ctx)
    residual = values["arch"] == "resnet"
    if not residual:
        refuse(ctx, ("block", "skip"), "with --arch feedforward, which has no skip connections")
    from isocalc.network import FeedForward, ResNet  # noqa: PLC0415 - loads numpy

    axes: dict[str, Sequence[Value]] = {
        "activation": _canonical(values["act"]),
        "depth": values["depth"],
        "sigma_w": values["sigma_w"],
        "sigma_b": values["sigma_b"],
    }
    if residual:
        axes["skip"] = values["skip"]
    if values["input_variance"] is not None:
        axes["input_variance"] = values["input_variance"]
    fixed = {"weights": values["weights"]} | ({"block": values["block"]} if residual else {})
    return Sweep(functools.partial(ResNet if residual else FeedForward, **fixed), axes)


def _canonical(specs: Sequence[str]) -> list[str]:
    from isocalc.activations import FAMILIES, activation  # noqa: PLC0415 - loads numpy

    names = []
    for spec in specs:
        if spec == "all":
            names += [
                family.name
                for family in FAMILIES.values()
                if all(p[1] is not None for p in family.parameters)
            ]
        else:
            names.append(activation(spec).name)
    return names


def refuse(ctx: click.Context, names: Sequence[str], why: str) -> None:
    """Refuse options given on the command line that cannot matter to what was asked."""
    for name in names:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} cannot be given {why}. Leave it out.", ctx)


class Output:
    """Where the table of a command goes, and in which form.

    Parameters
    ----------
    form : {"auto", "table", "csv", "json"}
        ``auto``: a table on a terminal, JSON in a file that is named so, CSV elsewhere.
    path : str or None
        File to write; ``None`` or "-" is standard output.
    """

    def __init__(self, form: str, path: str | None) -> None:
        self.form, self.path = form, path

    def check(self) -> None:
        """Raise InvalidInputError where the file could not be written; leave nothing behind."""
        if self.path is not None and self.path != "-":
            from isocalc.output_file import check_writable  # noqa: PLC0415 - --help must not pay for it

            check_writable(self.path)

    def write(self, table: "Table") -> None:
        """Write the table; raise OSError where that fails."""
        from isocalc.output import write  # noqa: PLC0415 - --help must not pay for it

        write(table, self.form, self.path)


def output_options(function: Function) -> Function:
    """Add --format and -o; the function gets them as ``output``, an Output whose file can be written."""

    @functools.wraps(function)
    def with_output(*, form: str, path: str | None, **values: Any) -> Any:
        output = Output(form, path)
        output.check()
        return function(output=output, **values)

    return _decorated(
        with_output,
        (
            click.option(
                "--format",
                "form",
                type=click.Choice(["auto", "table", "csv", "json"]),
                default="auto",
                show_default=True,
                help="auto: a table on a terminal, CSV in a pipe.",
            ),
            click.option(
                "-o", "--output", "path", type=click.Path(), metavar="FILE", help="Write there instead."
            ),
        ),
    )


def _decorated(function: Function, options: Sequence[Callable[[Function], Function]]) -> Function:
    for option in reversed(options):
        function = option(function)
    return function
