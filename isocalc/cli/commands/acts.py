"""``isocalc acts``: the activations isocalc knows, and the language of those it does not."""

from typing import TYPE_CHECKING

import click

from isocalc.cli.command import Guided
from isocalc.cli.options.output import Output, output_options

if TYPE_CHECKING:
    from isocalc.activations.catalogue import Family


COLUMNS = ("name", "parameters", "formula", "reference")


@click.command(
    name="acts",
    cls=Guided,
    epilog="""\b
Columns: name, parameters with their defaults (one without must be given), formula,
reference. Parameters follow the name, in this order, after colons: leaky_relu:0.2,
hardtanh:-2:2, threshold:0.1:0.5.

\b
--act takes expressions of x too, which are parsed and never run: x*tanh(x),
max(x, 0.1*x), where(x > 1, 1, x). They are made of numbers, pi, e, + - * / **
(powers constant), < <= > >= and the functions
  exp, log, log1p, expm1, sqrt, sin, cos, tan, sinh, cosh, tanh, asinh, atan,
  erf, erfc, Phi (of the normal law), sigmoid, softplus, silu, gelu,
  abs, relu, sign, max, min, clip(value, low, high),
  where(condition, value, otherwise)
and must be finite, and smooth but for kinks and jumps, for every x. A Python
function of your own is given by --act-from module:function,derivative: its
module, looked for in the current folder too, or its file (file.py:function) is
run. It takes NumPy arrays;
the derivative takes complex ones where laws at finite depth are asked for, and
may be left out where the function takes them. Its attributes breakpoints and
jumps, tuples of x, say where it has kinks (if not given: at 0 alone) and jumps.

\b
Examples:
  isocalc acts
  isocalc acts | grep shrink
  isocalc acts --format json -o activations.json
  isocalc param --act 'x*tanh(x)' --depth 100
""",
)
@output_options
def command(output: Output) -> None:
    """List the activations that --act takes."""
    from isocalc.activations.catalogue import ALIASES, FAMILIES  # noqa: PLC0415 - loads numpy
    from isocalc.display.table import Table  # noqa: PLC0415 - --help must not pay for it

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
