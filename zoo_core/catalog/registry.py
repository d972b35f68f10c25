"""The registry: everything that the loaded plugins declare, by kind and name.

`registry.samplers`, `registry.models` and so on are typed collections (`catalog.entries`);
`registry.model(name)` and `registry.list_models(...)` know tags as well.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from zoo_core import compat
from zoo_core import config as configs
from zoo_core.catalog.cards import CARDS, cards_in
from zoo_core.catalog.entries import Components, Entry, Spec, use_of
from zoo_core.catalog.names import LEGAL_NAME, Name, parse
from zoo_core.catalog.plugins import LoadRecord, Plugins
from zoo_core.catalog.specs import (
    ConverterSpec,
    DatasetSpec,
    DensityType,
    HealthCheck,
    LikelihoodSpec,
    LossSpec,
    MetricSpec,
    ModelSpec,
    NetworkSpec,
    OptimizerSpec,
    Pretrained,
    SamplerSpec,
    ScheduleSpec,
)
from zoo_core.catalog.tags import Tag, package_folder, tags_of
from zoo_core.errors import ConfigError, PluginError, UnknownNameError, did_you_mean

__all__ = ["Entry", "ModelInfo", "Registry", "current", "use"]

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class ModelInfo:
    """An architecture, with a tag or without, as `zoo list` and `zoo info` show it."""

    name: str
    spec: ModelSpec
    plugin: LoadRecord
    tag: Tag | None = None

    @property
    def pretrained(self) -> bool:
        """Whether there are weights that somebody has loaded, unless an evaluation shows that no
        baseline is beaten."""
        tag = self.tag
        if tag is None or not tag.here or tag.untested:
            return False
        return tag.proven is not False

    def row(self) -> dict[str, Any]:
        """The JSON form of a row of `zoo list`."""
        tag = self.tag
        event = ((tag.metadata if tag else None) or {}).get("event")
        discrete = isinstance(event, dict) and event.get("levels") is not None
        return {
            "name": self.name,
            "arch": self.spec.arch,
            "tag": tag.tag if tag else None,
            "family": self.spec.family,
            "density": self.spec.density,
            "likelihood": current().default_likelihood(self.spec, discrete=discrete),
            "status": tag.status if tag else "architecture",
            "plugin": self.plugin.name,
            "params": tag.params if tag else None,
            "size": tag.size if tag else None,
            "license": tag.license if tag else None,
            "source": tag.source if tag else None,
            "metrics": tag.metrics if tag else [],
            "license_class": tag.license_class if tag else None,
            "published": tag.published if tag else [],
            "untested": tag.untested if tag else False,
        }


class Registry:
    """All components of the loaded plugins, a typed collection for each kind."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.density_types = self._collect("density type", "zoo_density_types", DensityType)
        self.models = self._collect("model", "zoo_models", ModelSpec)
        self.networks = self._collect("network", "zoo_networks", NetworkSpec)
        self.losses = self._collect("loss", "zoo_losses", LossSpec)
        self.samplers = self._collect("sampler", "zoo_samplers", SamplerSpec)
        self.likelihoods = self._collect("likelihood", "zoo_likelihoods", LikelihoodSpec)
        self.optimizers = self._collect("optimizer", "zoo_optimizers", OptimizerSpec)
        self.schedules = self._collect("schedule", "zoo_schedules", ScheduleSpec)
        self.datasets = self._collect("dataset", "zoo_datasets", DatasetSpec)
        self.metrics = self._collect("metric", "zoo_metrics", MetricSpec)
        self.converters = self._collect("converter", "zoo_converters", ConverterSpec)
        self.health_checks = self._collect("health check", "zoo_health_checks", HealthCheck)
        self._check_density_types()

    @property
    def by_kind(self) -> dict[str, Components[Any]]:
        """The collections by the name of their kind, for code that treats all kinds alike."""
        return {c.kind: c for c in vars(self).values() if isinstance(c, Components)}

    def all(self, kind: str) -> Components[Any]:
        """The old spelling of `registry.samplers` and so on, `registry.samplers`."""
        components = self.by_kind[kind]
        attribute = next(name for name, value in vars(self).items() if value is components)
        compat.warn_renamed(f"registry.all({kind!r})", f"registry.{attribute}")
        return components

    def model(self, name: str | Name) -> ModelInfo:
        """The architecture, and the tag if one is named; raises `UnknownNameError`."""
        name = parse(name) if isinstance(name, str) else name
        entry = self.models.one(name)
        if name.tag is None:
            _refuse_revision(name)
            return ModelInfo(str(name), entry.spec, entry.plugin)
        tags = {tag.tag: tag for tag in self.tags(entry)}
        if name.tag not in tags:
            known = [f"{entry.spec.arch}.{tag}" for tag in tags]
            close = did_you_mean(f"{name.name}.{name.tag}", known)
            raise UnknownNameError(
                f"{str(name)!r}: {entry.spec.arch} has no tag {name.tag!r}; "
                f"tags: {', '.join(sorted(tags)) or 'none'}. {close}".rstrip(),
                hint="zoo list",
            )
        if tags[name.tag].hub is None:
            _refuse_revision(name)
        return ModelInfo(str(name), entry.spec, entry.plugin, tags[name.tag])

    def spec_of(self, cls: type) -> ModelSpec:
        """The spec of a model class; raises `UnknownNameError` if it has none."""
        return self.entry_of(cls).spec

    def entry_of(self, cls: type) -> Entry[ModelSpec]:
        """The spec of a model class, and the plugin that declared it."""
        target = f"{cls.__module__}:{cls.__qualname__}"
        for entry in self.models:
            if entry.spec.target == target:
                return entry
        raise UnknownNameError(
            f"{target} is no registered model.",
            hint="declare it by a zoo_models hook, or pass samplers, losses and likelihoods as "
            "objects instead of names",
        )

    def list_models(
        self,
        pattern: str = "*",
        *,
        density: str | None = None,
        family: str | None = None,
        license: str | None = None,
        license_class: str | None = None,
        pretrained: bool | None = None,
    ) -> list[ModelInfo]:
        """Architectures and their tags, filtered by shell patterns, sorted by name."""
        rows = [row for entry in self.models for row in self._rows(entry)]
        filters = {
            "density": density,
            "family": family,
            "license": license,
            "class": license_class,
        }

        def fits(row: ModelInfo) -> bool:
            values = {
                "density": row.spec.density,
                "family": row.spec.family,
                "license": row.tag.license if row.tag else None,
                "class": row.tag.license_class if row.tag else None,
            }
            return (
                fnmatchcase(row.name, pattern)
                and pretrained in (None, row.pretrained)
                and all(
                    glob is None or fnmatchcase((values[key] or "").lower(), glob.lower())
                    for key, glob in filters.items()
                )
            )

        return sorted(filter(fits, rows), key=lambda row: row.name)

    def default_likelihood(self, spec: ModelSpec, *, discrete: bool) -> str | None:
        """The likelihood that scores models of integers (`discrete`), or of continuous events."""
        return spec.likelihood_of((e.spec for e in self.likelihoods), discrete=discrete)

    def tags(self, entry: Entry[ModelSpec]) -> list[Tag]:
        """The tags of an architecture; [] and a report on the plugin if one is unreadable."""
        try:
            return tags_of(entry.spec, self._cards(entry))
        except (OSError, ValueError, AttributeError) as error:
            self.plugins.problem(entry.plugin, f"tags of {entry.spec.arch!r}: {error}")
            return []

    def _cards(self, entry: Entry[ModelSpec]) -> tuple[Pretrained, ...]:
        """The cards of an architecture; none and a report on the plugin if they are malformed."""
        package = package_folder(entry.spec)
        try:
            cards = {} if package is None else cards_in(package)
        except ConfigError as error:
            self.plugins.problem(entry.plugin, str(error))
            return ()
        if not cards:
            return ()
        own = {e.spec.arch for e in self.models if e.plugin == entry.plugin}
        if strays := sorted(cards.keys() - own):
            listing = ", ".join(strays)
            self.plugins.problem(entry.plugin, f"{CARDS}: no model of the plugin is {listing}")
        return cards.get(entry.spec.arch, ())

    def _rows(self, entry: Entry[ModelSpec]) -> Iterator[ModelInfo]:
        yield ModelInfo(entry.spec.arch, entry.spec, entry.plugin)
        for tag in self.tags(entry):
            yield ModelInfo(f"{entry.spec.arch}.{tag.tag}", entry.spec, entry.plugin, tag)

    def _collect(self, kind: str, hook: str, cls: type[S]) -> Components[S]:
        entries: list[Entry[S]] = []
        for record, spec in self.plugins.collect(hook):
            if problem := _malformed(spec, cls):
                self.plugins.problem(record, f"{hook} returned {problem}")
            elif kind != "density type" and not LEGAL_NAME.fullmatch(spec.name):
                self.plugins.problem(record, f"{spec.name!r} is no legal {kind} name")
            else:
                entries.append(Entry(spec, record))
        self._refuse_twice(kind, entries)
        return Components(kind, entries, self._unknown)

    def _check_density_types(self) -> None:
        for entry in self.models:
            if entry.spec.density not in (known := self.density_types.names):
                self.plugins.problem(
                    entry.plugin,
                    f"model {entry.spec.arch!r} names the unknown density type "
                    f"{entry.spec.density!r}. {did_you_mean(entry.spec.density, known)}",
                )

    def _refuse_twice(self, kind: str, entries: list[Entry[S]]) -> None:
        """Drop what a plugin declares twice under one name for one use, and report it."""
        seen: set[tuple[Any, ...]] = set()
        for entry in entries[:]:
            key = (entry.plugin.name, entry.spec.name, use_of(entry.spec))
            if key in seen:
                self.plugins.problem(entry.plugin, f"{kind} {entry.spec.name!r} is declared twice")
                entries.remove(entry)
            seen.add(key)

    def _unknown(self, kind: str, name: Name) -> UnknownNameError | PluginError:
        if kind == "model" and (missing := _uninstalled(name.name)):
            return self._absent(name.name, *missing)
        known = self.by_kind[kind].names
        names = [row.name for row in self.list_models()] if kind == "model" else known
        close = did_you_mean(f"{name.name}.{name.tag}" if name.tag else name.name, names)
        broken = [r for r in self.plugins.records.values() if r.error and r.status != "disabled"]
        note = "".join(f" Plugin {r.name!r} failed to load ({r.error})." for r in broken)
        return UnknownNameError(
            f"unknown {kind} {str(name)!r}. {close}{note}".rstrip(),
            hint=f"zoo plugins doctor {broken[0].name}" if broken else _where_to_look(kind, known),
        )

    def _absent(self, arch: str, alias: str, dist: str) -> UnknownNameError | PluginError:
        """The error for an architecture of an official plugin that is not in use."""
        record = self.plugins.records.get(alias)
        if record is None:
            return PluginError(
                f"arch {arch!r} is in {dist}, which is not installed.",
                hint=f"zoo plugins install {alias}",
            )
        if record.status == "ok":
            return UnknownNameError(
                f"arch {arch!r} is planned for {dist}; version {record.version}, which is "
                "installed, does not have it.",
                hint="zoo list",
            )
        return PluginError(
            f"arch {arch!r} is in plugin {alias!r}: {record.status} ({record.error}).",
            hint=f"zoo plugins {'enable' if record.status == 'disabled' else 'doctor'} {alias}",
        )


def _refuse_revision(name: Name) -> None:
    if name.revision is not None:
        raise UnknownNameError(
            f"{str(name)!r}: only weights on the Hub have revisions.",
            hint=f"drop @{name.revision}; the version of the plugin fixes the rest",
        )


def _malformed(spec: Any, cls: type) -> str:
    """What is wrong with a spec, or an empty string; unhashable ones would break lookups."""
    if not isinstance(spec, cls):
        return f"{spec!r}, not a {cls.__name__}"
    try:
        configs.validate(spec)
        hash((getattr(spec, "name", None), use_of(spec)))
    except (ConfigError, TypeError) as error:
        return f"an ill-typed {cls.__name__} {getattr(spec, 'name', '')!r}: {error}"
    return ""


def _where_to_look(kind: str, known: Sequence[str]) -> str:
    return "zoo list" if kind == "model" else f"known: {', '.join(known) or 'none'}"


def _uninstalled(arch: str) -> tuple[str, str] | None:
    """The (alias, distribution) of the official plugin that has an architecture."""
    for alias, plugin in known_plugins().items():
        if arch in plugin["archs"]:
            return alias, plugin["dist"]
    return None


@cache
def known_plugins() -> dict[str, Any]:
    """The official plugins by alias, with their distributions and architectures."""
    text = files("zoo_core").joinpath("known_plugins.json").read_text()
    plugins: dict[str, Any] = json.loads(text)
    return plugins


_override: ContextVar[Registry | None] = ContextVar("registry", default=None)


def current() -> Registry:
    """The registry of the installed plugins, built on first use."""
    return _override.get() or _installed()


@cache
def _installed() -> Registry:
    return Registry(Plugins())


@contextmanager
def use(registry: Registry) -> Iterator[Registry]:
    """Look names up in another registry inside the block (tests, tools)."""
    token = _override.set(registry)
    try:
        yield registry
    finally:
        _override.reset(token)
