"""Kernels are kept on disk where that is possible, and work where it is not."""

import os
import subprocess
import sys

import pytest

from isocalc import _jit

MODULE = """
from isocalc._jit import kernel

@kernel
def double(x):
    return 2 * x
"""
# A limit of no bytes is a full disk: files can be made, not written.
FULL = "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)); "


def compiled(folder, before="", **environment):
    """Return what a process of its own prints: a kernel's value, and how many of its calls the cache met."""
    (folder / "doubling.py").write_text(MODULE)
    code = before + "from doubling import double; print(double(21), sum(double.stats.cache_hits.values()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


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
        assert compiled(tmp_path, FULL, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == ["42", "0"]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"what is this"])
def test_a_damaged_cache_is_begun_anew(tmp_path, suffix, content):
    compiled(tmp_path)
    for path in tmp_path.glob(f"__pycache__/*.{suffix}"):
        path.write_bytes(content)
    assert compiled(tmp_path) == ["42", "0"]
    assert compiled(tmp_path) == ["42", "1"]


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert not _jit.may_look_for_a_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert _jit.may_look_for_a_folder()
