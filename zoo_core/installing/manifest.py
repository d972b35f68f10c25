"""The manifest: what `zoo` installed for this user, and how it was asked for.

It outlives environments: `zoo plugins sync` installs again what is in it and not there.
"""

import json
from collections.abc import Mapping
from typing import Any

from zoo_core.catalog import plugin_config
from zoo_core.installing.installer import Options
from zoo_core.installing.requirements import Requirement, parse_requirement
from zoo_core.text import hide_credentials

__all__ = ["entries", "record", "restore"]

_OPTIONS = ("index_url", "find_links", "no_build_isolation", "allow_source", "pre", "hashes")


def entries() -> dict[str, dict[str, Any]]:
    """What was installed, by distribution."""
    return dict(plugin_config.read().get("installed", {}))


def record(asked: Requirement, options: Options, *, version: str, plugins: list[str]) -> None:
    """Note a distribution as installed; passwords in URLs are left out."""
    entry: dict[str, Any] = {"requirement": asked.text, "version": version, "plugins": plugins}
    entry |= {"editable": asked.editable, **{name: options.get(name) for name in _OPTIONS}}
    text = json.dumps({name: value for name, value in entry.items() if value})
    kept = json.loads(hide_credentials(text, mask=""))
    plugin_config.write(installed={**entries(), asked.dist: kept})


def restore(entry: Mapping[str, Any], *, offline: bool) -> tuple[Requirement, Options]:
    """What to install, and how, to have an entry back; raises if its file is gone."""
    options = {name: entry[name] for name in _OPTIONS if name in entry}
    asked = parse_requirement(entry["requirement"], editable=bool(entry.get("editable")))
    return asked, options | {"no_index": offline}
