"""Keeping the Hub's cache small and sound: remove, prune, verify."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo_core.catalog.names import is_digest
from zoo_core.errors import UnknownNameError
from zoo_core.files import writing
from zoo_core.weights.hub.cache import Store, fits, stores

__all__ = ["Verdict", "prune", "remove", "verify"]


@dataclass(frozen=True)
class Verdict:
    """What was found of one cached file; `unknown` is one whose hash nobody recorded."""

    repo: str
    commit: str
    path: str
    status: Literal["ok", "damaged", "unknown"]


def verify(store: Store) -> Iterator[Verdict]:
    """Hash every cached file of a repository and compare; makes no request."""
    for commit in store.commits():
        folder = store.snapshot(commit)
        known = store.linked(commit) | (store.listed(commit) or {})
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            store.contained(path)
            good = fits(path, known[name]) if name in known else None
            status = {True: "ok", False: "damaged", None: "unknown"}[good]
            yield Verdict(store.repo, commit, name, status)  # type: ignore[arg-type]


def remove(store: Store, commit: str | None = None) -> int:
    """Forget a repository, or one commit of it; returns the bytes that this freed."""
    if not store.folder.is_dir() or (commit and commit not in store.commits()):
        what = f"{store.repo}@{commit}" if commit else store.repo
        raise UnknownNameError(f"{what!r} is not in {store.root}.", hint="zoo cache list")
    before = store.size()
    with writing(store.folder):
        if commit is not None:
            _forget(store, [commit])
            return before - store.size()
        if store.folder.is_symlink():
            store.folder.unlink()
        else:
            shutil.rmtree(store.folder)
        shutil.rmtree(store.root / ".locks" / store.folder.name, ignore_errors=True)
    return before


def prune(root: Path, keep: Iterable[tuple[str, str]] = ()) -> int:
    """Drop what no branch leads to: old commits, broken-off downloads, files set aside.

    Commits in `keep`, as (repo, commit), stay. Returns the bytes that this freed.
    """
    kept, freed = set(keep), 0
    for store in stores(root):
        before = store.size()
        with writing(store.folder):
            led = {store.ref(str(p.relative_to(store.folder / "refs"))) for p in _refs(store)}
            old = [c for c in store.commits() if c not in led and (store.repo, c) not in kept]
            _forget(store, old)
            shutil.rmtree(store.folder / "quarantine", ignore_errors=True)
        freed += before - store.size()
    return freed


def _refs(store: Store) -> list[Path]:
    return [p for p in (store.folder / "refs").rglob("*") if p.is_file()]


def _forget(store: Store, commits: Iterable[str]) -> None:
    for commit in commits:
        shutil.rmtree(store.snapshot(commit), ignore_errors=True)
        (store.folder / "zoo" / f"{commit}.json").unlink(missing_ok=True)
        for ref in _refs(store):
            if ref.read_text().strip() == commit:
                ref.unlink()
    used = {
        os.path.basename(os.readlink(p))
        for p in (store.folder / "snapshots").rglob("*")
        if p.is_symlink()
    }
    for blob in list((store.folder / "blobs").glob("*")):
        if blob.name not in used:
            _unlink(store, blob)


def _unlink(store: Store, blob: Path) -> None:
    """Delete a blob or a part of one, unless a process is fetching it now."""
    from filelock import FileLock, Timeout

    digest = blob.name.partition(".")[0]
    place = store.root / ".locks" / store.folder.name
    place.mkdir(parents=True, exist_ok=True)
    if not is_digest(digest):
        return
    try:
        with FileLock(place / f"{digest}.lock", timeout=0):
            blob.unlink(missing_ok=True)
    except Timeout:
        return
