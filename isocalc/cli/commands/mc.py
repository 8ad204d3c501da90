"""``isocalc mc``: simulate networks and hold them against the law."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from collections import Counter
from functools import partial
from typing import Any

import click

from isocalc.cli.command import Guided, refuse
from isocalc.cli.options.law import law_options, require_law
from isocalc.cli.options.network import network_options
from isocalc.cli.options.output import Output, picture_options
from isocalc.cli.options.run import (
    SEED_OPTION,
    SPECTRUM_OPTION,
    Runs,
    dtype_option,
    require_few_trials,
    run_options,
    trials_option,
)
from isocalc.cli.options.types import Numbers, OneOf
from isocalc.cli.pictures import require_few_simulations, simulation_figure
from isocalc.cli.rows.simulations import Report, kinds, tasks
from isocalc.cli.sweep import Sweep, run
from isocalc.errors import InvalidInputError
from isocalc.limits import LEAST_WIDTH, MOST_WIDTH


@click.command(
    name="mc",
    cls=Guided,
    epilog="""\b
Columns: statistic, theory, simulation, standard_error (over the trials), tolerance (the
largest difference that agrees at this width), verdict (agrees, disagrees, not judged).
Statistics: share of s = 0, log of the mean of lambda, mean and variance of log lambda,
quantiles (q05: 5 %) and extremes of log s, and the KS and Wasserstein distances in log s
of all trials pooled; but for the mean of lambda and KS, of the s > 0; and the outliers.
theory is the law that isocalc density prints for the network (--law), and its outliers;
the share of s = 0, the mean of lambda and the extremes are those of width N.
With --spectrum: trial, singular_value, log_singular_value; s = 0 has the logarithm -inf.

\b
A statistic agrees within tolerance: t standard errors plus what this width may add,
and the law's error where it states one below 0.002. By any of
the statistics, a right law is rejected in at most 1 % of runs (0 of 8653 in
calibration). c off by 5 % was found in 164 of 192 groups of 8 trials at N = 500, in
58 of 1600 at N = 100. Few trials make t large: 2 or 3 find gross errors only.
With own gates single values can leave the law: outlier_1, ... from the top and
outlier_below_1, ... from the bottom, log s, are taken out of the other statistics (of the
mean of lambda only where theory does not know what they add), and held against theory.
They agree within t standard errors plus half of the deviation from network to network and
1/4 over the root of N. One that theory does not have is a disagreement if more than half
of the trials have it. In 21 networks no right outlier was rejected (0 of 840 groups of 8
trials at N = 50, 0 of 315 at N = 100); s too large by a factor of 1.35 was found in 318
of 560 and in 158 of 210 groups, and a theory without the outlier, where this is clear of
the edge, in all of 550.
Exit status 0 where nothing disagrees, 1 where something does or where not enough
could be judged: no distance, and fewer than half of the statistics.

\b
Several widths, such as --width 100,200,400, add for each network rows with width inf:
theory at N -> infinity, the simulation extrapolated by a + b N^(-p) and its standard
error, and rate, p as fitted to |simulation - theory| where two widths see a difference:
about 1 where the law is right (extremes 2/3; 1/2 at the low end where gates close, as
those of ReLU without skip connections do), 0 where it is wrong. The extrapolation takes
these p. The rows of width inf decide the exit status, where they can tell: what disagrees
at the largest width by less than they resolve is a disagreement still.

\b
With --test freeness: statistic, own_gates, independent_gates (means over the trials,
of which there are --trials of either kind), standard_error (of the difference),
tolerance, verdict: whether gates are free of the weights, as they are for N -> infinity except
in pre-activation blocks. Agreement is within t standard errors plus one place in N.
At a nominal 1 % by any of the statistics, free gates were rejected in 0 of 800 runs
of 16 networks (N = 60 and 200); those of blocks x + W phi(x), tanh, sigma_w = 2, in
10 of 10 at N = 200, in 19 of 40 at N = 60. Extremes, which the direction of the signal
can send outside the law, are not judged, nor is what s = 0 decides.

\b
Results do not depend on --workers, --cluster or the order of completion: a replicate
has one BLAS thread, and a seed of its own. With --checkpoint each is on the disk a
second after it is finished: killed at any moment and started again with the same command
(--seed may be left out), the run goes on, and its output is the same byte for byte.
Bits are those of one kind of processor and one version of NumPy and SciPy.
NUMBERS: a value, a list 0.5,1,2 or a range start:stop:count; several make a sweep.

\b
Examples:
  isocalc mc --act tanh --depth 100 --width 500
  isocalc mc --act tanh --depth 50 --width 200 --plot tanh.png
  isocalc mc --act relu,gelu --depth 10,50 --width 200 --seed 1 -o verdicts.csv
  isocalc mc --act tanh --block pre --sigma-w 2
  isocalc mc --act tanh --block pre --sigma-w 2 --law layered
  isocalc mc --act gelu --depth 10,100,1000 --width 200,400 --checkpoint gelu.ckpt
  isocalc mc --act relu --depth 20 --width 100,200,400
  isocalc mc --arch feedforward --act tanh --sigma-w 1.3 --weights orthogonal --depth 20
  isocalc mc --arch feedforward --act tanh --sigma-w 1.3 --spectrum -o spectrum.csv
  isocalc mc --arch feedforward --act relu --layer-widths 784,1000,10 --spectrum
  isocalc mc --act tanh --block pre --sigma-w 2 --test freeness
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
@trials_option("Independent networks; trial k is the same whatever their number.")
@SEED_OPTION
@click.option(
    "--gates",
    type=OneOf(["own", "independent"]),
    default="own",
    show_default=True,
    help="phi' at the network's own pre-activations, or at independent Gaussian ones of the same variance.",
)
@dtype_option("Of weights and products; float32 suffices where the smallest s is above 1e-4 of the largest.")
@click.option(
    "--test",
    type=OneOf(["law", "freeness"]),
    default="law",
    show_default=True,
    help="Hold the simulation against the law, or own gates against independent ones.",
)
@SPECTRUM_OPTION
@law_options
@run_options
@picture_options
@click.pass_context
def command(ctx: click.Context, /, networks: Sweep, runs: Runs, output: Output, **given: Any) -> None:
    """Simulate networks and hold their singular values against the law.

    Real forward passes of random networks, on an input of exactly the stated mean square; the product of the
    layers' Jacobians is factorised as it grows, so that no singular value is lost. Several widths show
    whether a disagreement is one of finite width or of the law.
    """
    _check(ctx, networks, given)
    runs.check()
    by_widths = ctx.params["layer_widths"] is not None
    sweep = networks if by_widths else networks.crossed(width=given["width"])
    if output.plot is not None:
        require_few_simulations(sweep)
    if sweep.single:
        runs.require_memory(list(tasks(sweep, given | {"seed": 0})))
    given["seed"] = runs.seed(given["seed"])
    report = Report(sweep, given, runs.compute(list(tasks(sweep, given))), keeps=output.plot is not None)
    table, failed = run(
        sweep, report.columns, report.rows, conclude=report.conclude, caption=_caption(sweep, given)
    )
    report.caveats.report(beside="log_singular_value")
    report.laws.report("exact")
    output.write(table, partial(simulation_figure, ctx, sweep, report, kinds(given)))
    ctx.exit(int(failed or bool(report.failures)))


def _check(ctx: click.Context, networks: Sweep, given: dict[str, Any]) -> None:
    """Refuse what cannot be simulated or judged, before anything is computed."""
    from isocalc.errors import require_whole

    compares = given["test"] == "freeness"
    if compares:
        refuse(ctx, ("gates", "spectrum"), "with --test freeness, which is about both kinds of gates")
    _check_law(ctx, given)
    least = LEAST_WIDTH + compares  # freeness is judged without the largest and the smallest singular value
    widths = given["width"]
    chain = ctx.params["layer_widths"]
    if chain is not None:
        refuse(ctx, ("width",), "with --layer-widths, which gives the width of every layer")
        widths = chain[:1]
        if compares and chain[0] < least:
            raise InvalidInputError("layer_widths", f"at least {least} inputs", chain[0])
    else:
        for width in widths:
            require_whole("width", width, least, MOST_WIDTH)
        for width, count in Counter(widths).items():
            if count > 1:
                raise InvalidInputError("width", "a list without repetitions", width)
    require_few_trials(given["trials"], sum(widths) * networks.size, spectrum=given["spectrum"])


def _check_law(ctx: click.Context, given: dict[str, Any]) -> None:
    """Refuse a law that would judge nothing, or that the networks do not have."""
    law = given["law"]
    if given["spectrum"] or given["test"] == "freeness":
        refuse(ctx, ("law", "paths"), "where no law judges, with --spectrum or --test freeness")
    require_law(ctx, law, given["paths"])
    if law == "exact" and given["gates"] == "independent":
        raise InvalidInputError(
            "law", "universal or layered with --gates independent", law, "Or leave it out."
        )


def _caption(sweep: Sweep, given: dict[str, Any]) -> str:
    widths = sweep.axes.get("width", ())
    size = f"N = {widths[0]}, " if len(widths) == 1 else ""
    gates = f"{' and '.join(kinds(given))} gates"
    single = ", float32" if given["dtype"] == "float32" else ""
    told = f"{size}trials: {given['trials']}, {gates}{single}, seed {given['seed']}"
    if given["spectrum"] or given["test"] == "freeness":
        return told
    return f"{told}; theory and tolerance at {'this width' if len(widths) < 2 else 'the width of the row'}"
