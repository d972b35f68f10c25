"""The Hub's cache on disk, in the layout that its other clients share.

    models--org--name/blobs/<digest>            the bytes, named by their hash
                     /snapshots/<commit>/...    links to them, by path
                     /refs/<branch>             the commit that a branch was
                     /zoo/<commit>.json         ours: the files that the commit lists
                     /quarantine/               ours: bytes that were not what they should be

A file is used only if its bytes have the hash that its commit lists, whoever put them there.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo_core.catalog.names import is_commit, is_digest
from zoo_core.errors import IntegrityError
from zoo_core.files import write_atomically, writing
from zoo_core.reading import read_json, read_text
from zoo_core.weights.hub.access import check_file, check_repo
from zoo_core.weights.hub.client import Commit, Listed

__all__ = ["Store", "fits", "hashes", "sha256_of", "stores"]

_PREFIX = "models--"
_MAX_LISTING = 1 << 26
"""Bytes of the record of a commit's files, of which there may be many."""


@dataclass(frozen=True)
class Store:
    """What the cache at `root` holds of one repository."""

    root: Path
    repo: str

    @property
    def folder(self) -> Path:
        return self.root / (_PREFIX + check_repo(self.repo).replace("/", "--"))

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def commits(self) -> list[str]:
        """The commits of which there are files."""
        found = self.folder.glob("snapshots/*")
        return sorted(path.name for path in found if is_commit(path.name))

    def ref(self, revision: str) -> str | None:
        """The commit that a branch or tag was when it was last resolved."""
        try:
            text = read_text(self.folder / "refs" / revision).strip()
        except (OSError, ValueError):
            return None
        return text if is_commit(text) else None

    def listed(self, commit: str) -> dict[str, Listed] | None:
        """The files that a commit lists, as they were recorded; None if they were not."""
        try:
            data = read_json(self.folder / "zoo" / f"{commit}.json", _MAX_LISTING)
            files = [Listed(**entry) for entry in data]
        except (OSError, ValueError, TypeError):
            return None
        sound = all(is_digest(f.digest) and isinstance(f.size, int) for f in files)
        return {check_file(f.path): f for f in files} if sound else None

    def linked(self, commit: str) -> dict[str, Listed]:
        """The files of a snapshot whose links name their hashes, e.g. from another client."""
        folder = self.snapshot(commit)
        links = [p for p in folder.rglob("*") if p.is_symlink() and p.is_file()]
        found = ((p, os.path.basename(os.readlink(p))) for p in links)
        return {
            (name := p.relative_to(folder).as_posix()): Listed(name, p.stat().st_size, digest)
            for p, digest in found
            if is_digest(digest)
        }

    def record(self, commit: Commit, revision: str | None) -> None:
        """Remember what a commit lists, and that `revision` was this commit."""
        files = json.dumps([asdict(file) for file in commit.files.values()], indent=1)
        write_atomically(self.folder / "zoo" / f"{commit.sha}.json", files.encode())
        if revision is not None and not is_commit(revision):
            write_atomically(self.folder / "refs" / revision, commit.sha.encode())

    def verified(self, commit: str, file: Listed, pin: str | None = None) -> Path | None:
        """The path of a file whose bytes fit; a damaged one is moved away and is None."""
        path = self.snapshot(commit) / file.path
        if not path.exists():
            return None
        self.contained(path)
        if fits(path, file, pin):
            return path
        self.quarantine(path, file)
        return None

    def contained(self, path: Path) -> None:
        """Raise `IntegrityError` for a link that leaves the cache."""
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise IntegrityError(
                f"{path} is a link that leaves the cache.", hint=f"zoo cache remove {self.repo}"
            )

    def quarantine(self, path: Path, file: Listed) -> None:
        """Move bytes that are not what they should be out of the way, and unlink the path."""
        with writing(self.folder):
            bad = path.resolve() if path.is_symlink() else path
            place = self.folder / "quarantine" / file.digest
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(bad, place)
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, file: Listed) -> Iterator[None]:
        """Inside the block no other process fetches this file."""
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        with writing(self.folder):
            lock = self.root / ".locks" / self.folder.name / f"{file.digest}.lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                yield

    def blob(self, file: Listed) -> Path:
        return self.folder / "blobs" / file.digest

    def link(self, commit: str, file: Listed) -> None:
        """Let the snapshot's path lead to the blob: a relative link, or a copy without links."""
        path, blob = self.snapshot(commit) / file.path, self.blob(file)
        with writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.contained(path.parent)
            path.unlink(missing_ok=True)
            try:
                if os.environ.get("HF_HUB_DISABLE_SYMLINKS"):
                    raise OSError("links are switched off")
                path.symlink_to(os.path.relpath(blob, path.parent))
            except OSError:
                shutil.copyfile(blob, path)

    def size(self) -> int:
        """Bytes on disk, each file once."""
        return sum(p.stat().st_size for p in self._files())

    def _files(self) -> Iterator[Path]:
        return (p for p in self.folder.rglob("*") if p.is_file() and not p.is_symlink())


def stores(root: Path) -> list[Store]:
    """What the cache holds, by repository."""
    names = (p.name.removeprefix(_PREFIX) for p in root.glob(f"{_PREFIX}*--*") if p.is_dir())
    return [Store(root, name.replace("--", "/", 1)) for name in sorted(names)]


def fits(path: Path, file: Listed, pin: str | None = None) -> bool:
    """Whether bytes have the listed size and hash, and the pinned SHA-256 if there is one.

    The Hub names weights by their SHA-256, which is then the only hash to compute.
    """
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if len(file.digest) == 64:
        return pin in (None, file.digest) and _sha256(path) == file.digest
    found = hashes(path)
    return found["git"] == file.digest and pin in (None, found["sha256"])


def sha256_of(path: Path, file: Listed) -> str:
    """The SHA-256 of a verified file; the listing's own, where that is one."""
    return file.digest if len(file.digest) == 64 else _sha256(path)


def hashes(path: Path) -> Mapping[str, str]:
    """The SHA-256 of a file, and the SHA-1 that git names it by."""
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            git.update(chunk)
    return {"sha256": sha256.hexdigest(), "git": git.hexdigest()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
