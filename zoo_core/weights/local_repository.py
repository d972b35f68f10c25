"""A folder of models as repositories with one commit each: `<org>/<name>/` below the root.

Names of a client are looked up in a listing of the folder and never joined to a path, so they
cannot reach outside it. Links that lead out of the folder are not listed.
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
"""Files up to this many bytes are named by their git hash, unless they hold weights."""


@dataclass(frozen=True)
class LocalFile:
    """A file of a repository, with both of its hashes."""

    file: Listed
    path: Path
    sha256: str
    git: str

    @property
    def large(self) -> bool:
        return len(self.file.digest) == 64


class LocalRepositories:
    """The repositories below a root folder; hashes are cached until a file changes."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"{root} is no folder.", hint="name a folder with <org>/<name>/ in it")
        self.root = root.resolve()
        self._hashes: dict[tuple[str, int, int, int], dict[str, str]] = {}
        self._lock = threading.Lock()

    def repos(self) -> list[str]:
        """The repositories' names, `org/name`."""
        pairs = ((org, model) for org in _folders(self.root) for model in _folders(org))
        return sorted(f"{org.name}/{model.name}" for org, model in pairs)

    def commit(self, repo: str) -> tuple[Commit, dict[str, LocalFile]] | None:
        """A repository's commit, a hash of its files' hashes, and its files; None if absent."""
        if repo not in self.repos():
            return None
        org, _, name = repo.partition("/")
        folder = self.root / org / name
        local = {f.file.path: f for f in self._files_of(folder)}
        text = "".join(f"{name}\0{local[name].sha256}\n" for name in sorted(local))
        sha = hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False)
        files = {name: f.file for name, f in local.items()}
        return Commit(repo, sha.hexdigest(), files), local

    def _files_of(self, folder: Path) -> Iterator[LocalFile]:
        for path in _files(folder):
            if not path.resolve().is_relative_to(self.root):
                continue
            hashed = self._hashed(path)
            size, name = path.stat().st_size, path.relative_to(folder).as_posix()
            large = size > _SMALL or name.endswith((".safetensors", ".bin", ".pt", ".ckpt"))
            digest = hashed["sha256" if large else "git"]
            yield LocalFile(Listed(name, size, digest), path, hashed["sha256"], hashed["git"])

    def _hashed(self, path: Path) -> dict[str, str]:
        stat = path.stat()
        key = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if key not in self._hashes:
                self._hashes[key] = dict(hashes(path))
            return self._hashes[key]


def _folders(folder: Path) -> list[Path]:
    folders = [Path(e.path) for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]
    return sorted(p for p in folders if not p.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, or links to them, except hidden ones."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or not entry.name.isprintable():
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)
