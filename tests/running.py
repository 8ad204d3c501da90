"""The command line in tests: in this process, or as a user's shell starts it."""

import csv
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner, Result

from isocalc.cli.group import isocalc

PROGRAM = str(Path(sys.executable).with_name("isocalc"))


def call(*args, stdin=None) -> Result:
    """Run a command in this process; an exception is the test's failure."""
    result = CliRunner().invoke(isocalc, [str(arg) for arg in args], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def table(*args, stdin=None, code=0) -> list[dict[str, str]]:
    """Return the rows of the CSV that a command prints."""
    result = call(*args, stdin=stdin)
    assert result.exit_code == code, result.stderr
    return list(csv.DictReader(result.stdout.splitlines()))


def refusal(*args, stdin=None) -> str:
    """Return the one line with which a command refuses its arguments."""
    result = call(*args, stdin=stdin)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def with_options(arguments, *options) -> list[object]:
    """Return the words of a command with options, each a name and a value, in place of the same ones."""
    words = list(arguments)
    for name, value in zip(options[::2], options[1::2], strict=True):
        place = words.index(name) if name in words else len(words)
        words[place : place + 2] = name, value
    return words


def replicates_in(path) -> int:
    """Return how many replicates a checkpoint has that no run is using."""
    with closing(sqlite3.connect(path)) as checkpoint:
        return checkpoint.execute("SELECT count(*) FROM outcomes").fetchone()[0]


def shell(command, **environment) -> subprocess.CompletedProcess:
    """Run a line of bash with isocalc on the path."""
    path = f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        timeout=300,  # a busy machine is not a hang
        check=False,
    )


def on_terminal(*arguments, environment) -> tuple[str, int]:
    """Return what a command writes to a terminal, and its exit code."""
    import pty  # noqa: PLC0415 - of POSIX

    leader, follower = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, *map(str, arguments)], stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        text = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
    os.close(leader)
    return text.decode().replace("\r\n", "\n"), process.returncode
