"""How far a command is: on a terminal's standard error after a second, erased before anything else."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from isocalc.cli.options.law import LawsUsed
from isocalc.cli.progress import said, waiting
from isocalc.networks.descriptions import ResNet

SWEEP = ["density", "--act", "tanh", "--law", "layered", "--depth", "10:1000:991", "--summary"]
SLOW = """
import time
from isocalc.cli.messages import say
from isocalc.cli.progress import waiting
with waiting(10) as tell:
    tell(2)
    time.sleep(1.5)
    say("a message")
print("done")
"""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((1, 4, 30.0), "isocalc: 1 of 4 computed, about 2 min left"),
        ((3, 4, 30.0), "isocalc: 3 of 4 computed, about 10 s left"),
        ((0, 4, 30.0), "isocalc: 0 of 4 computed, 30 s"),
        ((0, 1, 30.0), "isocalc: computing, 30 s; Ctrl-C ends it"),
        ((1, 1000, 60.0), "isocalc: 1 of 1000 computed, about 16.6 h left"),
    ],
)
def test_what_is_said(arguments, line):
    assert said(*arguments) == line


@pytest.mark.parametrize(("paths", "lines"), [(None, 0), (2**17, 1)])
def test_a_law_that_takes_long_says_so_before(paths, lines, capfd, monkeypatch):
    monkeypatch.setattr("isocalc.cli.options.law.on_terminal", lambda: True)
    monkeypatch.setattr("isocalc.laws.spectrum.taken", lambda *_, **__: (None, None))
    LawsUsed("exact", paths).law_of(ResNet("tanh", depth=1000, block="pre"))
    told = capfd.readouterr().err.splitlines()
    assert len(told) == lines
    assert all(line.startswith("isocalc: the exact law of 1000 layers: about") for line in told)


def test_nothing_is_said_in_a_pipe(capfd):
    with waiting(3) as tell:
        tell(1)
    assert capfd.readouterr() == ("", "")


def read_until(leader, wanted):
    text = b""
    while wanted not in text:
        text += os.read(leader, 65536)
    return text


@pytest.mark.process
@pytest.mark.slow
def test_messages_come_without_the_line():
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", SLOW]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower) as process:
        os.close(follower)
        text = read_until(leader, b"a message")
        assert process.stdout.read() == b"done\n"
    os.close(leader)
    assert b"\r\x1b[2Kisocalc: 2 of 10 computed, about 4 s left\r\x1b[2Kisocalc: a message" in text


@pytest.mark.process
@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_that_says_how_far_it_is():
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "isocalc", *SWEEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower) as process:
        os.close(follower)
        read_until(leader, b" of 991 computed")
        process.send_signal(signal.SIGINT)
        read_until(leader, b"\r\x1b[2K")
        assert process.stdout.read() == b""
    os.close(leader)
    assert process.returncode == 130
