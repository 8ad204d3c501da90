"""The progress bar of a simulation."""
# ruff: noqa: PLC0415 - rich loads where there is a terminal

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from isocalc.files import tidied

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
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
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
