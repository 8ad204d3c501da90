"""``isocalc mc``: simulate networks and hold them against the law."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.caveats import Doubles, warn_of_correlated_gates
from isocalc.cli.option_types import Numbers, OneOf, Whole
from isocalc.cli.options import Output, network_options, output_options
from isocalc.cli.sweep import Row, Sweep, run, say
from isocalc.errors import InvalidInputError

if TYPE_CHECKING:
    from isocalc.finite_depth import DepthLaw
    from isocalc.judge import Array, Statistic
    from isocalc.network import ResNet

COLUMNS = ("statistic", "theory", "simulation", "standard_error", "verdict")
SPECTRUM = ("trial", "singular_value", "log_singular_value")
LEAST_WIDTH, MOST_WIDTH = 2, 1_000_000
MOST_TRIALS = 1_000_000
MOST_SEED = 2**63 - 1
MOST_ROWS = 5_000_000


@click.command(
    name="mc",
    epilog="""\b
Columns: statistic, theory, simulation, standard_error, verdict (agrees,
disagrees, not judged). theory is the universal law corrected to first order
in 1/L (density prints it uncorrected); the means of lambda and log lambda are
exact at depth L, the edges are those at width N. Statistics: log of the mean of
lambda, mean and variance of log lambda, quantiles (q05: 5 %) and extremes of
log s, and the KS and Wasserstein distances in log s of all trials pooled.
--spectrum: trial, singular_value, log_singular_value.

\b
A statistic agrees within t standard errors over the trials plus what width N
and the second order in 1/L may contribute. A right law is rejected, by any of
the statistics, in at most 1 % of runs (calibrated: 0 of 1008). Few trials make
t large: 2 or 3 find only gross errors.
Own gates let the signal's direction leave the law (one singular value at each
end): it is set aside, and standard error says so.
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

\b
Exit status: 0 where nothing disagrees, 1 where something does.

\b
Examples:
  isocalc mc --act tanh --depth 100 --width 500
  isocalc mc --act relu,gelu --depth 10,50 --width 200 --seed 1 -o verdicts.csv
  isocalc mc --act tanh --block pre --sigma-w 2 --gates independent
  isocalc mc --act linear --spectrum --format csv | cut -d, -f3 | sort -g | tail -n 1
""",
)
@network_options
@click.option(
    "--width",
    type=Numbers(whole=True),
    metavar="NUMBERS",
    default="500",
    show_default=True,
    help="Neurons N of every layer, at least 2.",
)
@click.option(
    "--trials",
    type=Whole(1, MOST_TRIALS),
    metavar="N",
    default="8",
    show_default=True,
    help="Independent networks; trial k is the same whatever their number.",
)
@click.option("--seed", type=Whole(0, MOST_SEED), metavar="N", help="Drawn and reported where it is not given.")
@click.option(
    "--gates",
    type=OneOf(["own", "independent"]),
    default="own",
    show_default=True,
    help="phi' at the network's own pre-activations, or at independent Gaussian ones of the same variance.",
)
@click.option("--spectrum", is_flag=True, help="Print the singular values instead.")
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    networks: Sweep,
    output: Output,
    *,
    width: Sequence[int],
    seed: int | None,
    **given: Any,
) -> None:
    """Simulate residual networks and hold their singular values against the law.

    Real forward passes of random networks, on an input of exactly the stated mean square; the Jacobian is
    accumulated layer by layer.
    """
    _check(ctx, networks, width)
    if given["gates"] == "own":
        warn_of_correlated_gates(ctx.params["block"], networks.axes["activation"])
    if seed is None:
        seed = int.from_bytes(os.urandom(4))
        say(f"--seed {seed}")
    sweep = networks.crossed(width=width)
    doubles = Doubles()
    disagree: list[str] = []

    with progress_bar(sum(net.depth for net in networks) * len(width) * given["trials"]) as advance:

        def rows(network: "ResNet", width: int) -> Iterator[Row]:
            from isocalc.simulate import spectra

            log_s = spectra(network, width, given["trials"], seed, gates=given["gates"], progress=advance)
            if given["spectrum"]:
                return spectrum_rows(log_s, doubles)
            return verdict_rows(network, log_s, given["gates"], disagree)

        columns = SPECTRUM if given["spectrum"] else COLUMNS
        table, failed = run(sweep, columns, rows, caption=_caption(width, seed, given))
    doubles.report()
    output.write(table)
    ctx.exit(int(failed or bool(disagree)))


def _check(ctx: click.Context, networks: Sweep, widths: Sequence[int]) -> None:
    """Refuse what cannot be simulated or judged, before anything is computed."""
    from isocalc.network import require_whole

    if ctx.params["arch"] == "feedforward":
        raise InvalidInputError(
            "arch", "resnet for mc", "feedforward", "Simulations of other networks are not part of this version."
        )
    for width in widths:
        require_whole("width", width, LEAST_WIDTH, MOST_WIDTH)
    trials = ctx.params["trials"]
    if ctx.params["spectrum"]:
        rule = f"so few that the table has at most {MOST_ROWS} rows"
        if sum(widths) * networks.size * trials > MOST_ROWS:
            raise InvalidInputError("trials", rule, trials)
    elif trials < 2:
        raise InvalidInputError("trials", "at least 2 for a standard error", trials, "--spectrum takes one trial.")


def spectrum_rows(log_s: "Array", doubles: Doubles) -> Iterator[Row]:
    """Return the singular values of each trial, trials counted from 1."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        s = np.exp(log_s)
    for trial, (values, logs) in enumerate(zip(s.tolist(), log_s.tolist(), strict=True), start=1):
        for value, log in zip(values, logs, strict=True):
            yield {
                "trial": trial,
                "singular_value": doubles.positive("singular_value", value),
                "log_singular_value": log,
            }


def verdict_rows(network: "ResNet", log_s: "Array", gates: str, disagree: list[str]) -> Iterator[Row]:
    """Judge the singular values of a network; what disagrees is added to ``disagree``, and said."""
    from isocalc.finite_depth import depth_law
    from isocalc.judge import compare

    law = depth_law(network)
    own_gates = gates == "own" and not network.act.is_linear
    statistics = compare(log_s, law, own_gates=own_gates)
    _explain(log_s if own_gates else log_s[:0], law, statistics)
    wrong = [statistic.name for statistic in statistics if statistic.verdict == "disagrees"]
    if wrong:
        say(f"the simulation disagrees with the law: {', '.join(wrong)}")
        disagree += wrong
    return (
        {
            "statistic": statistic.name,
            "theory": statistic.theory,
            "simulation": statistic.simulation,
            "standard_error": statistic.standard_error,
            "verdict": statistic.verdict,
        }
        for statistic in statistics
    )


def _explain(log_s: "Array", law: "DepthLaw", statistics: "Sequence[Statistic]") -> None:
    """Say what was set aside, and why something was not judged."""
    from isocalc.judge import set_aside

    _, outliers = set_aside(log_s, law)
    if outliers.size:
        say(
            f"{outliers.size} singular values in {len(log_s)} trials are set aside: with its own gates the "
            f"direction of the signal can leave the law (log s of {outliers.min():.3g} to {outliers.max():.3g})"
        )
    if not law.is_accurate:
        say(
            f"depth {law.depth} is too small to judge the shape at c = {law.c:.3g}: the law is known to first "
            "order in 1/L only"
        )
    names = [statistic.name for statistic in statistics if statistic.verdict == "not judged"]
    if names and law.is_accurate:
        say(f"not judged: {', '.join(names)}: few singular values, or few gates, decide them here")


def _caption(widths: Sequence[int], seed: int, given: dict[str, Any]) -> str:
    sizes = ", ".join(str(width) for width in widths) if len(widths) < 5 else f"{min(widths)} to {max(widths)}"
    trials = f"{given['trials']} trial" + ("s" if given["trials"] > 1 else "")
    return f"N = {sizes}, {trials}, {given['gates']} gates, seed {seed}"


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None] | None]:
    """Show a bar on standard error where that is a terminal; yield what advances it."""
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Layers", total=total)
        yield lambda: progress.advance(task)
