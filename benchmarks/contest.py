"""Times contestants side by side: one process, interleaved rounds, the fastest call of each.

A round times each contestant for a tenth of a second of CPU time or one call, whichever is longer.
The result is the fastest call of all rounds: on a shared machine medians of calls that live on
memory or the common cache measure the neighbours. Wall time stands beside. Memory that a call
frees is kept for the next one, for every contestant: otherwise the allocator gives pages back and
takes them again, and fresh pages, up to 2 us each on a virtual machine, dominate the times of the
faster contestants.
"""

import ctypes
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension

__all__ = ["Call", "Row", "compete", "distance", "machine", "measure", "saved_bytes"]

SECONDS = 0.1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
Call = Callable[[], Any]
Row = dict[str, Any]


@cache
def machine(packages: tuple[str, ...]) -> Row:
    """What a number depends on: processor, ISA target, versions, commit."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "")
    return {
        "cpu": model or platform.processor(), "isa": _extension.isa_target(),
        "torch_isa": torch.backends.cpu.get_cpu_capability(), "python": platform.python_version(),
        "versions": {name: v for name in ("torch", *packages) if (v := _version(name))},
        "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """The checkout's commit, with + where it has been changed since."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "..", ":!../docs", ":!results")
    return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)


def distance(a: Any, b: Any) -> float | None:
    """Largest |a - b| over the outputs relative to their largest |b|; None for other shapes."""
    pairs = list(zip(*(o if isinstance(o, tuple | list) else (o,) for o in (a, b)), strict=False))
    if any(x.shape != y.shape for x, y in pairs):
        return None
    return max((_gap(x.double(), y.double()) for x, y in pairs if y.numel()), default=0.0)


def _gap(x: Tensor, y: Tensor) -> float:
    apart = (x - y).abs().amax()
    return float(apart / y.abs().amax()) if apart != 0 else 0.0


def saved_bytes(call: Call) -> int:
    """Bytes that the call's forward pass keeps for the backward one, arguments included."""
    seen: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        call()
    return sum(seen.values())


def measure(call: Call) -> tuple[float, float]:
    """(CPU, wall) milliseconds of the fastest of the calls that fit into a round."""
    best_cpu = best_wall = float("inf")
    start = time.process_time()
    while True:
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        cpu_after, now = time.process_time(), time.perf_counter()
        best_cpu, best_wall = min(best_cpu, cpu_after - cpu), min(best_wall, now - wall)
        if cpu_after - start >= SECONDS:
            return best_cpu * 1e3, best_wall * 1e3


@cache
def keep_freed_memory() -> None:
    """glibc: blocks of up to 32 MB from the heap, which is not trimmed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((M_MMAP_THRESHOLD, 1 << 25), (M_TRIM_THRESHOLD, 1 << 30)):
            mallopt(option, value)


def first_outputs(calls: dict[str, Call], needed: Iterable[str]) -> dict[str, Any]:
    """Each contestant's outputs; one that lacks its package, or does not compile, is removed from
    `calls`, with its reason on stderr."""
    outputs = {}
    for name, call in list(calls.items()):
        try:
            outputs[name] = call()
        except Exception as error:
            if name in needed:
                raise
            said = str(error).splitlines()[0] if str(error) else ""
            print(f"without {name}: {type(error).__name__}: {said}", file=sys.stderr)
            del calls[name]
    return outputs


def compete(
    calls: Mapping[str, Call], *, like: str, equal: Mapping[str, float], rounds: int = 5,
    scale: Mapping[str, float] | None = None, memory: bool = False,
) -> Row:  # fmt: skip
    """The timed part of a row. The first contestant is ours. Distances are from `like`'s outputs;
    those of `equal` must be within its value, or nothing is timed. `scale` multiplies the times of
    contestants that do a part of the work; `memory` counts what a call saves for its backward."""
    keep_freed_memory()
    named, scale = dict(calls), scale or {}
    ours = next(iter(named))
    outputs = first_outputs(named, {ours, like})
    apart = {name: distance(out, outputs[like]) for name, out in outputs.items()}
    for name, limit in equal.items():
        if name in apart and not (apart[name] is not None and apart[name] <= limit):
            raise AssertionError(f"{name} is {apart[name]} off {like}, not within {limit}: "
                                 "not timed")  # fmt: skip
    outputs.clear()
    saved = {name: saved_bytes(call) for name, call in named.items()} if memory else {}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, call in named.items():
            times[name].append(measure(call))
    cpu, wall = (
        {n: min(t[i] for t in ts) * scale.get(n, 1) for n, ts in times.items()} for i in (0, 1)
    )
    return {
        "threads": torch.get_num_threads(), "rounds": rounds, "cpu_ms": cpu, "wall_ms": wall,
        "distance": apart, "saved_bytes": saved, "scaled": [n for n in named if n in scale],
    }  # fmt: skip
