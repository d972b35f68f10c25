"""Keeping the Hub's cache small and sound: scan, remove, prune, verify."""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo_core.catalog.names import is_digest
from zoo_core.errors import UnknownNameError
from zoo_core.files import writing
from zoo_core.text import printable
from zoo_core.weights.hub.cache import PREFIX, Store, fits, stores
from zoo_core.weights.hub.library import library

__all__ = ["Checked", "prune", "remove", "scan", "verify"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """What was found of one cached file; `unknown` is one whose hash nobody recorded."""

    repo: str
    commit: str
    path: str
    status: Literal["ok", "damaged", "unknown"]


def scan(root: Path) -> dict[str, Any]:
    """The models in the cache by name, as huggingface_hub's `CachedRepoInfo`.

    Warns of what is too damaged to be looked through, and leaves it out.
    """
    if not root.is_dir():
        return {}
    info = library().scan_cache_dir(root)
    for problem in (p for p in info.warnings if PREFIX in str(p)):
        text = f"{problem} `zoo cache remove ORG/NAME` removes a damaged repository."
        _logger.warning("%s", printable(text))
    models = [repo for repo in info.repos if repo.repo_type == "model"]
    return {repo.repo_id: repo for repo in sorted(models, key=lambda repo: repo.repo_id)}


def verify(store: Store) -> Iterator[Checked]:
    """Hash every cached file of a repository and compare; makes no request."""
    for commit in store.commits():
        folder = store.snapshot(commit)
        known = store.linked(commit) | (store.listed(commit) or {})
        for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
            name = path.relative_to(folder).as_posix()
            store.contained(path)
            good = path.exists() and (fits(path, known[name]) if name in known else None)
            status = {True: "ok", False: "damaged", None: "unknown"}[good]
            yield Checked(store.repo, commit, name, status)  # type: ignore[arg-type]


def remove(store: Store, commit: str | None = None) -> int:
    """Forget a repository, or one commit of it; returns the bytes that this freed."""
    if not store.folder.is_dir() or (commit and commit not in store.commits()):
        what = f"{store.repo}@{commit}" if commit else store.repo
        raise UnknownNameError(f"{what!r} is not in {store.root}.", hint="zoo cache list")
    before = store.size()
    with writing(store.folder):
        if commit is not None:
            _forget(store, [commit])
        elif store.folder.is_symlink():
            store.folder.unlink()
        else:
            shutil.rmtree(store.folder)
            shutil.rmtree(store.root / ".locks" / store.folder.name, ignore_errors=True)
    return before - store.size()


def prune(root: Path, keep: Iterable[tuple[str, str]] = ()) -> int:
    """Drop what no branch leads to: old commits, broken-off downloads, files set aside.

    Commits in `keep`, as (repo, commit), stay, and so do those that are being downloaded. Returns
    the bytes that this freed.
    """
    sizes = {store: store.size() for store in stores(root)}
    for store in sizes:
        with writing(store.folder):
            for left in (*store.folder.glob("refs/**/.*.part"), *store.folder.glob("zoo/*.new")):
                left.unlink()
            if (aside := store.folder / "quarantine").exists():
                shutil.rmtree(aside)
            _sweep(store)
    repos, kept = scan(root), set(keep)
    for store in sizes:
        fetching = any(store.folder.glob("blobs/*.incomplete"))
        if store.repo in repos and not fetching:
            old = {r.commit_hash for r in repos[store.repo].revisions if not r.refs}
            own = [c for c in store.commits() if c in old and (store.repo, c) not in kept]
            with writing(store.folder):
                _forget(store, own)
    return sum(size - store.size() for store, size in sizes.items())


def _forget(store: Store, commits: list[str]) -> None:
    """Delete commits, what leads to them, and the blobs that only they have.

    Not by the library's `delete_revisions`: it takes a commit of whichever repository has one of
    that hash, deletes what is being downloaded with the last commit, and logs what it cannot do.
    """
    for commit in commits:
        shutil.rmtree(store.snapshot(commit))
        (store.folder / "zoo" / f"{commit}.json").unlink(missing_ok=True)
    refs = store.folder / "refs"
    for ref in [p for p in refs.rglob("*") if p.is_file()]:
        if store.ref(str(ref.relative_to(refs))) in commits:
            ref.unlink()
    _sweep(store)


def _sweep(store: Store) -> None:
    """Delete blobs that no commit links to, and parts, but for what a process fetches now."""
    links = (p for p in (store.folder / "snapshots").rglob("*") if p.is_symlink())
    used = {os.path.basename(os.readlink(link)) for link in links}
    for blob in list((store.folder / "blobs").glob("*")):
        if blob.name not in used:
            _unlink(store, blob)


def _unlink(store: Store, blob: Path) -> None:
    """Delete a blob or a part of one, unless a process is fetching it now."""
    from filelock import FileLock, Timeout

    digest = blob.name.partition(".")[0]
    place = store.root / ".locks" / store.folder.name
    place.mkdir(parents=True, exist_ok=True)
    if is_digest(digest):
        with suppress(Timeout), FileLock(place / f"{digest}.lock", timeout=0):
            blob.unlink(missing_ok=True)
