"""How the Hub is reached: endpoint, token, cache, offline; and which names may be asked for.

Environment variables are read when they are needed, not when something is imported.
"""

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from zoo_core.errors import IntegrityError, UnknownNameError, UsageError
from zoo_core.files import cache_dir

__all__ = ["Access", "check_file", "check_repo", "check_revision"]

_DEFAULT = "https://huggingface.co"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_YES = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True)
class Access:
    """What a caller said about the Hub; what was left out comes from the environment."""

    offline: bool = False
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    endpoint: str | None = None
    progress: bool = True

    @property
    def is_offline(self) -> bool:
        """No request may be made: by argument or `HF_HUB_OFFLINE`."""
        names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        return self.offline or any(os.environ.get(n, "").upper() in _YES for n in names)

    @property
    def url(self) -> str:
        """The endpoint: https, or plain http on this machine or a private address."""
        given = (self.endpoint or os.environ.get("HF_ENDPOINT") or _DEFAULT).rstrip("/")
        parts = urlsplit(given)
        plain = parts.scheme == "http" and _nearby(parts.hostname or "")
        if (
            not _has_port(given)
            or not (parts.scheme == "https" or plain)
            or not parts.hostname
            or "@" in parts.netloc
        ):
            raise UsageError(
                f"the Hub's endpoint {given[:80]!r} is no https address.",
                hint="http is for this machine and private IP addresses; see HF_ENDPOINT",
            )
        return given

    @property
    def secret(self) -> str | None:
        """The token to send; none goes over plain http to another machine."""
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            return None
        if self.token is not None:
            return self.token
        if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in _YES:
            return None
        from huggingface_hub import get_token

        return get_token()

    @property
    def cache(self) -> Path:
        """The folder of the Hub's cache: argument, `HF_HUB_CACHE`, `ZOO_CACHE`, `HF_HOME`."""
        env = os.environ
        if self.cache_dir is not None:
            return Path(self.cache_dir).expanduser()
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            if env.get(name):
                return Path(env[name]).expanduser()
        if env.get("ZOO_CACHE"):
            return cache_dir() / "hub"
        xdg = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return Path(env.get("HF_HOME") or xdg / "huggingface").expanduser() / "hub"


def check_repo(repo: str) -> str:
    """`org/name`, or `UnknownNameError`."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UnknownNameError(f"{repo[:80]!r} is no repository name.", hint="write org/name")
    return repo


def check_revision(revision: str) -> str:
    """A branch, tag or commit that cannot be mistaken for a path, or `UnknownNameError`."""
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise UnknownNameError(
            f"{revision[:80]!r} is no revision.", hint="name a branch, a tag or a commit"
        )
    return revision


def check_file(path: str) -> str:
    """A relative path below the repository, or `IntegrityError`."""
    parts = PurePosixPath(path).parts
    control = any(ord(c) < 32 for c in path)
    if not parts or control or "\\" in path or ":" in path or path.startswith("/"):
        raise IntegrityError(f"the repository lists the file {path[:80]!r}, which is no name.")
    if any(part in ("..", ".") for part in path.split("/")) or len(path) > 400:
        raise IntegrityError(f"the repository lists the file {path[:80]!r}, which leaves it.")
    return path


def _has_port(url: str) -> bool:
    """Whether the port is one, or left out."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _nearby(host: str) -> bool:
    try:
        return _loopback(host) or ip_address(host).is_private
    except ValueError:
        return False
