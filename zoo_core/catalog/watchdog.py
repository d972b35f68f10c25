"""A line in the log about a plugin that is slow or hangs while it is imported or asked.

So a user who waits for a command learns which plugin it waits for, and how to disable it. Nothing
is interrupted.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from zoo_core.text import printable

__all__ = ["seconds", "watching"]

_logger = logging.getLogger(__name__)
_SECONDS = 5.0


def seconds() -> float:
    """Seconds after which a plugin counts as slow: `$ZOO_PLUGIN_SECONDS`, 5 by default."""
    try:
        return max(0.0, float(os.environ["ZOO_PLUGIN_SECONDS"]))
    except (KeyError, ValueError):
        return _SECONDS


@contextmanager
def watching(plugin: str, limit: float | None = None) -> Iterator[None]:
    """Log the plugin's name if the block takes longer than `limit` seconds."""
    limit = seconds() if limit is None else limit
    timer = threading.Timer(limit, _warn, (plugin, limit))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _warn(plugin: str, limit: float) -> None:
    line = (
        f"plugin {plugin!r} has not finished importing after {limit:g} s; "
        f"to go on without it: interrupt (Ctrl-C) and run: zoo plugins disable {plugin}"
    )
    _logger.warning("%s", printable(line))
