"""What a shell user relies on: pipes, full disks, Ctrl-C, terminals. Real processes."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import PROGRAM, call, on_terminal, shell

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX"),
]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(unbuffered):
    command = "isocalc density --act tanh --points 50000 | head -n 1; echo ${PIPESTATUS[0]}"
    done = shell(command, PYTHONUNBUFFERED=unbuffered)
    assert done.stdout == "singular_value,density,cdf\n141\n"
    assert done.stderr == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_to_a_reader_that_leaves(unbuffered):
    done = shell("isocalc --help | true; exit ${PIPESTATUS[0]}", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode in (0, 141)  # whoever is first
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["density --c 1", "--help", "param --act tanh --format json"])
def test_a_full_disk(command):
    done = shell(f"isocalc {command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "Error: cannot write to standard output: No space left on device\n"


def test_a_full_disk_behind_a_file_name():
    done = shell("isocalc density --c 1 -o /dev/full")
    assert done.returncode == 1
    assert done.stderr == "Error: cannot write to /dev/full: No space left on device\n"


def test_closed_streams():
    done = shell("isocalc density --c 1 >&-")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot write to standard output")
    assert shell("isocalc param --act rleu 2>&-").returncode == 2
    assert shell("isocalc param --act rleu 2>/dev/full").returncode == 2
    done = shell("isocalc density --c 1 --at - <&-")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_standard_input_that_cannot_be_read():
    done = shell("isocalc density --c 1 --at - < /proc/self/mem")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: --at must be")
    assert done.stderr.count("\n") == 1


def test_module():
    done = subprocess.run(
        [sys.executable, "-m", "isocalc", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("isocalc ")


def test_output_in_ascii_only():
    done = shell("isocalc acts --format table", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_file_and_standard_output_have_the_same_bytes(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    done = shell(f"isocalc density --c 1 > {a}; isocalc density --c 1 -o {b}; cmp {a} {b}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.1, 0.15, 0.25, 0.5])
def test_ctrl_c_is_quiet(delay, start, tmp_path):
    process = start("density", "--c", "0.1:1:2000", "--points", "1000", "-o", tmp_path / "x.csv")
    # Before Python runs a line of ours nothing can be done about a signal.
    wait_for_python(process)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")
    assert list(tmp_path.iterdir()) == []


# Where Python loses a KeyboardInterrupt: the making of a class, and callbacks.
LOST = """
import os, signal, sys
from isocalc.cli import main

def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, *_):
        if name == "isocalc.cli.group" and where:
            sends = type("Sends", (), {where: interrupt})
            sends()
            type("Made", (), {"sends": sends()})
        elif name == "isocalc.cli.group":
            interrupt()

sys.meta_path.insert(0, Finder())
where = sys.argv.pop()
if where == "half of a module":
    sys.modules["isocalc.files"], where = type(sys)("isocalc.files"), ""
main()
"""


@pytest.mark.parametrize("where", ["__set_name__", "__del__", "half of a module", ""])
def test_ctrl_c_is_not_lost_during_an_import(where):
    done = subprocess.run([sys.executable, "-c", LOST, where], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_is_ignored_where_the_shell_says_so():
    ignoring = ["bash", "-c", "trap '' INT; exec \"$@\"", "bash", sys.executable, "-c", LOST, "--version", ""]
    done = subprocess.run(ignoring, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("isocalc ")


def test_ctrl_c_gives_the_terminal_back():
    leader, follower = pty.openpty()
    command = [PROGRAM, "mc", "--act", "tanh", "--width", "400", "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower) as process:
        os.close(follower)
        text = b""
        while b"\x1b[?25l" not in text:
            text += os.read(leader, 65536)
        process.send_signal(signal.SIGINT)
        while b"\x1b[?25h" not in text:
            text += os.read(leader, 65536)
    os.close(leader)
    assert process.returncode == 130
    assert b"Traceback" not in text


def wait_for_python(process):
    maps = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + 10
    while maps.exists() and time.monotonic() < deadline:
        if "_datetime" in maps.read_text() or "libcrypto" in maps.read_text():
            return


def shown(*arguments, columns):
    """Return what a command that succeeds writes to a terminal of a given width."""
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    text, code = on_terminal(*arguments, environment=environment)
    assert code == 0
    return text


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_gets_a_table(columns):
    text = shown("param", "--act", "relu", columns=columns)
    assert "8.00813" in text
    assert "bulk_condition_number" in text
    assert "," not in text.splitlines()[-1]
    assert "…" not in text


def examples():
    """Yield the pipelines shown by --help."""
    for name in ("param", "density", "acts"):
        text = call(name, "--help").stdout.split("Examples:")[1].split("\n\n")[0]
        yield from (line.strip() for line in text.splitlines() if line.strip())


@pytest.mark.parametrize("example", list(examples()))
def test_examples_of_the_help_pages_run(example, tmp_path):
    if any(shutil.which(part.split()[0]) is None for part in example.split("|") if "isocalc" not in part):
        pytest.skip("a program of the pipeline is not installed")
    if re.search(r"--plot \w", example):
        pytest.importorskip("matplotlib")
    done = shell(f"cd {tmp_path}; {example}")
    assert done.returncode == 0 or "isocalc: activation" in done.stderr
    assert "Error" not in done.stderr
    assert done.stdout or list(tmp_path.iterdir())
