"""Finds and loads the compiled kernels, or remembers why there are none."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from zoo_kernels import build

Verdict = tuple[bool, str]


def candidates() -> list[Path]:
    """Beside this file (wheel or editable install), then the user's cache (`zoo doctor --fix`)."""
    return [Path(__file__).with_name(build.LIBRARY), build.cache_directory() / build.LIBRARY]


@cache
def load() -> Verdict:
    """Load the first library that was built from the packaged sources: (loaded, why not)."""
    reasons = []
    for path in candidates():
        ok, reason = _usable(path)
        if ok:
            torch.ops.load_library(str(path))
            return True, ""
        reasons.append(reason)
    built = Path(__file__).with_name(build.FAILURE)
    reasons += [built.read_text().strip()] if built.exists() else []
    return False, "; ".join(dict.fromkeys(r for r in reasons if r)) or "not compiled"


def _usable(path: Path) -> Verdict:
    if not path.exists():
        return False, ""
    if build.marker().encode() not in path.read_bytes():
        return False, f"{path} was built from other sources; build it again"
    return True, ""


@cache
def available(op: str = "") -> Verdict:
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


def reset() -> None:
    """Look again, after the kernels have been compiled in this process."""
    for remembered in (load, available, cpp):
        remembered.cache_clear()
