"""How the processes of a training find each other, wait for the main one, and miss each other.

They share a key-value store, which the launcher or the main process serves.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch

from zoo_core.errors import ProcessError, UsageError

__all__ = [
    "PATIENCE",
    "absent",
    "await_main",
    "finish",
    "launched_alone",
    "meet",
    "patience",
    "signs_of_life",
]

_logger = logging.getLogger(__name__)

PATIENCE = "ZOO_PROCESS_SECONDS"
"""The variable that sets how many seconds the processes of a training wait for each other."""
_DEFAULT_PATIENCE = 300.0
_MEETING = timedelta(minutes=10)
"""How long the other processes may take to start."""
_SINGLE_PROCESS = (
    "unset RANK WORLD_SIZE to train in one process, or start all of them by "
    "torchrun --nproc_per_node=N --no-python zoo train ..."
)
_MPI = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def patience() -> timedelta:
    """How long a process waits for the others in a step."""
    text = os.environ.get(PATIENCE, str(_DEFAULT_PATIENCE))
    try:
        seconds = float(text)
        if not 0 < seconds < 1e9:
            raise ValueError
    except ValueError:
        raise UsageError(f"{PATIENCE} = {text!r}; it must be a number of seconds.") from None
    return timedelta(seconds=seconds)


def launched_alone() -> bool:
    """Whether accelerate was asked for several processes and started this one alone.

    Its simple launcher then sets the address to meet at, but no rank.
    """
    launched = {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys()
    return launched and not any(v in os.environ for v in ("WORLD_SIZE", "RANK", *_MPI))


def meet(device: torch.device) -> dict[str, Any]:
    """The store, rank and size of the process group for torch; empty for a single process."""
    launched = device.type == "cpu" or "LOCAL_RANK" in os.environ
    world = os.environ.get("WORLD_SIZE", "1")
    if not launched or world == "1" or torch.distributed.is_initialized():
        return {}
    if missing := [v for v in ("RANK", "MASTER_ADDR", "MASTER_PORT") if v not in os.environ]:
        raise UsageError(
            f"WORLD_SIZE = {world} is set, but not {', '.join(missing)}, as a launcher does.",
            hint=_SINGLE_PROCESS,
        )
    from torch.distributed.rendezvous import rendezvous

    rank = os.environ["RANK"]
    _logger.warning("process %s waits for %s in all (RANK, WORLD_SIZE are set)", rank, world)
    try:
        store, number, count = next(rendezvous("env://", timeout=_MEETING))
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"RANK = {rank} and WORLD_SIZE = {world} are set, but {world} processes did not meet "
            f"at {place} within {_MEETING} ({reason}).",
            hint=_SINGLE_PROCESS,
        ) from None
    store.set_timeout(patience())
    return {"store": store, "rank": number, "world_size": count}


_BEAT, _DONE, _HERE = "zoo/beat", "zoo/done", "zoo/here"
_turn = 0
"""How often the processes have waited for the main one: all count the same."""


def _store() -> Any:
    return torch.distributed.distributed_c10d._get_default_store()


@contextmanager
def signs_of_life() -> Iterator[None]:
    """Inside the block, a thread of the main process counts up a number in the store."""
    store, over = _store(), threading.Event()

    def beat() -> None:
        while not over.wait(_interval()):
            store.add(_BEAT, 1)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def finish() -> None:
    """Tell the others that the main process is done."""
    global _turn
    _turn += 1
    _store().set(f"{_DONE}/{_turn}", b"1")


def await_main() -> None:
    """Wait until the main process is done; raises `ProcessError` if it shows no sign of life.

    The store is asked in a thread: if the main process serves it, it may not answer either.
    """
    global _turn
    _turn += 1
    done, over, last = threading.Event(), threading.Event(), [time.monotonic()]
    store, key = _store(), f"{_DONE}/{_turn}"

    def follow() -> None:
        beat = -1
        while not over.wait(min(0.05, _interval())):
            if store.check([key]):
                return done.set()
            if (now := store.add(_BEAT, 0)) != beat:
                beat, last[0] = now, time.monotonic()
        return None

    threading.Thread(target=follow, daemon=True).start()
    while not done.wait(_interval()):
        if time.monotonic() - last[0] > patience().total_seconds():
            over.set()
            raise ProcessError(
                f"process 0, the main one, shows no sign of life since {patience()}.",
                hint="look at its output; then resume from the last checkpoint",
            )


def absent(rank: int, world: int) -> list[int]:
    """Which processes do not answer a roll call, held when a step failed."""
    silent = [0]  # if it does not even serve the store

    def call() -> None:
        with suppress(RuntimeError):
            store = _store()
            store.set(f"{_HERE}/{rank}", b"1")
            time.sleep(2 * _interval())
            silent[:] = [r for r in range(world) if not store.check([f"{_HERE}/{r}"])]

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(4 * _interval())
    return silent


def _interval() -> float:
    """Seconds between signs of life."""
    return min(5.0, patience().total_seconds() / 10)
