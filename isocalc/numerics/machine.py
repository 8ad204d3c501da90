"""What this machine, or the container that it is, has: memory, and threads of its linear algebra.

BLAS splits a product by its number of threads and rounds accordingly; chaotic networks amplify that. So a
replicate is computed on one thread, and its bits do not depend on what else runs. NumPy and SciPy have a BLAS
each. Where a library has no function known here, `THREAD_VARIABLES` must be set before it loads, as they are
for worker processes.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from isocalc.errors import NextStep, NoAnswerError

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_OPENBLAS = (
    "scipy_openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads64_",
    "openblas_{}_num_threads",
)
_OTHERS = (
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
    ("bli_thread_get_num_threads", "bli_thread_set_num_threads"),
)
_FUNCTIONS = (*((name.format("get"), name.format("set")) for name in _OPENBLAS), *_OTHERS)

Threads = tuple[Callable[[], int], Callable[[int], Any]]

_lock = threading.Lock()
_users = 0
_before: list[int] = []

# Limits of the control group, versions 2 and 1, as a container sees them.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_memory() -> int | None:
    """Return the bytes of memory there are, ``None`` where the system does not tell."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return min([memory, *_group_limits()])


def require_fits(
    needed: int, memory: int | None, what: str, advice: str = "", next_steps: tuple[NextStep, ...] = ()
) -> None:
    """Raise NoAnswerError with the figures where ``what`` needs more bytes than there are."""
    if memory is not None and needed > memory:
        raise NoAnswerError(
            f"{what} needs {needed / 1e9:.3g} GB of memory, and this machine has {memory / 1e9:.3g} GB"
            f"{': ' * bool(advice)}{advice}",
            next_steps,
        )


def _group_limits() -> list[int]:
    limits = []
    for name in _LIMITS:
        try:
            limits.append(int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run BLAS on one thread; may be entered by several threads at once, the last to leave restores."""
    global _users  # noqa: PLW0603 - the setting is one for the process, and so is the count
    with _lock:
        if _users == 0:
            _before[:] = [get() for get, _ in _libraries()]
            for _, put in _libraries():
                put(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for (_, put), threads in zip(_libraries(), _before, strict=True):
                    put(threads)


def can_be_set() -> bool:
    """Whether the number of threads of both NumPy's and SciPy's BLAS can be set while they run."""
    return len(_libraries()) == len(_extensions())


@cache
def _libraries() -> tuple[Threads, ...]:
    found = (_threads_of(extension) for extension in _extensions())
    return tuple(threads for threads in found if threads is not None)


@cache
def _extensions() -> tuple[Path, ...]:
    """Return an extension module of NumPy's and one of SciPy's that are linked with BLAS.

    SciPy's is found in its folder: importing scipy.linalg takes ten times as long as loading the library.
    """
    import scipy  # noqa: PLC0415 - its __init__ loads nothing

    own = Path(np.linalg._umath_linalg.__file__)  # noqa: SLF001
    return (own, *sorted(Path(scipy.__file__).parent.glob("linalg/_fblas*"))[:1])


def _threads_of(extension: Path) -> Threads | None:
    try:
        # On POSIX, symbols of a library are looked up in those it is linked with too.
        library = ctypes.CDLL(str(extension))
    except OSError:
        return None
    for getter, setter in _FUNCTIONS:
        if hasattr(library, getter) and hasattr(library, setter):
            return getattr(library, getter), getattr(library, setter)
    return None
