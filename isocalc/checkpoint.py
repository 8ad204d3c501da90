"""A file that keeps every finished replicate, so that a run that was killed goes on where it was."""

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError, shortened
from isocalc.record_log import BEFORE_PAYLOAD, MAGIC, RUN, lock, record, refused, scan

Outcome = npt.NDArray[np.float64] | NoAnswerError

_VALUES, _ERROR = b"v", b"e"


class Checkpoint:
    """The log of a run, locked for as long as it is open.

    Parameters
    ----------
    path : str
        The file; made where it does not exist.
    run : mapping
        All that determines the outcomes, as JSON can hold it.

    Raises
    ------
    InvalidInputError
        The file cannot be used: no folder, no permission, no checkpoint, of another run, in use, damaged.
    OSError
        It cannot be written.
    """

    def __init__(self, path: str, run: Mapping[str, Any]) -> None:
        check_place(path)
        self.path = path
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        try:
            binary = getattr(os, "O_BINARY", 0)
            self._file = open(os.open(path, os.O_RDWR | os.O_CREAT | binary, 0o666), "r+b", buffering=0)  # noqa: PTH123, SIM115 - a descriptor, closed by close
        except OSError as error:
            raise refused(path, "a file that can be written", f"{error.strerror}.") from None
        try:
            lock(self._file.fileno(), path)
            self._open(run)
        except BaseException:
            self.close()
            raise

    def _open(self, run: Mapping[str, Any]) -> None:
        places, end = scan(self._file.fileno(), self.path)
        if RUN not in places:
            self._file.truncate(0)
            self._write(MAGIC + record(RUN, json.dumps(run).encode()), 0)
            _sync_folder(self.path)
            return
        there = json.loads(self._read(*places.pop(RUN)))
        _require_same(self.path, there, json.loads(json.dumps(run)))
        self._places, self._end = places, end
        self._file.truncate(end)

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Outcome:
        payload = self._read(*self._places[index])
        if payload[:1] == _ERROR:
            return NoAnswerError(payload[1:].decode())
        return np.frombuffer(payload, "<f8", offset=1).astype(np.float64)

    def append(self, index: int, outcome: Outcome) -> None:
        """Record an outcome; it is on the disk when this returns.

        Raises
        ------
        OSError
            It cannot be written. The file keeps what was there.
        """
        if isinstance(outcome, NoAnswerError):
            payload = _ERROR + str(outcome).encode()
        else:
            payload = _VALUES + np.asarray(outcome, "<f8").tobytes()
        start = self._end
        self._write(record(index, payload), start)
        self._places[index] = (start + BEFORE_PAYLOAD, len(payload))

    def close(self) -> None:
        """Close the file, which unlocks it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, data: bytes, start: int) -> None:
        try:
            self._file.seek(start)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(start)
            why = error.strerror or "an unknown error"
            kept = f"{why}; the replicates in it ({len(self)}) are kept"
            raise OSError(error.errno or errno.EIO, kept, self.path) from None
        self._end = start + len(data)

    def _read(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)


def check_place(path: str) -> None:
    """Raise InvalidInputError where there can be no checkpoint at ``path``; leave nothing behind."""
    if not path:
        raise refused(path, "a file name", "Name a file that is to be made.")
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        if not Path(path).parent.is_dir():
            raise refused(path, "a file in a folder that exists", "Make the folder first.") from None
        if not os.access(Path(path).parent, os.W_OK):
            raise refused(path, "a file that can be written", f"{os.strerror(errno.EACCES)}.") from None
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refused(path, "a file that can be written", f"{reason}.") from None
    if not stat.S_ISREG(mode):
        raise refused(path, "a file, not a folder or a device", "Name a file that is to be made.")


def run_of(path: str) -> dict[str, Any] | None:
    """Return what run a checkpoint belongs to, ``None`` where it says nothing yet or does not exist."""
    check_place(path)
    try:
        with Path(path).open("rb") as file:
            places, _ = scan(file.fileno(), path)
            if RUN not in places:
                return None
            start, length = places[RUN]
            file.seek(start)
            run: dict[str, Any] = json.loads(file.read(length))
            return run
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(path, "a file that can be read", f"{error.strerror}.") from None


def require_run(path: str, run: Mapping[str, Any]) -> None:
    """Raise InvalidInputError where a checkpoint belongs to another run; leave it alone."""
    there = run_of(path)
    if there is not None:
        _require_same(path, there, json.loads(json.dumps(run)))


def _require_same(path: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name in dict.fromkeys((*there, *here)):
        if there.get(name) != here.get(name):
            difference = f"In it, {name} is {_shown(there.get(name))}; here, {_shown(here.get(name))}."
            raise refused(path, "a checkpoint of this run", f"{difference} Take another file.")


def _shown(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return "not given" if value is None else shortened(text)


def _sync_folder(path: str) -> None:
    """Make the name of a new file last, where the system can."""
    with suppress(OSError, AttributeError):
        folder = os.open(Path(path).resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
