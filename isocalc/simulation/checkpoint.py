"""A file that keeps finished replicates, so that a run that was killed goes on where it was.

It is an SQLite database with a rollback journal, which network file systems can hold, unlike a write-ahead
log. It is locked while it is open. SQLite keeps it whole when a process or a machine dies; each outcome has
a checksum beside it, and nothing that is read is used before `_outcome` has found it sound.
"""

import errno
import math
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from isocalc.errors import InvalidInputError, NoAnswerError, shortened
from isocalc.files import tidied
from isocalc.simulation.budgets import BRIEFLY, SAVE_EVERY
from isocalc.simulation.tasks import Outcome, Replicate, describe

_APPLICATION, _FORMAT = b"isoc", 2
_EARLIER = b"isocalc checkpoint"
_SCHEMA = (
    "CREATE TABLE run (name TEXT, value TEXT)",
    "CREATE TABLE outcomes (task INTEGER PRIMARY KEY, log_s BLOB, reason TEXT, checksum INTEGER)",
)
_JOURNAL = bytes.fromhex("d9d505f920a163d7")
# What a checkpoint must be, and what to do where it is not.
_THIS_VERSION = "a checkpoint of this version of isocalc"
_OF_ANOTHER_VERSION = (_THIS_VERSION, "Another version wrote it: go on with that one, or take another file.")
_SOMETHING_ELSE = (_THIS_VERSION, "It is something else, or damaged: take another file.")
_DAMAGED = ("an undamaged checkpoint", "Restore it from a copy, or take another file.")
_IN_USE = ("a file that no other run is using", "Wait for it, or take another file.")
_NO_NAME = ("a file name", "Name a file that is to be made.")
_NO_FILE = ("a file, not a folder or a device", "Name a file that is to be made.")
_NO_FOLDER = ("a file in a folder that exists", "Make the folder first.")
_JOURNAL_TAKEN = ("a file whose name with -journal or -wal is no other file's", "Take another name.")
_PROTECTED = ("a file that can be written, in such a folder", "Take another, or change the permissions.")
_NO_LOCKS = ("a file on a file system with locks", "Take one in another folder.")
_OF_PERMISSIONS = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)
_SQLITE_SAYS = dict.fromkeys(_OF_PERMISSIONS, _PROTECTED) | {
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_IOERR_LOCK: _NO_LOCKS,
}

# POSIX takes the locks of a process away when it closes a file, even one that it only read.
_open: set[str] = set()


class Checkpoint:
    """The finished replicates of a run, in a file that is locked for as long as this is open.

    Parameters
    ----------
    path : str
        The file; made where it does not exist.
    run : mapping
        All that determines the outcomes: values and lists of values, which are told apart by their text.
    sizes : sequence of int
        How many singular values each task has.

    Attributes
    ----------
    kept : dict of int to Outcome
        What the file had when it was opened, by the place of the task.

    Raises
    ------
    InvalidInputError
        The file cannot be used: no folder, no permission, no checkpoint, of another run, in use, damaged.
    OSError
        It cannot be written.
    """

    def __init__(self, path: str, run: Mapping[str, Any], sizes: Sequence[int]) -> None:
        self.path = path
        self._pending: list[tuple[int, bytes | None, str | None, int]] = []
        self._due = time.monotonic() + SAVE_EVERY
        with _in_words(path):
            self._connection = _connected(path)
            self._file = os.path.realpath(path)
            _open.add(self._file)
            try:
                self.kept = self._opened(_texts(run), sizes)
            except BaseException:
                self.close()
                raise

    def _opened(self, run: dict[str, str], sizes: Sequence[int]) -> dict[int, Outcome]:
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._connection as connection:
            connection.execute("BEGIN EXCLUSIVE")
            there = _run(connection, self.path)
            if there is None:
                number = int.from_bytes(_APPLICATION, "big")
                settings = (f"PRAGMA application_id = {number}", f"PRAGMA user_version = {_FORMAT}")
                for statement in (*settings, *_SCHEMA):
                    connection.execute(statement)
                connection.executemany("INSERT INTO run VALUES (?, ?)", run.items())
                return {}
            _require_same(self.path, there, run)
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise _refused(self.path, _DAMAGED)
            # A statement that is not at its end would keep the file locked for as long as an error lives.
            with closing(connection.execute("SELECT task, log_s, reason, checksum FROM outcomes")) as rows:
                return dict(_outcome(self.path, row, sizes) for row in rows)

    def append(self, index: int, outcome: Outcome) -> None:
        """Keep an outcome; it is on the disk with the first call that finds `wait` at zero, or at the end.

        Raises
        ------
        OSError
            It cannot be written. The file keeps what was there.
        """
        if isinstance(outcome, NoAnswerError):
            data = str(outcome).encode(errors="replace")
            self._pending.append((index, None, data.decode(), zlib.crc32(data, index)))
        else:
            data = np.asarray(outcome, "<f8").tobytes()
            self._pending.append((index, data, None, zlib.crc32(data, index)))
        if self.wait == 0:
            self.flush()

    @property
    def wait(self) -> float | None:
        """Seconds until what is not on the disk is to be written; ``None`` where everything is."""
        return max(0.0, self._due - time.monotonic()) if self._pending else None

    def flush(self) -> None:
        """Have everything on the disk; OSError as in `append`."""
        rows, self._pending = self._pending, []
        if rows:
            with _in_words(self.path), self._connection:
                self._connection.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?)", rows)
        self._due = time.monotonic() + SAVE_EVERY

    def close(self) -> None:
        """Have everything on the disk and close the file, which unlocks it."""
        try:
            self.flush()
        finally:
            self._connection.close()
            _open.discard(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def checkpoint_of(tasks: Sequence[Replicate], path: str) -> Iterator[Checkpoint]:
    """Open the checkpoint of a run; errors as those of `Checkpoint`."""
    with Checkpoint(path, describe(tasks), [task.size for task in tasks]) as opened, tidied(opened.close):
        yield opened


def check_place(path: str) -> None:
    """Raise InvalidInputError where there can be no checkpoint at ``path``; leave nothing behind."""
    if not path:
        raise _refused(path, _NO_NAME)
    try:
        file = Path(os.path.realpath(path))
        mode = file.stat().st_mode
    except FileNotFoundError:
        if not file.parent.is_dir():
            raise _refused(path, _NO_FOLDER) from None
        needed = [file.parent]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(path, ("a file that can be written", f"{reason}.")) from None
    else:
        if not stat.S_ISREG(mode):
            raise _refused(path, _NO_FILE)
        needed = [file, file.parent]
    if not all(os.access(place, os.R_OK | os.W_OK) for place in needed):
        raise _refused(path, _PROTECTED)


def run_of(path: str) -> dict[str, str] | None:
    """Return what run a checkpoint belongs to, ``None`` where it says nothing yet or does not exist."""
    check_place(path)
    if not Path(path).exists():
        return None
    with _in_words(path), closing(_connected(path)) as connection:
        return _run(connection, path)


def _connected(path: str) -> sqlite3.Connection:
    """Open a database that is ours or is to be made: SQLite would write to others, and delete journals."""
    check_place(path)
    file = os.path.realpath(path)
    if file in _open:
        raise _refused(path, _IN_USE)
    try:
        head, journal = _start(file), _start(f"{file}-journal")
    except OSError as error:
        raise _refused(path, ("a file that can be read", f"{error.strerror}.")) from None
    # 18 and 19 say who may read and write: 1 is a rollback journal.
    is_ours = (head[:16], head[18:20], head[68:72]) == (b"SQLite format 3\0", b"\1\1", _APPLICATION)
    if head.startswith(_EARLIER) or (is_ours and head[60:64] != _FORMAT.to_bytes(4, "big")):
        raise _refused(path, _OF_ANOTHER_VERSION)
    if head and not is_ours:
        raise _refused(path, _SOMETHING_ELSE)
    if journal[:8] not in (b"", _JOURNAL, bytes(8)) or Path(f"{file}-wal").exists():
        raise _refused(path, _JOURNAL_TAKEN)
    return sqlite3.connect(file, timeout=BRIEFLY)


def _start(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(72)
    except FileNotFoundError:
        return b""


def _run(connection: sqlite3.Connection, path: str) -> dict[str, str] | None:
    """Return the run of a database, ``None`` where it is empty."""
    schema = connection.execute("SELECT sql FROM sqlite_master ORDER BY rowid").fetchall()
    if not schema:
        return None
    if schema != [(statement,) for statement in _SCHEMA]:
        raise _refused(path, _DAMAGED)
    rows = connection.execute("SELECT name, value FROM run").fetchall()
    if not rows or not all(isinstance(text, str) and text.isprintable() for row in rows for text in row):
        raise _refused(path, _DAMAGED)
    return dict(rows)


def _outcome(path: str, row: tuple[Any, ...], sizes: Sequence[int]) -> tuple[int, Outcome]:
    """Return a task and its outcome, as isocalc writes them and no others."""
    match row:
        case (int(task), bytes(data), None, checksum) if (
            0 <= task < len(sizes) and len(data) == 8 * sizes[task] and checksum == zlib.crc32(data, task)
        ):
            log_s = np.frombuffer(data, "<f8").astype(np.float64)
            if (log_s[:-1] <= log_s[1:]).all() and log_s[-1] < math.inf:
                return task, log_s
        case (int(task), None, str(reason), checksum) if 0 <= task < len(sizes) and checksum == zlib.crc32(
            reason.encode(), task
        ):
            return task, NoAnswerError(reason)
    raise _refused(path, _DAMAGED)


def _texts(run: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in run.items()
    }


def _require_same(path: str, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    for name in dict.fromkeys((*there, *here)):
        if there.get(name) != here.get(name):
            both = (shortened(run.get(name, "not given")) for run in (there, here))
            difference = "In it, {} is {}; here, {}. Take another file.".format(name, *both)
            raise _refused(path, ("a checkpoint of this run", difference))


@contextmanager
def _in_words(path: str) -> Iterator[None]:
    """Tell what SQLite says as isocalc's errors."""
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        kind = code & 0xFF
        if code not in _SQLITE_SAYS and kind in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            number = errno.ENOSPC if kind == sqlite3.SQLITE_FULL else errno.EIO
            kept = f"{os.strerror(number)}; the replicates in it are kept"
            raise OSError(number, kept, path) from None
        raise _refused(path, _SQLITE_SAYS.get(code) or _SQLITE_SAYS.get(kind, _DAMAGED)) from None


def _refused(path: str, rule_and_advice: tuple[str, str]) -> InvalidInputError:
    rule, advice = rule_and_advice
    return InvalidInputError("checkpoint", rule, path, advice)
