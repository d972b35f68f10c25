"""A third-party config of which every key must be read: `finish` refuses the others.

Ignoring a key that changes the model would give another model silently. So a converter reads every
key by one of four methods, lists keys without effect as `harmless`, and calls `finish` at the end.
A key that is null and not read counts as absent.
"""

from collections.abc import Collection, Mapping
from typing import Any

from zoo_core.errors import IntegrityError

__all__ = ["ForeignConfig"]

_HARMLESS = ("_class_name", "_diffusers_version", "_name_or_path")
"""Keys that say who wrote the file, by which version, and where it was."""


class ForeignConfig:
    """A JSON file's keys, and which of them were read; errors name the file by `path`.

    >>> config = ForeignConfig({"width": 8, "act": "relu", "bias": True}, "config.json")
    >>> config.get("width", 16), config.one("act", {"relu": "ReLU"}, "relu")
    (8, 'ReLU')
    >>> config.said("steps", 50)
    >>> config.only("bias", True)
    >>> config.finish()
    ()
    """

    def __init__(self, config: Any, path: str, *, harmless: Collection[str] = ()) -> None:
        if not isinstance(config, Mapping):
            raise IntegrityError(f"{path} holds a {type(config).__name__}, expected an object.")
        self._config: Mapping[str, Any] = config
        self._path, self._read = path, {*_HARMLESS, *harmless}
        self._remarks: list[str] = []

    def get(self, key: str, default: Any, *, optional: bool = False) -> Any:
        """The value of a key, which must have the default's type; null only if `optional`."""
        self._read.add(key)
        value = self._config.get(key, default)
        if value is None and (optional or default is None):
            return None
        if default is not None and not _alike(value, default):
            raise self._error(key, f"expected {_name(default)}")
        return value

    def one(self, key: str, names: Mapping[Any, Any], default: Any) -> Any:
        """The entry of `names` for the value of a key; raises for any other value."""
        self._read.add(key)
        value = self._config.get(key, default)
        for name, ours in names.items():
            if _alike(value, name) and value == name:
                return ours
        raise self._error(key, f"known: {', '.join(map(repr, names))}")

    def only(self, key: str, *allowed: Any) -> None:
        """Raise unless a key is absent or has one of the `allowed` values."""
        if key in self._config:
            self.one(key, dict.fromkeys(allowed), None)

    def said(self, key: str, ours: Any) -> None:
        """A key about sampling, not the model; a value other than `ours` becomes a remark."""
        self._read.add(key)
        if (value := self._config.get(key, ours)) != ours:
            self._remarks.append(f"{key} = {value!r}")

    def finish(self) -> tuple[str, ...]:
        """The remarks of `said`; raises for keys that were not read."""
        unread = {k: v for k, v in self._config.items() if k not in self._read and v is not None}
        if unread:
            listing = ", ".join(f"{k} = {v!r}"[:80] for k, v in list(unread.items())[:8])
            raise IntegrityError(
                f"{self._path}: {listing} has no counterpart: the converter does not know "
                "what it changes.",
                hint="a key that changes nothing may be taken out of a copy of the file",
            )
        if not self._remarks:
            return ()
        return (f"{self._path}: not of the model, but of its sampler: {', '.join(self._remarks)}",)

    def _error(self, key: str, why: str) -> IntegrityError:
        value = repr(self._config.get(key))[:80]
        return IntegrityError(f"{self._path}: {key} = {value} has no counterpart; {why}.")


def _alike(value: Any, default: Any) -> bool:
    """Whether a JSON value has a default's type; integers pass as floats, bools only as bools."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(default))


def _name(default: Any) -> str:
    return {tuple: "a list", float: "a number", int: "an integer", bool: "true or false"}.get(
        type(default), "a text"
    )
