"""A folder of models as repositories with one commit each: `<org>/<name>/` below the root.

Names of a client are looked up in a listing of the folder and never joined to a path, so they
cannot reach outside it. Links that lead out of the folder are not listed.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from zoo_core.errors import DataError
from zoo_core.weights.file_hashes import git_and_sha256
from zoo_core.weights.hub_protocol import Stored

__all__ = ["LocalRepositories"]

_SMALL = 1 << 20
"""Files up to this many bytes are named by their git hash, unless they hold weights."""


class LocalRepositories:
    """The repositories below a root folder; hashes are cached until a file changes."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"{root} is no folder.", hint="name a folder with <org>/<name>/ in it")
        self.root = root.resolve()
        self._hashes: dict[tuple[str, int, int, int], Mapping[str, str]] = {}
        self._lock = threading.Lock()

    def repos(self) -> list[str]:
        """The repositories' names, `org/name`."""
        pairs = ((org, model) for org in _folders(self.root) for model in _folders(org))
        return sorted(f"{org.name}/{model.name}" for org, model in pairs)

    def refs(self, repo: str) -> dict[str, str] | None:
        """The one commit, a hash of the files' names and hashes, as `main`; None if not there."""
        files = self._stored(repo)
        return None if files is None else {"main": _commit(files)}

    def files(self, repo: str, commit: str) -> dict[str, Stored] | None:
        """The files of the commit by path; None if the folder is no longer that."""
        files = self._stored(repo)
        return files if files is not None and _commit(files) == commit else None

    def _stored(self, repo: str) -> dict[str, Stored] | None:
        if repo not in self.repos():
            return None
        folder = self.root.joinpath(*repo.split("/"))
        inside = (p for p in _files(folder) if p.resolve().is_relative_to(self.root))
        return {(file := self._file(p, folder)).path: file for p in inside}

    def _file(self, path: Path, folder: Path) -> Stored:
        hashes, size = self._hashed(path), path.stat().st_size
        large = size > _SMALL or path.name.endswith((".safetensors", ".bin", ".pt", ".ckpt"))
        name = path.relative_to(folder).as_posix()
        return Stored(name, size, hashes["sha256"], hashes["git"], large, path)

    def _hashed(self, path: Path) -> Mapping[str, str]:
        stat = path.stat()
        key = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if key not in self._hashes:
                self._hashes[key] = git_and_sha256(path)
            return self._hashes[key]


def _commit(files: Mapping[str, Stored]) -> str:
    text = "".join(f"{name}\0{files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


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
