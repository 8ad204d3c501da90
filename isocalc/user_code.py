"""Python objects of the user's own, named ``module:name``. Loading one runs the module."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from isocalc.errors import InvalidInputError, IsocalcError, shortened

PASSED = (IsocalcError, KeyboardInterrupt, MemoryError)
"""What is not the user's code's own to raise"""


def loaded(parameter: str, rule: str, spec: str, module: str, name: str) -> Any:
    """Import a module, in which the current folder comes first, and return one of its names.

    Parameters
    ----------
    parameter, rule, spec : str
        What an error says: the argument, what it must be and what was given.
    module, name : str
        Dotted name of the module, and a name in it. What it prints goes to standard error.

    Raises
    ------
    InvalidInputError
        The module fails, or has no such name.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with (
        told_as(lambda error: InvalidInputError(parameter, rule, spec, f"{error}.")),
        redirect_stdout(sys.stderr),
    ):
        return getattr(import_module(module), name)


@contextmanager
def told_as(refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Run the user's code: what it raises becomes ``refusal(its kind and message)``, whatever its class.

    isocalc's own errors pass, as do Ctrl-C and what is out of memory.
    """
    try:
        yield
    except PASSED:
        raise
    except BaseException as error:  # noqa: BLE001 - its own exceptions need not be of Exception
        raise refusal(quoted(error)) from None


@contextmanager
def beside_the_results() -> Iterator[None]:
    """Send to standard error what is written to file descriptor 1, by C code and by child processes too."""
    try:
        kept = os.dup(1)
    except OSError:  # standard output is closed
        yield
        return
    try:
        _flush()
        with suppress(OSError):  # standard error is closed
            os.dup2(2, 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Write what Python and the C library hold back."""
    with suppress(AttributeError, OSError, ValueError):  # there is no standard output
        sys.stdout.flush()
    import ctypes  # noqa: PLC0415 - of use with a PyTorch module alone

    with suppress(OSError, TypeError):  # on Windows the C library has another name
        ctypes.CDLL(None).fflush(None)


def quoted(error: BaseException) -> str:
    """Return the kind and the message of an error on one line, shortened."""
    text = ""
    with suppress(Exception):  # its message is the user's code, too
        text = shortened(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}".rstrip(".: ")
