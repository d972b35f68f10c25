"""Requirements of `zoo plugins install`: a short name, a requirement, a wheel or a folder.

Parsing them downloads, builds and imports nothing. Each names its distribution beforehand, so a
URL is given as `NAME @ URL`. Short names mean the official distributions on an index.
"""

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo_core.catalog.hookspecs import PROJECT
from zoo_core.catalog.names import is_path
from zoo_core.catalog.plugins import CORE, normalized
from zoo_core.catalog.registry import known_plugins
from zoo_core.errors import PluginError, UsageError, did_you_mean
from zoo_core.files import expanded
from zoo_core.reading import MAX_TEXT, read_toml

__all__ = ["Requirement", "parse_requirement"]

_DAMAGED = (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
_MISTYPED = (OSError, ValueError, KeyError, TypeError, AttributeError)
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?P<rest>\s*(?:\[[^\]]*\])?\s*(?:[=<>!~;@].*)?)"
)
_GROUP = re.compile(rf"^\s*\[{PROJECT}\]", re.MULTILINE)


@dataclass(frozen=True)
class Requirement:
    """One requirement to install, as far as it is known before the installer runs."""

    text: str
    """As the installer takes it: a requirement, or an absolute path."""
    kind: Literal["index", "wheel", "folder", "source"]
    """By name or URL of a wheel; a wheel of this machine; two that are built first."""
    dist: str
    version: str | None = None
    requires: tuple[str, ...] | None = None
    """What a folder requires; None if only its build tells it."""
    editable: bool = False

    @property
    def builds(self) -> bool:
        """Whether installing it runs its build first."""
        return self.kind in ("folder", "source")


def parse_requirement(text: str, *, editable: bool = False) -> Requirement:
    """Parse one argument of `zoo plugins install`; raises `UsageError` or `PluginError`."""
    if editable or is_path(text) or text.endswith(".whl") and "//" not in text:
        parsed = _local(expanded(text).absolute(), editable)
    else:
        parsed = _named(text.strip())
    if parsed.dist == CORE:
        hint = "upgrade it with pip, then zoo plugins sync"
        raise UsageError(f"{text!r} is the core, no plugin.", hint=hint)
    return parsed


def _named(text: str) -> Requirement:
    """A short name, or a requirement as pip takes it."""
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        hint = "e.g. flows, zoo-acme==0.1.0, 'zoo-acme @ URL', ./file.whl, -e ./folder"
        raise UsageError(f"{text!r} is no requirement.", hint=hint)
    name, rest, known = match["name"], match["rest"].strip(), known_plugins()
    if rest.startswith("@"):  # a short name has no URL: it means a distribution of an index
        built = not rest.partition("#")[0].endswith(".whl")
        return Requirement(f"{name} {rest}", "source" if built else "index", normalized(name))
    if name in known:
        name = str(known[name]["dist"])
    elif not rest and (close := did_you_mean(name, known)):
        why = f"{name!r} is no short name; short names: {', '.join(known)}. {close}"
        hint = f"a distribution that is really called so: zoo plugins install '{name}>=0'"
        raise UsageError(why, hint=hint)
    return Requirement(name + rest, "index", normalized(name))


def _local(path: Path, editable: bool) -> Requirement:
    """A wheel or a folder of this machine; `editable` ones are folders."""
    if path.is_dir():
        return _folder(path, editable)
    if path.is_file() and path.suffix == ".whl" and not editable:
        return _wheel(path)
    what = "is no folder" if editable else "is no wheel and no folder"
    hint = "give a wheel, or -e with the folder of a pyproject.toml"
    raise PluginError(f"{path} {what if path.exists() else 'does not exist'}.", hint=hint)


def _wheel(path: Path) -> Requirement:
    """A wheel, by its file name and its entry points."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt")]
            points = b"".join(archive.open(name).read(MAX_TEXT) for name in names)
    except _DAMAGED as error:
        raise PluginError(f"{path} is no wheel ({error}).", hint="build it anew") from None
    _check_is_plugin(path, _GROUP.search(points.decode(errors="replace")))
    return Requirement(str(path), "wheel", normalized(path.name.partition("-")[0]))


def _folder(path: Path, editable: bool) -> Requirement:
    """A folder, by its pyproject.toml; its build is not run."""
    try:
        project = read_toml(path / "pyproject.toml")["project"]
        dist, version = normalized(project["name"]), project.get("version")
        dynamic = project.get("dynamic", ())
        points = "entry-points" in dynamic or project.get("entry-points", {}).get(PROJECT)
        requires = None if "dependencies" in dynamic else tuple(project.get("dependencies", ()))
    except _MISTYPED as error:
        why = (
            f"{path} has no pyproject.toml with a project name ({type(error).__name__}: {error})."
        )
        raise PluginError(why, hint="zoo plugins new NAME writes one that works") from None
    _check_is_plugin(path, points)
    return Requirement(str(path), "folder", dist, version, requires, editable)


def _check_is_plugin(path: Path, points: object) -> None:
    if not points:
        why = f"{path} declares no entry point in the group {PROJECT!r}: it is no plugin."
        raise PluginError(why, hint="install it with pip if you need it")
