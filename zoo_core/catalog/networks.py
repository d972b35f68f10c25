"""Networks as options of models: what a Config's field of the type `Network` takes and writes.

    network: Annotated[Any, Network("denoiser")] = UNetConfig()

In a recipe it is a registered name, or a table with `type` and the network's own options; in
Python also a Config object, or any `nn.Module`. In `zoo.json` it is the table.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core import config as configs
from zoo_core.catalog.entries import Entry
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import NetworkSpec, Signature, import_target
from zoo_core.config import FieldType
from zoo_core.errors import ConfigError, PluginError, did_you_mean
from zoo_core.reading import shown

__all__ = ["Network", "is_module"]


@dataclass(frozen=True)
class Network(FieldType):
    """A network of a signature (`NetworkSpec`), as the type of a Config's field."""

    signature: Signature

    def read(self, value: Any, where: str) -> Any:
        """A Config object of a registered network, or an `nn.Module` as it is."""
        if is_module(value):
            return value
        if isinstance(value, str):
            value = {"type": value}
        if isinstance(value, Mapping):
            spec = self._named(value.get("type"), where).spec
            options = {k: v for k, v in value.items() if k != "type"}
            return configs.from_dict(import_target(spec.config), options, where=f"{where}.")
        self.entry(value, where)
        configs.validate(value, where=f"{where}.")
        return value

    def write(self, value: Any) -> Any:
        """The table `{"type": name, ...}` of a network; of a bare module, its class."""
        if is_module(value):
            return {"module": f"{type(value).__module__}:{type(value).__qualname__}"}
        config = self.read(value, "network")
        return {"type": self._name(self.entry(config)), **_options(config)}

    def configs(self) -> dict[str, type]:
        """The Configs of the registered networks; one that cannot be imported is reported."""
        found = {}
        for entry in self._entries():
            try:
                found[self._name(entry)] = import_target(entry.spec.config)
            except PluginError as error:
                current().plugins.problem(entry.plugin, f"network {entry.spec.name!r}: {error}")
        return found

    def entry(self, config: Any, where: str = "network") -> Entry[NetworkSpec]:
        """The registered network whose Config this is; raises `ConfigError` if there is none."""
        cls = type(config)
        target = f"{cls.__module__}:{cls.__qualname__}"
        for entry in self._entries():
            if entry.spec.config == target:
                return entry
        raise ConfigError(
            f"{where} = {shown(config)} is no network of the signature {self.signature!r}.",
            hint=f"give one of {', '.join(self._names())}, a table with `type`, the Config of a "
            "registered network, or an nn.Module",
        )

    def _entries(self) -> list[Entry[NetworkSpec]]:
        return [e for e in current().networks if e.spec.signature == self.signature]

    def _name(self, entry: Entry[NetworkSpec]) -> str:
        """The name that means this entry alone among those of its signature."""
        twins = [e for e in self._entries() if e.spec.name == entry.spec.name]
        return entry.spec.name if len(twins) == 1 else entry.qualified

    def _names(self) -> list[str]:
        return sorted({e.spec.name for e in self._entries()})

    def _named(self, name: Any, where: str) -> Entry[NetworkSpec]:
        entries = [e for e in self._entries() if name in (e.spec.name, e.qualified)]
        if len(entries) == 1:
            return entries[0]
        if entries:
            spellings = " or ".join(e.qualified for e in entries)
            raise ConfigError(f"{where} {name!r} is declared twice.", hint=f"write {spellings}")
        names = self._names()
        close = did_you_mean(name, names) if isinstance(name, str) else ""
        raise ConfigError(
            f"{where}.type = {shown(name)}; it must be one of {', '.join(names) or 'none'}.",
            hint=close or "a plugin registers further ones by the hook zoo_networks",
        )


def is_module(value: Any) -> bool:
    """Whether a value is an `nn.Module`; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _options(config: Any) -> dict[str, Any]:
    return {k: v for k, v in configs.to_dict(config).items() if k != "type"}
