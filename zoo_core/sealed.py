"""Safetensors files that carry the SHA-256 of all that they hold, so that no damage goes unseen.

    sha256 = H(text, then name, type, shape and values of every tensor, in the order of names)

The header's metadata has the text and the hash. This is against damage and not against forgery:
who can write the file can write its hash too.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo_core.errors import IntegrityError, OutputError
from zoo_core.files import atomic_path
from zoo_core.hashing import absorb
from zoo_core.reading import regular

__all__ = ["read", "write"]


def write(path: Path, tensors: Mapping[str, Tensor], text: str) -> None:
    """Write tensors and a text; the previous file stays until this one is complete."""
    metadata = {"zoo": text, "sha256": _digest(tensors, text)}
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=metadata)
        except SafetensorError as error:
            raise OutputError(
                f"{path} cannot be written ({error}).",
                hint="free some space; what was there is kept",
            ) from error


def read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The text and the tensors; raises `IntegrityError` unless both are as they were written."""
    try:
        regular(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise IntegrityError(
            f"{path} is damaged or no safetensors file ({type(error).__name__}: {error})."
        ) from error
    if not {"zoo", "sha256"} <= metadata.keys():
        raise IntegrityError(f"{path} carries no hash of its content.")
    if _digest(tensors, metadata["zoo"]) != metadata["sha256"]:
        raise IntegrityError(f"{path} is damaged: its content has another hash than it carries.")
    return metadata["zoo"], tensors


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    sha256 = hashlib.sha256(f"{len(text)} {text}".encode())
    for name in sorted(tensors):
        sha256.update(f"{len(name)} {name}".encode())
        absorb(sha256, tensors[name])
    return sha256.hexdigest()
