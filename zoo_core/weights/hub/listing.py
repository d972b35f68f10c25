"""What a commit on the Hub lists: files with sizes and hashes, checked before they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from zoo_core.catalog.names import is_commit, is_digest
from zoo_core.errors import IntegrityError

__all__ = ["Commit", "Listed", "check_file", "parse"]


@dataclass(frozen=True)
class Listed:
    """A file of a commit; the digest is a SHA-256, or git's SHA-1 for a small file."""

    path: str
    size: int
    digest: str

    @property
    def sha256(self) -> str | None:
        """The SHA-256, where that is the listed digest."""
        return self.digest if len(self.digest) == 64 else None


@dataclass(frozen=True)
class Commit:
    """A commit of a repository, by the name it has now, and its files by path."""

    repo: str
    sha: str
    files: Mapping[str, Listed]


def parse(repo: str, answer: Any) -> Commit:
    """The commit that an answer of the Hub describes; raises `IntegrityError` if it is none."""
    try:
        files = [_listed(sibling) for sibling in answer["siblings"]]
        name, sha = answer.get("id", repo), answer["sha"]
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"hf://{repo}: the answer lists no files ({error!r}).") from None
    if not is_commit(sha):
        raise IntegrityError(f"hf://{repo}: the answer names the commit {str(sha)[:80]!r}.")
    return Commit(str(name), sha, {file.path: file for file in files})


def _listed(sibling: Any) -> Listed:
    lfs = sibling.get("lfs") or {}
    path, size = check_file(sibling["rfilename"]), lfs.get("size", sibling.get("size"))
    digest = lfs.get("sha256", sibling.get("blobId"))
    if not is_digest(digest) or not isinstance(size, int) or size < 0:
        raise IntegrityError(f"{path}: the answer names the hash {str(digest)[:80]!r}.")
    return Listed(path, size, digest)


def check_file(path: str) -> str:
    """The path, if it stays below its repository, or `IntegrityError`."""
    odd = not PurePosixPath(path).parts or any(ord(c) < 32 or c in "\\:" for c in path)
    if odd or path.startswith("/"):
        raise IntegrityError(f"the repository lists the file {path[:80]!r}, which is no name.")
    if any(part in ("..", ".") for part in path.split("/")) or len(path) > 400:
        raise IntegrityError(f"the repository lists the file {path[:80]!r}, which leaves it.")
    return path
