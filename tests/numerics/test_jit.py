"""Kernels are kept on disk where that is possible, and work where it is not."""

import os
import subprocess
import sys

import pytest

from isocalc.numerics import jit

pytestmark = pytest.mark.process

MODULE = """
from isocalc.numerics.jit import kernel

@kernel
def double(x):
    return 2 * x
"""
# A limit of no bytes is a full disk: files can be made, not written.
FULL = "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY)); "
# Renames of two processes happen in the order of a list that both are given.
IN_TURN = """
import os, time
rename, me, order = os.replace, {me!r}, {order!r}
def in_turn(*paths):
    open("ready-" + me, "w").close()
    while not (os.path.exists("ready-a") and os.path.exists("ready-b") and done() == order[0]):
        time.sleep(0.001)
    order.pop(0)
    rename(*paths)
    open(f"done-{{me}}{{len(order)}}", "w").close()
def done():
    return sum(name.startswith("done-") for name in os.listdir())
os.replace = in_turn
"""


def started(folder, before="", argument="21", module=MODULE, **environment):
    """Start a process that prints a kernel's value, and how many of its calls the cache met."""
    (folder / "doubling.py").write_text(module)
    code = f"from doubling import double; print(double({argument}), sum(double.stats.cache_hits.values()))"
    return subprocess.Popen(
        [sys.executable, "-c", before + code],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process):
    """Return the words that a process prints."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out.split()


def compiled(*arguments, **options):
    """Return the words that a process prints which `started` starts."""
    return printed(started(*arguments, **options))


def test_the_second_process_finds_what_the_first_compiled(tmp_path):
    assert compiled(tmp_path) == ["42", "0"]
    assert compiled(tmp_path) == ["42", "1"]


def test_no_folder_can_be_written(tmp_path):
    # Numba's own switch: of its ways to a folder, one that this module does not have.
    for _ in range(2):
        assert compiled(tmp_path, NUMBA_CACHE_LOCATOR_CLASSES="ZipCacheLocator") == ["42", "0"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of resources")
def test_the_disk_is_full(tmp_path):
    for _ in range(2):
        assert compiled(tmp_path, FULL.format(0), NUMBA_CACHE_DIR=str(tmp_path / "cache")) == ["42", "0"]


@pytest.mark.parametrize("damage", ["empty", "other", "cut", "a bit"])
def test_what_is_damaged_is_compiled_again(tmp_path, damage):
    compiled(tmp_path)
    (path,) = tmp_path.glob("__pycache__/*.nbc")
    content = bytearray(path.read_bytes())
    place = content.index(b".text")  # in the machine code, which unpickles whatever it is
    content[place] ^= 1
    damaged = {"empty": b"", "other": b"what is this", "cut": content[:-100], "a bit": content}
    path.write_bytes(damaged[damage])
    assert compiled(tmp_path) == ["42", "0"]
    assert compiled(tmp_path) == ["42", "1"]


def test_processes_that_compile_at_the_same_time(tmp_path):
    # Numba's cache gave both signatures one file, with the code of the process that was last to write it.
    turns = {"21": ("a", [0, 3]), "21.5": ("b", [1, 2])}
    together = [
        started(tmp_path, IN_TURN.format(me=me, order=order), argument)
        for argument, (me, order) in turns.items()
    ]
    assert [printed(process) for process in together] == [["42", "0"], ["43.0", "0"]]
    assert compiled(tmp_path, "", "21") == ["42", "1"]
    assert compiled(tmp_path, "", "21.5") == ["43.0", "1"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of resources")
def test_code_of_an_earlier_version_is_not_run(tmp_path):
    tripling = MODULE.replace("2", "3")
    assert compiled(tmp_path) == ["42", "0"]
    # Room for an index of Numba's, not for the code.
    assert compiled(tmp_path, FULL.format(4000), module=tripling) == ["63", "0"]
    assert compiled(tmp_path, module=tripling) == ["63", "0"]
    assert compiled(tmp_path, module=tripling) == ["63", "1"]
    assert len(list(tmp_path.glob("__pycache__/*.nbc"))) == 1


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert not jit.may_look_for_a_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert jit.may_look_for_a_folder()
