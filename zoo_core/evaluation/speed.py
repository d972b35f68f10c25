"""Sampling speed: images per second, time to the first image, network evaluations, memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.model import GenerativeModel

__all__ = ["Speed", "Timed", "counted_calls", "first_image", "timed_sample"]

_CALLS = ("conditional", "denoise", "score", "energy", "generate", "decode", "inverse_and_ladj")
"""Capability methods whose calls count as evaluations of the network."""

_REPEATS = 3
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Timed:
    """Samples, the seconds that they took, and the peak memory in bytes."""

    x: Tensor
    seconds: float
    peak_bytes: int
    peak_of: str
    """What `peak_bytes` counts: growth of the process, the whole process, or device tensors."""


@dataclass(frozen=True)
class Speed:
    """The cost of sampling; `network_evaluations` is None if no calls can be counted."""

    images_per_second: float
    first_image_seconds: float
    network_evaluations: int | None
    parameters: int
    peak_bytes: int
    peak_of: str
    n: int
    threads: int
    device: str


def timed_sample(model: GenerativeModel, n: int, **arguments: Any) -> Timed:
    """Time `model.sample(n, ...)`, and measure its memory."""
    device = model.device
    _synchronize(device)
    before = _start_memory(device)
    start = time.perf_counter()
    x = model.sample(n, **arguments)
    _synchronize(device)
    seconds = time.perf_counter() - start
    peak, what = _peak_memory(device, before)
    return Timed(x, seconds, peak, what)


def first_image(model: GenerativeModel, **arguments: Any) -> tuple[float, int | None]:
    """Median seconds to one image after a warm-up, and the network evaluations per image."""
    with _counting(model) as count:
        model.sample(1, **arguments)
    evaluations = count()
    times = []
    for _ in range(_REPEATS):
        _synchronize(model.device)
        start = time.perf_counter()
        model.sample(1, **arguments)
        _synchronize(model.device)
        times.append(time.perf_counter() - start)
    return sorted(times)[_REPEATS // 2], evaluations


def counted_calls(model: GenerativeModel, **arguments: Any) -> int | None:
    """The network evaluations of one draw; None if no calls can be counted."""
    with _counting(model) as count:
        for _ in model.sample_batches(1, **arguments):
            pass
    return count()


@contextmanager
def _counting(model: GenerativeModel) -> Iterator[Callable[[], int | None]]:
    """Count calls of capability methods; without any, of the module that is called most often."""
    calls: dict[str, int] = {}
    modules: dict[str, int] = {}

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return method(*args, **kwargs)

        return call

    def hook(name: str) -> Callable[..., None]:
        def called(*_: Any) -> None:
            modules[name] = modules.get(name, 0) + 1

        return called

    wrapped = [n for n in _CALLS if callable(getattr(type(model), n, None))]
    hooks = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    for name in wrapped:
        object.__setattr__(model, name, counted(name, getattr(model, name)))
    try:
        yield lambda: max((calls or modules).values(), default=None)
    finally:
        for name in wrapped:
            object.__delattr__(model, name)
        for handle in hooks:
            handle.remove()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _start_memory(device: torch.device) -> int:
    """Reset the peak, if possible, and return the bytes in use, or -1 if it is not possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    try:
        _CLEAR.write_text("5")  # Linux: forget this process's largest resident size
        return _status("VmRSS")
    except (OSError, LookupError):
        return -1


def _peak_memory(device: torch.device, before: int) -> tuple[int, str]:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "device tensors"
    if before >= 0:
        return max(0, _status("VmHWM") - before), "growth of the process"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "process since its start"


def _status(name: str) -> int:
    """A size from /proc/self/status, in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
