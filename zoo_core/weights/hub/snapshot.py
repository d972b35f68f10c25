"""The files of one commit: all of them on disk and verified, or an error that names what lacks.

A revision is resolved once, and its commit is used for every file. A commit whose files are
cached costs no request.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo_core.catalog.names import is_commit
from zoo_core.errors import IntegrityError, NetworkError
from zoo_core.text import printable
from zoo_core.weights.hub.access import Access, check_repo, check_revision
from zoo_core.weights.hub.cache import Store, fits, hashes
from zoo_core.weights.hub.client import Commit, Listed, commit_of, download

__all__ = ["Snapshot", "Wanted", "snapshot"]

_logger = logging.getLogger(__name__)

Wanted = Callable[[Iterable[str]], list[str]]
"""Which of a repository's files are needed; raises where they make no model."""


@dataclass(frozen=True)
class Snapshot:
    """Files of a commit in a folder, verified."""

    repo: str
    commit: str
    folder: Path
    files: tuple[Listed, ...]

    @property
    def name(self) -> str:
        return f"hf://{self.repo}@{self.commit}"

    @property
    def verified(self) -> dict[Path, str | None]:
        """What may be read, by path; with the SHA-256, where the Hub names a file by it."""
        return {
            self.folder / f.path: f.digest if len(f.digest) == 64 else None for f in self.files
        }


def snapshot(
    repo: str,
    wanted: Wanted,
    access: Access,
    *,
    revision: str | None = None,
    pins: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Snapshot:
    """Fetch what is wanted of a repository; `pins` are SHA-256 by path, all of them needed.

    `name` is what the user called it, for hints. Raises `NetworkError`, `IntegrityError` or
    `UnknownNameError`.
    """
    store = Store(access.cache, check_repo(repo))
    name = name or f"hf://{repo}" + (f"@{revision}" if revision else "")
    pins = pins or {}
    wanted = (lambda _: sorted(pins)) if pins else wanted
    revision = check_revision(revision or "main")
    known = _known(store, revision, access)
    if known is not None and (access.is_offline or is_commit(revision)):
        found, missing = _look(store, known, wanted, pins)
        if not missing:
            return _snapshot(store, known, found)
    if access.is_offline:
        raise _offline(name, store, missing if known is not None else [])
    commit = _resolve(store, revision, known, access)
    found, missing = _look(store, commit, wanted, pins)
    for file in missing:
        _fetch(store, commit, file, pins.get(file.path), access)
    return _snapshot(store, commit, found)


def _known(store: Store, revision: str, access: Access) -> Commit | None:
    """What the cache knows of a revision; offline also what other clients have put there."""
    sha = revision if is_commit(revision) else store.ref(revision)
    if sha is None:
        return None
    files = store.listed(sha)
    if files is None and access.is_offline:
        files = store.linked(sha)
    return Commit(store.repo, sha, files) if files else None


def _look(
    store: Store, commit: Commit, wanted: Wanted, pins: Mapping[str, str]
) -> tuple[list[Listed], list[Listed]]:
    """What is wanted of a commit: verified files, and missing or damaged ones."""
    names = wanted(commit.files)
    if absent := [name for name in names if name not in commit.files]:
        raise IntegrityError(
            f"hf://{store.repo}@{commit.sha} does not hold {', '.join(absent)}.",
            hint="name another revision",
        )
    files = [commit.files[name] for name in names]
    there = [store.verified(commit.sha, f, pins.get(f.path)) is not None for f in files]
    return files, [file for file, ok in zip(files, there, strict=True) if not ok]


def _resolve(store: Store, revision: str, known: Commit | None, access: Access) -> Commit:
    """The commit that a revision is now; a cached branch serves where the Hub is unreachable."""
    asked = None if revision == "main" else revision
    try:
        commit = commit_of(store.repo, asked, access)
    except NetworkError as error:
        if known is None:
            raise
        _log(f"{error.message} Its cached commit {known.sha} is used.")
        return known
    if is_commit(revision) and commit.sha != revision:
        raise IntegrityError(f"hf://{store.repo}: asked for {revision}, got {commit.sha}.")
    if commit.repo != store.repo:
        _log(f"hf://{store.repo} is now called hf://{commit.repo}")
    store.record(commit, revision)
    return commit


def _fetch(store: Store, commit: Commit, file: Listed, pin: str | None, access: Access) -> None:
    """Bring one file into the cache; wrong bytes are set aside and asked for once more."""
    blob = store.blob(file)
    with store.locked(file):
        if not (blob.is_file() and fits(blob, file, pin)):
            blob.parent.mkdir(parents=True, exist_ok=True)
            part = blob.with_name(f"{blob.name}.zoo.incomplete")
            try:
                _download(store, commit, file, part, pin, access)
                part.replace(blob)
            finally:
                part.unlink(missing_ok=True)
        store.link(commit.sha, file)


def _download(
    store: Store, commit: Commit, file: Listed, part: Path, pin: str | None, access: Access
) -> None:
    for again in (True, False):
        part.unlink(missing_ok=True)  # of a process that was killed
        download(store.repo, commit.sha, file, part, access)
        if fits(part, file, pin):
            return
        error = _wrong(store, file, part, pin)
        store.quarantine(part, file)
        if not again:
            raise error


def _wrong(store: Store, file: Listed, part: Path, pin: str | None) -> IntegrityError:
    want = pin or file.digest
    have = hashes(part)["sha256" if len(want) == 64 else "git"]
    return IntegrityError(
        f"hf://{store.repo}: {file.path} has the hash {have}, expected {want}"
        f"{_looks_like(part)}; it is not used.",
        hint="try again; if it stays so, the repository or the way to it changes files",
    )


def _looks_like(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return " (it is a Git LFS pointer)"
    return " (it is a web page)" if head.startswith((b"<!doctype", b"<html")) else ""


def _snapshot(store: Store, commit: Commit, files: list[Listed]) -> Snapshot:
    return Snapshot(store.repo, commit.sha, store.snapshot(commit.sha), tuple(files))


def _offline(name: str, store: Store, missing: list[Listed]) -> NetworkError:
    lacks = ", ".join(file.path for file in missing) or "every file"
    return NetworkError(
        f"{name} is on the Hub and not in the cache {store.root}, and offline: missing {lacks}.",
        hint=f"with a connection: zoo pull {name}",
    )


def _log(text: str) -> None:
    _logger.warning("%s", printable(text))
