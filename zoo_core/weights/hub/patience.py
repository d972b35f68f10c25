"""How long to wait for a server, and when to ask again.

The time-outs of the HTTP library hold for one address and one packet: a resolver that hangs, a
name with many dead addresses and an answer that trickles outlast them.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from zoo_core.weights.hub.http_errors import Refusal
from zoo_core.weights.hub.library import http_error

__all__ = ["Patience", "is_transient"]

T = TypeVar("T")

_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts."""
_LONGEST_WAIT = 60.0
"""Seconds that a server may ask us to wait."""
_TRANSIENT = {408, 416, 429, 500, 502, 503, 504}
"""Statuses that may pass; a 416 does, for the range is dropped."""


class Patience:
    """Time to fetch one thing in: `silence` s in which nothing comes, `total` s altogether.

    Both begin anew when the server answers that it is busy.
    """

    def __init__(self, silence: float, total: float) -> None:
        self.silence, self._total, self._over = silence, total, False
        self._begin(time.monotonic())

    def _begin(self, now: float) -> None:
        self._last, self._end = now, now + self._total

    @property
    def left(self) -> float:
        """Seconds until this is given up if nothing more comes."""
        return min(self._last + self.silence, self._end) - time.monotonic()

    def beat(self) -> None:
        """Bytes have come; raises in a thread that was left behind, so that it ends."""
        if self._over:
            raise TimeoutError("given up")
        self._last = time.monotonic()

    def retried(self, call: Callable[[], T]) -> T:
        """`call()`, again after a pause while what goes wrong may pass."""
        for pause in _PAUSES:
            try:
                return self._watched(call)
            except Exception as error:
                wait = max(pause, getattr(error, "retry_after", None) or 0.0)
                if isinstance(error, Refusal):
                    self._begin(time.monotonic() + wait)
                if not is_transient(error) or wait > _LONGEST_WAIT or wait >= self.left:
                    raise
            time.sleep(wait)
        return self._watched(call)

    def _watched(self, call: Callable[[], T]) -> T:
        """`call()` in a thread, which is left behind when the time is over."""
        answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((call(), None))
            except BaseException as error:
                answers.put((None, error))

        threading.Thread(target=run, daemon=True, name="density-zoo hub").start()
        value, error = self._answer(answers)
        if error is not None:
            raise error
        answer: T = value
        return answer

    def _answer(self, answers: "queue.SimpleQueue[T]") -> T:
        try:
            while (left := self.left) > 0:
                with suppress(queue.Empty):
                    return answers.get(timeout=left)
            if time.monotonic() < self._end or self._total <= self.silence:
                raise http_error("ReadTimeout")(f"no answer within {self.silence:g} s")
            raise http_error("ReadTimeout")(f"not complete within {self._total:,.1f} s")
        except BaseException:
            self._over = True  # whoever still fetches this stops at the next bytes
            raise


def is_transient(error: Exception) -> bool:
    """Whether what went wrong may pass: a busy server, a dropped connection."""
    if isinstance(error, Refusal):
        return error.status in _TRANSIENT
    return isinstance(error, http_error("TransportError"))
