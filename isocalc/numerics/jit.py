"""How isocalc compiles: what all modules of kernels use.

Compiled kernels are kept on disk where Numba finds a folder for them: ``NUMBA_CACHE_DIR``, beside the modules
or the user's cache folder. Where there is none, or it is full, every process compiles what it needs.
"""

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from isocalc.files import replace_file

Function = TypeVar("Function", bound=Callable[..., Any])

_DIGEST = sha256().digest_size


class _Files:
    """One file for each signature of a function, named by all that its code depends on, with a checksum.

    Numba's own files are numbered, and an index says which is whose. Processes that compile at the same time
    take one number for different signatures, and one that cannot write its code, or is killed before, leaves
    an index that points at the code of an earlier version: later processes run code that is not theirs.

    Parameters
    ----------
    folder, function : str
        Where the files are, and what their names begin with.
    version : str
        What the code depends on, beside the signature.
    """

    def __init__(self, folder: str, function: str, version: str) -> None:
        self._folder, self._function, self._version = Path(folder), f"{function}.", version

    def load(self, key: object) -> Any:
        """Return what is kept for a signature, ``None`` where there is nothing or it is damaged."""
        try:
            content = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        if sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            return None
        there, data = pickle.loads(content[_DIGEST:])  # noqa: S301 - our own, as Numba's is
        return data if there == key else None

    def save(self, key: object, data: object) -> None:
        """Keep data for a signature, and nothing of other versions."""
        content = dumps((key, data))  # type: ignore[no-untyped-call]
        replace_file(str(self._path(key)), sha256(content).digest() + content)
        self._remove(self._version)

    def flush(self) -> None:
        """Keep nothing."""
        self._remove("")

    def _path(self, key: object) -> Path:
        return self._folder / f"{self._function}{self._version}-{_digest(key)}.nbc"

    def _remove(self, but: str) -> None:
        """Remove the files of the function, but not those of one version."""
        for path in self._folder.glob(f"{self._function}*.nbc"):
            if not (but and path.name.startswith(f"{self._function}{but}-")):
                path.unlink(missing_ok=True)


def _digest(value: object) -> str:
    return sha256(repr(value).encode()).hexdigest()[:16]


class _QuietCache(FunctionCache):
    """Numba's cache of a function, with files of our own; done without where it cannot be kept."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        version = _digest((numba.__version__, self._impl.locator.get_source_stamp()))
        self._cache_file: Any = _Files(self._cache_path, self._impl.filename_base, version)

    def load_overload(self, *args: Any) -> Any:
        with suppress(OSError):
            return super().load_overload(*args)  # type: ignore[no-untyped-call]
        return None

    def save_overload(self, *args: Any) -> None:
        with suppress(OSError):
            super().save_overload(*args)  # type: ignore[no-untyped-call]


def may_look_for_a_folder() -> bool:
    """Whether Numba may: for a user without a home it would make a folder named ``~`` where the user is."""
    if os.environ.get("NUMBA_CACHE_DIR") or os.access(Path(__file__).parent, os.W_OK):
        return True
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~")).is_absolute()  # noqa: PTH111 - as Numba asks


def _compiler(**options: Any) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function when it is called first."""

    def compiled(function: Function) -> Function:
        # error_model="numpy": no zero-division branches in inner loops.
        dispatcher: Any = numba.njit(error_model="numpy", nogil=True, **options)(function)
        if _KEPT:
            with suppress(RuntimeError):  # "no locator available": no folder can be written
                dispatcher._cache = _QuietCache(function)  # noqa: SLF001 - as cache=True does
        found: Function = dispatcher
        return found

    return compiled


_KEPT = may_look_for_a_folder()
# No fastmath: residuals are held to rounding.
kernel = _compiler()
# Sums over the nodes of a gate may be taken in any order: that lets them use vector instructions.
summing = _compiler(fastmath={"reassoc", "contract"})
