"""What a command must not load: start-up is most of what a user waits for."""

import subprocess
import sys

import pytest

from isocalc.cli.group import COMMANDS

pytestmark = pytest.mark.process

HEAVY = {"numpy", "scipy", "numba", "rich"}
FOR_OUTPUT_ONLY = {"json", "tempfile", "secrets", "fractions", "decimal", "difflib", "importlib.metadata"}

SCRIPT = """
import sys
from isocalc.cli import main
sys.argv[:] = ["isocalc", *sys.argv[1:]]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def loaded(*arguments):
    """Return the modules that a command has loaded when it ends, submodules by their packages too."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [(), ("--help",), ("--version",), *((name, "--help") for name in COMMANDS)]
)
def test_help_loads_no_numerics(arguments):
    modules = loaded(*arguments)
    assert not modules & (HEAVY | FOR_OUTPUT_ONLY | {"dataclasses", "csv"})
    assert "isocalc.networks.descriptions" not in modules


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_the_group_loads_no_command(arguments):
    assert not loaded(*arguments) & {f"isocalc.cli.{name}" for name in COMMANDS}


@pytest.mark.parametrize(
    "arguments",
    [
        ("density", "--act", "tanh", "--depth", "100"),
        ("density", "--c", "1", "--at", "1,2"),
        ("density", "--act", "relu,tanh", "--summary"),
        ("param", "--act", "relu"),
        ("param", "--act", "tanh", "--arch", "feedforward"),
        ("param", "--act", "tanh", "--arch", "feedforward", "--sigma-w", "0.9,1,1.3", "--sigma-b", "0,0.2"),
        ("init", "--act", "relu", "--target-c", "0.5"),
        ("init", "--act", "tanh", "--critical", "--sigma-b", "0.1"),
        ("init", "--gain", "--act", "relu,tanh"),
    ],
)
def test_small_work_loads_numpy_alone(arguments):
    modules = loaded(*arguments)
    assert "numpy" in modules
    assert not modules & (FOR_OUTPUT_ONLY | HEAVY - {"numpy"} | {"numpy.ma", "numpy.polynomial"})
    assert not modules & {"isocalc.display.figure", "isocalc.display.terminal", "isocalc.display.characters"}


def test_sqlite_loads_for_a_checkpoint_alone(tmp_path):
    arguments = ("mc", "--act", "tanh", "--depth", "2", "--width", "5", "--spectrum", "--seed", "1")
    assert "sqlite3" not in loaded(*arguments)
    assert "sqlite3" in loaded(*arguments, "--checkpoint", str(tmp_path / "run.ckpt"))


@pytest.mark.parametrize("arguments", [("guide",), ("guide", "theory")])
def test_a_reader_of_the_guide_waits_for_nothing(arguments):
    assert not loaded(*arguments) & (HEAVY | FOR_OUTPUT_ONLY | {"csv"})


def test_a_package_nobody_uses_costs_nothing():
    command = [sys.executable, "-c", "import sys, isocalc; print(*sys.modules)"]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not set(modules) & (HEAVY | {"click", "dataclasses"})
