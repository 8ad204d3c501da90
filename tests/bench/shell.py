"""What commands and laws cost, in CPU seconds of whole processes, with the limit of each beside it.

    python tests/bench/shell.py                      # all of it, minutes
    python tests/bench/shell.py 'density*' --warm    # some rows, not with Numba's cache empty
    python tests/bench/shell.py phase ppf --runs 3

A pattern selects the rows that have it in their name, or match it where it has a * or ?. A ratio is the
median over runs of a command's CPU seconds, of its children too, over those of the baseline that runs just
before: `import numpy, click`, but where the row says otherwise. "cold": Numba's cache is an empty folder.
Figures of one process are medians of CPU seconds in a process of their own, after a first call; those marked
"anew" make a law that nothing is known of. Rows beyond their limit end in <<<.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fnmatch import fnmatch
from typing import NamedTuple

import numpy as np

import isocalc

IMPORTS, CLICK = "import numpy, click", "import click"
ENOUGH = 60.0  # seconds of CPU after which a row is not run again
NONE = math.inf  # the limit of what has none of its own, and is there to be seen
LONGEST = 180  # seconds after which a function is given up


class Command(NamedTuple):
    """A command line, and its limits: ratios to what a Python statement costs."""

    line: str
    limit: float
    cold: float | None = None  # with an empty cache; None: the same
    over: str = IMPORTS


class Cost(NamedTuple):
    """What a function measures, in a process of its own, and its limit."""

    name: str
    limit: float
    unit: str
    measure: Callable[[], float]


class Used(NamedTuple):
    """What a process took."""

    seconds: float
    megabytes: float


COMMANDS = (
    Command("--help", 1.4, over=CLICK),
    Command("density --act tanh --depth 100", 1.3),
    Command("param --act relu", 1.6),
    Command("param --act relu --width 512", 2.0),
    Command("density --act relu --depth 10", 2.5),
    Command("density --act tanh --depth 10", 3.0),
    Command("density --act silu --depth 30", 3.5),
    Command(
        "density --arch feedforward --act tanh --sigma-w 1.1 --sigma-b 0.1 --weights orthogonal --depth 50",
        2.5,
    ),
    Command("density --arch feedforward --act gelu --input-variance 1 --depth 20", 3.0),
    Command("density --act tanh --block pre --sigma-w 2 --depth 40", 10.0, 35.0),
    Command("density --act tanh --block pre --sigma-w 2 --depth 100", 20.0, 35.0),
    Command("density --act tanh --block pre --sigma-w 2 --depth 1000", 20.0, 35.0),
    Command("mc --act tanh --depth 20 --width 100", 9.0, 15.0),
    Command("init --act relu,tanh,gelu --target-c 0.1:2:10 --depth 100", 20.0),
    Command("init --act all --target-c 0.5", 20.0),
)


def universal_law() -> float:
    """Microseconds a point, of the dearest of three laws."""
    points = 100_000
    return max(elsewhere(isocalc.UniversalLaw(c), points) / points * 1e6 for c in (1e-4, 1.0, 100.0))


def elsewhere(law: object, points: int) -> float:
    """CPU seconds of a solved law's density, at points of their own every time."""
    x = law.grid(points)
    shrunk = iter(0.999**k * x[1:-1] for k in range(1, 100))
    return cpu(lambda: law.pdf(next(shrunk)), 7)


def law_anew(points: int, architecture: str, **network: object) -> float:
    """Milliseconds of a layered law's density from nothing."""
    build = getattr(isocalc, architecture)

    def law() -> object:
        return isocalc.spectrum(build(**network), "log", law="layered")

    x = law().grid(points)
    return cpu(lambda: law().pdf(x), 5) * 1e3


def relu(depth: int, *, anew: bool) -> Callable[[], float]:
    def milliseconds() -> float:
        network = {"activation": "relu", "depth": depth, "sigma_w": 2**0.5}
        if anew:
            return law_anew(1000, "FeedForward", **network)
        return elsewhere(isocalc.spectrum(isocalc.FeedForward(**network), "log"), 1000) * 1e3

    return milliseconds


def orthogonal(depth: int) -> Callable[[], float]:
    scales = {"sigma_w": 1.1, "sigma_b": 0.1}
    return lambda: law_anew(
        200, "FeedForward", activation="tanh", depth=depth, weights="orthogonal", **scales
    )


def depths(architecture: str, **network: object) -> Callable[[], float]:
    """How much a law of 10⁶ layers costs over one of ten."""

    def ratio() -> float:
        deep, shallow = (law_anew(200, architecture, depth=depth, **network) for depth in (10**6, 10))
        return deep / shallow

    return ratio


def phases(activation: str) -> Callable[[], float]:
    """Microseconds a network of a diagram."""

    def each() -> float:
        w, b = np.linspace(0.5, 3, 300)[:, None], np.linspace(0, 2, 250)
        return cpu(lambda: isocalc.phase_diagram(activation, w, b), 0) / (w.size * b.size) * 1e6

    return each


def quantiles(law: str, network: Callable[[], object]) -> Callable[[], float]:
    """Seconds of 10⁶ quantiles of a law that is solved."""

    def of_a_million() -> float:
        found = isocalc.spectrum(network(), law=law)
        return cpu(lambda: found.ppf(np.linspace(0, 1, 10**6)), 1)

    return of_a_million


def block(**more: object) -> Callable[[], object]:
    def network() -> object:
        return isocalc.ResNet("tanh", **more)

    return network


def program(line: str, runs: int = 3) -> Callable[[], float]:
    """Seconds of a whole command."""
    return lambda: statistics.median(spent(isocalc_command(line)).seconds for _ in range(runs))


def memory(line: str) -> Callable[[], float]:
    """Megabytes that a command takes at most."""
    return lambda: spent(isocalc_command(line)).megabytes


MILLION = "density --act tanh --depth 100 --points 1000000"
THOUSAND = "--sigma-w 1:2:1000 --sigma-b 0.1 --depth 10 --summary"
COSTS = (
    Cost("universal law, a point", 1.0, "us", universal_law),
    *(
        Cost(f"1000 points of ReLU, L = {depth}", 2.0, "ms", relu(depth, anew=False))
        for depth in (10, 100, 1000)
    ),
    *(
        Cost(f"1000 points of ReLU, L = {depth}, anew", NONE, "ms", relu(depth, anew=True))
        for depth in (10, 100, 1000)
    ),
    *(
        Cost(f"200 points of tanh, orthogonal, L = {depth}, anew", 50.0, "ms", orthogonal(depth))
        for depth in (10, 1000)
    ),
    Cost("L = 10^6 over 10, residual tanh", 2.5, "x", depths("ResNet", activation="tanh")),
    Cost(
        "L = 10^6 over 10, orthogonal tanh",
        2.5,
        "x",
        depths("FeedForward", activation="tanh", weights="orthogonal", sigma_w=1.1, sigma_b=0.1),
    ),
    Cost(
        "1000 laws of feed-forward tanh in one sweep",
        30.0,
        "s",
        program(f"density --arch feedforward --act tanh {THOUSAND}", 1),
    ),
    Cost(
        "1000 universal laws in one sweep, summaries",
        3.0,
        "s",
        program("density --act tanh --depth 100 --law universal --sigma-w 0.5:1.5:1000 --summary"),
    ),
    Cost(
        "1000 universal laws in one sweep, 200 points each",
        3.0,
        "s",
        program("density --act tanh --depth 100 --law universal --sigma-w 0.5:1.5:1000"),
    ),
    *(
        Cost(f"phase diagram of {activation}, a network", 10.0, "us", phases(activation))
        for activation in ("tanh", "erf", "relu", "gelu", "hardtanh", "tanh(10*x)")
    ),
    Cost(
        "phase diagram of tanh from the shell, 75,000 networks",
        NONE,
        "s",
        program("param --arch feedforward --act tanh --sigma-w 0.5:3:300 --sigma-b 0:2:250"),
    ),
    Cost("ppf of 10^6 values, universal", 1.0, "s", quantiles("universal", block())),
    Cost("ppf of 10^6 values, layered", 1.0, "s", quantiles("layered", block(depth=10))),
    Cost(
        "ppf of 10^6 values, exact", 1.0, "s", quantiles("exact", block(block="pre", sigma_w=2.0, depth=10))
    ),
    Cost("10^6 rows written", 3.0, "s", program(MILLION)),
    Cost("10^6 rows written, memory", NONE, "MB", memory(MILLION)),
)


def isocalc_command(line: str) -> list[str]:
    return [sys.executable, "-m", "isocalc", *line.split()]


def spent(command: list[str], **environment: str) -> Used:
    """What a process and its children took."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | environment
    ) as process:
        told = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(told.strip() or f"exit status {process.returncode}")
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def cpu(function: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of so many calls after a first one, or of that."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times[1:] or times)


def ratio(command: Command, runs: int, *, cold: bool) -> tuple[float, float]:
    """Return the median ratio, and the median seconds."""
    ours, ratios = [], []
    while len(ours) < runs and sum(ours) < ENOUGH:
        before = spent([sys.executable, "-c", command.over]).seconds
        if cold:
            with tempfile.TemporaryDirectory() as folder:
                used = spent(isocalc_command(command.line), NUMBA_CACHE_DIR=folder).seconds
        else:
            if not ours:
                spent(isocalc_command(command.line))
            used = spent(isocalc_command(command.line)).seconds
        ours.append(used)
        ratios.append(used / before)
    return statistics.median(ratios), statistics.median(ours)


def chosen(name: str, patterns: list[str]) -> bool:
    return not patterns or any(
        fnmatch(name, pattern) if set(pattern) & set("*?") else pattern in name for pattern in patterns
    )


def mark(value: float, limit: float) -> str:
    return " <<<" if value > limit else ""


def of_commands(patterns: list[str], runs: int, *, with_cold: bool) -> None:
    rows = [row for row in COMMANDS if chosen(row.line, patterns)]
    if rows:
        print(f"{'ratio':>7} {'limit':>6} {'s':>6} | {'cold':>7} {'limit':>6} {'s':>6}")
    for row in rows:
        cells = []
        for cold in [False, True][: 1 + with_cold]:
            limit = row.cold if cold and row.cold else row.limit
            try:
                found, seconds = ratio(row, min(runs, 3) if cold else runs, cold=cold)
            except RuntimeError as error:
                cells = [str(error).splitlines()[-1]]
                break
            cells.append(f"{found:7.2f} {limit:6.1f} {seconds:6.2f}{mark(found, limit)}")
        print(" | ".join(cells), "", row.line, flush=True)


def of_costs(patterns: list[str]) -> None:
    rows = [row for row in COSTS if chosen(row.name, patterns)]
    if rows:
        print(f"\n{'found':>9} {'limit':>6}  in one process")
    for row in rows:
        inside = [sys.executable, __file__, "--inside", row.name]
        try:
            done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            print(f"  more than {LONGEST} s: {row.name} <<<", flush=True)
            continue
        if done.returncode:
            print(done.stderr.strip().splitlines()[-1], row.name, flush=True)
            continue
        found = float(done.stdout)
        print(f"{found:9.3f} {row.limit:6.1f}  {row.unit:2}  {row.name}{mark(found, row.limit)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--warm", action="store_true", help="not with an empty cache")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(next(row.measure() for row in COSTS if row.name == given.inside))
        return
    of_commands(given.patterns, given.runs, with_cold=not given.warm)
    of_costs(given.patterns)


if __name__ == "__main__":
    main()
