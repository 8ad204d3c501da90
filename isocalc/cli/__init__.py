"""The command line. Importing this package loads nothing: ``main`` loads what the command needs."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the ``isocalc`` command with the arguments of the process, and exit."""
    try:
        from isocalc.cli.group import isocalc  # noqa: PLC0415 - so that Ctrl-C during imports is quiet

        isocalc.main(prog_name="isocalc")
    except KeyboardInterrupt:
        pass
    sys.exit(130)
