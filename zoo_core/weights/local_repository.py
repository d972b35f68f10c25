"""A folder of models as repositories with one commit each: `<org>/<name>/` below the root.

Files are found by walking; what a client names is looked up among them and never joined to a
path, so that nothing outside the folder can be meant. Links that lead out are not there.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo_core.errors import DataError
from zoo_core.weights.hub.cache import hashes
from zoo_core.weights.hub.client import Commit, Listed

__all__ = ["LocalFile", "LocalRepositories"]

_SMALL = 1 << 20
"""Bytes up to which a file that is no weights is named by git's hash, as on the Hub."""


@dataclass(frozen=True)
class LocalFile:
    """A file on the repositories, and both of its hashes."""

    file: Listed
    path: Path
    sha256: str
    git: str

    @property
    def large(self) -> bool:
        return len(self.file.digest) == 64


class LocalRepositories:
    """The models below a root; hashes are remembered for as long as a file does not change."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"{root} is no folder.", hint="name a folder with <org>/<name>/ in it")
        self.root = root.resolve()
        self._hashes: dict[tuple[str, int, int, int], dict[str, str]] = {}
        self._lock = threading.Lock()

    def repos(self) -> list[str]:
        """The names org/name of the folders on the repositories."""
        pairs = ((org, model) for org in _folders(self.root) for model in _folders(org))
        return sorted(f"{org.name}/{model.name}" for org, model in pairs)

    def commit(self, repo: str) -> tuple[Commit, dict[str, LocalFile]] | None:
        """The one commit of a repository: a hash of its files' hashes; None if it is not there."""
        if repo not in self.repos():
            return None
        org, _, name = repo.partition("/")
        folder = self.root / org / name
        held = {h.file.path: h for h in self._held(folder)}
        text = "".join(f"{name}\0{held[name].sha256}\n" for name in sorted(held))
        sha = hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False)
        files = {name: h.file for name, h in held.items()}
        return Commit(repo, sha.hexdigest(), files), held

    def _held(self, folder: Path) -> Iterator[LocalFile]:
        for path in _files(folder):
            if not path.resolve().is_relative_to(self.root):
                continue
            found = self._hashed(path)
            size, name = path.stat().st_size, path.relative_to(folder).as_posix()
            large = size > _SMALL or name.endswith((".safetensors", ".bin", ".pt", ".ckpt"))
            digest = found["sha256" if large else "git"]
            yield LocalFile(Listed(name, size, digest), path, found["sha256"], found["git"])

    def _hashed(self, path: Path) -> dict[str, str]:
        stat = path.stat()
        key = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if key not in self._hashes:
                self._hashes[key] = dict(hashes(path))
            return self._hashes[key]


def _folders(folder: Path) -> list[Path]:
    found = [Path(e.path) for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]
    return sorted(p for p in found if not p.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, or links to such; hidden ones are left out."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or not entry.name.isprintable():
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)
