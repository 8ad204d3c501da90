"""What a terminal's standard error says while a command computes, from the first second on."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PATIENCE = 1.0  # seconds before anything is said, and from one line to the next
_CLEARED = b"\r\x1b[2K"

_shown = False


def on_terminal() -> bool:
    """Whether standard error is a terminal that lines can be erased on."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def clear_line() -> None:
    """Erase the line that says how far a command is, if there is one; without a lock, for it may be held."""
    global _shown  # noqa: PLW0603 - there is one standard error
    if _shown:
        _shown = False
        _write(_CLEARED)


@contextmanager
def waiting(total: int) -> Iterator[Callable[[int], None]]:
    """Say on a terminal how much of the work is done, and about how long the rest takes.

    Parameters
    ----------
    total : int
        How many things there are to do.

    Yields
    ------
    callable
        To be called with how many of them are done.
    """
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done = count

    if not on_terminal():
        yield tell
        return
    import threading  # noqa: PLC0415 - --help need not wait for it

    from isocalc.files import tidied  # noqa: PLC0415 - the same

    started, finished = time.monotonic(), threading.Event()

    def show() -> None:
        global _shown  # noqa: PLW0603 - as above
        while not finished.wait(_PATIENCE):
            _shown = True
            _write(_CLEARED + said(done, total, time.monotonic() - started).encode())

    teller = threading.Thread(target=show, daemon=True)
    with tidied(clear_line):
        teller.start()
        try:
            yield tell
        finally:
            finished.set()
            teller.join()
            clear_line()


def said(done: int, total: int, seconds: float) -> str:
    """Return the line: what is done, and how long the rest takes at the same pace."""
    if total == 1:
        return f"isocalc: computing, {_length(seconds)}; Ctrl-C ends it"
    left = f"about {_length(seconds * (total - done) / done)} left" if done else _length(seconds)
    return f"isocalc: {done} of {total} computed, {left}"


def about(seconds: float) -> str:
    """Return a length of time in words."""
    return f"about {_length(seconds)}"


def _length(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _write(line: bytes) -> None:
    with suppress(OSError, ValueError):  # where it cannot be written, nobody is there to read it
        os.write(sys.stderr.fileno(), line)
