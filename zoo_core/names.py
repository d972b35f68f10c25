"""How things are named: `[dist:]name[.tag][@revision]`, `hf://org/repo[@rev]`, or a path.

The same form serves models, samplers, losses, likelihoods and data sets. A path starts with
`.`, `/`, `~` or a drive letter, or is a file or folder that is there. A registered name goes
before a file of that name, and a warning says so; a Hub repository is named by `hf://` alone, so
that nothing silently turns into a download.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from zoo_core.errors import UnknownNameError, warn

__all__ = ["HubName", "Name", "is_path", "parse", "parse_model", "warn_of_file"]

_WORD = r"[a-z][a-z0-9_]*"
_NAME = re.compile(
    rf"(?:(?P<dist>[a-z0-9][a-z0-9._-]*):)?(?P<name>{_WORD})"
    r"(?:\.(?P<tag>[A-Za-z0-9][A-Za-z0-9_-]*))?(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]{0,127}))?"
)
_HUB = re.compile(
    r"hf://(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r"(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]{0,127}))?"
)
_PATH = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")
LEGAL_NAME = re.compile(_WORD)


@dataclass(frozen=True)
class Name:
    """A parsed name; `str()` gives the spelling back."""

    name: str
    tag: str | None = None
    dist: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        dist = f"{self.dist}:" if self.dist else ""
        tag = f".{self.tag}" if self.tag else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{dist}{self.name}{tag}{revision}"


@dataclass(frozen=True)
class HubName:
    """A repository on the Hugging Face Hub; `str()` gives the spelling back."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_path(text: str) -> bool:
    """Whether a string is spelled as a path: it starts with `.`, `/`, `~` or a drive letter."""
    return _PATH.match(text) is not None


def parse(text: str, kind: str = "model") -> Name:
    """Parse a name; raises `UnknownNameError` with the spellings that would work.

    >>> parse("density-zoo-flows:glow.digits")
    Name(name='glow', tag='digits', dist='density-zoo-flows', revision=None)
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise UnknownNameError(
            f"{text[:80]!r} is not a {kind} name.",
            hint="a name is [dist:]name[.tag][@revision] in lower case, e.g. "
            "'made', 'made.digits', 'density-zoo-autoregressive:made.digits'",
        )
    return Name(**match.groupdict())


def parse_model(text: str) -> Name | HubName | Path:
    """Parse what `zoo.load` accepts: a path, a Hub repository or a name."""
    if not isinstance(text, str) or "\0" in text or "\n" in text:
        raise UnknownNameError(f"{text!r} is not a model name.", hint="a name is one line of text")
    if is_path(text):
        return _path(text)
    if match := _HUB.fullmatch(text):
        return HubName(**match.groupdict())
    if os.path.exists(text) and not _registered(text):
        return Path(text)
    if "/" in text or "\\" in text:
        raise UnknownNameError(
            f"{text[:80]!r} could be a folder or a Hub repository.",
            hint=f"write './{text[:80]}' for the folder or 'hf://{text[:80]}' for the repository",
        )
    name = parse(text)
    warn_of_file(text)
    return name


def _registered(text: str) -> bool:
    """Whether a model has this name, with or without a tag."""
    from zoo_core.registry import current

    match = _NAME.fullmatch(text)
    known = {entry.spec.arch for entry in current().all("model")}
    return match is not None and match["name"] in known


def warn_of_file(name: str) -> None:
    """Warn if a registered name is that of a file or folder here as well."""
    if os.path.exists(name):
        warn(f"{name!r} is taken for the registered name; write './{name}' for the file here.")


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UnknownNameError(
            f"{text[:80]!r} names no user's folder ({error})",
            hint=f"write './{text[:80]}' for a folder that is called so",
        ) from None
