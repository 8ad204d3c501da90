"""How isocalc compiles: what all modules of kernels use.

Compiled kernels are kept on disk where Numba finds a folder for them: ``NUMBA_CACHE_DIR``, beside the modules
or the user's cache folder. Where there is none, or it is full, every process compiles what it needs.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])


class _QuietCache(FunctionCache):
    """Numba's cache of a function: done without where it cannot be kept, begun anew where damaged."""

    def load_overload(self, *args: Any) -> Any:
        with suppress(OSError):
            try:
                return super().load_overload(*args)  # type: ignore[no-untyped-call]
            except (EOFError, UnpicklingError):
                self.flush()  # type: ignore[no-untyped-call]
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
                dispatcher._cache = _QuietCache(function)  # type: ignore[no-untyped-call] # noqa: SLF001 - as cache=True does
        found: Function = dispatcher
        return found

    return compiled


_KEPT = may_look_for_a_folder()
# No fastmath: residuals are held to rounding.
kernel = _compiler()
# Sums over the nodes of a gate may be taken in any order: that lets them use vector instructions.
summing = _compiler(fastmath={"reassoc", "contract"})
