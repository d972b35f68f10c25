"""Which implementation runs: chosen at each call, inside the opaque op.

Unforced, a CPU tensor goes to `cpp`, a CUDA tensor to `triton`, and either to `reference` where
that one does not support the call. The choice is process-wide, not per thread: autograd runs CUDA
backwards in threads of its own, which must see the same choice.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._extension import Support
from zoo_kernels._renamed import warn_renamed

_log = logging.getLogger(__name__)
BACKENDS = ("reference", "cpp", "triton")
_PREFERRED = {"cpu": "cpp", "cuda": "triton"}
_HINT_AFTER_SECONDS = 0.25


class BackendError(RuntimeError):
    """A forced backend does not support a call; the message says why."""


def always(*args: Any) -> Support:
    return True, ""


def lazy(target: str) -> Callable[..., Any]:
    """`"package.module:attr"` as a function that is imported when it is first called."""

    @cache
    def resolve() -> Callable[..., Any]:
        module, attr = target.split(":")
        function: Callable[..., Any] = getattr(import_module(module), attr)
        return function

    return lambda *args: resolve()(*args)


@dataclass(frozen=True)
class Impl:
    """One implementation: `run(*args)` as the reference, `verify(*args)` -> (can it, why not).

    `needs` names the C++ op (`zoo_cpp::<needs>`) that a `cpp` implementation calls.
    """

    run: Callable[..., Any]
    verify: Callable[..., Support] = always
    needs: str = ""


@dataclass(frozen=True)
class BackendStatus:
    """A row of `backends()`: whether a backend supports an op on this machine, and if not why."""

    op: str
    backend: str
    supported: bool
    reason: str

    @property
    def serves(self) -> bool:
        """The name of `supported` in version 0.1."""
        warn_renamed("BackendStatus.serves", "BackendStatus.supported")
        return self.supported


_forced: str | None = os.environ.get("ZOO_KERNELS") or None


def _known(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}; possible are {', '.join(BACKENDS)}")
    return name


def forced() -> str | None:
    """The backend in force by `backend(...)` or ZOO_KERNELS, else None."""
    return None if _forced is None else _known(_forced)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force `reference`, `cpp` or `triton` for the whole process while the block runs."""
    global _forced
    before, _forced = _forced, _known(name)
    try:
        yield
    finally:
        _forced = before


_inlined = False


def inlined() -> bool:
    """Whether ops are replaced by their references, which are plain torch."""
    return _inlined


@contextmanager
def inline() -> Iterator[None]:
    """Inside, a traced program holds the operations of the references and no op of ours, so that
    it runs where this package is not installed."""
    global _inlined
    before, _inlined = _inlined, True
    try:
        yield
    finally:
        _inlined = before


def interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _triton_available(device: str) -> Support:
    if not _installed("triton"):
        return False, "triton is not installed"
    if device == "cpu" and not interpreted():
        return False, "CPU tensors need TRITON_INTERPRET=1, set before Python starts"
    if device == "cuda" and interpreted():
        return False, "TRITON_INTERPRET=1 interprets on the CPU; unset it for CUDA tensors"
    return True, ""


@cache
def _installed(module: str) -> bool:
    return find_spec(module) is not None


def available(name: str, impls: Mapping[str, Impl], device: str) -> Support:
    """Can backend `name` run at all on `device`, whatever the arguments?"""
    if name == "reference":
        return True, ""
    if name not in impls:
        return False, f"this op has no {name} implementation"
    if name == "triton":
        return _triton_available(device)
    if device != "cpu":
        return False, f"C++ kernels support CPU tensors, not {device}"
    return _extension.available(impls[name].needs)


def supports(name: str, impls: Mapping[str, Impl], device: str, args: tuple[Any, ...]) -> Support:
    """Can backend `name` run this call?"""
    ok, reason = available(name, impls, device)
    return impls[name].verify(*args) if ok else (ok, reason)


def device_of(args: tuple[Any, ...]) -> str:
    return next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")


def choose(op: str, impls: Mapping[str, Impl], args: tuple[Any, ...]) -> Impl:
    """The implementation that runs this call."""
    device, wanted = device_of(args), forced()
    if wanted is not None:
        ok, reason = supports(wanted, impls, device, args)
        if not ok:
            raise BackendError(f"backend {wanted!r} was forced but cannot run zoo::{op}: {reason}")
        return impls[wanted]
    name = _PREFERRED.get(device, "reference")
    return impls[name] if supports(name, impls, device, args)[0] else impls["reference"]


def run(op: str, impls: Mapping[str, Impl], args: tuple[Any, ...]) -> Any:
    """Choose and call. Time that the reference takes because C++ is missing is added up."""
    impl = choose(op, impls, args)
    if impl is not impls["reference"] or _hinted or "cpp" not in impls:
        return impl.run(*args)
    start = time.perf_counter()
    out = impl.run(*args)
    if forced() is None and device_of(args) == "cpu" and not _extension.available()[0]:
        _hint(time.perf_counter() - start)
    return out


_hinted = False
_slow_seconds = 0.0


def _hint(seconds: float) -> None:
    """Once a process, after the reference path has cost a noticeable time, say what to do."""
    global _hinted, _slow_seconds
    _slow_seconds += seconds
    if _slow_seconds >= _HINT_AFTER_SECONDS:
        _hinted = True
        _log.warning("slow reference path in use; zoo doctor --fix compiles the kernels")


def backend_status(op: str, impls: Mapping[str, Impl]) -> list[BackendStatus]:
    """Rows of `backends()` for one op, for the device this machine would use."""
    rows = []
    for name in BACKENDS:
        gpu = name == "triton" and torch.cuda.is_available() and not interpreted()
        rows.append(BackendStatus(op, name, *available(name, impls, "cuda" if gpu else "cpu")))
    return rows
