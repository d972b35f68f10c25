"""Which files make a model: the zoo's own folder, and how others lay theirs out.

Names only; nothing here opens a file or imports torch.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from zoo_core.errors import IntegrityError, UsageError

__all__ = [
    "EVALUATION",
    "GOLDEN",
    "INDEX",
    "METADATA",
    "STEMS",
    "WEIGHTS",
    "foreign",
    "foreign_weights",
    "is_index",
    "is_ours",
    "is_pickle",
    "is_shard",
    "is_weights",
    "joint_hash",
    "unread",
    "wanted",
]

METADATA, WEIGHTS, GOLDEN = "zoo.json", "model.safetensors", "golden.safetensors"
INDEX = f"{WEIGHTS}.index.json"
"""Which shard holds which tensor, where the weights are several files."""
EVALUATION = "evaluation.json"
"""What was measured of the weights beside it; it is of no other, and saving anew drops it."""
_SHARD = re.compile(r"[\w.-]+-\d{5}-of-\d{5}\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_ENDINGS = (".safetensors", ".safetensors.index.json", ".bin", ".pt", ".ckpt")
_BY_HAND = "zoo convert hf://org/name FOLDER --converter NAME"
_DEPTH = 4
"""Folders that parts of parts may be deep."""


def wanted(names: Iterable[str]) -> list[str]:
    """The files of a zoo's model among a repository's; raises where they make none.

    Other files, such as code or pickles, are never asked for.
    """
    paths = [PurePosixPath(name) for name in names]
    folders = {p.parent for p in paths if p.name == METADATA and len(p.parts) <= _DEPTH}
    if PurePosixPath() not in folders:
        raise _foreign(paths)
    ours = [p for p in paths if p.parent in folders and is_ours(p.name)]
    for folder in folders:
        if not any(p.parent == folder and is_weights(p.name) for p in ours):
            raise IntegrityError(
                f"the repository holds {folder / METADATA} but no {folder / WEIGHTS}."
                f"{_pickles(paths)}",
                hint=_of_pickles(paths),
            )
    return sorted(map(str, ours))


def foreign(names: Iterable[str], *, pickles: bool = False, hint: str = _BY_HAND) -> list[str]:
    """The files that a converter needs of a repository: JSON, and per folder the best weights."""
    paths = [p for n in names if len((p := PurePosixPath(n)).parts) <= 2]
    folders = sorted({p.parent for p in paths}, key=str)
    weights = [w for f in folders for w in foreign_weights([p for p in paths if p.parent == f])]
    if not weights:
        raise UsageError(
            "the repository holds no weights as safetensors.", hint=unread(map(str, paths))
        )
    if not pickles and all(is_pickle(w.name) for w in weights):
        raise UsageError(
            "the repository holds no weights as safetensors "
            f"({', '.join(map(str, weights[:3]))} can run code when read).",
            hint=hint,
        )
    keep = [w for w in weights if pickles or not is_pickle(w.name)]
    return sorted({str(p) for p in paths if p.name.endswith("config.json")}
                  | {str(p) for p in paths if p.name == "model_index.json"}
                  | set(map(str, keep)))  # fmt: skip


def foreign_weights(paths: list[PurePosixPath]) -> list[PurePosixPath]:
    """The weights among the files of one folder: safetensors before pickles."""
    names = {p.name: p for p in paths}
    for ending in _ENDINGS:
        for stem in STEMS:
            if path := names.get(f"{stem}{ending}"):
                return [path, *([p for p in paths if is_shard(p.name)] * is_index(path.name))]
    return []


def unread(names: Iterable[str]) -> str:
    """What to do about weights whose names nobody looks for, such as those of a variant."""
    found = sorted(n for n in names if n.endswith(_ENDINGS) and not is_index(n))
    known = " or ".join(f"{stem}.safetensors" for stem in STEMS)
    if not found:
        return f"weights are looked for as {known}, in the folder or one below it"
    return f"{found[0]} is not read under this name: copy it to {known}"


def is_index(name: str) -> bool:
    """Whether a name is that of the list of a checkpoint's shards."""
    return name.endswith(".index.json")


def is_pickle(name: str) -> bool:
    """Whether a file's name says that it is a pickle, which can run code when it is read."""
    return name.lower().endswith(_PICKLES)


def is_shard(name: str) -> bool:
    """Whether a name is that of one of several safetensors files of a model."""
    return _SHARD.fullmatch(name) is not None


def is_ours(path: str) -> bool:
    """Whether a path is that of a file of a zoo's model, or of a part of one."""
    name = PurePosixPath(path).name
    return name in (METADATA, GOLDEN) or is_weights(name)


def is_weights(name: str) -> bool:
    """Whether a name is that of a zoo's model's weights, of a shard or of the shards' list."""
    return name in (WEIGHTS, INDEX) or is_shard(name)


def joint_hash(files: Mapping[str, Any], parts: Mapping[str, str | None]) -> str | None:
    """The SHA-256 that names a model's weights, of `files` in its zoo.json and those of its parts.

    That of the one file; else of the names and hashes of all. None where one was not recorded.
    """
    own = {name: entry.get("sha256") for name, entry in files.items() if is_weights(name)}
    found: dict[str, str | None] = {**(own or {WEIGHTS: None}), **parts}
    if None in found.values():
        return None
    if len(found) == 1:
        return next(iter(found.values()))
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _foreign(paths: list[PurePosixPath]) -> UsageError:
    names = {p.name for p in paths}
    known = "diffusers' layout" if "model_index.json" in names else "another layout than the zoo's"
    return UsageError(
        f"the repository holds no {METADATA}; it has {known}.{_pickles(paths)}",
        hint="where a plugin has a converter for it: zoo convert hf://... FOLDER --converter NAME",
    )


def _of_pickles(paths: list[PurePosixPath]) -> str | None:
    found = sorted(str(p) for p in paths if is_pickle(p.name))
    return f"download it, then: zoo convert {found[0]} {WEIGHTS}" if found else None


def _pickles(paths: list[PurePosixPath]) -> str:
    found = sorted(str(p) for p in paths if is_pickle(p.name))
    if not found:
        return ""
    return f" {', '.join(found[:3])} can run code when read, and is not read."
