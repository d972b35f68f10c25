"""Convert a pickled checkpoint to safetensors in a child process, without running its code.

`torch.load(weights_only=True)` builds tensors and plain containers. What it refuses is read as
data: objects of other classes become records (`inert_pickle`), of which modules give their
tensors and the arguments they were made with. The child has limits on memory and time, and writes
one file.
"""

import json
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.child import CompletedProcess, TimeoutExpired, python
from zoo_core.errors import IntegrityError, OutputError

__all__ = ["Unpickled", "unpickle"]

_MEMORY_FACTOR, _MEMORY_SLACK = 4, 1 << 30
_INFLATION = 4
"""Largest inflation of an archive: torch does not compress checkpoints."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_SHOWN = 8
"""Number of names that a message lists."""


@dataclass(frozen=True)
class Unpickled:
    """What a pickle held beside its tensors.

    `left_out` is a text about entries that are no tensors, or an empty one. `modules` are the
    outermost modules by dotted name, `{"class": name, "arguments": {...}}`, if their pickle says
    what they were made with.
    """

    left_out: str
    modules: Mapping[str, Any]


def unpickle(
    source: Path, target: Path, *, memory: int | None = None, seconds: int = 600
) -> Unpickled:
    """Write the tensors of a .bin, .pt, .ckpt or .pkl file to a safetensors file.

    Nested dicts and modules become dotted names. `memory` (bytes) limits the child, beyond what
    torch itself takes. Raises `IntegrityError`, also if two tensors would get the same name.
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
    return Unpickled(answer["left_out"], answer["modules"])


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


def _answer(done: CompletedProcess[str]) -> dict[str, Any]:
    """The child's answer: `left_out` and `modules`, or the `error` that ended it."""
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        answer = {}
    ended = f"the process that read it ended with {done.returncode}"
    return {"error": ended, "left_out": "", "modules": {}} | answer


def _refused(source: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{source} is not read: {reason}.",
        hint="a checkpoint must be tensors in dicts, lists and modules",
    )


class _Unfit(ValueError):
    """A checkpoint that cannot be stored as safetensors; the message is our own text."""


def _child(source: str, target: str, memory: int) -> dict[str, Any]:
    """In the child: set limits, convert the file, and return what was left out, and modules."""
    from zoo_core.weights.inert_modules import made_modules
    from zoo_core.weights.tensors import write_tensors

    _limit(memory)
    loaded = _load(Path(source))
    tensors, others = _sorted(loaded)
    if not tensors:
        raise _Unfit("it holds no tensors")
    try:
        write_tensors(tensors, Path(target))
    except KeyError as error:
        raise _Unfit(f"safetensors has no numbers of type {error.args[0]}") from None
    left_out = f"{len(others)} entries that are no tensors were left out: {_listing(others)}"
    return {"left_out": left_out if others else "", "modules": made_modules(loaded)}


def _load(source: Path) -> Any:
    """By torch's own restricted reader; what that refuses is read as data."""
    import torch

    from zoo_core.weights.inert_files import read_inert

    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return read_inert(source)


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

    from zoo_core.weights.inert_modules import leaves

    tensors: dict[str, Any] = {}
    others, twice = [], []
    for name, leaf in leaves(loaded):
        if not isinstance(leaf, torch.Tensor):
            others.append(name)
        elif name in tensors:
            twice.append(name)
        else:
            tensors[name] = _checked(name, leaf)
    if twice:
        raise _Unfit(f"it holds several tensors under the same dotted name: {_listing(twice)}")
    return tensors, others


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
        print(json.dumps(_child(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    except Exception as error:
        kind = "unwritten" if getattr(error, "filename", None) == sys.argv[2] else "error"
        reason = getattr(error, "strerror", None) if kind == "unwritten" else _why(error)
        print(json.dumps({kind: str(reason)[:1000]}))
        sys.exit(1)
