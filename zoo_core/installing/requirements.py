"""Requirements of `zoo plugins install`: a short name, a requirement, a wheel or a folder.

Parsing them downloads, builds and imports nothing.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Literal

from zoo_core.catalog.hookspecs import PROJECT
from zoo_core.catalog.names import is_path
from zoo_core.catalog.plugins import CORE
from zoo_core.catalog.registry import known_plugins
from zoo_core.errors import PluginError, UsageError, did_you_mean
from zoo_core.reading import MAX_TEXT, read_toml

__all__ = ["Requirement", "normalized", "parse_requirement"]

Kind = Literal["index", "url", "wheel", "folder", "source"]

_NO_WHEEL = (
    OSError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    ConfigParserError,
)
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?P<rest>\s*(?:\[[^\]]*\])?\s*(?:[=<>!~;@].*)?)"
)
_HASH = re.compile(r"(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})")


@dataclass(frozen=True)
class Requirement:
    """One requirement to install, as far as it is known before the installer runs."""

    requirement: str
    """The installer's argument: a requirement, a URL or an absolute path."""
    kind: Kind
    dist: str | None = None
    version: str | None = None
    alias: str | None = None
    plugins: tuple[str, ...] | None = None
    """Names of its plugins; None if only the installed distribution tells them."""
    requires: tuple[str, ...] | None = None
    editable: bool = False
    hashes: tuple[str, ...] = ()

    @property
    def builds(self) -> bool:
        """Whether installing it runs its build first."""
        return self.kind in ("folder", "source")


def normalized(dist: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def parse_requirement(
    text: str, *, editable: bool = False, hashes: Iterable[str] = ()
) -> Requirement:
    """Parse one argument of `zoo plugins install`; raises `UsageError` or `PluginError`."""
    checked = tuple(_hash(value) for value in hashes)
    if text.startswith("-") or not text.strip() or "\n" in text:
        raise UsageError(f"{text!r} is no requirement.", hint="a name, a wheel or -e FOLDER")
    if (
        editable
        or is_path(text)
        or text.endswith((".whl", ".tar.gz", ".zip"))
        and "//" not in text
    ):
        fields = _file(Path(text).expanduser().absolute(), editable)
    elif "://" in text.partition("@")[0]:
        kind: Kind = "url" if text.partition("#")[0].endswith(".whl") else "source"
        fields = {"requirement": text, "kind": kind}
    else:
        fields = _named(text)
    if fields.get("dist") == CORE:
        raise UsageError(
            f"{text!r} is the core, no plugin.", hint="upgrade it with pip, then zoo plugins sync"
        )
    return Requirement(**fields, editable=editable, hashes=checked)


def _hash(value: str) -> str:
    if not _HASH.fullmatch(value):
        raise UsageError(f"{value[:80]!r} is no hash.", hint="e.g. --hash sha256:<64 hex digits>")
    return value


def _named(text: str) -> dict[str, Any]:
    match = _REQUIREMENT.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is no requirement.",
            hint="e.g. flows, density-zoo-flows==0.1.0, ./file.whl, -e ./folder",
        )
    name, rest = match["name"], match["rest"].strip()
    known = known_plugins()
    if name in known:
        dist = str(known[name]["dist"])
        return {"requirement": f"{dist}{rest}", "kind": "index", "dist": dist, "alias": name}
    close = did_you_mean(name, known)
    if close and not rest:
        raise UsageError(
            f"{name!r} is no short name; short names: {', '.join(known)}. {close}",
            hint=f"a distribution that is really called so: zoo plugins install '{name}>=0'",
        )
    url = rest.startswith("@")
    kind = "index" if not url else "url" if rest.partition("#")[0].endswith(".whl") else "source"
    spaced = f"{name} {rest}" if url else f"{name}{rest}"
    return {"requirement": spaced, "kind": kind, "dist": normalized(name)}


def _file(path: Path, editable: bool) -> dict[str, Any]:
    if path.is_dir():
        return _folder(path)
    if editable:
        raise PluginError(f"{path} is no folder.", hint="-e takes the folder of a pyproject.toml")
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise PluginError(f"{path} {what}.", hint="give a wheel or a folder")
    if path.suffix != ".whl":
        return {"requirement": str(path), "kind": "source"}
    return _wheel(path)


def _wheel(path: Path) -> dict[str, Any]:
    """The fields that a wheel's metadata states."""
    try:
        with zipfile.ZipFile(path) as archive:
            (where,) = {
                n
                for n in archive.namelist()
                if n.count("/") == 1 and n.endswith(".dist-info/METADATA")
            }
            about = HeaderParser().parsestr(_member(archive, where))
            points = where.replace("METADATA", "entry_points.txt")
            listed = _member(archive, points) if points in archive.namelist() else ""
        parser = ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(listed)
        plugins = tuple(parser[PROJECT]) if PROJECT in parser else ()
    except _NO_WHEEL as error:
        raise PluginError(f"{path} is no wheel ({error}).", hint="build it anew") from None
    _demand_plugins(path, plugins)
    return {
        "requirement": str(path),
        "kind": "wheel",
        "dist": normalized(about["Name"]),
        "version": about["Version"],
        "plugins": plugins,
    }


def _member(archive: zipfile.ZipFile, name: str) -> str:
    """A text in a wheel, which may inflate to no more than a text file may have."""
    with archive.open(name) as file:
        data = file.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise ValueError(f"{name} is larger than {MAX_TEXT:,} bytes")
    return data.decode()


def _folder(path: Path) -> dict[str, Any]:
    """The fields that a folder's pyproject.toml states; its build is not run."""
    try:
        project = read_toml(path / "pyproject.toml").get("project", {})
        dist = normalized(project["name"])
        plugins = tuple(project.get("entry-points", {}).get(PROJECT, {}))
        depends = tuple(project.get("dependencies", []))
        dynamic = tuple(project.get("dynamic", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PluginError(
            f"{path} has no pyproject.toml with a project name ({type(error).__name__}: {error}).",
            hint="zoo plugins new NAME writes one that works",
        ) from None
    unknown = "entry-points" in dynamic
    if not unknown:
        _demand_plugins(path, plugins)
    fixed = "dependencies" not in dynamic
    return {
        "requirement": str(path),
        "kind": "folder",
        "dist": dist,
        "version": project.get("version"),
        "plugins": None if unknown else plugins,
        "requires": depends if fixed else None,
    }


def _demand_plugins(path: Path, plugins: tuple[str, ...]) -> None:
    if not plugins:
        raise PluginError(
            f"{path} declares no entry point in the group {PROJECT!r}: it is no plugin.",
            hint="install it with pip if you need it",
        )
