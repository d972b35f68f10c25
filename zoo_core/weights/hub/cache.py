"""The Hub's cache on disk, in the layout that its other clients share.

    models--org--name/blobs/<digest>            the bytes, named by their hash
                     /snapshots/<commit>/...    links to them, by path
                     /refs/<branch>             the commit that a branch was
                     /zoo/<commit>.json         ours: the files that the commit lists
                     /quarantine/               ours: bytes that were not what they should be

A file is used only if its bytes have the hash that its commit lists, whoever put them there.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from zoo_core.catalog.names import is_commit, is_digest
from zoo_core.errors import IntegrityError, NetworkError
from zoo_core.files import write_atomically, writing
from zoo_core.reading import read_json, read_text
from zoo_core.weights.file_hashes import git_and_sha256, sha256
from zoo_core.weights.hub.access import check_repo, is_set
from zoo_core.weights.hub.client import PROGRESS
from zoo_core.weights.hub.library import library
from zoo_core.weights.hub.listing import Commit, Listed, check_file

__all__ = ["PREFIX", "URLS", "Store", "fits", "stores"]

PREFIX = "models--"
URLS = "zoo.urls/"
"""What the cache calls files of https addresses, by the name of their weights; a dot is in no name
of an organization on the Hub."""
_MAX_LISTING = 1 << 26
"""Bytes of the record of a commit's files, of which there may be many."""


@dataclass(frozen=True)
class Store:
    """What the cache at `root` holds of one repository."""

    root: Path
    repo: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.repo.removeprefix(URLS) if self.repo.startswith(URLS) else f"hf://{self.repo}"

    @property
    def folder(self) -> Path:
        return self.root / (PREFIX + check_repo(self.repo).replace("/", "--"))

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def blob(self, file: Listed) -> Path:
        return self.folder / "blobs" / file.digest

    def part(self, file: Listed) -> Path:
        """Where a file is until it is whole and verified."""
        return self.folder / "blobs" / f"{file.digest}.zoo.incomplete"

    def commits(self) -> list[str]:
        """The commits of which there are files."""
        return sorted(p.name for p in self.folder.glob("snapshots/*") if is_commit(p.name))

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
            entries = read_json(self._record(commit), _MAX_LISTING)
            files = [Listed(**entry) for entry in entries]
        except (OSError, ValueError, TypeError):
            return None
        sound = all(is_digest(f.digest) and isinstance(f.size, int) for f in files)
        return {check_file(f.path): f for f in files} if sound else None

    def linked(self, commit: str) -> dict[str, Listed]:
        """The files of a snapshot whose links name their hashes, e.g. from another client."""
        folder, files = self.snapshot(commit), {}
        for link in folder.rglob("*"):
            digest = os.path.basename(os.readlink(link)) if link.is_symlink() else ""
            if is_digest(digest) and link.is_file():
                name = link.relative_to(folder).as_posix()
                files[name] = Listed(name, link.stat().st_size, digest)
        return files

    def record(self, commit: Commit, revision: str | None) -> None:
        """Remember what a commit lists and that `revision` was it; writes only what is new."""
        if self.listed(commit.sha) != commit.files:
            text = json.dumps([asdict(file) for file in commit.files.values()], indent=1)
            write_atomically(self._record(commit.sha), text.encode())
        if revision is None or is_commit(revision) or self.ref(revision) == commit.sha:
            return
        ref, new = self.folder / "refs" / revision, self.folder / "zoo" / f"{os.getpid()}.new"
        with writing(self.folder):
            ref.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(commit.sha)  # not below refs/, where every file is a branch to others
            os.replace(new, ref)

    def _record(self, commit: str) -> Path:
        return self.folder / "zoo" / f"{commit}.json"

    def verified(self, commit: str, file: Listed, pin: str | None = None) -> bool:
        """Whether a file is there and its bytes fit; a damaged one is moved away."""
        path = self.snapshot(commit) / file.path
        if not path.exists():
            return False
        self.contained(path)
        if fits(path, file, pin):
            return True
        self.quarantine(path, file)
        return False

    def contained(self, path: Path) -> None:
        """Raise `IntegrityError` for a link that leaves the cache."""
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise IntegrityError(
                f"{path} is a link that leaves the cache.", hint=f"zoo cache remove {self.repo}"
            )

    def quarantine(self, path: Path, file: Listed) -> None:
        """Move bytes that are not what they should be out of the way, and unlink the path."""
        with writing(self.folder):
            place = self.folder / "quarantine" / file.digest
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path.resolve(), place)
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, file: Listed) -> Iterator[None]:
        """Inside the block no other process fetches this file."""
        library()
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        with writing(self.folder):
            lock = self.root / ".locks" / self.folder.name / f"{file.digest}.lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                yield

    @contextmanager
    def unfinished(self, file: Listed) -> Iterator[IO[bytes]]:
        """The part of a file that is there already, to append to.

        It stays after a kill or an interrupt; after an error only if going on is worth it.
        """
        part = self.part(file)
        part.parent.mkdir(parents=True, exist_ok=True)
        if not _is_part(part, file):
            part.unlink(missing_ok=True)
        try:
            with open(part, "ab", opener=_not_through_links) as out:
                yield out
        except Exception as error:
            if not isinstance(error, NetworkError) or part.stat().st_size < PROGRESS:
                part.unlink(missing_ok=True)
            raise

    def link(self, commit: str, file: Listed) -> None:
        """Let the snapshot's path lead to the blob: a relative link, or a copy without links."""
        path, blob = self.snapshot(commit) / file.path, self.blob(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.contained(path.parent)
        path.unlink(missing_ok=True)
        try:
            if is_set("HF_HUB_DISABLE_SYMLINKS"):
                raise OSError("links are switched off")
            path.symlink_to(os.path.relpath(blob, path.parent))
        except OSError:
            shutil.copyfile(blob, path)

    def size(self) -> int:
        """Bytes on disk, each file once."""
        files = (p for p in self.folder.rglob("*") if p.is_file() and not p.is_symlink())
        return sum(p.stat().st_size for p in files)


def stores(root: Path) -> list[Store]:
    """What the cache holds, by repository."""
    names = (p.name.removeprefix(PREFIX) for p in root.glob(f"{PREFIX}*--*") if p.is_dir())
    return [Store(root, name.replace("--", "/", 1)) for name in sorted(names)]


def fits(path: Path, file: Listed, pin: str | None = None) -> bool:
    """Whether bytes have the listed size and hash, and the pinned SHA-256 if there is one.

    The Hub names weights by their SHA-256, which is then the only hash to compute.
    """
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256:
        return pin in (None, file.sha256) and sha256(path) == file.sha256
    hashes = git_and_sha256(path)
    return hashes["git"] == file.digest and pin in (None, hashes["sha256"])


def _is_part(path: Path, file: Listed) -> bool:
    """Whether a path is a file of ours to go on with, and no link to one of somebody else."""
    try:
        known = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(known.st_mode) and known.st_nlink == 1 and known.st_size <= file.size


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
