"""Discovery and isolation of plugins; no other module uses pluggy's manager.

Entry points of the group `density_zoo` are sorted; duplicates are refused before import, and
disabled plugins are skipped. Each of the others is loaded, checked for its API version and
registered inside a try of its own: a broken plugin is reported on stderr, and the rest of the zoo
works. Environment:

ZOO_STRICT_PLUGINS=1      raise instead of reporting
ZOO_DISABLE_PLUGINS=a,b   skip these
ZOO_PLUGINS=a,b           load only these (empty: none)
ZOO_PLUGIN_SECONDS=5      name a plugin on stderr that takes longer to import
"""

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any, Literal

import pluggy

from zoo_core.catalog import builtin, plugin_config
from zoo_core.catalog.hookspecs import PROJECT, ZOO_API, ZooHooks
from zoo_core.catalog.plugin_config import config_path
from zoo_core.catalog.watchdog import watching
from zoo_core.errors import PluginError, did_you_mean
from zoo_core.text import printable

__all__ = [
    "LoadRecord",
    "Plugins",
    "config_path",
    "disabled_in_config",
    "discover",
    "installed_version",
    "normalized",
    "set_enabled",
    "survey",
]

_logger = logging.getLogger(__name__)

Status = Literal["ok", "disabled", "failed", "incompatible", "conflict"]
BUILTIN = "builtin"
CORE = "density-zoo"


@dataclass
class LoadRecord:
    """The outcome of loading one plugin."""

    name: str
    dist: str
    version: str
    module: str
    status: Status = "ok"
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    problems: list[str] = field(default_factory=list)
    """Faults of single hooks or specs of a plugin that works otherwise."""

    def fail(self, status: Status, error: str) -> None:
        """Record why the plugin is not in use."""
        self.status, self.error = status, error


class Plugins:
    """All plugins of a process, loaded once: their records by name, and their specs."""

    def __init__(
        self,
        entry_points: Iterable[EntryPoint] | None = None,
        *,
        disabled: Iterable[str] | None = None,
        strict: bool | None = None,
    ) -> None:
        """By default, the installed entry points, except those disabled by config or environment.

        `strict` raises errors instead of reporting them, by default if `ZOO_STRICT_PLUGINS=1`.
        """
        self.strict = os.environ.get("ZOO_STRICT_PLUGINS") == "1" if strict is None else strict
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(ZooHooks)
        self._manager.register(builtin, BUILTIN)
        core = LoadRecord(BUILTIN, CORE, _core_version(), builtin.__name__)
        self.records = {BUILTIN: core}
        points = sorted(discover() if entry_points is None else entry_points, key=_order)
        skip = Switches.from_environment() if disabled is None else Switches(frozenset(disabled))
        for name, group in _by_name(points):
            self.records[name] = self._load(group, skip)
        for record in self.records.values():
            _report(record)

    def collect(self, hook: str) -> Iterator[tuple[LoadRecord, Any]]:
        """Yield every spec that implementations of `hook` return, with the record of its plugin.

        Implementations are called one by one: if one raises, only its specs are missing.
        """
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            record = self.records[impl.plugin_name]
            try:
                with redirect_stdout(sys.stderr), watching(record.name):
                    specs = list(impl.function())
            except (Exception, SystemExit) as error:
                if self.strict:
                    raise
                record.traceback += traceback.format_exc()
                self.problem(record, f"{hook} raised {type(error).__name__}: {error}")
                continue
            yield from ((record, spec) for spec in specs)

    def problem(self, record: LoadRecord, text: str) -> None:
        """Note what is wrong with a part of a plugin, on its record and in the log."""
        if self.strict:
            raise PluginError(f"plugin {record.name!r}: {text}")
        if text not in record.problems:
            record.problems.append(text)
            _log(record.name, text)

    def _load(self, group: Sequence[EntryPoint], skip: "Switches") -> LoadRecord:
        record = _judge(group, skip)
        if record.status == "ok":
            self._import(group[0], record)
        return record

    def _import(self, point: EntryPoint, record: LoadRecord) -> None:
        start = time.perf_counter()
        try:
            with redirect_stdout(sys.stderr), watching(point.name):  # stdout is the command's
                module = point.load()
            self._register(module, record)
        except (Exception, SystemExit) as error:
            if self.strict:
                raise
            record.fail("failed", f"{type(error).__name__}: {error}")
            record.traceback = traceback.format_exc()
        record.seconds = time.perf_counter() - start

    def _register(self, module: Any, record: LoadRecord) -> None:
        api = getattr(module, "ZOO_API", None)
        if api != ZOO_API:
            wants = "states no ZOO_API" if api is None else f"is written for ZOO_API = {api!r}"
            record.fail("incompatible", f"it {wants}; this core speaks ZOO_API = {ZOO_API}")
            return
        self._manager.register(module, record.name)
        known = [name for name in dir(ZooHooks) if name.startswith("zoo_")]
        for caller in self._manager.get_hookcallers(module) or ():
            optional = all(impl.optionalhook for impl in caller.get_hookimpls())
            if not caller.has_spec() and not optional:
                hint = did_you_mean(caller.name, known)
                record.problems.append(f"unknown hook {caller.name!r}. {hint}".rstrip())
        if self.strict and record.problems:
            raise PluginError(f"plugin {record.name!r}: {record.problems[0]}")


@dataclass(frozen=True)
class Switches:
    """The plugins that are not to be loaded, and why."""

    disabled: frozenset[str] = frozenset()
    environment: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    @classmethod
    def from_environment(cls) -> "Switches":
        """From `plugins.toml` and the environment variables."""
        only = os.environ.get("ZOO_PLUGINS")
        return cls(
            frozenset(disabled_in_config()),
            _names(os.environ.get("ZOO_DISABLE_PLUGINS", "")),
            None if only is None else _names(only),
        )

    def reason(self, name: str) -> str:
        """Why a plugin is not loaded, or an empty string."""
        if self.only is not None and name not in self.only:
            return "not in ZOO_PLUGINS"
        if name in self.environment:
            return "in ZOO_DISABLE_PLUGINS"
        return f"zoo plugins enable {name}" if name in self.disabled else ""


def discover() -> list[EntryPoint]:
    """The installed entry points, without importing anything."""
    return list(metadata.entry_points(group=PROJECT))


def survey() -> dict[str, LoadRecord]:
    """The records of all installed plugins by metadata and switches alone; none is imported.

    The status `ok` means that the plugin would be imported.
    """
    skip = Switches.from_environment()
    groups = _by_name(sorted(discover(), key=_order))
    return {name: _judge(group, skip) for name, group in groups}


def normalized(dist: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def installed_version(dist: str) -> str | None:
    """The version of a distribution in this environment; None if it is not installed."""
    try:
        return metadata.version(dist)
    except metadata.PackageNotFoundError:
        return None


def disabled_in_config() -> list[str]:
    """The disabled plugins in the user's config; raises `PluginError` if it is unreadable."""
    return list(plugin_config.read().get("disabled", []))


def set_enabled(name: str, enabled: bool) -> None:
    """Enable or disable a plugin for this user; raises `PluginError` if it is not installed."""
    known = {p.name for p in discover()}
    if name not in known:
        listing = ", ".join(sorted(known)) or "none"
        raise PluginError(
            f"no plugin {name!r} is installed; installed: {listing}.",
            hint=did_you_mean(name, known) or None,
        )
    names = sorted({*disabled_in_config(), name} - ({name} if enabled else set()))
    plugin_config.write(disabled=names)


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _core_version() -> str:
    from zoo_core.version import __version__

    return __version__


def _dist(point: EntryPoint) -> str:
    """The normalized name of the distribution, for `dist:name`."""
    return normalized(point.dist.name) if point.dist else "unknown"


def _order(point: EntryPoint) -> tuple[str, str]:
    return (_dist(point), point.name)


def _by_name(points: Sequence[EntryPoint]) -> Iterator[tuple[str, list[EntryPoint]]]:
    groups: dict[str, list[EntryPoint]] = {}
    for point in points:
        groups.setdefault(point.name, []).append(point)
    yield from groups.items()


def _judge(group: Sequence[EntryPoint], skip: Switches) -> LoadRecord:
    """The record of the plugin of these entry points, before anything is imported."""
    record = _record(group[0])
    if len(group) > 1 or record.name == BUILTIN:
        dists = ", ".join(_dist(p) for p in group)
        record.fail("conflict", f"{record.name!r} is declared by {dists}; uninstall all but one")
    elif reason := skip.reason(record.name):
        record.fail("disabled", reason)
    return record


def _record(point: EntryPoint) -> LoadRecord:
    version = point.dist.version if point.dist else "?"
    return LoadRecord(point.name, _dist(point), version, point.value)


def _report(record: LoadRecord) -> None:
    if record.status in ("failed", "incompatible", "conflict"):
        _log(record.name, f"{record.status} ({record.error})")
    for problem in record.problems:
        _log(record.name, problem)


def _log(name: str, text: str) -> None:
    line = f"plugin {name!r} {' '.join(text.split())}; see: zoo plugins doctor {name}"
    _logger.warning("%s", printable(line))
