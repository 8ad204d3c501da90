"""What a process that is interrupted leaves tidy before it ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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
