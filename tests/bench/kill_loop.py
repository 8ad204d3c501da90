"""Kill a run with SIGKILL at random moments until it ends; and what a second worker gains.

    python tests/bench/kill_loop.py [KILLS]

Every kill is followed by the same command with another number of workers. A kill is survived where the
checkpoint is accepted afterwards, no worker is left and the output in the end is that of a run that was
never killed, byte for byte. Then the time of a run by two workers is compared with one worker's.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from numpy.random import default_rng

PROGRAM = str(Path(sys.executable).with_name("isocalc"))
NETWORKS = ["mc", "--act", "tanh", "--seed", "5", "--spectrum"]
RUN = [*NETWORKS, "--sigma-w", "3", "--depth", "20,40", "--width", "100,250", "--trials", "8"]
SCALE = [*NETWORKS, "--depth", "40", "--width", "400", "--trials", "16"]


def run_to_the_end(arguments):
    began = time.perf_counter()
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, check=True)
    return done.stdout, time.perf_counter() - began


def kill_loop(kills, folder):
    expected, seconds = run_to_the_end(RUN)
    rng = default_rng(1)
    path = folder / "run.ckpt"
    survived = ends = orphans = 0
    pending = 0
    while survived + pending < kills or pending:
        workers = str(rng.integers(1, 4))
        process = subprocess.Popen(
            [PROGRAM, *RUN, "--workers", workers, "--checkpoint", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        limit = rng.uniform(0.0, 0.6 * seconds) if survived + pending < kills else None
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            children = children_of(process.pid)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            pending += 1
            time.sleep(0.2)
            orphans += sum(is_running(pid) for pid in children)
            continue
        if process.returncode == 0 and out == expected:
            survived += pending
        else:
            print(f"LOST after {pending} kills: exit {process.returncode}, {err.decode()}")
            kills -= pending
        ends += 1
        pending = 0
        path.unlink(missing_ok=True)
    print(f"{survived} kills survived, in {ends} runs; workers left 0.2 s after a kill: {orphans}")


def children_of(pid):
    processes = (status.parent.name for status in Path("/proc").glob("[0-9]*/stat"))
    return [int(child) for child in processes if state(child)[1] == str(pid)]


def is_running(pid):
    return state(pid)[0] not in "ZX"


def state(pid):
    """Return the state of a process, as a letter, and the id of its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return ["X", ""]


def interrupt(folder):
    path = folder / "interrupted.ckpt"
    endless = [*SCALE, "--trials", "500", "--checkpoint", str(path)]
    longest = 0.0
    for delay in (0.3, 0.6, 1.0, 2.0, 3.0):
        process = subprocess.Popen([PROGRAM, *endless], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay)
        began = time.perf_counter()
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate()
        longest = max(longest, time.perf_counter() - began)
        assert (process.returncode, out, err) == (130, b"", b"")
    print(f"Ctrl-C: at most {longest:.2f} s of 5")


def scaling():
    times = {}
    for workers in (1, 2, 1, 2, 1, 2):
        _, seconds = run_to_the_end([*SCALE, "--workers", str(workers)])
        times.setdefault(workers, []).append(seconds)
    best = {workers: min(seconds) for workers, seconds in times.items()}
    print(f"1 worker {best[1]:.2f} s, 2 workers {best[2]:.2f} s: {best[1] / best[2]:.2f} times as fast")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        kill_loop(int(sys.argv[1]) if len(sys.argv) > 1 else 50, Path(name))
        interrupt(Path(name))
    scaling()
