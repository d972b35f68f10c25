"""How the Hub is reached: endpoint, token, cache, offline; and which names may be asked for.

Environment variables are read when they are needed, not when something is imported.
"""

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from zoo_core.errors import ConfigError, UnknownNameError, UsageError
from zoo_core.files import NoHomeError, cache_dir, config_dir, expanded, user_folder
from zoo_core.reading import read_toml
from zoo_core.weights.hub.library import library

__all__ = [
    "Access",
    "check_endpoint",
    "check_repo",
    "check_revision",
    "is_set",
    "is_sound_address",
]

_DEFAULT = "https://huggingface.co"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f.]*:[0-9a-f:.]+")


@dataclass(frozen=True)
class Access:
    """What a caller said about the Hub; what was left out comes from the environment."""

    offline: bool = False
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    endpoint: str | None = None
    progress: bool = True
    accept_license: bool = False
    """Weights whose source states no licence may be loaded; remembered by their name."""

    @property
    def is_offline(self) -> bool:
        """No request may be made: by argument or `HF_HUB_OFFLINE`."""
        names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        return self.offline or any(map(is_set, names))

    @property
    def url(self) -> str:
        """The endpoint: argument, `HF_ENDPOINT`, `hub.toml`; https, or http nearby."""
        return check_endpoint(
            self.endpoint or os.environ.get("HF_ENDPOINT") or _configured() or _DEFAULT
        )

    @property
    def secret(self) -> str | None:
        """The token to send; none goes over plain http to another machine."""
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            return None
        token = self.token
        if token is None and not is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
            token = _stored_token(self.url)
        if token and not (token.isascii() and token.isprintable()):
            raise UsageError(
                "the token for the Hub holds characters that no token has.", hint="copy it anew"
            )
        return token

    @property
    def cache(self) -> Path:
        """The folder of the Hub's cache: argument, `HF_HUB_CACHE`, `ZOO_CACHE`, `HF_HOME`."""
        if self.cache_dir is not None:
            return expanded(self.cache_dir)
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            if os.environ.get(name):
                return expanded(os.environ[name])
        if os.environ.get("ZOO_CACHE"):
            return cache_dir() / "hub"
        home = os.environ.get("HF_HOME") or user_folder("XDG_CACHE_HOME", ".cache") / "huggingface"
        return expanded(home) / "hub"


def is_set(name: str) -> bool:
    """Whether a variable of the environment says yes, as huggingface_hub reads it."""
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")


def _stored_token(url: str) -> str | None:
    try:
        token: str | None = library(url).get_token()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the token that `hf auth login` stored cannot be read ({type(error).__name__}).",
            hint="run `hf auth login` anew, or set HF_TOKEN",
        ) from None
    return token


def is_sound_address(url: str) -> bool:
    """Whether a text is an https address, or an http one nearby, without user and query."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        secure = parts.scheme == "https" or (parts.scheme == "http" and _is_nearby(host))
        sound = secure and parts.port != 0 and _HOST.fullmatch(host) and "@" not in parts.netloc
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not set(url) & set(' ?#\\"<>')
    return bool(sound) and plain


def check_endpoint(url: str) -> str:
    """The address of a Hub without its last slash, or `UsageError`."""
    if not is_sound_address(url):
        raise UsageError(
            f"the Hub's endpoint {url[:80]!r} is not an https address.",
            hint="http is for this machine and private IP addresses; see HF_ENDPOINT",
        )
    return url.rstrip("/")


def _configured() -> str | None:
    """The `endpoint` in this user's `hub.toml`."""
    try:
        path = config_dir() / "hub.toml"
        endpoint = read_toml(path).get("endpoint")
    except (FileNotFoundError, NoHomeError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}).", hint="mend or delete it") from error
    if not isinstance(endpoint, str):
        raise ConfigError(
            f"{path} has no text `endpoint`.", hint='endpoint = "https://hub.example"'
        )
    return endpoint


def check_repo(repo: str) -> str:
    """`org/name`, or `UnknownNameError`."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UnknownNameError(f"{repo[:80]!r} is not a repository name.", hint="write org/name")
    return repo


def check_revision(revision: str) -> str:
    """A branch, tag or commit that cannot be mistaken for a path, or `UnknownNameError`."""
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise UnknownNameError(
            f"{revision[:80]!r} is not a revision.", hint="name a branch, a tag or a commit"
        )
    return revision


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_nearby(host: str) -> bool:
    try:
        return _is_loopback(host) or ip_address(host).is_private
    except ValueError:
        return False
