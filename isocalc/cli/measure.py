"""``isocalc measure``: the singular values of a PyTorch module of one's own, and the theory beside them."""
# ruff: noqa: PLC0415 - numerics and PyTorch load when a command computes

import math
import os
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.caveats import Doubles
from isocalc.cli.help import Guided
from isocalc.cli.law_options import CAPTIONS, LawsUsed
from isocalc.cli.option_types import OneOf, Shape, Whole
from isocalc.cli.options import refuse
from isocalc.cli.output_options import Output, output_options
from isocalc.cli.progress import progress_bar
from isocalc.cli.spectrum_rows import COLUMNS as SPECTRUM_COLUMNS
from isocalc.cli.spectrum_rows import spectrum_rows
from isocalc.cli.sweep import Row, say
from isocalc.cli.verdict_rows import COLUMNS, reasons_of, row_of, told_of_outliers
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.limits import MOST_ROWS, MOST_SEED, MOST_TRIALS

if TYPE_CHECKING:
    from isocalc.judge import Array
    from isocalc.law import Law
    from isocalc.measure import Measurement


@click.command(
    name="measure",
    cls=Guided,
    epilog="""\b
TARGET is package.module:name, where name is a class of nn.Module or a function, called
without arguments and with seeds set for every trial, or a module that exists already
(or a function that returns the same weights again): then trials are inputs, and nothing
is judged, as one network does not show how networks differ. Two or three trials find
gross errors only. The current folder comes first on the path, as with python -m.

\b
Columns: statistic, theory, simulation, standard_error (over the trials), verdict, as
those of isocalc mc. theory and verdict are those of the network that the module is, if
it is a chain of layers f(W x + b), the last one linear or not, or residual blocks
x + f(W x + b), x + W f(x) + b, x + W2 f(W1 LayerNorm(x) + b1), with weights of
independent entries or orthogonal ones. What was recognised goes to standard error with
its scales, measured on the weights; it is rebuilt, and its output compared with the
module's. Otherwise the theory is empty, and a message says why.
With --spectrum: trial, singular_value, log_singular_value; s = 0 has the logarithm -inf.
There are as many singular values as inputs, so that those beyond the outputs are 0.

\b
Derivatives are torch.func's, in evaluation mode, on the module's own device and in its
own type. Where both sides of the Jacobian are above 4096, or with --largest, the largest
singular values alone are found, by Lanczos, without forming it.
Exit status 0 where nothing disagrees, 1 where something does.

\b
Examples:
  isocalc measure model:make --input-shape 784
  isocalc measure model:Net --input-shape 3,32,32 --trials 4 --seed 1 -o net.csv
  isocalc measure model:make --module blocks --input-shape 512
  isocalc measure model:trained --input-shape 784 --input digits.npy
  isocalc measure model:make --input-shape 784 --dtype float64 --spectrum
  isocalc measure model:wide --input-shape 20000 --largest 5
""",
)
@click.argument("target", metavar="TARGET", required=False)
@click.option(
    "--input-shape",
    type=Shape(),
    metavar="SHAPE",
    help="Of one input, such as 784 or 3,32,32; a batch of one is added.",
)
@click.option("--module", default="", metavar="PATH", help="Measure this part of it alone, such as blocks.")
@click.option(
    "--input-variance",
    type=float,
    metavar="NUMBER",
    help="Mean square of Gaussian inputs' entries, exactly.  [default: 1]",
)
@click.option(
    "--input",
    "inputs",
    type=click.Path(),
    metavar="FILE.npy",
    help="Instead, one input or an array of them, which trials take in turn.",
)
@click.option(
    "--trials",
    type=Whole(1, MOST_TRIALS),
    metavar="N",
    default="8",
    show_default=True,
    help="Modules, or inputs of one.",
)
@click.option("--seed", type=Whole(0, MOST_SEED), metavar="N", help="Drawn, and reported, if not given.")
@click.option(
    "--dtype",
    type=OneOf(["own", "float64", "float32"]),
    default="own",
    show_default=True,
    help="Convert a copy of the module first; float64 resolves smaller singular values.",
)
@click.option(
    "--largest", type=Whole(1, MOST_ROWS), metavar="K", help="Find the K largest alone, by Lanczos."
)
@click.option("--spectrum", is_flag=True, help="Print the singular values instead.")
@output_options
@click.pass_context
def command(ctx: click.Context, /, target: str | None, output: Output, **given: Any) -> None:
    """Measure the Jacobian of a PyTorch module of your own, and put the theory beside it.

    This imports TARGET and runs it: it is your own code, and can do all that you can.
    Needs PyTorch: pip install 'isocalc[torch]'.
    """
    if target is None:
        raise click.UsageError("TARGET must be given: package.module:name of a PyTorch module.", ctx)
    _check(ctx, given)
    from isocalc.output import Table
    from isocalc.torch_module import require_torch

    require_torch()
    seed = given["seed"] if given["seed"] is not None else int.from_bytes(os.urandom(4))
    found = _measured(target, seed, given)
    if given["seed"] is None:
        say(f"--seed {seed}")
    _tell(found)
    if given["spectrum"]:
        doubles = Doubles()
        rows = [list(row.values()) for row in spectrum_rows(found.log_s, doubles)]
        doubles.report(beside="log_singular_value")
        output.write(Table(SPECTRUM_COLUMNS, rows, _caption(found, given, seed)))
        return
    judged, disagrees = _judged(found)
    cells = [[row[name] for name in COLUMNS] for row in judged]
    output.write(Table(COLUMNS, cells, _caption(found, given, seed)))
    ctx.exit(int(disagrees))


def _check(ctx: click.Context, given: dict[str, Any]) -> None:
    """Refuse what cannot be measured, before anything is loaded."""
    if given["input_shape"] is None:
        raise click.UsageError("--input-shape must be given: that of one input, such as 784 or 3,32,32.", ctx)
    variance = given["input_variance"]
    if variance is not None and not (math.isfinite(variance) and variance > 0):
        raise InvalidInputError("input_variance", "a finite number greater than 0", variance)
    if given["inputs"] is not None:
        refuse(ctx, ("input_variance",), "with --input, whose numbers are taken as they are")
    if given["trials"] < 2 and not given["spectrum"]:
        advice = "With --spectrum it can be 1."
        raise InvalidInputError("trials", "at least 2, for a standard error", given["trials"], advice)
    if given["spectrum"] and given["trials"] * math.prod(given["input_shape"]) > MOST_ROWS:
        rule = f"so few that the table has at most {MOST_ROWS} rows"
        raise InvalidInputError("trials", rule, given["trials"])


def _measured(target: str, seed: int, given: dict[str, Any]) -> "Measurement":
    from isocalc.measure import measure
    from isocalc.torch_module import Target

    inputs = None if given["inputs"] is None else _read(given["inputs"], given["input_shape"])
    module = Target(target, given["module"], given["dtype"])
    with progress_bar(given["trials"]) as progress:
        return measure(
            module,
            given["input_shape"],
            trials=given["trials"],
            seed=seed,
            input_variance=given["input_variance"] or 1.0,
            inputs=inputs,
            largest=given["largest"],
            progress=progress,
        )


def _read(path: str, shape: tuple[int, ...]) -> "Array":
    """Return the inputs in a file, shape (n, *shape)."""
    import numpy as np

    text = ",".join(map(str, shape))
    rule = f"a NumPy file of finite numbers, of shape {text} or n,{text}"
    try:
        found = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInputError("input", rule, path, " ".join(str(error).split())[:200]) from None
    if found.shape == shape:
        found = found[None]
    if found.shape[1:] != shape or not found.size or not np.isfinite(found).all():
        raise InvalidInputError("input", rule, path, f"Its shape is {found.shape}.")
    if not found.any():
        raise InvalidInputError("input", "other than 0", path)
    return found


def _tell(found: "Measurement") -> None:
    """Say what was recognised, and what the numbers are of."""
    if found.frozen:
        say(f"measured in evaluation mode, without randomness of {' or '.join(found.frozen)}")
    if found.recognised is None:
        say(f"no law of this module is known: {found.reason}")
    else:
        say(f"recognised: {found.recognised.words}")
    if found.by_layers:
        say(
            f"singular values near or below the rounding of {found.dtype} in {found.by_layers} of "
            f"{len(found.log_s)} trials: all of theirs are computed from the layers that were recognised"
        )
    if found.lost:
        say(
            f"{found.lost} singular values are 0 or below the rounding of {found.dtype}, and count as 0"
            + ("; --dtype float64 resolves more" if found.dtype != "float64" else "")
        )


def _judged(found: "Measurement") -> tuple[list[Row], bool]:
    """Return the rows of the statistics, and whether the law is found wrong."""
    law = _law(found)
    judgement = found.judged_by(law)
    if judgement.outliers:
        say(told_of_outliers(judgement.outliers, len(found.log_s)))
    reasons = "; ".join(reasons_of(judgement.statistics)) if law is not None else ""
    if reasons:
        say(f"not judged: {reasons}")
    if judgement.disagrees:
        say(f"the module disagrees with the law: {', '.join(judgement.disagrees)}")
    return [row_of(statistic) for statistic in judgement.statistics], bool(judgement.disagrees)


def _law(found: "Measurement") -> "Law | None":
    """Return the law of what was recognised and say which it is; ``None`` where it is not solved."""
    from isocalc.network import ResNet

    if found.recognised is None:
        return None
    network, laws = found.recognised.network, LawsUsed("auto", None)
    try:
        law = laws.law_of(network) if isinstance(network, ResNet) else network.law
    except NoAnswerError as error:
        say(f"its law is not known: {error}")
        return None
    say(laws.caption if laws.laws else CAPTIONS["layered"])
    return law


def _caption(found: "Measurement", given: dict[str, Any], seed: int) -> str:
    how = "dense Jacobian" if found.method == "dense" else "largest singular values by Lanczos"
    kind = "networks" if found.networks else "inputs of one network"
    return (
        f"{found.inputs} inputs, {found.outputs} outputs, trials: {given['trials']} {kind}, "
        f"{found.dtype} on {found.device}, {how}, seed {seed}"
    )
