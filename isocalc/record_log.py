"""The format of checkpoints: an append-only log of records with checksums, in a file that is locked.

A line names the format, then come records: marker, index, length, checksum of these; payload, its checksum.
The first record, of index −1, is JSON and says what run the file belongs to. Each record is on the disk
before the next one is begun, so that a crash can tear the last one only: it is dropped. Damage before other
records is none of a crash's, and refused.
"""

import errno
import mmap
import os
import struct
import zlib

from isocalc.errors import InvalidInputError

MAGIC = b"isocalc checkpoint 1\n"
RUN = -1
_MARKER = b"\xa5rec"
_HEAD = struct.Struct("<4sqQ")
_SUM = struct.Struct("<I")
BEFORE_PAYLOAD = _HEAD.size + _SUM.size
_ANYWHERE = 1 << 62  # Windows locks bytes and keeps others from reading them: one that is never written


def refused(path: str, rule: str, advice: str) -> InvalidInputError:
    """Return the error of a checkpoint that cannot be used."""
    return InvalidInputError("checkpoint", rule, path, advice)


def record(index: int, payload: bytes) -> bytes:
    """Return the bytes of a record."""
    head = _HEAD.pack(_MARKER, index, len(payload))
    return b"".join((head, _SUM.pack(zlib.crc32(head)), payload, _SUM.pack(zlib.crc32(payload))))


def scan(descriptor: int, path: str) -> tuple[dict[int, tuple[int, int]], int]:
    """Return where each payload starts and how long it is, by index, and where the last record ends."""
    places: dict[int, tuple[int, int]] = {}
    size = os.fstat(descriptor).st_size
    if size == 0:
        return places, 0
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        end = len(MAGIC)
        if data[:end] != MAGIC[:size]:
            rule = "a checkpoint of this version of isocalc"
            raise refused(path, rule, "It is something else: take another file.")
        while (head := _head_at(data, end)) is not None:
            index, length = head
            start = end + BEFORE_PAYLOAD
            stop = start + length
            if stop + _SUM.size > size or data[stop : stop + _SUM.size] != _SUM.pack(
                zlib.crc32(data[start:stop])
            ):
                break
            places[index] = (start, length)
            end = stop + _SUM.size
        _require_torn(data, end, path)
    return places, min(end, size)


def _head_at(data: mmap.mmap, place: int) -> tuple[int, int] | None:
    head = data[place : place + _HEAD.size]
    stop = place + BEFORE_PAYLOAD
    if data[place + _HEAD.size : stop] != _SUM.pack(zlib.crc32(head)):
        return None
    marker, index, length = _HEAD.unpack(head)
    return (index, length) if marker == _MARKER else None


def _require_torn(data: mmap.mmap, end: int, path: str) -> None:
    """Refuse a file with good records after the first bad one, which a crash does not leave."""
    place = end
    while (place := data.find(_MARKER, place + 1)) >= 0:
        if _head_at(data, place) is not None:
            advice = f"What begins at byte {end} is damaged, and more follows: restore it or take another."
            raise refused(path, "an undamaged checkpoint", advice)


def lock(descriptor: int, path: str) -> None:
    """Lock a file until it is closed, however the process ends."""
    try:
        try:
            import fcntl  # noqa: PLC0415 - POSIX
        except ImportError:
            import msvcrt  # noqa: PLC0415 - Windows

            os.lseek(descriptor, _ANYWHERE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # not on POSIX
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            advice = "Wait for it, or take another file."
            raise refused(path, "a file that no other run is writing", advice) from None
