"""Files that are written as a whole or not at all, and what an interrupted process leaves tidy."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from isocalc.errors import InvalidInputError

_open: list[Callable[[], object]] = []


@contextmanager
def tidied(tidy: Callable[[], object]) -> Iterator[None]:
    """Have ``tidy`` called where the process is interrupted inside the context.

    It is called between any two instructions: it must not wait for a lock.
    """
    _open.append(tidy)
    try:
        yield
    finally:
        _open.remove(tidy)


def tidy_up() -> None:
    """Call what is to be called, the last first."""
    while _open:
        with suppress(Exception):
            _open.pop()()


def check_writable(path: str, parameter: str = "output") -> None:
    """Raise InvalidInputError for ``parameter`` where ``path`` could not be written; leave nothing behind."""
    if not path:
        raise InvalidInputError(parameter, "a file name", path)
    try:
        if _is_special(path):
            _require_access(Path(path))
            return
        target = Path(os.path.realpath(path))
        if target.is_dir() or path.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists():
            _require_access(target)
        probe = _beside(target)
        with tidied(partial(probe.unlink, missing_ok=True)):
            os.close(_create(probe))
            probe.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(parameter, "a file that can be written", path, f"{reason}.") from None


def replace_file(path: str, content: str | bytes) -> None:
    """Write to a new file and rename it to ``path``; write to a device or a pipe directly.

    Text becomes UTF-8. Symbolic links are followed. A file that exists keeps its mode, a new one gets that
    of the umask.

    Raises
    ------
    OSError
        Writing failed; ``filename`` is ``path`` and what was there is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if _is_special(path):
            Path(path).write_bytes(data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        error.filename = path
        raise


def is_same_file(one: str, other: str) -> bool:
    """Whether two paths lead to one file, which need not exist yet; devices and pipes can be shared."""
    return _place(one) == _place(other) and not _is_special(one)


def _place(path: str) -> tuple[object, ...]:
    """Return what all paths to a file have in common."""
    target = Path(os.path.realpath(path))
    for existing, rest in ((target, ""), (target.parent, os.path.normcase(target.name))):
        with suppress(OSError):
            found = existing.stat()
            return found.st_dev, found.st_ino, rest
    return (target,)


def _replace(target: Path, data: bytes) -> None:
    temporary = _beside(target)
    discard = partial(temporary.unlink, missing_ok=True)
    with tidied(discard):
        try:
            _write(_create(temporary), target, data)
            temporary.replace(target)
        except BaseException:
            discard()
            raise


def _write(descriptor: int, target: Path, data: bytes) -> None:
    """Write to a new file, which gets the mode of the old one."""
    with open(descriptor, "wb") as stream:
        if target.exists():
            os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def _is_special(path: str) -> bool:
    """Whether ``path`` is a device or a pipe."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _require_access(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _beside(target: Path) -> Path:
    import secrets  # noqa: PLC0415 - where a file is written

    return target.parent / f".isocalc-{secrets.token_hex(6)}.tmp"


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
