"""The files of a model, in the zoo's own layout and in those of other libraries, by name.

Nothing here opens a file or imports torch.
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
    "is_checkpoint",
    "is_index",
    "is_ours",
    "is_pickle",
    "is_shard",
    "is_weights",
    "joint_hash",
    "third_party_files",
    "third_party_weights",
    "unread",
    "zoo_files",
]

METADATA, WEIGHTS, GOLDEN = "zoo.json", "model.safetensors", "golden.safetensors"
INDEX = f"{WEIGHTS}.index.json"
"""Maps tensors to shards, if the weights are several files."""
EVALUATION = "evaluation.json"
"""The evaluation of the weights in the same folder; saving other weights removes it."""
_SHARD = re.compile(r"[\w.-]+-\d{5}-of-\d{5}\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_ENDINGS = (".safetensors", ".safetensors.index.json", ".bin", ".pt", ".ckpt")
_BY_HAND = "zoo convert hf://org/name FOLDER --converter NAME"
_DEPTH = 4
"""Most levels of folders, with submodels of submodels."""


def zoo_files(names: Iterable[str]) -> list[str]:
    """The files of a model in the zoo's layout, among the files of a repository.

    Other files, such as code or pickles, are never downloaded. Raises `UsageError` or
    `IntegrityError` if the files are not those of a model.
    """
    paths = [PurePosixPath(name) for name in names]
    folders = {p.parent for p in paths if p.name == METADATA and len(p.parts) <= _DEPTH}
    if PurePosixPath() not in folders:
        raise _other_layout(paths)
    ours = [p for p in paths if p.parent in folders and is_ours(p.name)]
    for folder in folders:
        if not any(p.parent == folder and is_weights(p.name) for p in ours):
            raise IntegrityError(
                f"the repository holds {folder / METADATA} but no {folder / WEIGHTS}."
                f"{_pickles(paths)}",
                hint=_of_pickles(paths),
            )
    return sorted(map(str, ours))


def third_party_files(
    names: Iterable[str], *, pickles: bool = False, hint: str = _BY_HAND
) -> list[str]:
    """The files of a repository that a converter needs: configs and, in each folder, weights."""
    paths = [p for n in names if len((p := PurePosixPath(n)).parts) <= 2]
    folders = sorted({p.parent for p in paths}, key=str)
    weights = [
        w for f in folders for w in third_party_weights([p for p in paths if p.parent == f])
    ]
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
    configs = [p for p in paths if p.name.endswith("config.json") or p.name == "model_index.json"]
    read = [w for w in weights if pickles or not is_pickle(w.name)]
    return sorted({*map(str, configs), *map(str, read)})


def third_party_weights(paths: list[PurePosixPath]) -> list[PurePosixPath]:
    """The weights among the files of one folder; safetensors take precedence over pickles."""
    names = {p.name: p for p in paths}
    for ending in _ENDINGS:
        for stem in STEMS:
            if path := names.get(f"{stem}{ending}"):
                return [path, *([p for p in paths if is_shard(p.name)] * is_index(path.name))]
    return []


def unread(names: Iterable[str]) -> str:
    """What to do about weights under names that are not read, such as those of a variant."""
    others = sorted(n for n in names if n.endswith(_ENDINGS) and not is_index(n))
    known = " or ".join(f"{stem}.safetensors" for stem in STEMS)
    if not others:
        return f"weights are looked for as {known}, in the folder or one below it"
    return f"{others[0]} is not read under this name: copy it to {known}"


def is_index(name: str) -> bool:
    """Whether a file is the index of a checkpoint's shards."""
    return name.endswith(".index.json")


def is_pickle(name: str) -> bool:
    """Whether a file is a pickle by its name, which can run code when it is read."""
    return name.lower().endswith(_PICKLES)


def is_checkpoint(name: str) -> bool:
    """Whether a file holds tensors by its name: safetensors or a pickle."""
    return name.endswith(".safetensors") or is_pickle(name)


def is_shard(name: str) -> bool:
    """Whether a file is one of several safetensors files of a model."""
    return _SHARD.fullmatch(name) is not None


def is_ours(path: str) -> bool:
    """Whether a file belongs to a model in the zoo's layout, or to a submodel."""
    name = PurePosixPath(path).name
    return name in (METADATA, GOLDEN) or is_weights(name)


def is_weights(name: str) -> bool:
    """Whether a file holds weights in the zoo's layout: the whole, a shard, or the index."""
    return name in (WEIGHTS, INDEX) or is_shard(name)


def joint_hash(files: Mapping[str, Any], submodels: Mapping[str, str | None]) -> str | None:
    """The SHA-256 that identifies a model's weights, from `files` in zoo.json and its submodels.

    It is the hash of the file if there is one, else that of all names and hashes. None if a hash
    was not recorded.
    """
    own = {name: entry.get("sha256") for name, entry in files.items() if is_weights(name)}
    hashes: dict[str, str | None] = {**(own or {WEIGHTS: None}), **submodels}
    if None in hashes.values():
        return None
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _other_layout(paths: list[PurePosixPath]) -> UsageError:
    names = {p.name for p in paths}
    known = "diffusers' layout" if "model_index.json" in names else "another layout than the zoo's"
    return UsageError(
        f"the repository holds no {METADATA}; it has {known}.{_pickles(paths)}",
        hint="where a plugin has a converter for it: zoo convert hf://... FOLDER --converter NAME",
    )


def _of_pickles(paths: list[PurePosixPath]) -> str | None:
    pickles = sorted(str(p) for p in paths if is_pickle(p.name))
    return f"download it, then: zoo convert {pickles[0]} {WEIGHTS}" if pickles else None


def _pickles(paths: list[PurePosixPath]) -> str:
    pickles = sorted(str(p) for p in paths if is_pickle(p.name))
    if not pickles:
        return ""
    return f" {', '.join(pickles[:3])} can run code when read, and is not read."
