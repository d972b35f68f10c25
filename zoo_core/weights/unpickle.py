"""Convert a pickled checkpoint to safetensors in a child process, without running its code.

`torch.load(weights_only=True)` builds tensors and plain containers and refuses everything else.
The child has limits on memory and time, and writes one file.
"""

import json
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo_core.child import CompletedProcess, TimeoutExpired, python
from zoo_core.errors import IntegrityError, OutputError

__all__ = ["unpickle"]

_MEMORY_FACTOR, _MEMORY_SLACK = 4, 1 << 30
_INFLATION = 4
"""Largest inflation of an archive: torch does not compress checkpoints."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_SHOWN = 8
"""Number of names that a message lists."""


def unpickle(source: Path, target: Path, *, memory: int | None = None, seconds: int = 600) -> str:
    """Write the tensors of a .bin, .pt or .ckpt file to a safetensors file.

    Nested dicts become dotted names. Returns a text about entries that are no tensors and were
    left out, or an empty one. `memory` (bytes) limits the child, beyond what torch itself takes.
    Raises `IntegrityError`, also if two tensors would get the same name.
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
    answer = _answer(done)
    if done.returncode or not target.is_file():
        target.unlink(missing_ok=True)
        if "unwritten" in answer:
            raise OutputError(
                f"{target} cannot be written ({answer['unwritten']}).",
                hint="free some space, or name a folder on another disk: TMPDIR",
            )
        raise _refused(source, answer["error"])
    return answer["left_out"]


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


def _answer(done: CompletedProcess[str]) -> dict[str, str]:
    """The child's answer: `left_out`, or the `error` that ended it."""
    try:
        answer: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        answer = {}
    ended = f"the process that read it ended with {done.returncode}"
    return {"error": ended, "left_out": ""} | answer


def _refused(source: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{source} is not read: {reason}.",
        hint="a checkpoint must be a state dict: tensors in plain dicts and lists",
    )


class _Unfit(ValueError):
    """A checkpoint that cannot be stored as safetensors; the message is our own text."""


def _child(source: str, target: str, memory: int) -> str:
    """In the child: set limits, convert the file, and return what was left out."""
    import torch

    from zoo_core.weights.tensors import write_tensors

    _limit(memory)
    loaded = torch.load(source, map_location="cpu", weights_only=True)
    tensors, others = _sorted(loaded)
    if not tensors:
        raise _Unfit("it holds no tensors")
    try:
        write_tensors(tensors, Path(target))
    except KeyError as error:
        raise _Unfit(f"safetensors has no numbers of type {error.args[0]}") from None
    if not others:
        return ""
    return f"{len(others)} entries that are no tensors were left out: {_listing(others)}"


def _limit(memory: int) -> None:
    """Limit this process to `memory` bytes more than it has now, if the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        maximum = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (maximum, maximum))
    except (ImportError, OSError, ValueError):
        return


def _sorted(loaded: Any) -> tuple[dict[str, Any], list[str]]:
    """The tensors by dotted name, and the names of all other entries."""
    import torch

    tensors: dict[str, Any] = {}
    others, twice = [], []
    for name, leaf in _leaves(loaded, ()):
        if not isinstance(leaf, torch.Tensor):
            others.append(name)
        elif name in tensors:
            twice.append(name)
        else:
            tensors[name] = _checked(name, leaf)
    if twice:
        raise _Unfit(f"it holds several tensors under the same dotted name: {_listing(twice)}")
    return tensors, others


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, (*path, str(key)))
    else:
        yield ".".join(path) or "tensor", value


def _checked(name: str, tensor: Any) -> Any:
    """A tensor that is valid and that safetensors can hold; raises `_Unfit` otherwise."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise _Unfit(f"{name} is sparse, quantized or empty of numbers; only dense ones are read")
    if tensor.numel() * tensor.element_size() > max(tensor.untyped_storage().nbytes(), 64):
        raise _Unfit(f"{name} claims {tensor.numel():,} numbers and holds fewer")
    if name == "__metadata__":
        raise _Unfit(f"a tensor is called {name}, a name that safetensors keeps for itself")
    return tensor.detach()


def _listing(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + rest


def _why(error: Exception) -> str:
    """The reason in our own words: torch's messages advise to load the file nevertheless."""
    if isinstance(error, _Unfit):
        return str(error)
    if isinstance(error, pickle.UnpicklingError):
        asked = _GLOBAL.search(str(error))
        what = f"it asks for {asked[1]}" if asked else "it is no pickle that torch.save writes"
        return f"{what}, and may run code when it is loaded" if asked else what
    if isinstance(error, MemoryError) or "allocate" in str(error):
        return "reading it takes more memory than it may (--memory)"
    return f"it is damaged or no checkpoint ({type(error).__name__})"


if __name__ == "__main__":
    try:
        print(json.dumps({"left_out": _child(sys.argv[1], sys.argv[2], int(sys.argv[3]))}))
    except Exception as error:
        kind = "unwritten" if getattr(error, "filename", None) == sys.argv[2] else "error"
        reason = getattr(error, "strerror", None) if kind == "unwritten" else _why(error)
        print(json.dumps({kind: str(reason)[:1000]}))
        sys.exit(1)
