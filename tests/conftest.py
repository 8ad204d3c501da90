"""Hypothesis draws the same examples in every run; ``--hypothesis-profile=default`` draws new ones.

Only tests marked ``process`` may start Python, isocalc or a shell.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from running import PROGRAM

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# pytest-xdist has a worker for each core: threads of PyTorch's that wait for each other cost ten times more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What nohup, a script's & and some CI runners start is deaf to Ctrl-C, and so are its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW_TO_START = {Path(sys.executable).name, Path(PROGRAM).name, "bash", "zsh", "fish"}
unmarked = []


def _refuse_processes(event, arguments):
    if event != "subprocess.Popen" or not unmarked:
        return
    program, words = arguments[:2]
    # How many workers isocalc starts by itself hangs on the machine.
    is_worker = "isocalc.simulation.worker" in str(words[-1])
    if Path(os.fsdecode(program)).name in SLOW_TO_START and not is_worker:
        raise AssertionError(f"{unmarked[0]} starts {words} and is not marked process")


sys.addaudithook(_refuse_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    unmarked[:] = [] if item.get_closest_marker("process") else [item.nodeid]
    try:
        return (yield)
    finally:
        unmarked.clear()


@pytest.fixture
def start():
    """Start commands that are gone after the test, however it ends."""
    with contextlib.ExitStack() as left:

        def started(*arguments, **options):
            process = left.enter_context(
                subprocess.Popen(
                    [PROGRAM, *map(str, arguments)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    **options,
                )
            )
            left.callback(process.kill)
            return process

        yield started
