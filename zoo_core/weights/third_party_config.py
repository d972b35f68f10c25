"""A config of others, read so that no key is overlooked: `finish` refuses those nobody asked for.

A key that changes the model and is ignored gives another model without a word. So a converter
reads every key by one of four methods, names those that change nothing (`harmless`), and ends with
`finish`. A key that is null is read as absent where nobody asks for it.
"""

from collections.abc import Collection, Mapping
from typing import Any

from zoo_core.errors import IntegrityError

__all__ = ["ForeignConfig"]

_HARMLESS = ("_class_name", "_diffusers_version", "_name_or_path")
"""Who wrote the file, by which version, and where it was."""


class ForeignConfig:
    """The keys of one JSON file and which of them were read; `path` names it in errors.

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
        """The value of a key, of its default's type; null only where `optional`."""
        self._read.add(key)
        value = self._config.get(key, default)
        if value is None and (optional or default is None):
            return None
        if default is not None and not _alike(value, default):
            raise self._error(key, f"expected {_name(default)}")
        return value

    def one(self, key: str, names: Mapping[Any, Any], default: Any) -> Any:
        """What `names` has for the value of a key."""
        self._read.add(key)
        value = self._config.get(key, default)
        for name, ours in names.items():
            if _alike(value, name) and value == name:
                return ours
        raise self._error(key, f"known: {', '.join(map(repr, names))}")

    def only(self, key: str, *allowed: Any) -> None:
        """Refuse a key whose value is none of those that mean what we build."""
        if key in self._config:
            self.one(key, dict.fromkeys(allowed), None)

    def said(self, key: str, ours: Any) -> None:
        """A key of how samples are drawn, not of the model: a remark where it is not `ours`."""
        self._read.add(key)
        if (value := self._config.get(key, ours)) != ours:
            self._remarks.append(f"{key} = {value!r}")

    def finish(self) -> tuple[str, ...]:
        """What was said; raises for keys that nobody has read."""
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
    """Whether JSON's value is of a default's type: integers are reals, bools no numbers."""
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
