"""Hypothesis draws the same examples in every run; ``--hypothesis-profile=default`` draws new ones."""

import contextlib
import signal
import subprocess

import pytest
from hypothesis import settings
from running import PROGRAM

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# What nohup, a script's & and some CI runners start is deaf to Ctrl-C, and so are its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark what uses `running`."""
    for item in items:
        if any(getattr(value, "__module__", "") == "running" for value in vars(item.module).values()):
            item.add_marker("process")


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
