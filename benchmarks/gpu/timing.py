"""Times on a CUDA device: medians by events, and by graph replay for short calls; on the CPU (dry
run) one call by the clock."""

import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

ROTATED_BYTES = 1 << 28  # inputs rotate until they exceed the last-level cache several times
MOST_COPIES = 16


def move(args: tuple[Any, ...], device: str) -> tuple[Any, ...]:
    """Tensors, those in lists and tuples too, on `device`."""

    def one(a: Any) -> Any:
        if isinstance(a, list | tuple):
            return [one(b) for b in a] if isinstance(a, list) else tuple(one(b) for b in a)
        return a.to(device) if isinstance(a, Tensor) else a

    return tuple(one(a) for a in args)


def copies(args: tuple[Any, ...], device: str) -> list[tuple[Any, ...]]:
    """Enough sets of equal arguments to defeat the cache."""
    size = sum(a.nbytes for a in args if isinstance(a, Tensor)) or 1
    n = 1 if device == "cpu" else max(1, min(MOST_COPIES, ROTATED_BYTES // size))
    return [move(args, device)] + [move(move(args, "cpu"), device) for _ in range(n - 1)]


def milliseconds(f: Callable[..., Any], sets: list[tuple[Any, ...]], device: str) -> float:
    """Median of one call, launches included."""
    turns = cycle(sets)
    if device == "cpu":
        start = time.perf_counter()
        f(*next(turns))
        return (time.perf_counter() - start) * 1e3
    from triton.testing import do_bench

    took: float = do_bench(lambda: f(*next(turns)), return_mode="median")
    return took


def replayed(f: Callable[..., Any], sets: list[tuple[Any, ...]]) -> float:
    """Milliseconds of a call without its launches: a captured graph of one call a set."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for args in sets:
            f(*args)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for args in sets:
            f(*args)
    from triton.testing import do_bench

    took: float = do_bench(graph.replay, return_mode="median")
    return took / len(sets)
