"""The manifest: what `zoo` installed for this user, and how it was asked for.

It outlives environments: `zoo plugins sync` installs again what is in it and not there.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from zoo_core.catalog import plugin_config
from zoo_core.installing.installer import Options
from zoo_core.installing.requirements import Requirement, parse_requirement

__all__ = ["entries", "forget", "options_of", "record", "requirement_of"]

_OPTIONS = ("index_url", "find_links", "no_build_isolation", "allow_source", "pre")


def entries() -> dict[str, dict[str, Any]]:
    """What was installed, by distribution."""
    found: dict[str, dict[str, Any]] = plugin_config.read().get("installed", {})
    return found


def record(
    dist: str, requirement: Requirement, options: Options, *, version: str, plugins: list[str]
) -> None:
    """Note a distribution as installed; passwords in URLs are left out."""
    kept = {name: getattr(options, name) for name in _OPTIONS}
    kept |= {"index_url": _without_password(options.index_url or "")}
    kept["find_links"] = [_without_password(place) for place in options.find_links]
    entry = {
        "requirement": _without_password(requirement.requirement),
        "version": version,
        "plugins": plugins,
        "editable": requirement.editable,
        "hashes": list(requirement.hashes),
        **kept,
    }
    plugin_config.write(installed={**entries(), dist: {k: v for k, v in entry.items() if v}})


def forget(dist: str) -> None:
    kept = {name: entry for name, entry in entries().items() if name != dist}
    plugin_config.write(installed=kept)


def requirement_of(entry: Mapping[str, Any]) -> Requirement:
    """What to ask for, to have an entry back; raises if its file is gone."""
    return parse_requirement(
        str(entry["requirement"]),
        editable=bool(entry.get("editable")),
        hashes=entry.get("hashes", ()),
    )


def options_of(entry: Mapping[str, Any], *, no_index: bool = False) -> Options:
    given = {name: entry[name] for name in _OPTIONS if name in entry}
    links = tuple(given.pop("find_links", ()))
    return Options(**given, find_links=links, no_index=no_index)


def _without_password(text: str) -> str:
    if "://" not in text or "@" not in text:
        return text
    parts = urlsplit(text)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
