"""Ending a training from outside: a batch system's SIGTERM waits for a checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["termination_deferred"]


@contextmanager
def termination_deferred() -> Iterator[Callable[[], bool]]:
    """Inside the block SIGTERM is remembered, which the callable tells; after it, it takes effect.

    Only the main thread hears of signals; in others nothing is deferred.
    """
    came = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, remember)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if came:
            signal.raise_signal(signal.SIGTERM)
