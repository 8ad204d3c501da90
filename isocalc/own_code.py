"""Python objects of the user's own, named ``module:name``. Loading one runs the module."""

import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from isocalc.errors import InvalidInputError, shortened


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
    try:
        with redirect_stdout(sys.stderr):
            return getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything
        raise InvalidInputError(parameter, rule, spec, quoted(error) + ".") from None


def quoted(error: BaseException) -> str:
    """Return the kind and the message of an error on one line, shortened."""
    text = shortened(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}".rstrip(".: ")
