"""The lockfile of a user: the commit and hashes to which names of weights are pinned.

    $ZOO_PINS, or $XDG_CONFIG_HOME/density-zoo/pins.json
    {"hf://org/name": {"repo": "org/name", "revision": "<commit>", "sha256": {"zoo.json": "..."}}}

A pinned name loads that commit only, and makes no request once it is cached.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zoo_core.catalog.names import is_commit, is_digest
from zoo_core.catalog.specs import Pretrained
from zoo_core.errors import ConfigError
from zoo_core.files import NoHomeError, config_dir, write_json
from zoo_core.reading import read_json

__all__ = ["Pin", "applied", "everything", "path", "pinned", "write"]


@dataclass(frozen=True)
class Pin:
    """A commit of a repository, and the SHA-256 of each file that is needed of it."""

    repo: str
    revision: str
    sha256: Mapping[str, str]


def path() -> Path:
    """The path of this user's lockfile."""
    if explicit := os.environ.get("ZOO_PINS"):
        return Path(explicit)
    return config_dir() / "pins.json"


def pinned(name: str) -> Pin | None:
    """The pin of a name, if there is one; raises `ConfigError` if the file is malformed."""
    entry = _read().get(name)
    if entry is None:
        return None
    try:
        pin = Pin(**entry)
        sound = is_commit(pin.revision) and all(is_digest(h) for h in pin.sha256.values())
        sound = sound and bool(pin.sha256) and isinstance(pin.repo, str)
    except (TypeError, AttributeError):
        sound = False
    if not sound:
        raise _unreadable(f"the entry {name!r} is no pin")
    return pin


def everything() -> list[Pin]:
    """All pins of this user."""
    return [pin for name in _read() if (pin := pinned(name)) is not None]


def applied(name: str, weights: Pretrained) -> Pretrained:
    """`weights` with the commit and hashes that the user has pinned for `name`, if any."""
    pin = pinned(name)
    if pin is None or pin.repo != weights.repo or weights.status == "pinned":
        return weights
    return replace(weights, revision=pin.revision, sha256=tuple(sorted(pin.sha256.items())))


def write(name: str, pin: Pin) -> None:
    """Add a pin, or replace the one of the same name."""
    pins = _read() | {name: asdict(pin)}
    write_json(path(), pins, sort_keys=True)


def _read() -> dict[str, Any]:
    try:
        pins = read_json(path())
    except (FileNotFoundError, NoHomeError):
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(str(error)) from error
    if not isinstance(pins, dict):
        raise _unreadable("it is no table")
    return pins


def _unreadable(reason: str) -> ConfigError:
    return ConfigError(f"{path()} cannot be read ({reason}).", hint="mend or delete it")
