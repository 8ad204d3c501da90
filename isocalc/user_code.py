"""Python objects of the user's own, named ``module:name`` or ``file.py:name``. Loading one runs its code."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from isocalc.errors import InvalidInputError, IsocalcError, shortened

PASSED = (IsocalcError, KeyboardInterrupt, MemoryError)
"""What is not the user's code's own to raise"""


def is_module(text: str) -> bool:
    """Return whether a text can be the dotted name of a module, or a file of Python code."""
    return text.endswith(".py") or all(part.isidentifier() for part in text.split("."))


def loaded(parameter: str, rule: str, spec: str, module: str, name: str) -> Any:
    """Import a module, in which the current folder comes first, and return one of its names.

    Parameters
    ----------
    parameter, rule, spec : str
        What an error says: the argument, what it must be and what was given.
    module, name : str
        Dotted name or file of the module, and a name in it. What it prints goes to standard error.

    Raises
    ------
    InvalidInputError
        The module fails, or has no such name.
    """
    _look_first_in(Path.cwd())
    with (
        told_as(lambda error: InvalidInputError(parameter, rule, spec, f"{error}.")),
        redirect_stdout(sys.stderr),
    ):
        return getattr(_of_file(Path(module)) if module.endswith(".py") else import_module(module), name)


def _look_first_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _of_file(path: Path) -> ModuleType:
    """Import a file as if from its folder, whatever else has its name; once for each file."""
    path = path.resolve()
    _look_first_in(path.parent)
    known = sys.modules.get(path.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path:
        return known
    name = path.stem if known is None else str(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def told_as(refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Run the user's code: what it raises becomes ``refusal(its kind and message)``, whatever its class.

    isocalc's own errors pass, as do Ctrl-C and what is out of memory. The command line ends at Ctrl-C without
    a KeyboardInterrupt: one that comes up is the code's own.
    """
    try:
        yield
    except PASSED as error:
        if isinstance(error, KeyboardInterrupt) and not _raises_at_ctrl_c():
            raise refusal(quoted(error)) from None
        raise
    except BaseException as error:  # noqa: BLE001 - its own exceptions need not be of Exception
        raise refusal(quoted(error)) from None


def _raises_at_ctrl_c() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
