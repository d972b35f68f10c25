"""SIGTERM, as a batch system sends it, takes effect after the next checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["deferred_sigterm"]


@contextmanager
def deferred_sigterm() -> Iterator[Callable[[], bool]]:
    """Defer SIGTERM to the end of the block; the callable says whether one has arrived.

    Only the main thread receives signals; in other threads nothing is deferred.
    """
    received = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, remember)
    try:
        yield lambda: received
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)
