"""``isocalc acts``: the activations isocalc knows."""

from typing import TYPE_CHECKING

import click

from isocalc.cli.output_options import Output, output_options

if TYPE_CHECKING:
    from isocalc.activations import Family

COLUMNS = ("name", "parameters", "formula", "reference")


@click.command(
    name="acts",
    epilog="""\b
Columns: name, parameters with their defaults (one without must be given), formula,
reference. Parameters follow the name, in this order, after colons: leaky_relu:0.2,
hardtanh:-2:2, threshold:0.1:0.5.

\b
Examples:
  isocalc acts
  isocalc acts | grep shrink
  isocalc acts --format json -o activations.json
""",
)
@output_options
def command(output: Output) -> None:
    """List the activations that --act takes."""
    from isocalc.activations import ALIASES, FAMILIES  # noqa: PLC0415 - loads numpy
    from isocalc.output import Table  # noqa: PLC0415 - --help must not pay for it

    rows = [
        (family.name, _parameters(family), family.formula, family.reference) for family in FAMILIES.values()
    ]
    also = ", ".join(f"{alias} ({name})" for alias, name in ALIASES.items())
    output.write(Table(COLUMNS, rows, caption=f"Other names: {also}"))


def _parameters(family: "Family") -> str:
    return " ".join(
        parameter.name if parameter.default is None else f"{parameter.name}={parameter.default:g}"
        for parameter in family.parameters
    )
