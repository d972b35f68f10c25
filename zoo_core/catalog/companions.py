"""Companions of a plugin: distributions that hold further bundled weights, and no code.

    [project.entry-points."density_zoo.weights"]
    zoo_diffusion = "zoo_diffusion_weights"

The name is the plugin's package, the value a package whose folder `weights/` is searched after the
plugin's own. Both are found by metadata; the companion is never imported.
"""

import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

__all__ = ["GROUP", "NOTE", "Companion", "companions", "folder_of_package", "where_to_get"]

GROUP = "density_zoo.weights"
NOTE = "companion.txt"
"""In a plugin's `weights/<arch>.<tag>/`: the name of the distribution that holds these weights."""


@dataclass(frozen=True)
class Companion:
    """An installed distribution with weights for the package of a plugin."""

    plugin: str
    dist: str
    version: str
    package: str

    @property
    def folder(self) -> Path | None:
        """The folder of its package; None if there is none, or it has no `weights/`."""
        folder = folder_of_package(self.package)
        return folder if folder and (folder / "weights").is_dir() else None

    def __str__(self) -> str:
        return f"{self.dist} {self.version}"


def companions(plugin: str | None = None) -> list[Companion]:
    """The installed companions of a plugin's package, or all of them, sorted."""
    return [c for c in _installed(tuple(sys.path)) if plugin in (None, c.plugin)]


def folder_of_package(package: str) -> Path | None:
    """The folder of a package, which is not imported; None if it is not installed."""
    found = find_spec(package.partition(".")[0])
    folders = found.submodule_search_locations if found else None
    return Path(next(iter(folders))) if folders else None


def where_to_get(weights: Path) -> str | None:
    """The distribution that a note in the folder of a tag names; None if there is no note."""
    note = weights / NOTE
    return note.read_text().strip() if note.is_file() else None


@cache
def _installed(path: tuple[str, ...]) -> tuple[Companion, ...]:
    """Those on `path`, read once: whoever installs one starts another process."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda p: (p.name, p.value))
    return tuple(Companion(p.name, p.dist.name, p.dist.version, p.value) for p in points if p.dist)
