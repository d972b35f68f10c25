"""Plugin discovery and isolation: the only file that knows pluggy's manager.

Entry points of the group `density_zoo` are sorted, duplicates refused before import, disabled
ones skipped, and each plugin is loaded, version-checked and registered inside its own try. One
broken plugin costs one line on stderr; the rest of the zoo works. Environment:

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
from importlib.metadata import EntryPoint, entry_points
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
    "set_enabled",
    "survey",
]

_logger = logging.getLogger(__name__)

Status = Literal["ok", "disabled", "failed", "incompatible", "conflict"]
BUILTIN = "builtin"
CORE = "density-zoo"


@dataclass
class LoadRecord:
    """What became of one plugin."""

    name: str
    dist: str
    version: str
    module: str
    status: Status = "ok"
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    problems: list[str] = field(default_factory=list)
    """What is wrong with single hooks or specs of a plugin that works otherwise."""

    def fail(self, status: Status, error: str) -> None:
        self.status, self.error = status, error


class Plugins:
    """All plugins of one process, loaded once: records by name, and the specs they declare."""

    def __init__(
        self,
        found: Iterable[EntryPoint] | None = None,
        *,
        disabled: Iterable[str] | None = None,
        strict: bool | None = None,
    ) -> None:
        """`found` defaults to the installed entry points, `disabled` to config and environment."""
        self.strict = os.environ.get("ZOO_STRICT_PLUGINS") == "1" if strict is None else strict
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(ZooHooks)
        self._manager.register(builtin, BUILTIN)
        core = LoadRecord(BUILTIN, CORE, _core_version(), builtin.__name__)
        self.records = {BUILTIN: core}
        points = sorted(found if found is not None else discover(), key=_order)
        skip = Switches.from_environment() if disabled is None else Switches(frozenset(disabled))
        for name, group in _by_name(points):
            self.records[name] = self._load(group, skip)
        for record in self.records.values():
            _report(record)

    def collect(self, hook: str) -> Iterator[tuple[LoadRecord, Any]]:
        """Every spec that implementations of `hook` return, with the plugin it came from.

        Implementations are called one by one, so one that raises loses only itself.
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
    """Which plugins not to load, and why."""

    disabled: frozenset[str] = frozenset()
    environment: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    @classmethod
    def from_environment(cls) -> "Switches":
        only = os.environ.get("ZOO_PLUGINS")
        return cls(
            frozenset(disabled_in_config()),
            _names(os.environ.get("ZOO_DISABLE_PLUGINS", "")),
            None if only is None else _names(only),
        )

    def reason(self, name: str) -> str:
        if self.only is not None and name not in self.only:
            return "not in ZOO_PLUGINS"
        if name in self.environment:
            return "in ZOO_DISABLE_PLUGINS"
        return f"zoo plugins enable {name}" if name in self.disabled else ""


def discover() -> list[EntryPoint]:
    """The installed entry points, without importing anything."""
    return list(entry_points(group=PROJECT))


def survey() -> dict[str, LoadRecord]:
    """Every installed plugin as its metadata and the switches show it; none is imported.

    `ok` means that nothing speaks against importing it.
    """
    skip = Switches.from_environment()
    groups = _by_name(sorted(discover(), key=_order))
    return {name: _judge(group, skip) for name, group in groups}


def disabled_in_config() -> list[str]:
    """Names in the user's config; an unreadable file is an error that names it."""
    return list(plugin_config.read().get("disabled", []))


def set_enabled(name: str, enabled: bool) -> None:
    """Enable or disable a plugin for this user, by name; the plugin is not imported."""
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
    """The distribution's name, normalized, so that `dist:name` can be written."""
    return re.sub(r"[-_.]+", "-", point.dist.name).lower() if point.dist else "unknown"


def _order(point: EntryPoint) -> tuple[str, str]:
    return (_dist(point), point.name)


def _by_name(points: Sequence[EntryPoint]) -> Iterator[tuple[str, list[EntryPoint]]]:
    groups: dict[str, list[EntryPoint]] = {}
    for point in points:
        groups.setdefault(point.name, []).append(point)
    yield from groups.items()


def _judge(group: Sequence[EntryPoint], skip: Switches) -> LoadRecord:
    """The record of the plugin that these entry points declare, before anything is imported."""
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
