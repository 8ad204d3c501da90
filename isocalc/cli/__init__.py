"""The command line. Importing this package loads nothing: ``main`` loads what the command needs."""
# ruff: noqa: PLC0415 - so that Ctrl-C during the imports is met like any other

import gc
import os
import signal
import sys


def main() -> None:
    """Run the ``isocalc`` command with the arguments of the process, and exit."""
    # KeyboardInterrupt gets lost: one that comes while Python makes a class becomes a RuntimeError, one in a
    # callback is dropped. A process that was told to ignore Ctrl-C goes on ignoring it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    # What modules are made of stays: looking through it for garbage was a twentieth of a short command.
    gc.set_threshold(50_000, 20, 20)
    from isocalc.cli.group import isocalc

    try:
        isocalc.main(prog_name="isocalc")
    finally:
        # What there was to say is said: on the way out nothing is left to interrupt.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave(*_: object) -> None:
    """End the process at once and quietly."""
    # Of a module that is being loaded there is nothing to tidy up yet.
    tidy_up = getattr(sys.modules.get("isocalc.files"), "tidy_up", None)
    if tidy_up is not None:
        tidy_up()
    os._exit(130)
