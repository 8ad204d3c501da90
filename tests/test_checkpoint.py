"""Checkpoints: what was written is read again; torn, damaged, foreign and locked files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from isocalc.checkpoint import Checkpoint, check_place, run_of
from isocalc.errors import InvalidInputError, NoAnswerError

RUN = {"isocalc": "0.1.0", "depth": [10], "seed": [3]}
SPECTRA = default_rng(1).standard_normal((3, 5))
SPECTRA[1, 0] = -np.inf


@pytest.fixture
def path(tmp_path):
    """Return a checkpoint with three replicates; the order in which they finished is not theirs."""
    path = str(tmp_path / "run.ckpt")
    with Checkpoint(path, RUN) as log:
        for index in (2, 0, 1):
            log.append(index, SPECTRA[index])
    return path


def kept(path, run=RUN):
    with Checkpoint(path, run) as log:
        return {index: log[index] for index in log}


def size(path):
    return Path(path).stat().st_size


def test_outcomes_are_read_as_they_were_written(path):
    assert list(kept(path)) == [2, 0, 1]
    for index, log_s in kept(path).items():
        np.testing.assert_array_equal(log_s, SPECTRA[index])
        assert log_s.flags.writeable


def test_an_error_is_an_outcome(path):
    with Checkpoint(path, RUN) as log:
        log.append(7, NoAnswerError("σ is lost"))
    error = kept(path)[7]
    assert isinstance(error, NoAnswerError)
    assert str(error) == "σ is lost"


def test_a_file_cut_anywhere_keeps_what_is_whole_and_goes_on(path):
    whole = Path(path).read_bytes()
    record = (len(whole) - whole.index(b"\xa5rec", 30)) // 3
    for length in range(len(whole)):
        Path(path).write_bytes(whole[:length])
        found = kept(path)
        assert list(found) == [2, 0, 1][: max(0, (length - (len(whole) - 3 * record)) // record)]
        with Checkpoint(path, RUN) as log:
            for index in (2, 0, 1)[len(found) :]:
                log.append(index, SPECTRA[index])
        assert Path(path).read_bytes() == whole


def test_bytes_of_a_record_that_never_arrived_are_dropped(path):
    # After a power failure a file may have its length but not what was written last.
    whole = Path(path).read_bytes()
    for rest in (bytes(100), b"\xff" * 7):
        Path(path).write_bytes(whole + rest)
        assert len(kept(path)) == 3
        assert Path(path).read_bytes() == whole


def test_a_changed_byte_is_never_taken_for_a_result(path):
    whole = Path(path).read_bytes()
    last = whole.rindex(b"\xa5rec")
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        Path(path).write_bytes(damaged)
        if place < last:
            with pytest.raises(InvalidInputError, match="checkpoint must be"):
                kept(path)
            assert Path(path).read_bytes() == damaged
        else:
            assert list(kept(path)) == [2, 0]


@pytest.mark.parametrize("content", [b"statistic,theory\n1,2\n", b"isocalc checkpoint 2\n", b"x"])
def test_other_files_are_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="a checkpoint of this version of isocalc, got"):
        kept(str(path))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"depth": [10, 20]}, "In it, depth is 10; here, 10,20"),
        ({"isocalc": "0.2.0"}, "In it, isocalc is 0.1.0; here, 0.2.0"),
        ({"skip": [1.0]}, "In it, skip is not given; here, 1.0"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(path, changed, difference):
    before = Path(path).read_bytes()
    with pytest.raises(InvalidInputError, match=difference):
        kept(path, RUN | changed)
    assert Path(path).read_bytes() == before


def test_a_checkpoint_says_what_run_it_belongs_to(path, tmp_path):
    assert run_of(path) == RUN
    assert run_of(str(tmp_path / "none")) is None
    (tmp_path / "empty").touch()
    assert run_of(str(tmp_path / "empty")) is None


def test_two_runs_do_not_share_a_file(path):
    script = (
        "import sys\nfrom isocalc.checkpoint import Checkpoint\n"
        "from isocalc.errors import InvalidInputError\n"
        f"try: Checkpoint(sys.argv[1], {RUN})\nexcept InvalidInputError as error: print(error)"
    )
    command = [sys.executable, "-c", script, path]
    with Checkpoint(path, RUN):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "that no other run is writing" in done.stdout
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""


def test_a_full_disk_leaves_the_checkpoint_good(path, monkeypatch):
    before = size(path)
    with Checkpoint(path, RUN) as log:

        def fail(_descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(
            OSError, match=r"No space left on device; the replicates in it \(3\) are kept"
        ) as caught:
            log.append(3, SPECTRA[0])
        assert caught.value.filename == path
        assert size(path) == before
        monkeypatch.undo()
        log.append(3, SPECTRA[0])
    assert list(kept(path)) == [2, 0, 1, 3]


def test_places_where_there_can_be_none(tmp_path):
    cases = {
        str(tmp_path / "none" / "x"): "in a folder that exists",
        str(tmp_path): "not a folder or a device",
        "/dev/full": "not a folder or a device",
        "": "a file name",
        "a\0b": "that can be written",
    }
    for path, words in cases.items():
        with pytest.raises(InvalidInputError, match=words):
            check_place(path)
    assert list(tmp_path.iterdir()) == []
