"""Checks that something fits into memory, before it is allocated."""

import os
from pathlib import Path

from zoo_core.errors import UsageError

__all__ = ["available", "require_memory"]

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")
"""Control groups, version 2: the limits of a container."""
_SMALL = 1 << 24
"""Bytes for which nobody asks the system: that takes as long as scoring a small batch."""


def available() -> int | None:
    """Bytes that can be used without swapping; None if the system does not say.

    Linux states them for the machine and for a container. On other systems it is all memory of
    the machine.
    """
    free = [n for n in (_of_machine(), _of_container()) if n is not None]
    return min(free, default=None)


def _of_machine() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _of_container() -> int | None:
    try:
        limit, used = (
            int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return None
    return max(0, limit - used)


def require_memory(need: int, what: str, *, hint: str) -> None:
    """Raise `UsageError` if `what` takes more bytes than are available."""
    if need < _SMALL:
        return
    free = available()
    if free is not None and need > free:
        raise UsageError(
            f"{what} would take {need:,} bytes of memory, and {free:,} are available.", hint=hint
        )
