"""Finds and loads the compiled kernels, or remembers why there are none.

The kernels hold code for several ISA targets and use the widest that this machine runs;
ZOO_ISA_TARGET=baseline|avx2|avx512, or `with cap_isa_target("avx2"):`, caps it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from zoo_kernels import build
from zoo_kernels._renamed import warn_renamed

Support = tuple[bool, str]
"""(is it supported, why not)"""
ISA_TARGETS = {"baseline": 1, "avx2": 3, "avx512": 4}
"""Numbered as in csrc/zoo.h."""


def candidates() -> list[Path]:
    """Beside this file (wheel or editable install), then the user's cache (`zoo doctor --fix`)."""
    beside = Path(__file__).with_name(build.LIBRARY)
    try:
        return [beside, build.cache_directory() / build.LIBRARY]
    except build.BuildError:  # a user without a home folder has no cache
        return [beside]


@cache
def load() -> Support:
    """Load the first library that was built from the packaged sources: (loaded, why not)."""
    reasons = []
    for path in candidates():
        ok, reason = _usable(path)
        if ok:
            torch.ops.load_library(str(path))
            if cap := _cap_of_the_environment():
                _cap(cap)
            return True, ""
        reasons.append(reason)
    built = Path(__file__).with_name(build.FAILURE)
    reasons += [built.read_text().strip()] if built.exists() else []
    return False, "; ".join(dict.fromkeys(r for r in reasons if r)) or "not compiled"


def _cap_of_the_environment() -> str | None:
    if old := os.environ.get("ZOO_VECTOR_UNIT"):
        warn_renamed("ZOO_VECTOR_UNIT", "ZOO_ISA_TARGET")
    return os.environ.get("ZOO_ISA_TARGET") or old


def _usable(path: Path) -> Support:
    if not path.exists():
        return False, ""
    if build.marker().encode() not in path.read_bytes():
        return False, f"{path} was built from other sources; build it again"
    return True, ""


@cache
def available(op: str = "") -> Support:
    """Is the library loaded, and does it have `zoo_cpp::<op>`?"""
    ok, reason = load()
    if not ok:
        return False, f"C++ kernels are missing ({reason}); zoo doctor --fix compiles them"
    if op and not hasattr(torch.ops.zoo_cpp, op):
        return False, f"the compiled kernels have no {op}"
    return True, ""


@cache
def cpp(op: str) -> Any:
    """The overload `zoo_cpp::<op>`; call it only where `available(op)`."""
    return getattr(torch.ops.zoo_cpp, op).default


def _cap(name: str) -> None:
    if name not in ISA_TARGETS:
        raise ValueError(f"ISA target is {name!r}; possible are {', '.join(ISA_TARGETS)}")
    torch.ops.zoo_cpp.cap_isa_target(ISA_TARGETS[name])


def isa_target() -> str:
    """The ISA target that the C++ kernels use here; "none" without them."""
    if not load()[0]:
        return "none"
    return {number: name for name, number in ISA_TARGETS.items()}[
        torch.ops.zoo_cpp.cap_isa_target(0)
    ]


@contextmanager
def cap_isa_target(name: str) -> Iterator[str]:
    """Use at most `name` in the whole process while the block runs; yields what is in use."""
    before = isa_target()
    _cap(name)
    try:
        yield isa_target()
    finally:
        _cap(before)


def reset() -> None:
    """Look again, after the kernels have been compiled in this process."""
    for remembered in (load, available, cpp):
        remembered.cache_clear()
