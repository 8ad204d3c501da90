"""The command line. Importing this package loads nothing: ``main`` loads what the command needs."""
# ruff: noqa: PLC0415 - so that Ctrl-C during the imports is met like any other

import sys


def main() -> None:
    """Run the ``isocalc`` command with the arguments of the process, and exit."""
    code: object = 130
    try:
        sys.unraisablehook = _raise_again
        from isocalc.cli.group import isocalc

        isocalc.main(prog_name="isocalc")
    except KeyboardInterrupt:
        pass
    except SystemExit as stop:
        code = stop.code
    import signal

    # What there was to say is said: on the way out nothing is left to interrupt.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(code)


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Raise a Ctrl-C that came while Python could not raise it (in a callback of the import system)."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        import _thread

        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(unraisable)
