"""``isocalc measure``: the singular values of a PyTorch module of one's own, and the theory beside them."""
# ruff: noqa: PLC0415 - numerics and PyTorch load when a command computes

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.command import Guided, refuse
from isocalc.cli.messages import Caveats, advised, say
from isocalc.cli.options.law import CAPTIONS, LawsUsed
from isocalc.cli.options.output import Output, picture_options
from isocalc.cli.options.run import (
    SEED_OPTION,
    SPECTRUM_OPTION,
    drawn_seed,
    dtype_option,
    progress_bar,
    require_few_trials,
    trials_option,
)
from isocalc.cli.options.types import Shape, Whole
from isocalc.cli.rows.simulations import (
    SPECTRUM_COLUMNS,
    VERDICT_COLUMNS,
    reasons_of,
    row_of,
    spectrum_rows,
    told_ks,
)
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.limits import MOST_ROWS
from isocalc.user_code import beside_the_results

if TYPE_CHECKING:
    from isocalc.cli.sweep import Row
    from isocalc.display.figure import Figure
    from isocalc.judging.judge import Array
    from isocalc.laws.law import Law
    from isocalc.pytorch.measure import Measurement


_NORMS = {
    "initial": "a mean of 0 and a variance of 1, those of initialisation, and so does nothing: training has "
    "other ones; --calibrate takes them from 256 inputs first",
    "own": "the mean and the variance that it came with",
    "calibrated": "the mean and the variance of a batch that was run in training mode first (--calibrate)",
}


@click.command(
    name="measure",
    cls=Guided,
    epilog="""\b
TARGET is file.py:name or package.module:name, where name is a class of nn.Module or a
function, called without arguments and with seeds set for every trial, or a module that
exists already (or a function that returns the same weights again): then trials are
inputs, and nothing is judged, as one network does not show how networks differ. Two or
three trials find gross errors only. The current folder comes first on the path, as with
python -m, and so does that of a file.

\b
Columns: statistic, theory, simulation, standard_error (over the trials), tolerance,
verdict, as those of isocalc mc, outliers too. theory, tolerance and verdict, at this
width, are those of the network that the module is, if it is a chain of layers
f(W x + b), the last one linear or not, or residual blocks
x + f(W x + b), x + W f(x) + b, x + W2 f(W1 LayerNorm(x) + b1), with weights of
independent entries or orthogonal ones. What was recognised goes to standard error with
its scales, measured on the weights; it is rebuilt, and its output compared with the
module's. Otherwise the theory is empty, and a message says why.
With --spectrum: trial, singular_value, log_singular_value; s = 0 has the logarithm -inf.
There are as many singular values as inputs, so that those beyond the outputs are 0.

\b
Derivatives are torch.func's, in evaluation mode, on the module's own device and in its
own type. In that mode batch normalisation takes running statistics, mean 0 and variance 1
at initialisation, and does nothing: --calibrate gives it those of 256 inputs (of --input:
the first of its own), run as one batch in training mode. Where both sides of the
Jacobian are above 4096, or with --largest, the largest singular values alone are found,
by Lanczos, without forming it.
Exit status 0 where nothing disagrees, 1 where something does.

\b
Examples:
  isocalc measure model.py:make --input-shape 784
  isocalc measure model:Net --input-shape 3,32,32 --trials 4 --seed 1 -o net.csv
  isocalc measure model:make --module blocks --input-shape 512
  isocalc measure model:trained --input-shape 784 --input digits.npy
  isocalc measure model:make --input-shape 784 --dtype float64 --spectrum
  isocalc measure model:wide --input-shape 20000 --largest 5
  isocalc measure model:ConvNet --input-shape 3,32,32 --calibrate --plot net.png
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
@trials_option("Modules, or inputs of one.")
@SEED_OPTION
@dtype_option("Convert a copy of the module first; float64 resolves smaller singular values.", "own")
@click.option(
    "--largest", type=Whole(1, MOST_ROWS), metavar="K", help="Find the K largest alone, by Lanczos."
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Set the statistics of batch normalisation first, by 256 inputs in training mode.",
)
@SPECTRUM_OPTION
@picture_options
@click.pass_context
def command(ctx: click.Context, /, target: str | None, output: Output, **given: Any) -> None:
    """Measure the Jacobian of a PyTorch module of your own, and put the theory beside it.

    This imports TARGET and runs it: it is your own code, and can do all that you can.
    Needs PyTorch: pip install 'isocalc[torch]'.
    """
    if target is None:
        raise click.UsageError(
            "TARGET must be given: file.py:name or package.module:name of a PyTorch module.", ctx
        )
    _check(ctx, given)
    from isocalc.display.table import Table
    from isocalc.pytorch.module import require_torch

    require_torch()
    seed = given["seed"] if given["seed"] is not None else drawn_seed()
    with beside_the_results():
        found = _measured(target, seed, given)
    if given["seed"] is None:
        say(f"--seed {seed}")
    _tell(found)
    caption = _caption(found, given, seed)
    if given["spectrum"]:
        caveats = Caveats()
        rows = [list(row.values()) for row in spectrum_rows(found.log_s, caveats)]
        caveats.report(beside="log_singular_value")
        law = _law(found) if output.plot is not None else None
        output.write(Table(SPECTRUM_COLUMNS, rows, caption), partial(_figure, target, found, law))
        return
    judged, law, disagrees = _judged(found)
    cells = [[row[name] for name in VERDICT_COLUMNS] for row in judged]
    output.write(
        Table(VERDICT_COLUMNS, cells, caption), partial(_figure, target, found, law, told_ks(judged))
    )
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
    require_few_trials(given["trials"], math.prod(given["input_shape"]), spectrum=given["spectrum"])


def _measured(target: str, seed: int, given: dict[str, Any]) -> "Measurement":
    from isocalc.pytorch.measure import measure
    from isocalc.pytorch.module import Target

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
            calibrate=given["calibrate"],
            progress=progress,
        )


def _read(path: str, shape: tuple[int, ...]) -> "Array":
    """Return the inputs in a file, shape (n, *shape)."""
    import numpy as np

    from isocalc.user_code import quoted

    text = ",".join(map(str, shape))
    rule = f"a NumPy file of finite numbers, of shape {text} or n,{text}"
    try:
        found = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInputError("input", rule, path, quoted(error)) from None
    if found.shape == shape:
        found = found[None]
    if found.shape[1:] != shape or not found.size or not np.isfinite(found).all():
        raise InvalidInputError("input", rule, path, f"Its shape is {found.shape}.")
    if not found.any():
        raise InvalidInputError("input", "other than 0", path)
    return found


def _tell(found: "Measurement") -> None:
    """Say what was recognised, and what the numbers are of."""
    if found.dropout:
        say("measured in evaluation mode, without randomness of dropout")
    if found.norms != "none":
        say(f"measured in evaluation mode, in which batch normalisation takes {_NORMS[found.norms]}")
    if found.recognised is None:
        say(advised(f"no law of this module is known: {found.reason}", found.next_steps))
    else:
        say(f"recognised: {found.recognised.words}")
    trials = len(found.log_s)
    if found.by_layers:
        below = f"; in {found.faint} some are below the rounding of {found.dtype}" if found.faint else ""
        say(
            f"for the sake of the smallest, the singular values of {found.by_layers} of {trials} trials are "
            f"computed from the layers that were recognised, in double precision{below}"
        )
    if found.lost:
        what = f"the rounding of {found.dtype}"
        if found.method == "lanczos":
            what = f"the square root of {what}, which Lanczos' iteration resolves"
        more = "" if found.dtype == "float64" else "; --dtype float64 resolves more, unless they are 0"
        say(f"{found.lost} singular values are 0 or below {what}, and count as 0{more}")


def _judged(found: "Measurement") -> "tuple[list[Row], Law | None, bool]":
    """Return the rows of the statistics, the law if it is known, and whether it is found wrong."""
    law = _law(found)
    try:
        judgement = found.judged_by(law)
    except NoAnswerError as error:
        say(f"its law is not known: {error}")
        law, judgement = None, found.judged_by(None)
    reasons = "; ".join(reasons_of(judgement.statistics)) if law is not None else ""
    if reasons:
        say(f"not judged: {reasons}")
    if judgement.disagrees:
        say(f"the module disagrees with the law: {', '.join(judgement.disagrees)}")
    return [row_of(statistic) for statistic in judgement.statistics], law, bool(judgement.disagrees)


def _law(found: "Measurement") -> "Law | None":
    """Return the law of what was recognised and say which it is; ``None`` where it is not solved."""
    from isocalc.networks.descriptions import ResNet

    if found.recognised is None:
        return None
    network, laws = found.recognised.network, LawsUsed("auto", None)
    try:
        law = laws.law_of(network) if isinstance(network, ResNet) else network.law
    except NoAnswerError as error:
        say(f"its law is not known: {error}")
        return None
    name = laws.caption if laws.laws else CAPTIONS["layered"]
    say(f"{name}; theory and tolerance are those at this width, {found.inputs}")
    return law


def _figure(target: str, found: "Measurement", law: "Law | None", told: str = "") -> "Figure":
    """Return the histogram of the singular values, with the density of the law where it is solved."""
    from isocalc.judging.histogram import Simulated, simulation_figure

    count = len(found.log_s)
    plural = "s" * (count > 1)
    what = f"{count} network{plural}" if found.networks else f"{count} input{plural} of one network"
    title = f"{target}, {found.inputs} inputs, {found.outputs} outputs"
    seen = Simulated("", [found.log_s], law, told, what)
    if found.method == "lanczos":
        seen = seen._replace(what=f"{what}, the {found.log_s.shape[1]} largest", width=found.inputs)
    if found.lost:
        seen = seen._replace(zeros=f"0 or below the rounding of {found.dtype}")
    try:
        return simulation_figure([seen], (), title)
    except NoAnswerError as error:
        say(f"its law is not known: {error}")
        return simulation_figure([seen._replace(law=None)], (), title)


def _caption(found: "Measurement", given: dict[str, Any], seed: int) -> str:
    how = "dense Jacobian" if found.method == "dense" else "largest singular values by Lanczos"
    kind = "networks" if found.networks else "inputs of one network"
    return (
        f"{found.inputs} inputs, {found.outputs} outputs, trials: {given['trials']} {kind}, "
        f"{found.dtype} on {found.device}, {how}, seed {seed}"
    )
