"""The files of one commit: all of them verified, or an error that names what is missing.

A revision is resolved once, and its commit is used for every file. A commit whose files are
cached costs no request. A `Plan` says what would be fetched, and `fetch` does so if the disk has
room.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from zoo_core.catalog.names import is_commit
from zoo_core.errors import IntegrityError, NetworkError, OutputError
from zoo_core.text import printable
from zoo_core.weights.file_hashes import git_and_sha256
from zoo_core.weights.hub.access import Access, check_repo, check_revision
from zoo_core.weights.hub.cache import URLS, Store, fits
from zoo_core.weights.hub.client import commit_of, download
from zoo_core.weights.hub.listing import Commit, Listed

__all__ = ["Choice", "Download", "Plan", "Snapshot", "fetch", "plan", "snapshot"]

Choice = Callable[[Iterable[str]], list[str]]
"""Which of a repository's files are needed; raises where they make no model."""

Download = Callable[[Listed, IO[bytes]], None]
"""Appends to an open file what it lacks of a listed one."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """Files of a commit in a folder, verified."""

    repo: str
    commit: str
    folder: Path
    files: tuple[Listed, ...]
    origin: str | None = None
    """Where the files are from, if not from a repository on the Hub."""

    @property
    def name(self) -> str:
        return self.origin or f"hf://{self.repo}@{self.commit}"

    @property
    def verified(self) -> dict[Path, str | None]:
        """What may be read, by path; with the SHA-256, where the Hub names a file by it."""
        return {self.folder / file.path: file.sha256 for file in self.files}


@dataclass(frozen=True)
class Plan:
    """The files of a commit that are needed, and those of them that are not in the cache."""

    store: Store
    commit: Commit
    files: tuple[Listed, ...]
    missing: tuple[Listed, ...]
    pins: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None

    @property
    def fetched_bytes(self) -> int:
        """Bytes that are still to come; a download that broke off goes on."""
        there = (self.store.part(file) for file in self.missing)
        begun = sum(part.stat().st_size for part in there if part.is_file())
        return max(0, sum(file.size for file in self.missing) - begun)

    @property
    def free_bytes(self) -> int:
        """Free bytes on the disk that the cache is on."""
        root = self.store.root.absolute()
        there = next(folder for folder in (root, *root.parents) if folder.is_dir())
        return shutil.disk_usage(there).free

    @property
    def snapshot(self) -> Snapshot:
        folder = self.store.snapshot(self.commit.sha)
        return Snapshot(self.store.repo, self.commit.sha, folder, self.files, self.origin)


def snapshot(
    repo: str,
    choose: Choice,
    access: Access,
    *,
    revision: str | None = None,
    pins: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Snapshot:
    """Fetch the files that `choose` names; `pins` are SHA-256 by path.

    `name` is what the user called it, for hints. Raises `NetworkError`, `IntegrityError` or
    `UnknownNameError`.
    """
    planned = plan(repo, choose, access, revision=revision, pins=pins, name=name)
    sha = planned.commit.sha
    get = partial(_from_hub, repo, sha, access)
    resolved = not (access.is_offline or is_commit(revision or "main"))
    if planned.missing or resolved:
        fetch(planned, get, access, revision=revision, name=name)
    return planned.snapshot


def plan(
    repo: str,
    choose: Choice,
    access: Access,
    *,
    revision: str | None = None,
    pins: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Plan:
    """What `snapshot` would fetch; asks the Hub what a revision is, unless that is cached."""
    store = Store(access.cache, check_repo(repo))
    revision = check_revision(revision or "main")
    commit = _cached(store, revision, access)
    if commit is None and access.is_offline:
        raise _offline(name or _named(repo, revision), store, None)
    if commit is not None and (access.is_offline or is_commit(revision)):
        found = _look(store, commit, choose, pins or {})
        if access.is_offline or not found.missing:
            return found
    return _look(store, _resolve(store, revision, commit, access), choose, pins or {})


def fetch(
    planned: Plan,
    get: Download,
    access: Access,
    *,
    revision: str | None = None,
    name: str | None = None,
) -> None:
    """Bring the missing files of a plan into the cache by `get`, and remember the commit."""
    store, commit = planned.store, planned.commit
    if planned.missing and access.is_offline:
        raise _offline(name or _named(store.repo, revision), store, planned.missing)
    _check_space(planned)
    for file in planned.missing:
        _fetch(store, commit, file, planned.pins.get(file.path), get)
    _record(store, commit, revision or "main")


def _named(repo: str, revision: str | None) -> str:
    return f"hf://{repo}" + (f"@{revision}" if revision not in (None, "main") else "")


def _check_space(planned: Plan) -> None:
    """Raise `OutputError` unless the missing files fit on the disk."""
    if (needed := planned.fetched_bytes) > (free := planned.free_bytes):
        raise OutputError(
            f"{planned.store.label}: {needed:,} bytes are to be fetched, and the disk of "
            f"{planned.store.root} has {free:,} free.",
            hint="zoo cache prune, or name a folder on another disk: --cache-dir or HF_HUB_CACHE",
        )


def _from_hub(repo: str, sha: str, access: Access, file: Listed, out: IO[bytes]) -> None:
    download(repo, sha, file, out, access)


def _cached(store: Store, revision: str, access: Access) -> Commit | None:
    """What the cache knows of a revision; offline also what other clients have put there."""
    sha = revision if is_commit(revision) else store.ref(revision)
    if sha is None:
        return None
    files = store.listed(sha)
    if files is None and access.is_offline:
        files = store.linked(sha)
    return Commit(store.repo, sha, files) if files else None


def _look(store: Store, commit: Commit, choose: Choice, pins: Mapping[str, str]) -> Plan:
    """The files that are needed of a commit, and those of them that are missing or damaged."""
    names = choose(commit.files)
    if absent := [name for name in names if name not in commit.files]:
        raise IntegrityError(
            f"{store.label}@{commit.sha} does not hold {', '.join(absent)}.",
            hint="name another revision",
        )
    files = tuple(commit.files[name] for name in names)
    missing = [f for f in files if not store.verified(commit.sha, f, pins.get(f.path))]
    return Plan(store, commit, files, tuple(missing), pins)


def _resolve(store: Store, revision: str, cached: Commit | None, access: Access) -> Commit:
    """The commit that a revision is now; a cached branch serves where the Hub is unreachable."""
    asked = None if revision == "main" else revision
    try:
        commit = commit_of(store.repo, asked, access)
    except NetworkError as error:
        if cached is None:
            raise
        _warn(f"{error.message} Its cached commit {cached.sha} is used.")
        return cached
    if is_commit(revision) and commit.sha != revision:
        raise IntegrityError(f"hf://{store.repo}: asked for {revision}, got {commit.sha}.")
    if commit.repo != store.repo:
        _warn(f"hf://{store.repo} is now called hf://{commit.repo}")
    return commit


def _record(store: Store, commit: Commit, revision: str) -> None:
    """Remember a commit whose files are all there; a cache that is read-only serves without it."""
    try:
        store.record(commit, revision)
    except OutputError as error:
        _logger.info("%s", error.message)


def _fetch(store: Store, commit: Commit, file: Listed, pin: str | None, get: Download) -> None:
    """Bring one file into the cache; wrong bytes are set aside and asked for once more."""
    part = store.part(file)
    with store.locked(file):
        store.snapshot(commit.sha).mkdir(parents=True, exist_ok=True)  # a repository to others
        if not fits(store.blob(file), file, pin):
            _complete(store, file, get)
            if not fits(part, file, pin):
                store.quarantine(part, file)
                _complete(store, file, get)
                if not fits(part, file, pin):
                    raise _refused(store, part, file, pin)
            part.replace(store.blob(file))
        store.link(commit.sha, file)


def _complete(store: Store, file: Listed, get: Download) -> None:
    with store.unfinished(file) as out:
        get(file, out)


def _refused(store: Store, part: Path, file: Listed, pin: str | None) -> IntegrityError:
    """Set wrong bytes aside; the error says what they look like."""
    expected = pin or file.digest
    actual = git_and_sha256(part)["sha256" if len(expected) == 64 else "git"]
    kind = _looks_like(part)
    store.quarantine(part, file)
    return IntegrityError(
        f"{store.label}: {file.path} has the hash {actual}, expected {expected}{kind}; "
        "it is not used.",
        hint="try again; if it stays so, the repository or the way to it changes files",
    )


def _looks_like(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return " (it is a Git LFS pointer)"
    return " (it is a web page)" if head.startswith((b"<!doctype", b"<html")) else ""


def _offline(name: str, store: Store, missing: Iterable[Listed] | None) -> NetworkError:
    files = ", ".join(file.path for file in missing or []) or "every file"
    place = "at an address of its own" if store.repo.startswith(URLS) else "on the Hub"
    return NetworkError(
        f"{name} is {place} and not in the cache {store.root}, and offline: missing {files}.",
        hint=f"with a connection: zoo pull {name}",
    )


def _warn(text: str) -> None:
    _logger.warning("%s", printable(text))
