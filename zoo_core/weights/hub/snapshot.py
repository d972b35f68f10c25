"""The files of one commit: all of them verified, or an error that names what is missing.

A revision is resolved once, and its commit is used for every file. A commit whose files are
cached costs no request.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo_core.catalog.names import is_commit
from zoo_core.errors import IntegrityError, NetworkError, OutputError
from zoo_core.text import printable
from zoo_core.weights.file_hashes import git_and_sha256
from zoo_core.weights.hub.access import Access, check_repo, check_revision
from zoo_core.weights.hub.cache import Store, fits
from zoo_core.weights.hub.client import commit_of, download
from zoo_core.weights.hub.listing import Commit, Listed

__all__ = ["Choice", "Snapshot", "snapshot"]

Choice = Callable[[Iterable[str]], list[str]]
"""Which of a repository's files are needed; raises where they make no model."""

_logger = logging.getLogger(__name__)


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
        return {self.folder / file.path: file.sha256 for file in self.files}


def snapshot(
    repo: str,
    choose: Choice,
    access: Access,
    *,
    revision: str | None = None,
    pins: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Snapshot:
    """Fetch the files that `choose` names; `pins` are SHA-256 by path, all of them needed.

    `name` is what the user called it, for hints. Raises `NetworkError`, `IntegrityError` or
    `UnknownNameError`.
    """
    store = Store(access.cache, check_repo(repo))
    name = name or f"hf://{repo}" + (f"@{revision}" if revision else "")
    pins = pins or {}
    choose = (lambda _: sorted(pins)) if pins else choose
    revision = check_revision(revision or "main")
    commit, missing = _cached(store, revision, access), None
    if commit is not None and (access.is_offline or is_commit(revision)):
        files, missing = _look(store, commit, choose, pins)
        if not missing:
            return _snapshot(store, commit, files)
    if access.is_offline:
        raise _offline(name, store, missing)
    commit = _resolve(store, revision, commit, access)
    files, missing = _look(store, commit, choose, pins)
    for file in missing:
        _fetch(store, commit, file, pins.get(file.path), access)
    _record(store, commit, revision)
    return _snapshot(store, commit, files)


def _cached(store: Store, revision: str, access: Access) -> Commit | None:
    """What the cache knows of a revision; offline also what other clients have put there."""
    sha = revision if is_commit(revision) else store.ref(revision)
    if sha is None:
        return None
    files = store.listed(sha)
    if files is None and access.is_offline:
        files = store.linked(sha)
    return Commit(store.repo, sha, files) if files else None


def _look(
    store: Store, commit: Commit, choose: Choice, pins: Mapping[str, str]
) -> tuple[list[Listed], list[Listed]]:
    """The files that are needed of a commit, and those of them that are missing or damaged."""
    names = choose(commit.files)
    if absent := [name for name in names if name not in commit.files]:
        raise IntegrityError(
            f"hf://{store.repo}@{commit.sha} does not hold {', '.join(absent)}.",
            hint="name another revision",
        )
    files = [commit.files[name] for name in names]
    return files, [f for f in files if not store.verified(commit.sha, f, pins.get(f.path))]


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


def _fetch(store: Store, commit: Commit, file: Listed, pin: str | None, access: Access) -> None:
    """Bring one file into the cache; wrong bytes are set aside and asked for once more."""
    part = store.part(file)
    with store.locked(file):
        store.snapshot(commit.sha).mkdir(parents=True, exist_ok=True)  # a repository to others
        if not fits(store.blob(file), file, pin):
            _complete(store, commit, file, access)
            if not fits(part, file, pin):
                store.quarantine(part, file)
                _complete(store, commit, file, access)
                if not fits(part, file, pin):
                    raise _refused(store, part, file, pin)
            part.replace(store.blob(file))
        store.link(commit.sha, file)


def _complete(store: Store, commit: Commit, file: Listed, access: Access) -> None:
    with store.unfinished(file) as out:
        download(store.repo, commit.sha, file, out, access)


def _refused(store: Store, part: Path, file: Listed, pin: str | None) -> IntegrityError:
    """Set wrong bytes aside; the error says what they look like."""
    expected = pin or file.digest
    actual = git_and_sha256(part)["sha256" if len(expected) == 64 else "git"]
    kind = _looks_like(part)
    store.quarantine(part, file)
    return IntegrityError(
        f"hf://{store.repo}: {file.path} has the hash {actual}, expected {expected}{kind}; "
        "it is not used.",
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


def _offline(name: str, store: Store, missing: list[Listed] | None) -> NetworkError:
    files = ", ".join(file.path for file in missing or []) or "every file"
    return NetworkError(
        f"{name} is on the Hub and not in the cache {store.root}, and offline: missing {files}.",
        hint=f"with a connection: zoo pull {name}",
    )


def _warn(text: str) -> None:
    _logger.warning("%s", printable(text))
