"""Names to specs: one lookup for every kind of component, with did-you-mean and no overwriting.

A component is unique per (name, required capabilities). Where two plugins declare the same one,
neither wins: the bare name raises, the spelling `dist:name` works.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

from zoo_core import config as configs
from zoo_core.catalog import specs
from zoo_core.catalog.names import LEGAL_NAME, Name, parse
from zoo_core.catalog.plugins import LoadRecord, Plugins
from zoo_core.catalog.specs import ModelSpec
from zoo_core.catalog.tags import Tag, tags_of
from zoo_core.errors import ConfigError, PluginError, UnknownNameError, did_you_mean

__all__ = ["Entry", "ModelInfo", "Registry", "current", "use"]

S = TypeVar("S")

_KINDS: dict[str, tuple[str, Any]] = {
    "density type": ("zoo_density_types", specs.DensityType),
    "model": ("zoo_models", specs.ModelSpec),
    "loss": ("zoo_losses", specs.LossSpec),
    "sampler": ("zoo_samplers", specs.SamplerSpec),
    "likelihood": ("zoo_likelihoods", specs.LikelihoodSpec),
    "dataset": ("zoo_datasets", specs.DatasetSpec),
    "metric": ("zoo_metrics", specs.MetricSpec),
    "converter": ("zoo_converters", specs.ConverterSpec),
    "health check": ("zoo_health_checks", specs.HealthCheck),
}


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A spec and the plugin that declared it."""

    spec: S
    plugin: LoadRecord

    @property
    def qualified(self) -> str:
        return f"{self.plugin.dist}:{self.spec.name}"  # type: ignore[attr-defined]


@dataclass(frozen=True)
class ModelInfo:
    """An architecture under a tag, as `zoo list` and `zoo info` show it."""

    name: str
    spec: ModelSpec
    plugin: LoadRecord
    tag: Tag | None = None

    @property
    def pretrained(self) -> bool:
        """Whether there are weights that are not known to be no better than the null baseline."""
        return (
            self.tag is not None and self.tag.status != "recipe" and self.tag.proven is not False
        )

    def row(self) -> dict[str, Any]:
        """The JSON form of one row of `zoo list`."""
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
        }


class Registry:
    """All components of the loaded plugins."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self._entries = {kind: self._collect(kind) for kind in _KINDS}
        densities = {e.spec.name for e in self._entries["density type"]}
        for entry in self._entries["model"]:
            if entry.spec.density not in densities:
                plugins.problem(
                    entry.plugin,
                    f"model {entry.spec.arch!r} names the unknown density type "
                    f"{entry.spec.density!r}. {did_you_mean(entry.spec.density, densities)}",
                )

    def all(self, kind: str) -> Sequence[Entry[Any]]:
        """Every entry of a kind, e.g. `"sampler"`, sorted by name."""
        return self._entries[kind]

    def find(self, kind: str, text: str) -> list[Entry[Any]]:
        """The entries that a name may mean; raises `UnknownNameError` if there are none."""
        name = parse(text, kind)
        if kind != "model" and (name.tag or name.revision):
            raise UnknownNameError(f"{text!r}: a {kind} has neither tags nor revisions.")
        entries = [e for e in self.all(kind) if e.spec.name == name.name]
        if name.dist is not None:
            entries = [e for e in entries if e.plugin.dist == name.dist]
        if not entries:
            raise self._unknown(kind, name)
        return entries

    def one(self, kind: str, text: str) -> Entry[Any]:
        """The one entry that a name means."""
        entries = self.find(kind, text)
        if len(entries) > 1:
            raise UnknownNameError(
                f"{kind} {text!r} is declared more than once.",
                hint=f"write {' or '.join(e.qualified for e in entries)}",
            )
        return entries[0]

    def model(self, text: str) -> ModelInfo:
        """The architecture, and the tag if one is named; raises `UnknownNameError`."""
        name = parse(text)
        entry: Entry[ModelSpec] = self.one("model", text)
        if name.tag is None:
            _refuse_revision(name)
            return ModelInfo(str(name), entry.spec, entry.plugin)
        tags = {tag.tag: tag for tag in self.tags(entry)}
        if name.tag not in tags:
            known = [f"{entry.spec.arch}.{tag}" for tag in tags]
            close = did_you_mean(f"{name.name}.{name.tag}", known)
            raise UnknownNameError(
                f"{text!r}: {entry.spec.arch} has no tag {name.tag!r}; "
                f"tags: {', '.join(sorted(tags)) or 'none'}. {close}".rstrip(),
                hint="zoo list",
            )
        if tags[name.tag].hub is None:
            _refuse_revision(name)
        return ModelInfo(str(name), entry.spec, entry.plugin, tags[name.tag])

    def spec_of(self, cls: type) -> ModelSpec:
        """The spec whose target is this class."""
        return self.entry_of(cls).spec

    def entry_of(self, cls: type) -> Entry[ModelSpec]:
        """The spec whose target is this class, and the plugin that declared it."""
        target = f"{cls.__module__}:{cls.__qualname__}"
        for entry in self.all("model"):
            if entry.spec.target == target:
                return entry
        raise UnknownNameError(
            f"{target} is no registered model.",
            hint="declare it by a zoo_models hook, or pass samplers, losses and likelihoods as "
            "objects instead of names",
        )

    def models(
        self,
        pattern: str = "*",
        *,
        density: str | None = None,
        family: str | None = None,
        license: str | None = None,
        pretrained: bool | None = None,
    ) -> list[ModelInfo]:
        """Architectures and their tags, filtered by shell patterns, sorted by name."""
        rows = [row for entry in self.all("model") for row in self._rows(entry)]
        wanted = {"density": density, "family": family, "license": license}

        def fits(row: ModelInfo) -> bool:
            values = {
                "density": row.spec.density,
                "family": row.spec.family,
                "license": row.tag.license if row.tag else None,
            }
            return (
                fnmatchcase(row.name, pattern)
                and pretrained in (None, row.pretrained)
                and all(
                    glob is None or fnmatchcase(str(values[key]).lower(), glob.lower())
                    for key, glob in wanted.items()
                )
            )

        return sorted(filter(fits, rows), key=lambda row: row.name)

    def default_likelihood(self, spec: ModelSpec, *, discrete: bool) -> str | None:
        """The likelihood that scores models of integers (`discrete`), or of continuous events."""
        return spec.likelihood_of((e.spec for e in self.all("likelihood")), discrete=discrete)

    def tags(self, entry: Entry[ModelSpec]) -> list[Tag]:
        """The tags of an architecture; an unreadable one costs its plugin a line, not the list."""
        try:
            return tags_of(entry.spec)
        except (OSError, ValueError, AttributeError) as error:
            self.plugins.problem(entry.plugin, f"tags of {entry.spec.arch!r}: {error}")
            return []

    def _rows(self, entry: Entry[ModelSpec]) -> Iterator[ModelInfo]:
        yield ModelInfo(entry.spec.arch, entry.spec, entry.plugin)
        for tag in self.tags(entry):
            yield ModelInfo(f"{entry.spec.arch}.{tag.tag}", entry.spec, entry.plugin, tag)

    def _collect(self, kind: str) -> list[Entry[Any]]:
        hook, cls = _KINDS[kind]
        entries = []
        for record, spec in self.plugins.collect(hook):
            if problem := _malformed(spec, cls):
                self.plugins.problem(record, f"{hook} returned {problem}")
            elif kind != "density type" and not LEGAL_NAME.fullmatch(spec.name):
                self.plugins.problem(record, f"{spec.name!r} is no legal {kind} name")
            else:
                entries.append(Entry(spec, record))
        self._refuse_twice(kind, entries)
        return sorted(entries, key=lambda e: (e.spec.name, e.plugin.dist))

    def _refuse_twice(self, kind: str, entries: list[Entry[Any]]) -> None:
        """Two declarations of one plugin under one (name, requires) are that plugin's mistake."""
        seen: set[tuple[Any, ...]] = set()
        for entry in entries[:]:
            key = (entry.plugin.name, entry.spec.name, getattr(entry.spec, "requires", ()))
            if key in seen:
                self.plugins.problem(entry.plugin, f"{kind} {entry.spec.name!r} is declared twice")
                entries.remove(entry)
            seen.add(key)

    def _unknown(self, kind: str, name: Name) -> UnknownNameError | PluginError:
        known = sorted({e.spec.name for e in self.all(kind)})
        if kind == "model" and (missing := _uninstalled(name.name)):
            return self._absent(name.name, *missing)
        names = [row.name for row in self.models()] if kind == "model" else known
        close = did_you_mean(f"{name.name}.{name.tag}" if name.tag else name.name, names)
        broken = [r for r in self.plugins.records.values() if r.error and r.status != "disabled"]
        note = "".join(f" Plugin {r.name!r} failed to load ({r.error})." for r in broken)
        return UnknownNameError(
            f"unknown {kind} {str(name)!r}. {close}{note}".rstrip(),
            hint=f"zoo plugins doctor {broken[0].name}" if broken else _where_to_look(kind, known),
        )

    def _absent(self, arch: str, alias: str, dist: str) -> UnknownNameError | PluginError:
        """Why an architecture of an official plugin is not there."""
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
    """What is wrong with a spec; lists for tuples would break the lookup of everybody's."""
    if not isinstance(spec, cls):
        return f"{spec!r}, not a {cls.__name__}"
    try:
        configs.validate(spec)
        hash((getattr(spec, "name", None), getattr(spec, "requires", ())))
    except (ConfigError, TypeError) as error:
        return f"an ill-typed {cls.__name__} {getattr(spec, 'name', '')!r}: {error}"
    return ""


def _where_to_look(kind: str, known: Sequence[str]) -> str:
    return "zoo list" if kind == "model" else f"known: {', '.join(known) or 'none'}"


def _uninstalled(arch: str) -> tuple[str, str] | None:
    """(alias, distribution) of the official plugin that has an architecture."""
    for alias, plugin in known_plugins().items():
        if arch in plugin["archs"]:
            return alias, plugin["dist"]
    return None


@cache
def known_plugins() -> dict[str, Any]:
    """The official plugins by alias: their distribution and architectures."""
    found: dict[str, Any] = json.loads(
        files("zoo_core").joinpath("known_plugins.json").read_text()
    )
    return found


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
