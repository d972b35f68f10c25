"""Whether something fits into memory, asked before the work that would fill it."""

import os
from pathlib import Path

from zoo_core.errors import UsageError

__all__ = ["available", "require_memory"]

_MEMINFO = Path("/proc/meminfo")


def available() -> int | None:
    """Bytes that can still be used without swapping; None where the system does not say.

    Linux states them; elsewhere it is all the memory that the machine has.
    """
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def require_memory(need: int, what: str, *, hint: str) -> None:
    """Raise `UsageError` if `what` takes more bytes than there are."""
    free = available()
    if free is not None and need > free:
        raise UsageError(
            f"{what} would take {need:,} bytes of memory, and {free:,} are available.", hint=hint
        )
