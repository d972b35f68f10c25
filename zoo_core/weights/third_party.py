"""Third-party checkpoints: read their files, and map tensor names onto an architecture's.

Diffusers' root layout (`config.json`, `diffusion_pytorch_model.safetensors`), its folders
(`unet/`, `vae/`, `scheduler/`, ...) and single files are read as a `Foreign`. A plugin's converter
turns it into the options and the state dict of an architecture.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from zoo_core.catalog.layout import is_index, is_pickle, third_party_weights, unread
from zoo_core.compat import moved_attribute
from zoo_core.errors import DataError, IntegrityError
from zoo_core.files import temporary_folder
from zoo_core.reading import read_json
from zoo_core.weights.tensors import MAX_INDEX, read_tensors, weight_files
from zoo_core.weights.third_party_config import ForeignConfig
from zoo_core.weights.unpickle import unpickle

__all__ = ["Converted", "Foreign", "ForeignConfig", "read", "renamed"]


@dataclass(frozen=True)
class Foreign:
    """A third-party checkpoint: JSON by path (`unet/config.json`), tensors by folder and name.

    Under the path of a pickle stand the modules that it says were made, by dotted name
    (`unpickle.Unpickled`). `remarks` say which of its contents were left out.
    """

    configs: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converted:
    """A converted checkpoint: options of the architecture's Config, and its state dict.

    `remarks` say what in the checkpoint the model does not have (`ForeignConfig.finish`).
    """

    options: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    remarks: tuple[str, ...] = ()


def renamed(tensors: Mapping[str, Tensor], rules: Mapping[str, str]) -> dict[str, Tensor]:
    r"""Rename tensors: each name must match exactly one rule, a regular expression and a template.

    Raises `IntegrityError` for a name that matches none or several, and for duplicates.

    >>> renamed({"a.0.w": torch.ones(1)}, {r"a\.(\d+)\.w": r"layers.\1.weight"}).keys()
    dict_keys(['layers.0.weight'])
    """
    tensors_by_name: dict[str, Tensor] = {}
    strays, twice = [], []
    for name, tensor in tensors.items():
        matches = [m.expand(t) for rule, t in rules.items() if (m := re.fullmatch(rule, name))]
        if len(matches) != 1:
            strays.append(name)
        elif matches[0] in tensors_by_name:
            twice.append(f"{name} ({matches[0]})")
        else:
            tensors_by_name[matches[0]] = tensor
    _refuse(strays, "do not map onto the architecture")
    _refuse(twice, "map onto a name that another has taken")
    return tensors_by_name


def _refuse(names: list[str], why: str) -> None:
    if names:
        listing = ", ".join(name[:80] for name in sorted(names)[:8])
        raise IntegrityError(
            f"{len(names)} tensors {why}: {listing}.",
            hint="the checkpoint is of another architecture or version",
        )


def read(
    source: Path,
    *,
    files: Collection[str] | None = None,
    memory: int | None = None,
    seconds: int = 600,
) -> Foreign:
    """Read a checkpoint from a folder or a file; pickles are read in a child process.

    `files` limits the paths that are read, e.g. to the verified files of a snapshot. `memory`
    (bytes) and `seconds` limit the child process.
    """
    limits = {"memory": memory, "seconds": seconds}
    if source.is_file():
        beside = _Beside()
        tensors = {"": _read_file(source, limits, beside)}
        return Foreign(beside.modules, tensors, tuple(beside.remarks))
    if not source.is_dir():
        raise DataError(f"{source} is neither a file nor a folder.")
    all_files = [
        p for pattern in ("*", "*/*") for p in sorted(source.glob(pattern)) if p.is_file()
    ]
    paths = {p.relative_to(source).as_posix(): p for p in all_files}
    if files is not None:
        paths = {name: path for name, path in paths.items() if name in files}
    among = set(paths.values())
    beside = _Beside()
    by_folder = {
        _name(folder, source): _read_folder(folder, names, among, limits, beside)
        for folder in sorted({path.parent for path in paths.values()})
        if third_party_weights(
            names := [PurePosixPath(p.name) for p in paths.values() if p.parent == folder]
        )
    }
    if not by_folder:
        raise DataError(f"{source} holds no checkpoint.", hint=unread(paths))
    texts = [n for n in paths if n.endswith(".json") and not is_index(n)]
    configs = {name: _json(paths[name]) for name in texts} | beside.modules
    return Foreign(configs, by_folder, tuple(beside.remarks))


@dataclass(frozen=True)
class _Beside:
    """What files held beside tensors, while they are read."""

    modules: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def _read_folder(
    folder: Path,
    names: list[PurePosixPath],
    among: Collection[Path],
    limits: Mapping[str, Any],
    beside: _Beside,
) -> dict[str, Tensor]:
    path = folder / third_party_weights(names)[0].name
    if not is_index(path.name):
        return _read_file(path, limits, beside)
    tensors = read_tensors(weight_files(folder, among, path.name.removesuffix(".index.json")))
    listed = read_json(path, MAX_INDEX)["weight_map"].keys()  # weight_files has checked it
    if absent := sorted(listed - tensors.keys()):
        raise IntegrityError(
            f"{path} lists {len(absent)} tensors that its shards lack: "
            f"{', '.join(name[:80] for name in absent[:8])}."
        )
    return tensors


def _read_file(path: Path, limits: Mapping[str, Any], beside: _Beside) -> dict[str, Tensor]:
    """The tensors of one file; what it holds beside them is added to `beside`."""
    if not is_pickle(path.name):
        return read_tensors([path])
    with temporary_folder() as folder:
        safe = folder / "tensors.safetensors"
        found = unpickle(path, safe, **limits)
        if found.left_out:
            beside.remarks.append(f"{path.name}: {found.left_out}")
        if found.modules:
            beside.modules[path.name] = found.modules
        return read_tensors([safe])


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} cannot be read as JSON ({error}).") from None


def _name(folder: Path, source: Path) -> str:
    return "" if folder == source else folder.name


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
