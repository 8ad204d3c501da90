"""What fits in the memory of this machine, or of the container that it is."""

import os
from pathlib import Path

from isocalc.errors import NoAnswerError

# Limits of the control group, versions 2 and 1, as a container sees them.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_memory() -> int | None:
    """Return the bytes of memory there are, ``None`` where the system does not tell."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return min([memory, *_group_limits()])


def require_fits(needed: int, memory: int | None, what: str, advice: str) -> None:
    """Raise NoAnswerError with the figures where ``what`` needs more bytes than there are."""
    if memory is not None and needed > memory:
        raise NoAnswerError(
            f"{what} needs {needed / 1e9:.3g} GB of memory, and this machine has {memory / 1e9:.3g} GB: "
            f"{advice}"
        )


def _group_limits() -> list[int]:
    limits = []
    for name in _LIMITS:
        try:
            limits.append(int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return limits
