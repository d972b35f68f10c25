"""A model as a folder: `zoo.json`, `model.safetensors` and, if recorded, golden tensors.

    zoo.json             schema, arch, plugin, config, event, condition, metrics, licence, ...
    model.safetensors    the state dict, without the submodels
    golden.safetensors   samples and scores to reproduce (see `zoo_core.weights.golden`)
    <submodel>/          each submodel, a folder of the same form

A class that no plugin declares is saved with `plugin` null and its name as `class`, which is never
imported: whoever loads the folder gives the class.

Weights are data: no class path, no pickle. A folder is written atomically. Hashes are checked
first, then names, shapes and dtypes, before a tensor is used. Only files that the commit lists are
read, and if `zoo.json` has `files`, only those.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core.catalog.layout import EVALUATION, GOLDEN, METADATA, WEIGHTS, joint_hash
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import ModelSpec
from zoo_core.errors import (
    DataError,
    IntegrityError,
    OutputError,
    PluginError,
    UnknownNameError,
    UsageError,
)
from zoo_core.files import atomic_folder, write_json
from zoo_core.finite import check_parameters
from zoo_core.nn.described import check_described, unwrapped_state
from zoo_core.reading import read_json, shown
from zoo_core.weights.file_hashes import sha256
from zoo_core.weights.tensors import damaged_file, write_tensors

if TYPE_CHECKING:
    from zoo_core.model import GenerativeModel

__all__ = [
    "GOLDEN",
    "METADATA",
    "WEIGHTS",
    "check_arch",
    "check_overwritable",
    "check_unregistered",
    "file_entry",
    "is_model_file",
    "model_files",
    "read_metadata",
    "save",
    "sha256",
    "spec_of",
    "stored_dtype",
    "verify",
    "weights_hash",
    "write_tensors",
]

SCHEMA = 1
_MAX_NAME = 256
_DTYPES = ("float32", "float64", "float16", "bfloat16")


def save(
    model: "GenerativeModel",
    path: Path,
    *,
    golden: Mapping[str, Tensor] | None = None,
    stored: torch.dtype | None = None,
    **metadata: Any,
) -> Path:
    """Write the model's folder; `metadata` goes into `zoo.json` (license, source, metrics, ...).

    Floating-point tensors are stored as `stored`, by default in their own type, and loaded in that
    of the model.
    Raises `OutputError` if the path cannot be written or holds other files, and `NotFiniteError`
    if a parameter is NaN or infinite, or becomes so as `stored`.
    """
    spec = _spec(model)
    check_overwritable(path, spec)
    with atomic_folder(path) as folder:
        _write(model, spec, folder, golden, stored, metadata)
    return path


def _spec(model: "GenerativeModel") -> ModelSpec:
    """The registered spec; for a class that no plugin declares, one that gives its name."""
    try:
        return model.spec
    except UnknownNameError:
        cls, config = type(model), type(model.config)
        return ModelSpec(cls.__name__, "unstated", "unstated", _path(cls), _path(config))


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def model_files(
    folder: Path, metadata: Mapping[str, Any], verified: Collection[Path] | None
) -> set[Path]:
    """The files of a folder that belong to the model: listed by the commit and by `zoo.json`.

    Without either list, as in a folder written by hand, all files that are there.
    """
    own = {folder / name for name in metadata["files"]}
    if verified is None:
        return own or set(folder.iterdir())
    return own & set(verified) if own else set(verified)


def spec_of(metadata: Mapping[str, Any], named: ModelSpec | None = None) -> ModelSpec:
    """The architecture: the one that was `named`, else the one that `zoo.json` states.

    If several plugins declare that name, it is the one of the plugin that saved the folder. Raises
    `IntegrityError` if the folder holds another architecture than was named, and `PluginError` if
    it was saved by a class that no plugin declares.
    """
    if named is not None:
        check_arch(metadata["arch"], named)
        return named
    if (path := _unregistered(metadata)) is not None:
        raise PluginError(
            f"the folder holds a model of the class {shown(path)}, which no plugin declared.",
            hint="give the class, zoo.load(folder, cls=...); or declare it in a plugin "
            "(docs/guides/plugins.md) and save the model again",
            command="declare the class in a plugin (docs/guides/plugins.md) and save it again",
        )
    entries = current().models.find(metadata["arch"])
    own = [e for e in entries if e.plugin.dist == metadata.get("plugin")]
    entry = own[0] if len(entries) > 1 and own else current().models.one(metadata["arch"])
    return entry.spec


def check_unregistered(metadata: Mapping[str, Any], cls: type) -> None:
    """Raise `UsageError` unless a folder needs its class to be given."""
    if _unregistered(metadata) is None:
        raise UsageError(
            f"cls={cls.__name__} is for a class that no plugin declares; the folder is of arch "
            f"{shown(metadata['arch'])}.",
            hint="zoo.load(folder), without cls",
            command="name the folder alone",
        )


def _unregistered(metadata: Mapping[str, Any]) -> str | None:
    """The path of a class that no plugin declared when it was saved; None for a plugin's."""
    path = metadata.get("class")
    return path if metadata.get("plugin") is None and isinstance(path, str) else None


def check_arch(arch: str, named: ModelSpec) -> None:
    """Raise `IntegrityError` unless weights are of the architecture that was named."""
    if arch != named.arch:
        raise IntegrityError(
            f"the weights are of arch {arch!r}; the name asks for {named.arch!r}.",
            hint="zoo cache verify checks downloads; report this to whoever published the tag",
        )


def read_metadata(folder: Path) -> dict[str, Any]:
    """`zoo.json` of a folder; raises unless it has the fields that loading needs."""
    path = folder / METADATA
    if not path.is_file():
        raise DataError(
            f"{folder} is no model folder: it has no {METADATA}.",
            hint="a folder written by model.save() or zoo train has one",
            command="a folder written by zoo train or zoo convert has one",
        )
    try:
        metadata = read_json(path)
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{path} cannot be read as JSON ({error}).", hint="write the folder anew"
        ) from None
    if not isinstance(metadata, dict) or metadata.get("schema") != SCHEMA:
        raise IntegrityError(f"{path} is not a zoo.json of schema {SCHEMA}.")
    if not isinstance(metadata.get("arch"), str) or not isinstance(metadata.get("config"), dict):
        raise IntegrityError(f"{path} must name an `arch` and hold its `config`.")
    if len(metadata["arch"]) > _MAX_NAME:
        raise IntegrityError(f"{path}: arch = {shown(metadata['arch'])} is no name.")
    files = metadata.setdefault("files", {})
    if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise IntegrityError(f"{path}: `files` must map names to their sha256 and size.")
    return metadata


def _is_entry(value: Any) -> bool:
    """Whether an entry of `files` has a SHA-256; without one nothing would be checked."""
    digest = value.get("sha256") if isinstance(value, dict) else None
    return isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) is not None


def stored_dtype(folder: Path, metadata: Mapping[str, Any]) -> torch.dtype:
    """The dtype that the model is loaded in."""
    name = metadata.get("dtype", "float32")
    if name not in _DTYPES:
        raise IntegrityError(
            f"{folder / METADATA}: dtype = {shown(name)}; it must be one of {', '.join(_DTYPES)}."
        )
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def is_model_file(path: Path) -> bool:
    """Whether `zoo.json` lists a file of its folder; without a list every file belongs to it."""
    files = read_metadata(path.parent)["files"]
    return path.name == METADATA or not files or path.name in files


def weights_hash(folder: Path) -> str | None:
    """The SHA-256 that names a model's weights, submodels included; None if none is recorded."""
    metadata = read_metadata(folder)
    submodels = {name: weights_hash(folder / name) for name, _ in spec_of(metadata).submodels}
    return joint_hash(metadata["files"], submodels)


def file_entry(path: Path) -> dict[str, Any]:
    """What `zoo.json` keeps of a file: its SHA-256 and size in bytes."""
    return {"sha256": sha256(path), "size": path.stat().st_size}


def verify(path: Path, metadata: Mapping[str, Any], known: str | None = None) -> None:
    """Raise `IntegrityError` unless a file is the one that `files` of `zoo.json` lists, if any.

    `known` is its SHA-256 if that has just been computed.
    """
    files = metadata["files"]
    if files and path.name not in files:
        raise IntegrityError(f"{path} is in no list of the model's files.")
    if files and (known or sha256(path)) != files[path.name]["sha256"]:
        raise damaged_file(path, f"its SHA-256 is not the one recorded in {METADATA}")


def _write(
    model: "GenerativeModel",
    spec: ModelSpec,
    folder: Path,
    golden: Mapping[str, Tensor] | None,
    stored: torch.dtype | None,
    metadata: Mapping[str, Any],
) -> None:
    submodels = [name for name, _ in spec.submodels]
    check_described(model, model.config, submodels=submodels)
    for name in submodels:
        submodel = cast("GenerativeModel", model.get_submodule(name))
        (folder / name).mkdir()
        _write(submodel, submodel.spec, folder / name, None, stored, {})
    state = {k: v for k, v in unwrapped_state(model).items() if k.split(".")[0] not in submodels}
    kept = {k: _as(v, stored) for k, v in state.items()}
    check_parameters(kept, f"{spec.arch} cannot be saved, for zoo.load would refuse it")
    write_tensors(kept, folder / WEIGHTS)
    if golden is not None:
        write_tensors(golden, folder / GOLDEN)
    files = {p.name: file_entry(p) for p in folder.glob("*.s*")}
    write_json(folder / METADATA, _describe(model, spec) | dict(metadata) | {"files": files})


def _as(tensor: Tensor, stored: torch.dtype | None) -> Tensor:
    return tensor.to(stored) if stored is not None and tensor.is_floating_point() else tensor


def _describe(model: "GenerativeModel", spec: ModelSpec) -> dict[str, Any]:
    from zoo_core.version import __version__

    return {
        "schema": SCHEMA,
        "arch": spec.arch,
        **_declared_by(type(model)),
        "core_version": __version__,
        "density": spec.density,
        "config": configs.to_dict(model.config),
        "event": model.event.record(),
        "condition": model.condition.record(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "params": sum(p.numel() for p in model.parameters()),
        "license": "unstated",
        "source": "unstated",
        **({"origin": model.origin} if model.origin else {}),
        **({"sampler": model.measured_sampler.record} if model.measured_sampler else {}),
    }


def _declared_by(cls: type) -> dict[str, str | None]:
    """The plugin that declares a class, or the class itself if none does."""
    try:
        plugin = current().entry_of(cls).plugin
    except UnknownNameError:
        return {"plugin": None, "class": _path(cls)}
    return {"plugin": plugin.dist, "plugin_version": plugin.version}


def check_overwritable(path: Path, spec: ModelSpec) -> None:
    """Raise `OutputError` if a path is a file, or a folder with files that are not a model's."""
    ours = {METADATA, WEIGHTS, GOLDEN, EVALUATION, *(name for name, _ in spec.submodels)}
    if path.is_file():
        raise OutputError(f"{path} is a file; a model is saved as a folder.", hint="name a folder")
    others = sorted(p.name for p in path.glob("*") if p.name not in ours) if path.exists() else []
    if others:
        raise OutputError(
            f"{path} holds other files ({', '.join(others[:3])}); saving replaces the folder.",
            hint="choose an empty or new folder",
        )
