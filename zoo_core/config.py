"""Configs as frozen dataclasses: built from JSON or `--set`, validated, written back.

A Config holds ints, floats, bools, strings, `Literal`s, tuples, tables, optional values and
further Configs. If a field may be one of several Configs, each has a class variable `type` that
distinguishes them in JSON. Bounds are part of the type: `Annotated[int, Range(1, 64)]`; so are
rules of its own, by a `FieldType`.
"""

import dataclasses
import math
from collections import abc
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from zoo_core.compat import renamed_options
from zoo_core.errors import ConfigError, did_you_mean
from zoo_core.reading import literal, shown

__all__ = [
    "FieldType",
    "Range",
    "field_type",
    "field_types",
    "from_dict",
    "from_strings",
    "to_dict",
    "validate",
]

T = TypeVar("T")


_MAX_ENTRIES = 1024
"""Most entries of a list, since a module may be built for each."""


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included unless `open`.

    >>> 64 in Range(1, 64), 0.0 in Range(0, 1, open=True)
    (True, False)
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low < value < self.high if self.open else self.low <= value <= self.high

    def __str__(self) -> str:
        left, right = "()" if self.open else "[]"
        return f"{left}{self.low:g}, {self.high:g}{right}"


class FieldType:
    """A type of values with rules of its own, written `Annotated[Any, MyFieldType()]`."""

    def read(self, value: Any, where: str) -> Any:
        """The value of a field from JSON or Python; raises `ConfigError` naming `where`."""
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        """The JSON form of a value."""
        raise NotImplementedError

    def configs(self) -> dict[str, type]:
        """The Configs that a value can be, by their `type` in JSON; for lists of options."""
        return {}


def field_types(cls: type) -> dict[str, FieldType]:
    """The fields of a Config that have a `FieldType`, by name."""
    found = {name: field_type(hint) for name, hint in _hints(cast(Hashable, cls)).items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def field_type(hint: Any) -> FieldType | None:
    """The `FieldType` of an annotation, perhaps inside `... | None`."""
    if get_origin(hint) in (Union, UnionType):
        return next(filter(None, map(field_type, get_args(hint))), None)
    metadata = getattr(hint, "__metadata__", ())
    return next((m for m in metadata if isinstance(m, FieldType)), None)


def to_dict(config: Any) -> dict[str, Any]:
    """The JSON form of a config, which `from_dict` reads back."""
    own, names = field_types(type(config)), [f.name for f in dataclasses.fields(config)]
    fields = {name: _dump(getattr(config, name), own.get(name)) for name in names}
    kind = getattr(type(config), "type", None)
    return {"type": kind, **fields} if isinstance(kind, str) else fields


def from_dict(cls: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """Build the dataclass `cls` from a mapping of its fields.

    Raises `ConfigError` for unknown, missing, ill-typed and out-of-range values. `where` is put
    before the field's name in messages, e.g. `made.`.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where.rstrip('.') or cls.__name__}: expected a table, got {values!r}")
    hints = _hints(cast(Hashable, cls))
    options = {k: v for k, v in values.items() if k != "type" or "type" in hints}
    options = renamed_options(options, hints)
    for name in options:
        if name not in hints:
            listing = ", ".join(hints) or "none"
            raise ConfigError(
                f"unknown option {where}{name:.80}; options: {listing}.",
                hint=did_you_mean(str(name)[:80], hints) or None,
            )
    for field in dataclasses.fields(cast(Any, cls)):
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if field.name not in options and not has_default:
            raise ConfigError(f"option {where}{field.name} is required.")
    return cls(**{k: _convert(v, hints[k], f"{where}{k}") for k, v in options.items()})


def from_strings(cls: type[T], values: Mapping[str, str], *, where: str = "") -> T:
    """Build `cls` from strings, as of `--set name=value`; values are JSON, else plain strings."""
    return from_dict(cls, {k: literal(v) for k, v in values.items()}, where=where)


def validate(config: Any, *, where: str = "") -> None:
    """Check a config that was built in Python by the same rules; raises `ConfigError`."""
    for name, hint in _hints(cast(Hashable, type(config))).items():
        _convert(getattr(config, name), hint, f"{where}{name}")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls!r} is not a dataclass")
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _dump(value: Any, kind: FieldType | None = None) -> Any:
    if kind is not None and value is not None:
        return kind.write(value)
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {k: _dump(v) for k, v in value.items()}
    return [_dump(v) for v in value] if isinstance(value, tuple) else value


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as a member of `hint`, or `ConfigError` naming `where`."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _bounded(value, hint, where)
    if origin in (Union, UnionType):
        return _member(value, get_args(hint), where)
    if origin is Literal:
        return _choice(value, get_args(hint), where)
    if origin is tuple:
        return _tuple(value, get_args(hint), where)
    if origin is abc.Mapping:
        return _table(value, where)
    if dataclasses.is_dataclass(hint):
        return _nested(value, hint, where)
    return _scalar(value, hint, where)


def _bounded(value: Any, hint: Any, where: str) -> Any:
    base, *bounds = get_args(hint)
    for kind in bounds:
        if isinstance(kind, FieldType):
            return kind.read(value, where)
    value = _convert(value, base, where)
    numbers = value if isinstance(value, tuple) else (value,)
    for bound in bounds:
        if isinstance(bound, Range) and any(v is not None and v not in bound for v in numbers):
            raise ConfigError(f"{where} = {shown(value)} is out of range; it must lie in {bound}.")
    return value


def _member(value: Any, options: tuple[Any, ...], where: str) -> Any:
    if value is None and NoneType in options:
        return None
    options = tuple(o for o in options if o is not NoneType)
    tagged = {getattr(o, "type", None): o for o in options if dataclasses.is_dataclass(o)}
    if isinstance(value, Mapping) and len(tagged) > 1:
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in tagged:
            kinds = ", ".join(map(str, tagged))
            raise ConfigError(f"{where}.type = {shown(kind)}; it must be one of {kinds}.")
        return _nested(value, tagged[kind], where)
    reasons = []
    for option in options:
        try:
            return _convert(value, option, where)
        except ConfigError as error:
            reasons.append((_is_list(option) != isinstance(value, list | tuple), error))
    raise min(reasons, key=lambda reason: reason[0])[1]


def _is_list(option: Any) -> bool:
    """Whether an option is one of lists: of a list, the reason why that failed is told."""
    return get_origin(get_args(option)[0] if get_origin(option) is Annotated else option) is tuple


def _choice(value: Any, options: tuple[Any, ...], where: str) -> Any:
    if not any(value == o and type(value) is type(o) for o in options):
        listing = ", ".join(map(repr, options))
        raise ConfigError(f"{where} = {shown(value)}; it must be one of {listing}.")
    return value


def _tuple(value: Any, items: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} = {shown(value)}; it must be a list.")
    if len(value) > _MAX_ENTRIES:
        raise ConfigError(
            f"{where} has {len(value):,} entries; a list has at most {_MAX_ENTRIES:,}."
        )
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise ConfigError(f"{where} = {shown(value)}; it must have {len(items)} entries.")
    return tuple(
        _convert(v, h, f"{where}[{i}]") for i, (v, h) in enumerate(zip(value, items, strict=True))
    )


def _table(value: Any, where: str) -> dict[str, Any]:
    """A table of options, which are checked by what they belong to."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise ConfigError(f"{where} = {shown(value)}; it must be a table of options.")
    return dict(value)


def _nested(value: Any, cls: Any, where: str) -> Any:
    if isinstance(value, cls):
        validate(value, where=f"{where}.")
        return value
    return from_dict(cls, value, where=f"{where}.")


def _scalar(value: Any, hint: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = _to_float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} = {shown(value)}; it must be of type {hint.__name__}.")
    if hint is float and not math.isfinite(value):
        raise ConfigError(f"{where} = {shown(value)}; it must be finite.")
    return value


def _to_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
