"""``isocalc mc``: simulate networks and hold them against the law."""
# ruff: noqa: PLC0415 - numerics load when a command computes

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.caveats import Doubles, warn_of_correlated_gates
from isocalc.cli.option_types import Numbers, OneOf, Whole
from isocalc.cli.options import network_options
from isocalc.cli.output_options import Output, output_options
from isocalc.cli.sweep import Row, Sweep, run, say
from isocalc.errors import InvalidInputError
from isocalc.limits import LEAST_WIDTH, MOST_ROWS, MOST_SEED, MOST_TRIALS, MOST_WIDTH

if TYPE_CHECKING:
    from isocalc.finite_depth import DepthLaw
    from isocalc.judge import Array, Statistic
    from isocalc.network import ResNet

COLUMNS = ("statistic", "theory", "simulation", "standard_error", "verdict")
SPECTRUM = ("trial", "singular_value", "log_singular_value")


@click.command(
    name="mc",
    epilog="""\b
Columns: statistic, theory, simulation, standard_error (over the trials), verdict
(agrees, disagrees, not judged). Statistics: log of the mean of lambda, mean and
variance of log lambda, quantiles (q05: 5 %) and extremes of log s, and the KS and
Wasserstein distances in log s of all trials pooled. theory is the universal law
(see isocalc density) corrected to first order in 1/L; the means of lambda and
log lambda are exact at depth L, the extremes are those of width N.
With --spectrum: trial, singular_value, log_singular_value.

\b
A statistic agrees within t standard errors plus what finite width and the second
order in 1/L may add. By any of the statistics, a right law is rejected in at most
1 % of runs (0 of 1008 in calibration). c off by 5 % was found in 81 of 96 groups of
8 trials at N = 500, in 86 of 768 at N = 100. Few trials make t large: 2 or 3 find
gross errors only. With own gates the direction of a network's signal can leave the
law, by one singular value at each end: they are set aside, and standard error says so.
Not judged is what is not known at this depth or width; where the correction for
depth is not accurate, the distances are from the universal law itself.
Exit status 0 where nothing disagrees, 1 where something does or where not enough
could be judged: no distance, and fewer than half of the statistics.
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

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
@click.option("--seed", type=Whole(0, MOST_SEED), metavar="N", help="Drawn, and reported, if not given.")
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
def command(ctx: click.Context, /, networks: Sweep, output: Output, **given: Any) -> None:
    """Simulate residual networks and hold their singular values against the law.

    Real forward passes of random networks, on an input of exactly the stated mean square; the Jacobian is
    accumulated layer by layer. This version simulates no feed-forward networks, tied or rectangular layers.
    """
    _check(ctx, networks, given["width"])
    if given["gates"] == "own":
        warn_of_correlated_gates(ctx.params["block"], networks.axes["activation"])
    sweep = networks.crossed(width=given["width"])
    if sweep.single:
        from isocalc.simulate import require_memory

        require_memory(given["width"][0], given["trials"])
    if given["seed"] is None:
        given["seed"] = int.from_bytes(os.urandom(4))
        say(f"--seed {given['seed']}")
    doubles = Doubles()
    failures: list[str] = []

    def rows(network: "ResNet", width: int, advance: Callable[[], None] | None) -> Iterator[Row]:
        from isocalc.simulate import spectra

        log_s = spectra(
            network, width, given["trials"], given["seed"], gates=given["gates"], progress=advance
        )
        if given["spectrum"]:
            return spectrum_rows(log_s, doubles)
        about = ", ".join(f"{name} {getattr(network, name, width)}" for name in sweep.swept)
        tell = (lambda message: say(f"{about}: {message}")) if about else say
        return verdict_rows(network, log_s, given["gates"], failures, tell)

    columns = SPECTRUM if given["spectrum"] else COLUMNS
    layers = sum(network.depth for network in networks) * len(given["width"]) * given["trials"]
    with progress_bar(layers) as advance:
        table, failed = run(sweep, columns, partial(rows, advance=advance), caption=_caption(given))
    doubles.report()
    output.write(table)
    ctx.exit(int(failed or bool(failures)))


def _check(ctx: click.Context, networks: Sweep, widths: Sequence[int]) -> None:
    """Refuse what cannot be simulated or judged, before anything is computed."""
    from isocalc.network import require_whole

    if ctx.params["arch"] == "feedforward":
        advice = "This version simulates no others."
        raise InvalidInputError("arch", "resnet in mc", "feedforward", advice)
    for width in widths:
        require_whole("width", width, LEAST_WIDTH, MOST_WIDTH)
    trials = ctx.params["trials"]
    if ctx.params["spectrum"]:
        rule = f"so few that the table has at most {MOST_ROWS} rows"
        if sum(widths) * networks.size * trials > MOST_ROWS:
            raise InvalidInputError("trials", rule, trials)
    elif trials < 2:
        advice = "With --spectrum it can be 1."
        raise InvalidInputError("trials", "at least 2, for a standard error", trials, advice)


def spectrum_rows(log_s: "Array", doubles: Doubles) -> Iterator[Row]:
    """Yield the singular values of each trial, trials counted from 1."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        s = np.exp(log_s)
    for trial, pairs in enumerate(zip(s.tolist(), log_s.tolist(), strict=True), start=1):
        for value, log in zip(*pairs, strict=True):
            yield {
                "trial": trial,
                "singular_value": doubles.positive("singular_value", value),
                "log_singular_value": log,
            }


def verdict_rows(
    network: "ResNet", log_s: "Array", gates: str, failures: list[str], tell: Callable[[str], None]
) -> Iterator[Row]:
    """Judge the singular values of a network; what keeps the law from being confirmed joins ``failures``."""
    from isocalc.finite_depth import depth_law
    from isocalc.judge import compare, enough_judged, set_aside

    law = depth_law(network)
    outliers: list[float] = []
    if gates == "own" and network.block == "post":
        log_s, outliers = set_aside(log_s, law)
    statistics = compare(log_s, law)
    if outliers:
        tell(_told_of_outliers(outliers, len(log_s)))
    reasons = "; ".join(_reasons(law, statistics))
    status = {}
    if not enough_judged(statistics):
        failures.append(f"not enough could be judged: {reasons}")
        status["status"] = failures[-1]
        tell(failures[-1])
    elif reasons:
        tell(f"not judged: {reasons}")
    wrong = [statistic.name for statistic in statistics if statistic.verdict == "disagrees"]
    if wrong:
        failures.append(f"the simulation disagrees with the law: {', '.join(wrong)}")
        tell(failures[-1])
    return (
        {
            "statistic": statistic.name,
            "theory": statistic.theory,
            "simulation": statistic.simulation,
            "standard_error": statistic.standard_error,
            "verdict": statistic.verdict,
            **status,
        }
        for statistic in statistics
    )


def _told_of_outliers(outliers: Sequence[float], trials: int) -> str:
    return (
        f"{len(outliers)} singular values in {trials} trials are set aside, log s from "
        f"{min(outliers):.6g} to {max(outliers):.6g}: with its own gates the direction of a network's "
        "signal can leave the law"
    )


def _reasons(law: "DepthLaw", statistics: "Sequence[Statistic]") -> Iterator[str]:
    """Yield why statistics were not judged: one reason for all where the law itself is not accurate."""
    if law.limited_by_gates:
        yield (
            f"phi'^2 varies too much between neurons (relative variance {law.gate_variance:.3g}) for a law "
            f"to first order in 1/L at depth {law.depth}; take a sigma_w or sigma_b at which more "
            "neurons respond, or a larger depth"
        )
    elif not law.is_accurate:
        yield (
            f"depth {law.depth} is too small at c = {law.c:.3g} for a law to first order in 1/L; take a "
            "larger depth or a smaller sigma_w"
        )
    else:
        found = [statistic for statistic in statistics if statistic.verdict == "not judged"]
        for obstacle in dict.fromkeys(statistic.obstacle for statistic in found):
            names = ", ".join(statistic.name for statistic in found if statistic.obstacle == obstacle)
            yield f"{names} ({obstacle})" if obstacle else names


def _caption(given: dict[str, Any]) -> str:
    widths = given["width"]
    size = f"N = {widths[0]}, " if len(widths) == 1 else ""
    return f"{size}trials: {given['trials']}, {given['gates']} gates, seed {given['seed']}"


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
