"""Of which trials numbers are taken, where replicates are computed and kept, and the progress bar of it."""
# ruff: noqa: PLC0415 - Rich loads where there is a terminal, numerics when a command computes

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from isocalc.cli.command import Function, decorated, refuse
from isocalc.cli.messages import say
from isocalc.cli.options.types import OneOf, Whole
from isocalc.cli.progress import on_terminal
from isocalc.errors import InvalidInputError
from isocalc.files import tidied
from isocalc.limits import MOST_ROWS, MOST_SEED, MOST_TRIALS, MOST_WORKERS

if TYPE_CHECKING:
    from isocalc.simulation.replicates import Outcome, Replicate


# Seconds over which the remaining time is estimated: replicates may take minutes.
_PERIOD = 600.0
_WHOLE = 10**6  # parts of the bar, which Rich counts


@contextmanager
def progress_bar(replicates: int) -> Iterator[Callable[[float, int], None] | None]:
    """Show a bar on standard error where that is a terminal.

    Yields
    ------
    callable or None
        Called with the share of the work that is done and the number of replicates, first with what was
        done before.
    """
    if not on_terminal():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Replicates {task.fields[finished]}/" + str(replicates)),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=_PERIOD)
    with tidied(_clear_line), bar:
        task = bar.add_task("", total=_WHOLE, finished=0, rate="")
        began: list[tuple[float, float]] = []

        def show(share: float, finished: int) -> None:
            if not began:
                began.append((monotonic(), share))
                bar.reset(task, completed=round(_WHOLE * share), finished=finished, rate="")
            start, before = began[0]
            rate = _rate((share - before) * replicates, monotonic() - start)
            bar.update(task, completed=round(_WHOLE * share), finished=finished, rate=rate)

        yield show


def _clear_line() -> None:
    """Erase the bar and show the cursor again, without Rich, whose locks may be held."""
    os.write(sys.stderr.fileno(), b"\r\x1b[2K\x1b[?25h")


def _rate(replicates: float, seconds: float) -> str:
    """Return a rate in the unit in which it is at least 1, if there is one."""
    if not replicates or not seconds:
        return ""
    for unit, length in (("s", 1), ("min", 60)):
        if replicates * length >= seconds:
            return f"{replicates * length / seconds:.1f}/{unit}"
    return f"{replicates * 3600 / seconds:.1f}/h"


SEED_OPTION = click.option(
    "--seed", type=Whole(0, MOST_SEED), metavar="N", help="Drawn, and reported, if not given."
)
SPECTRUM_OPTION = click.option("--spectrum", is_flag=True, help="Print the singular values instead.")


def trials_option(what: str) -> Callable[[Function], Function]:
    """Return --trials, the number of what the help says."""
    return click.option(
        "--trials", type=Whole(1, MOST_TRIALS), metavar="N", default="8", show_default=True, help=what
    )


def dtype_option(what: str, *others: str) -> Callable[[Function], Function]:
    """Return --dtype of what the help says: float64, float32 or one of ``others``, the first by default."""
    kinds = (*others, "float64", "float32")
    return click.option("--dtype", type=OneOf(kinds), default=kinds[0], show_default=True, help=what)


def drawn_seed() -> int:
    """Return a seed of 32 bits that nobody has chosen."""
    return int.from_bytes(os.urandom(4))


def require_few_trials(trials: int, values_each: int, *, spectrum: bool) -> None:
    """Refuse too few trials to judge, and too many to print, each with so many singular values."""
    if spectrum and trials * values_each > MOST_ROWS:
        rule = f"so few that the table has at most {MOST_ROWS} rows"
        raise InvalidInputError("trials", rule, trials)
    if trials < 2 and not spectrum:
        advice = "With --spectrum it can be 1."
        raise InvalidInputError("trials", "at least 2, for a standard error", trials, advice)


class Runs:
    """How the replicates of a command are computed.

    Parameters
    ----------
    workers : int or None
        Number of processes on this machine.
    cluster : str or None
        Address of a Dask scheduler.
    checkpoint : str or None
        File that keeps what is finished.
    """

    def __init__(self, workers: int | None, cluster: str | None, checkpoint: str | None) -> None:
        self.workers, self.cluster, self.checkpoint = workers, cluster, checkpoint
        self.is_seed_given = True

    def check(self) -> None:
        """Raise InvalidInputError where an option breaks its rule; leave nothing behind."""
        if self.checkpoint is not None:
            from isocalc.simulation.checkpoint import check_place

            check_place(self.checkpoint)
        if self.cluster is not None:
            from isocalc.simulation.cluster import require_address

            require_address(self.cluster)

    def seed(self, given: int | None) -> int:
        """Return the seed: that given, else that of the checkpoint, else one that is drawn."""
        self.is_seed_given = given is not None
        kept = given if given is not None else self._kept_seed()
        return kept if kept is not None else drawn_seed()

    def require_memory(self, tasks: Sequence["Replicate"]) -> None:
        """Raise NoAnswerError where the replicates of a network do not fit in this machine."""
        if self.cluster is None:
            from isocalc.simulation.replicates import too_large

            for reason in too_large(tasks, self.workers or 1).values():
                raise reason

    def compute(self, tasks: Sequence["Replicate"]) -> "list[Outcome]":
        """Return the outcomes of tasks, under a progress bar; report a seed that nobody has given."""
        from isocalc.simulation.replicates import run

        with ExitStack() as stack:
            executor = checkpoint = None
            if self.cluster is not None:
                from isocalc.simulation.cluster import cluster

                executor = stack.enter_context(cluster(self.cluster, tasks))
            if self.checkpoint is not None:
                from isocalc.simulation.checkpoint import checkpoint_of

                checkpoint = stack.enter_context(checkpoint_of(tasks, self.checkpoint))
            if not self.is_seed_given:
                say(f"--seed {tasks[0].seed}")
            progress = stack.enter_context(progress_bar(len(tasks)))
            return run(
                tasks,
                executor=executor,
                workers=self.workers,
                checkpoint=checkpoint,
                progress=progress,
            )

    def _kept_seed(self) -> int | None:
        if self.checkpoint is None:
            return None
        from isocalc.simulation.checkpoint import run_of

        seed = (run_of(self.checkpoint) or {}).get("seed", "").partition(",")[0]
        return int(seed) if re.fullmatch(r"[0-9]{1,19}", seed) and int(seed) <= MOST_SEED else None


def run_options(function: Function) -> Function:
    """Add --workers, --cluster and --checkpoint; the function gets them as ``runs``, a Runs."""

    @functools.wraps(function)
    def with_runs(*, workers: int | None, cluster: str | None, checkpoint: str | None, **values: Any) -> Any:
        if cluster is not None:
            refuse(click.get_current_context(), ["workers"], "with --cluster, which has workers of its own")
        return function(runs=Runs(workers, cluster, checkpoint), **values)

    return decorated(
        with_runs,
        (
            click.option(
                "--workers",
                type=Whole(1, MOST_WORKERS),
                metavar="N",
                help="Processes, one BLAS thread each.  [default: one for each core, as memory allows]",
            ),
            click.option(
                "--cluster",
                metavar="ADDRESS",
                help="Compute on a Dask cluster with this scheduler, such as tcp://10.0.0.1:8786.",
            ),
            click.option(
                "--checkpoint",
                type=click.Path(),
                metavar="FILE",
                help="Keep finished replicates there; the same command goes on from them.",
            ),
        ),
    )
