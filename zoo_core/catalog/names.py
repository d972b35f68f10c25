"""Names: `[dist:]name[.tag][@revision]`, `hf://org/repo[@rev]`, or a path.

Models, samplers, losses, likelihoods and data sets are all named so. A path starts with `.`, `/`,
`~` or a drive letter, or is that of an existing file or folder. A registered name takes precedence
over a file of the same name, with a warning. Only `hf://` names a Hub repository, so that nothing
is downloaded by accident.
"""

import os
import re
from dataclasses import dataclass

from zoo_core.errors import UnknownNameError, warn

__all__ = [
    "HubName",
    "Name",
    "is_commit",
    "is_name",
    "is_path",
    "parse",
    "parse_hub",
    "warn_of_file",
]

_WORD = r"[a-z][a-z0-9_]*(?:-[a-z0-9_]+)*"
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
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


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


def parse_hub(text: str) -> HubName | None:
    """Parse `hf://org/name[@revision]`; None for any other text.

    >>> parse_hub("hf://google/ddpm-cifar10-32").repo
    'google/ddpm-cifar10-32'
    """
    match = _HUB.fullmatch(text)
    return HubName(**match.groupdict()) if match else None


def is_path(text: str) -> bool:
    """Whether a string is spelled as a path: it starts with `.`, `/`, `~` or a drive letter."""
    return _PATH.match(text) is not None


def is_name(text: str) -> bool:
    """Whether a string has the form of a registered name."""
    return _NAME.fullmatch(text) is not None


def parse(text: str, kind: str = "model") -> Name:
    """Parse the name of a component; raises `UnknownNameError` if it is malformed.

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


def warn_of_file(name: str) -> None:
    """Warn if a registered name is also that of a file or folder in the current folder."""
    if os.path.exists(name):
        warn(f"{name!r} is taken for the registered name; write './{name}' for the file here.")


def is_commit(text: object) -> bool:
    """Whether a revision is a full commit hash, which always means the same files."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def is_digest(text: object) -> bool:
    """Whether a text is a git SHA-1 or a SHA-256, the names of blobs on the Hub."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None
