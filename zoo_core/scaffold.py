"""`zoo plugins new`: a small plugin that works, from templates."""

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from zoo_core.catalog.registry import known_plugins
from zoo_core.errors import OutputError, UsageError
from zoo_core.version import __version__

__all__ = ["new_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX = ".txt"
"""Suffix of every template, so that no tool takes it for code."""
_HIDDEN = ("github", "gitignore")


def new_plugin(name: str, folder: Path | None = None) -> Path:
    """Write the plugin `name` into a new folder, by default `./density-zoo-<name>`.

    folder = new_plugin("acme-energy")  # ./density-zoo-acme-energy
    """
    from zoo_core.files import atomic_folder

    words = _words(name)
    folder = Path(words["dist"]) if folder is None else folder
    if folder.exists():
        raise OutputError(f"{folder} exists.", hint="choose another folder: --out FOLDER")
    with atomic_folder(folder) as temporary:
        for place, text in _filled(files("zoo_core.templates") / "plugin", words):
            path = temporary / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


def _words(name: str) -> dict[str, str]:
    """The words that replace the placeholders of the templates."""
    if not _NAME.fullmatch(name) or len(name) > 60:
        raise UsageError(
            f"{name[:80]!r} is no plugin name; it is lower-case words joined by '-'.",
            hint=f"e.g. {re.sub('[^a-z0-9]+', '-', name.lower()).strip('-0123456789') or 'acme'}",
        )
    if name in known_plugins() or name == "builtin":
        raise UsageError(f"{name!r} is taken.", hint=f"e.g. my-{name}")
    arch = name.replace("-", "_")
    major, minor, *_ = __version__.split(".")
    return {
        "name": name,
        "dist": f"density-zoo-{name}",
        "package": f"zoo_{arch}",
        "arch": arch,
        "Class": "".join(map(str.capitalize, name.split("-"))) + "Mixture",
        "core": f">={major}.{minor},<{major}.{int(minor) + 1}",
    }


def _filled(
    folder: Traversable, words: dict[str, str], path: str = ""
) -> Iterator[tuple[str, str]]:
    """The path and text of every file to write."""
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            yield from _filled(entry, words, f"{path}{_place(entry.name, words)}/")
        elif entry.name.endswith(_SUFFIX):
            text = entry.read_text()
            for key, word in words.items():
                text = text.replace(f"@{key}@", word)
            yield path + _place(entry.name.removesuffix(_SUFFIX), words), text


def _place(name: str, words: dict[str, str]) -> str:
    """The name of a file or folder in the new plugin."""
    if name == "package":
        return words["package"]
    if name in _HIDDEN:
        return f".{name}"
    return name.replace("arch.", f"{words['arch']}.", 1) if name.startswith("arch.") else name
