"""Tensors out of a pickle: read without its code, in a child process with limits, as safetensors.

`torch.load(weights_only=True)` builds tensors and plain containers and refuses everything else.
The child can be stopped: it may use so much memory and so many seconds, and writes one file.
"""

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo_core.child import CompletedProcess, TimeoutExpired, python
from zoo_core.errors import IntegrityError

__all__ = ["unpickle"]

_MEMORY_FACTOR, _MEMORY_SLACK = 4, 1 << 30
_INFLATION = 4
"""A checkpoint's archive is not compressed; one that inflates more than this is no checkpoint."""


def unpickle(source: Path, target: Path, *, memory: int | None = None, seconds: int = 600) -> None:
    """Write the tensors of a .bin, .pt or .ckpt file to a safetensors file.

    Nested dicts become dotted names; what is no tensor is left out. `memory` is what the child
    may take, in bytes, beyond what torch itself does. Raises `IntegrityError`.
    """
    if not source.is_file():
        raise IntegrityError(f"{source} is no file.")
    _check_archive(source)
    if memory is None:
        memory = _MEMORY_FACTOR * source.stat().st_size + _MEMORY_SLACK
    try:
        done = python("-m", __name__, str(source), str(target), str(memory), timeout=seconds)
    except TimeoutExpired:
        raise _refused(source, f"reading it took more than {seconds} s") from None
    if done.returncode or not target.is_file():
        target.unlink(missing_ok=True)
        raise _refused(source, _reason(done))


def _check_archive(source: Path) -> None:
    if not zipfile.is_zipfile(source):
        return
    try:
        with zipfile.ZipFile(source) as archive:
            inflated = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _refused(source, str(error)) from None
    if inflated > _INFLATION * source.stat().st_size + (1 << 20):
        raise _refused(source, f"its archive inflates to {inflated:,} bytes")


def _reason(done: CompletedProcess[str]) -> str:
    try:
        return str(json.loads(done.stdout)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the process that read it ended with {done.returncode}"


def _refused(source: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{source} is not read: {reason}.",
        hint="a checkpoint must be a state dict: tensors in plain dicts and lists",
    )


def _child(source: str, target: str, memory: int) -> None:
    """In the child: limits first, then the file."""
    import torch
    from safetensors.torch import save_file

    _limit(memory)
    loaded = torch.load(source, map_location="cpu", weights_only=True)
    tensors = dict(_tensors(loaded, ()))
    if not tensors:
        raise ValueError("it holds no tensors")
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, target)


def _limit(memory: int) -> None:
    """What this process holds now and `memory` more; where the system has no such limit, none."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):
        return


def _tensors(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(value, torch.Tensor):
        if value.numel() * value.element_size() > max(value.untyped_storage().nbytes(), 64):
            raise ValueError(f"{'.'.join(path)} claims {value.numel():,} numbers and holds fewer")
        yield ".".join(path) or "tensor", value.detach()
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _tensors(item, (*path, str(key)))


if __name__ == "__main__":
    try:
        _child(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except Exception as error:
        text = str(error).partition("\n")[0]
        print(json.dumps({"error": f"{type(error).__name__}: {text}"[:500]}))
        sys.exit(1)
