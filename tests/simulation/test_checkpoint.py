"""Checkpoints: what was written is read again; torn, damaged, forged, foreign and locked files."""

import os
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
from numpy.random import default_rng

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.simulation import checkpoint
from isocalc.simulation.checkpoint import Checkpoint, check_place, run_of

RUN = {"isocalc": "0.1.0", "depth": [10, 20], "seed": [3]}
# Of different sizes, as those of a sweep over widths are; s = 0 has the logarithm −inf.
SIZES = (5, 700, 4, 5, 6)
SPECTRA = [np.sort(default_rng(1).standard_normal(size)) for size in SIZES]
SPECTRA[1][:2] = -np.inf
LOST = 3


def outcome(index):
    return NoAnswerError("σ is lost") if index == LOST else SPECTRA[index]


def write(path, indices=range(4)):
    with Checkpoint(path, RUN, SIZES) as log:
        for index in indices:
            log.append(index, outcome(index))


@pytest.fixture
def path(tmp_path):
    """Return a checkpoint with four of five replicates."""
    path = str(tmp_path / "run.ckpt")
    write(path, (2, 0, 3, 1))
    return path


def kept(path, run=RUN):
    """Return which replicates a checkpoint has, which must be as they were written."""
    with Checkpoint(path, run, SIZES) as log:
        for index, found in log.kept.items():
            if index == LOST:
                assert isinstance(found, NoAnswerError)
                assert str(found) == "σ is lost"
            else:
                np.testing.assert_array_equal(found, SPECTRA[index])
                assert found.flags.writeable
        return set(log.kept)


def beside(path):
    return sorted(file.name for file in Path(path).parent.iterdir())


def altered(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(*statement)


def refusal(path, run=RUN):
    """Return with what words a file is refused, which is left as it was, alone in its folder."""
    before = Path(path).read_bytes()
    with pytest.raises(InvalidInputError) as caught:
        kept(path, run)
    assert Path(path).read_bytes() == before
    assert beside(path) == [Path(path).name]
    return str(caught.value)


def test_outcomes_are_read_as_they_were_written(path):
    assert kept(path) == {0, 1, 2, 3}
    write(path, [4])
    assert kept(path) == {0, 1, 2, 3, 4}
    assert beside(path) == ["run.ckpt"]


def test_an_error_may_say_anything(path):
    with Checkpoint(path, RUN, SIZES) as log:
        log.append(4, NoAnswerError("x = \udcff, \0\x1b"))
    with Checkpoint(path, RUN, SIZES) as log:
        assert str(log.kept[4]) == "x = ?, \0\x1b"


def test_what_waits_for_the_disk_is_written_in_time(path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    Path(path).unlink()
    with Checkpoint(path, RUN, SIZES) as log:
        assert log.wait is None
        now = 100.4
        log.append(0, SPECTRA[0])
        assert log.wait == pytest.approx(0.6)
        now = 101.0
        assert log.wait == 0
        log.append(1, SPECTRA[1])
        assert log.wait is None
        log.append(2, SPECTRA[2])
        now = 101.7
        assert log.wait == pytest.approx(0.3)
        copy = str(Path(path).with_name("copy"))
        copyfile(path, copy)
    assert kept(copy) == {0, 1}
    assert kept(path) == {0, 1, 2}


def test_a_file_cut_anywhere_is_refused(path):
    whole = Path(path).read_bytes()
    places = {1, 15, 60, 100, 511, 512, *range(4096, len(whole), 4096), *range(1000, len(whole), 777)}
    for length in sorted(places):
        Path(path).write_bytes(whole[:length])
        assert "damaged" in refusal(path)
    Path(path).write_bytes(b"")
    assert kept(path) == set()


def test_a_changed_byte_is_never_taken_for_a_result(path):
    """Two hundred damaged files are refused, or have nothing wrong in them and can be gone on with."""
    whole = Path(path).read_bytes()
    rng = default_rng(2)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.choice(len(whole), rng.integers(1, 6)):
            match rng.integers(3):
                case 0:
                    damaged[place] ^= 1 << rng.integers(8)
                case 1:
                    damaged[place : place + 200] = bytes(len(damaged[place : place + 200]))
                case 2:
                    source = rng.integers(len(whole) - 100)
                    damaged[place : place + 100] = whole[source : source + 100]
        Path(path).write_bytes(damaged)
        try:
            write(path, set(range(len(SIZES))) - kept(path))
        except InvalidInputError:
            refused += 1
        else:
            assert kept(path) == set(range(len(SIZES)))
    assert 50 < refused < 200


def row(task=4, log_s=SPECTRA[4], reason=None, **other):
    data = log_s if isinstance(log_s, bytes) else b"" if log_s is None else np.asarray(log_s, "<f8").tobytes()
    text = reason.encode() if isinstance(reason, str) else b""
    checksum = zlib.crc32(data + text, task % 2**32)
    blob = None if log_s is None else other.get("as_given", data)
    return "INSERT INTO outcomes VALUES (?, ?, ?, ?)", (task, blob, reason, other.get("checksum", checksum))


def test_the_row_of_isocalc_is_taken(path):
    altered(path, row())
    assert kept(path) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "statement",
    [
        row(task=-1, log_s=SPECTRA[0]),
        row(task=5),
        row(task=2**62),
        row(log_s=SPECTRA[0]),
        row(log_s=[]),
        row(log_s=SPECTRA[4].tobytes()[:-1]),
        row(log_s=SPECTRA[4][::-1]),
        row(log_s=[*SPECTRA[4][:-1], np.nan]),
        row(log_s=[np.nan, *SPECTRA[4][1:]]),
        row(log_s=[*SPECTRA[4][:-1], np.inf]),
        row(as_given="text"),
        row(as_given=1.5),
        row(reason="both"),
        row(log_s=None),
        row(log_s=None, reason=7),
        row(log_s=None, reason=b"bytes"),
        row(log_s=None, reason="other words", checksum=zlib.crc32(b"some words", 4)),
        row(checksum=None),
        row(checksum=-1),
        row(checksum="text"),
        ("UPDATE outcomes SET task = 4 WHERE task = 0",),
        ("UPDATE outcomes SET log_s = (SELECT log_s FROM outcomes WHERE task = 0) WHERE task = 2",),
        ("INSERT INTO outcomes VALUES (4, NULL, CAST(x'ff' AS TEXT), 0)",),
        ("INSERT INTO run VALUES (NULL, 'a')",),
        ("INSERT INTO run VALUES ('a', 1)",),
        ("INSERT INTO run VALUES ('a', char(27))",),
        ("INSERT INTO run VALUES ('a', CAST(x'ff' AS TEXT))",),
        ("DELETE FROM run",),
        ("DROP TABLE run",),
        ("ALTER TABLE outcomes ADD COLUMN other",),
        ("CREATE TRIGGER t AFTER INSERT ON outcomes BEGIN DELETE FROM outcomes; END",),
        ("CREATE INDEX i ON outcomes (checksum)",),
        ("PRAGMA application_id = 1",),
        ("PRAGMA user_version = 1",),
        ("PRAGMA user_version = 3",),
        ("PRAGMA journal_mode = WAL",),
    ],
)
def test_a_forged_file_is_refused(path, statement):
    altered(path, statement)
    assert refusal(path).startswith("checkpoint must be ")


def test_what_is_refused_says_why(path):
    altered(path, ("PRAGMA user_version = 3",))
    assert "of this version of isocalc, got" in refusal(path)
    assert refusal(path).endswith("Another version wrote it: go on with that one, or take another file.")
    Path(path).write_bytes(b"isocalc checkpoint 1\n\xa5rec")
    assert refusal(path).endswith("Another version wrote it: go on with that one, or take another file.")
    Path(path).unlink()
    altered(path, ("CREATE TABLE of_another (program)",))
    assert refusal(path).endswith("It is something else, or damaged: take another file.")
    Path(path).write_text("statistic,theory\n1,2\n")
    assert refusal(path).endswith("It is something else, or damaged: take another file.")


@pytest.mark.parametrize("ending", ["-journal", "-wal"])
def test_a_file_in_the_place_of_the_journal_is_left_alone(tmp_path, ending):
    path = str(tmp_path / "run.ckpt")
    mine = Path(path + ending)
    mine.write_text("my journal")
    with pytest.raises(InvalidInputError, match=r"whose name with -journal or -wal is no other file's, got"):
        kept(path)
    assert mine.read_text() == "my journal"
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"depth": [10, 30]}, "In it, depth is 10,20; here, 10,30. Take another file."),
        ({"isocalc": "0.2.0"}, "In it, isocalc is 0.1.0; here, 0.2.0. Take another file."),
        ({"skip": [1.0]}, "In it, skip is not given; here, 1.0. Take another file."),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(path, changed, difference):
    assert refusal(path, RUN | changed).endswith(difference)


def test_a_checkpoint_says_what_run_it_belongs_to(path, tmp_path):
    assert run_of(path) == {"isocalc": "0.1.0", "depth": "10,20", "seed": "3"}
    assert run_of(str(tmp_path / "none")) is None
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").touch()
    assert run_of(str(tmp_path / "empty")) is None


def test_a_link_leads_to_the_checkpoint(path, tmp_path):
    (tmp_path / "folder").mkdir()
    link, new = tmp_path / "folder" / "link", tmp_path / "folder" / "new"
    link.symlink_to(path)
    new.symlink_to(tmp_path / "made.ckpt")
    write(str(link), [4])
    write(str(new))
    assert kept(path) == {0, 1, 2, 3, 4}
    assert kept(str(tmp_path / "made.ckpt")) == {0, 1, 2, 3}
    assert link.is_symlink()
    assert new.is_symlink()


OPEN = f"""
import os, sys
from isocalc.simulation.checkpoint import Checkpoint
from isocalc.errors import InvalidInputError
try:
    log = Checkpoint(sys.argv[1], {RUN}, {SIZES})
except InvalidInputError as error:
    sys.exit(str(error))
"""


def in_another_process(path, then=""):
    command = [sys.executable, "-c", OPEN + then, path]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.process
def test_two_runs_do_not_share_a_file(path):
    with Checkpoint(path, RUN, SIZES) as log:
        rule = "a file that no other run is using"
        message = f"checkpoint must be {rule}, got {path!r}. Wait for it, or take another file.\n"
        assert in_another_process(path).stderr == message
        log.append(4, SPECTRA[4])
        log.flush()
        for use in (run_of, kept, write):  # in this process, where that must not unlock it
            with pytest.raises(InvalidInputError, match=rule):
                use(path)
        assert in_another_process(path).stderr == message
    assert in_another_process(path).returncode == 0


@pytest.mark.process
@pytest.mark.parametrize(
    "statement", ["INSERT INTO outcomes VALUES (4, 'a', 'b', 1)", "DELETE FROM outcomes"]
)
def test_what_a_kill_left_half_written_is_undone(path, statement):
    """The pages of a transaction are in the file, and its journal beside it."""
    half = f"""
log._connection.execute("PRAGMA cache_size = 1")
log._connection.execute("BEGIN")
log._connection.execute({statement!r})
log._connection.execute("CREATE TABLE large AS SELECT randomblob(100000)")
os._exit(9)
"""
    before = Path(path).read_bytes()
    assert in_another_process(path, half).returncode == 9
    assert Path(path).read_bytes() != before
    assert Path(f"{path}-journal").exists()
    assert run_of(path) is not None
    assert kept(path) == {0, 1, 2, 3}
    assert Path(path).read_bytes() == before
    assert beside(path) == ["run.ckpt"]


def test_a_full_disk_leaves_the_checkpoint_good(path):
    with Checkpoint(path, RUN, SIZES) as log:
        database = log._connection  # noqa: SLF001 - a disk of so many pages
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        log.append(4, NoAnswerError("long " * 10_000))
        with pytest.raises(
            OSError, match=r"No space left on device; the replicates in it are kept"
        ) as caught:
            log.flush()
        assert caught.value.filename == path
        database.execute("PRAGMA max_page_count = 1000000")
        log.append(4, SPECTRA[4])
    assert kept(path) == {0, 1, 2, 3, 4}


def test_places_where_there_can_be_none(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        str(tmp_path / "none" / "x"): "in a folder that exists",
        str(tmp_path / "file" / "x"): "that can be written, got .*Not a directory",
        str(tmp_path / "loop"): "that can be written, got .*symbolic links",
        str(tmp_path): "not a folder or a device",
        os.devnull: "not a folder or a device",
        "/dev/full": "not a folder or a device",
        "": "a file name",
        "a\0b": "that can be written",
    }
    for path, words in cases.items():
        for use in (check_place, run_of, write):
            with pytest.raises(InvalidInputError, match=words):
                use(path)
    assert beside(tmp_path / "file") == ["file", "loop"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anything")
def test_what_may_not_be_written(path, tmp_path):
    for place, mode in ((Path(path), 0o400), (Path(path), 0o200), (tmp_path, 0o500)):
        before = place.stat().st_mode
        place.chmod(mode)
        with pytest.raises(InvalidInputError, match="that can be written, in such a folder"):
            check_place(path)
        place.chmod(before)
