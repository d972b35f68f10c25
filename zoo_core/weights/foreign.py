"""Checkpoints of others: their files by layout, and their names mapped onto an architecture's.

Diffusers' root layout (`config.json`, `diffusion_pytorch_model.safetensors`), its folders
(`unet/`, `vae/`, `scheduler/`, ...), and a single file are read as one `Foreign`; a converter
that a plugin declares makes the options and the state dict of an architecture of it.
"""

import json
import re
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from zoo_core.errors import DataError, IntegrityError
from zoo_core.registry import current
from zoo_core.resolve import build
from zoo_core.specs import import_target
from zoo_core.weights.bounded import bounded
from zoo_core.weights.layout import STEMS, foreign_weights, is_index, is_pickle
from zoo_core.weights.tensors import elements, load_state, read_tensors, weight_files
from zoo_core.weights.unpickle import unpickle

if TYPE_CHECKING:
    from zoo_core.model import GenerativeModel

__all__ = ["Converted", "Foreign", "convert", "read", "renamed"]

_MAX_JSON = 1 << 20


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of others: JSON by path (`unet/config.json`), tensors by folder and name."""

    configs: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Converted:
    """What a converter makes of it: options of the architecture's Config, and its state dict."""

    options: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def renamed(tensors: Mapping[str, Tensor], rules: Mapping[str, str]) -> dict[str, Tensor]:
    r"""Tensors under our names: each must match one rule, a regular expression and its template.

    >>> renamed({"a.0.w": torch.ones(1)}, {r"a\.(\d+)\.w": r"layers.\1.weight"}).keys()
    dict_keys(['layers.0.weight'])
    """
    found: dict[str, Tensor] = {}
    strays = []
    for name, tensor in tensors.items():
        matches = [m.expand(t) for rule, t in rules.items() if (m := re.fullmatch(rule, name))]
        if len(matches) != 1 or matches[0] in found:
            strays.append(name)
        else:
            found[matches[0]] = tensor
    if strays:
        listing = ", ".join(name[:80] for name in sorted(strays)[:8])
        raise IntegrityError(
            f"{len(strays)} tensors do not map onto the architecture: {listing}.",
            hint="the checkpoint is of another architecture or version",
        )
    return found


def read(
    source: Path,
    *,
    files: Collection[str] | None = None,
    memory: int | None = None,
    seconds: int = 600,
) -> Foreign:
    """Read a checkpoint, a folder or one file; pickles by a child process with limits.

    `files` are the paths in the folder that count, by default all: of a cached snapshot, those
    that were verified.
    """
    limits = {"memory": memory, "seconds": seconds}
    if source.is_file():
        return Foreign({}, {"": _read_file(source, limits)})
    if not source.is_dir():
        raise DataError(f"{source} is neither a file nor a folder.")
    found = [p for pattern in ("*", "*/*") for p in sorted(source.glob(pattern)) if p.is_file()]
    paths = {p.relative_to(source).as_posix(): p for p in found}
    if files is not None:
        paths = {name: path for name, path in paths.items() if name in files}
    among = set(paths.values())
    tensors = {
        _name(folder, source): _read_folder(folder, names, among, limits)
        for folder in sorted({path.parent for path in paths.values()})
        if foreign_weights(
            names := [PurePosixPath(p.name) for p in paths.values() if p.parent == folder]
        )  # fmt: skip
    }
    if not tensors:
        raise DataError(
            f"{source} holds no checkpoint.",
            hint=f"known names: {', '.join(STEMS)} + .safetensors",
        )
    texts = [n for n in paths if n.endswith(".json") and not is_index(n)]
    return Foreign({name: _json(paths[name]) for name in texts}, tensors)


def convert(foreign: Foreign, converter: str, options: Mapping[str, Any]) -> "GenerativeModel":
    """A model of our own from a checkpoint of others, by a registered converter; strict."""
    from zoo_core import config as configs

    spec = current().one("converter", converter).spec
    made: Converted = configs.from_dict(
        import_target(spec.target), options, where=f"{converter}."
    )(foreign)
    target = current().one("model", spec.arch).spec
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted.safetensors"
        save_file({k: v.contiguous().clone() for k, v in made.tensors.items()}, path)
        with torch.random.fork_rng(devices=[]), bounded(elements([path]), converter):
            model = build(target, made.options)
        load_state(model, path)
    return model.eval()


def _read_folder(
    folder: Path,
    names: list[PurePosixPath],
    among: Collection[Path],
    limits: Mapping[str, Any],
) -> dict[str, Tensor]:
    path = folder / foreign_weights(names)[0].name
    if is_index(path.name):
        return read_tensors(weight_files(folder, among, path.name.removesuffix(".index.json")))
    return _read_file(path, limits)


def _read_file(path: Path, limits: Mapping[str, Any]) -> dict[str, Tensor]:
    if not is_pickle(path.name):
        return read_tensors([path])
    with tempfile.TemporaryDirectory() as folder:
        safe = Path(folder) / "tensors.safetensors"
        unpickle(path, safe, **limits)
        return read_tensors([safe])


def _json(path: Path) -> Any:
    if path.stat().st_size > _MAX_JSON:
        raise IntegrityError(f"{path} is larger than {_MAX_JSON} bytes; it is no config.")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is not JSON ({error}).") from None


def _name(folder: Path, source: Path) -> str:
    return "" if folder == source else folder.name
