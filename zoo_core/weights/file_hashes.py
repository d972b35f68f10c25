"""The hashes that name files: SHA-256 for weights, git's SHA-1 for small files on the Hub."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["git_and_sha256", "sha256"]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_and_sha256(path: Path) -> Mapping[str, str]:
    """Both hashes of a file, as `sha256` and `git`; git's is SHA-1("blob <size>\\0" + bytes)."""
    whole = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            whole.update(chunk)
            git.update(chunk)
    return {"sha256": whole.hexdigest(), "git": git.hexdigest()}
