"""Health checks of the installation, which `zoo doctor` shows; plugins add their own.

A check is a function without arguments that returns a `Check`. A fix is a function that repairs
what its check reports, or raises.
"""

import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_core.catalog.companions import companions
from zoo_core.catalog.plugins import installed_version
from zoo_core.catalog.registry import Entry, current
from zoo_core.catalog.specs import Check, HealthCheck, import_target
from zoo_core.child import environment
from zoo_core.text import printable

if TYPE_CHECKING:
    from zoo_kernels import BackendStatus

__all__ = [
    "Finding",
    "accelerate",
    "cache",
    "compile_kernels",
    "examine",
    "kernel_table",
    "kernels",
    "no_torch",
    "plugins",
    "python",
    "torch",
    "triton",
    "weights",
]


@dataclass(frozen=True)
class Finding:
    """The result of a health check, and whether its fix has repaired it."""

    name: str
    plugin: str
    check: Check
    fixed: bool = False


def examine(*, fix: bool = False) -> Iterator[Finding]:
    """Run every registered health check; with `fix`, run the fixes and check again."""
    for entry in current().health_checks:
        spec: HealthCheck = entry.spec
        check = _run(entry)
        repair = fix and spec.fix is not None and check.status != "ok"
        if repair:
            check = _fixed(entry)
        yield Finding(spec.name, entry.plugin.name, check, fixed=repair and check.status == "ok")


def _run(entry: Entry[HealthCheck]) -> Check:
    """The result of a check; an exception becomes a problem."""
    try:
        check: Check = import_target(entry.spec.target)()
    except Exception as error:
        return Check("problem", f"the check raised {type(error).__name__}: {error}")
    return check


def _fixed(entry: Entry[HealthCheck]) -> Check:
    try:
        import_target(str(entry.spec.fix))()
    except Exception as error:
        return Check("problem", f"the fix failed: {error}")
    return _run(entry)


def python() -> Check:
    """The interpreter and the machine."""
    message = (
        f"{platform.python_version()} ({sys.executable}), {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} processors"
    )
    return Check("ok", message)


def no_torch() -> str | None:
    """The reason why torch cannot be imported; None if it can."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: a library that it links to is missing
        return printable(str(error))
    return None


def torch() -> Check:
    """torch, its devices and threads."""
    if reason := no_torch():
        return Check("problem", f"cannot be imported ({reason})", "pip install torch")
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    devices = "cpu"
    if accelerator is not None:
        count = torch.accelerator.device_count()
        devices += f", {count} x {accelerator.type}"
    threads = torch.get_num_threads()
    return Check("ok", f"{torch.__version__}, {threads} threads, devices: {devices}")


def triton() -> Check:
    """The compiler of the GPU kernels."""
    installed = installed_version("triton")
    if installed is None and not _has_gpu():
        return Check("ok", "not installed; only GPUs need it, and torch has none here")
    if installed is None:
        message = "not installed; GPU tensors take the reference path"
        return Check("note", message, "pip install 'density-zoo[gpu]'")
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return Check("ok", f"{installed}{', interpreted on the CPU' if interpreted else ''}")


def _has_gpu() -> bool:
    if no_torch():
        return False
    import torch

    return torch.cuda.is_available()


def accelerate() -> Check:
    """Training on several devices goes through accelerate."""
    installed = installed_version("accelerate")
    if installed is None:
        return Check("problem", "accelerate is not installed", "pip install accelerate")
    return Check("ok", installed)


def kernel_table() -> list["BackendStatus"]:
    """The backends of each op on this machine, with reasons; empty without torch."""
    if no_torch():
        return []
    import zoo_kernels

    return zoo_kernels.backends()


def kernels() -> Check:
    """Whether the compiled kernels are used; without them ops take the reference path."""
    rows = kernel_table()
    if not rows:
        return Check("note", "none without torch")
    ops = {row.op for row in rows}
    counts = {name: _served(rows, name) for name in ("cpp", "triton", "reference")}
    forced = os.environ.get("ZOO_KERNELS")
    message = f"{len(ops)} ops: " + ", ".join(f"{n} by {name}" for name, n in counts.items())
    if forced:
        message += f"; ZOO_KERNELS={forced} forces that one"
    missing = next((r.reason for r in rows if r.backend == "cpp" and "missing" in r.reason), "")
    if missing:
        reason = missing.partition(";")[0]
        return Check("note", f"{message}; {reason}", "zoo doctor --fix compiles them (a minute)")
    return Check("ok", message)


def _served(rows: list["BackendStatus"], backend: str) -> int:
    return sum(row.supported for row in rows if row.backend == backend)


def compile_kernels() -> None:
    """Compile the packaged C++ sources into the user's cache and load them."""
    from zoo_kernels import _extension
    from zoo_kernels.build import build_extension

    build_extension(environment=environment())
    _extension.reset()


def plugins() -> Check:
    """Whether every enabled plugin loads."""
    records = [r for r in current().plugins.records.values() if r.name != "builtin"]
    broken = [r.name for r in records if r.problems or r.status not in ("ok", "disabled")]
    loaded = [r.name for r in records if r.status == "ok"]
    message = f"{len(loaded)} loaded ({', '.join(loaded) or 'none'})"
    if broken:
        remedy = f"zoo plugins doctor {broken[0]}"
        return Check("problem", f"{message}; in trouble: {', '.join(broken)}", remedy)
    return Check("ok" if loaded else "note", message)


def weights() -> Check:
    """How many tags are bundled with plugins and with each companion."""
    tags = [(row.name, row.tag) for row in current().list_models() if row.tag]
    for companion in companions():
        if companion.folder is None:
            message = f"{companion} has no folder {companion.package}/weights"
            return Check("problem", message, f"reinstall or uninstall {companion.dist}")
    if clash := next(((name, t) for name, t in tags if t.status == "conflict"), None):
        message = f"{clash[1].companion} hold different weights {clash[0]}"
        return Check("problem", message, "uninstall one of them")
    held = Counter(t.companion or "the plugins" for _, t in tags if t.status == "bundled")
    message = ", ".join(f"{n} tags in {place}" for place, n in sorted(held.items())) or "none"
    if absent := sorted({str(t.companion) for _, t in tags if t.status == "companion"}):
        message += f"; further ones are in {', '.join(absent)}"
        return Check("note", message, f"pip install {' '.join(absent)}")
    return Check("ok", message)


def cache() -> Check:
    """The folder of downloads and derived files."""
    from zoo_core.files import cache_dir

    folder = cache_dir()
    place = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Check("problem", f"{folder} cannot be written", "set ZOO_CACHE to another folder")
    free = shutil.disk_usage(place).free
    return Check("ok", f"{folder}: {_size(_bytes(folder))} used, {_size(free)} free")


def _bytes(folder: Path) -> int:
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file())


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
