"""The README cannot lie: its console and Python examples are run, and every command is shown.

``python tests/test_docs.py`` rewrites the outputs of its console examples from what the program prints.
"""

import doctest
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from isocalc.cli.group import isocalc

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)
# A Python block that begins so is a file beside which the console examples run.
FILE = re.compile(r"# (\w+\.py)\n")
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")
# Simulations round differently from one BLAS to another; the rest is the same to a few units of rounding.
TOLERANCE = 1e-6


def blocks(language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(README.read_text(encoding="utf-8")) if name == language]


def examples(block: str) -> list[tuple[str, str]]:
    """Split a console block into commands and what they print."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def write_files(folder: Path) -> None:
    for block in blocks("python"):
        if named := FILE.match(block):
            (folder / named[1]).write_text(block, encoding="utf-8")


def is_runnable(block: str) -> bool:
    """Whether what a console block needs is installed: PyTorch is an extra."""
    return "isocalc measure" not in block or find_spec("torch") is not None


def run(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "COLUMNS": "110"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


def assert_same(shown: str, printed: str) -> None:
    """Compare word for word, numbers as numbers."""
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", printed)
    expected = [float(number) for number in NUMBER.findall(shown)]
    assert [float(number) for number in NUMBER.findall(printed)] == pytest.approx(
        expected, rel=TOLERANCE, abs=1e-9
    )


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: examples(block)[0][0][:60])
def test_console_examples(block, tmp_path):
    if not is_runnable(block):
        pytest.skip("PyTorch is an extra")
    write_files(tmp_path)
    for command, shown in examples(block):
        assert_same(shown, run(command, tmp_path))


def test_python_examples():
    found = 0
    for block in blocks("python"):
        test = doctest.DocTestParser().get_doctest(block, {}, "README", str(README), 0)
        found += len(test.examples)
        assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
    assert found


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_completions_install_in_a_fresh_home(tmp_path):
    (commands,) = re.findall(
        r"^## Manual pages .*?```sh\n(.*?)```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=README.parent, env=os.environ | {"HOME": str(tmp_path)}, check=False
    )
    assert done.returncode == 0
    installed = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert installed == {"isocalc", "_isocalc", "isocalc.fish"}


def test_every_command_is_shown():
    shown = " ".join(command for block in blocks("console") for command, _ in examples(block))
    for name in isocalc.list_commands(None):
        assert f"isocalc {name}" in shown


def test_comparison_sees_a_wrong_digit_and_a_wrong_word():
    with pytest.raises(AssertionError):
        assert_same("c 0.5001", "c 0.5")
    with pytest.raises(AssertionError):
        assert_same("ordered 1", "chaotic 1")


def rewrite() -> None:
    def fresh(match: re.Match[str]) -> str:
        if match[1] != "console" or not is_runnable(match[2]):
            return match[0]
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder))
            parts = [f"$ {command}\n{run(command, Path(folder))}" for command, _ in examples(match[2])]
        return f"```console\n{''.join(parts)}```"

    README.write_text(BLOCK.sub(fresh, README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
