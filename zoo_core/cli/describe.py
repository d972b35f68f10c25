"""Describe the options of a frozen dataclass: names, types, defaults, ranges, documentation.

A field's documentation is the string below it in the source, as documentation tools read it.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from zoo_core.config import Range, field_type

__all__ = ["Field", "describe"]

_ABSENT = dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class Field:
    """One option of a config, as `--set name=value` sets it."""

    name: str
    type: str
    default: Any = None
    required: bool = False
    range: str | None = None
    about: str | None = None

    def __str__(self) -> str:
        value = "required" if self.required else f"= {self.default!r}"
        return f"{self.name}: {self.type} {value}" + (f" in {self.range}" if self.range else "")


def describe(cls: Any, prefix: str = "") -> list[Field]:
    """The fields of a frozen dataclass; fields of nested Configs follow as `outer.inner`."""
    hints = get_type_hints(cls, include_extras=True)
    about = {name: text for base in reversed(cls.__mro__) for name, text in _about(base)}
    return [f for field in dataclasses.fields(cls) for f in _fields(field, hints, about, prefix)]


def _about(cls: type) -> Iterator[tuple[str, str]]:
    """The strings below a dataclass's own fields; none if there is no source file."""
    if not dataclasses.is_dataclass(cls):
        return
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except OSError:  # the class was made without a file
        return
    assert isinstance(definition, ast.ClassDef)
    for field, below in pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                yield ast.unparse(field.target), " ".join(below.value.value.split())


def _fields(
    field: "dataclasses.Field[Any]", hints: dict[str, Any], about: dict[str, str], prefix: str
) -> Iterator[Field]:
    hint = hints[field.name]
    name = prefix + field.name
    default = field.default if field.default_factory is _ABSENT else field.default_factory()
    required = default is _ABSENT
    shown = None if required else _shown(default)
    yield Field(name, _type(hint), shown, required, _range(hint), about.get(field.name))
    for tag, nested in _configs(hint):
        yield from describe(nested, f"{name}[{tag}]." if tag else f"{name}.")


def _shown(default: Any) -> Any:
    """A default as JSON; a nested Config as its tag or name, since its fields follow."""
    if dataclasses.is_dataclass(default):
        return getattr(type(default), "type", type(default).__name__)
    return list(default) if isinstance(default, tuple) else default


def _configs(hint: Any) -> list[tuple[str, Any]]:
    """The Configs that a value can be, each with its `type` in JSON, which may be empty."""
    if dataclasses.is_dataclass(hint):
        tag = getattr(hint, "type", "")
        return [(tag if isinstance(tag, str) else "", hint)]
    if (kind := field_type(hint)) is not None:
        return list(kind.configs().items())
    if get_origin(hint) is Annotated:
        return _configs(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [c for part in get_args(hint) for c in _configs(part)]
    return []


def _type(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind = field_type(hint)
        return _type(args[0]) if kind is None else " | ".join(kind.configs())
    if origin in (Union, UnionType):
        return " | ".join(map(_type, args))
    if origin is Literal:
        return " | ".join(map(repr, args))
    if origin is tuple:
        inner = ", ".join("..." if a is Ellipsis else _type(a) for a in args)
        return f"[{inner}]"
    if dataclasses.is_dataclass(hint):
        return str(getattr(hint, "type", getattr(hint, "__name__", hint)))
    return "null" if hint is NoneType else getattr(hint, "__name__", str(hint))


def _range(hint: Any) -> str | None:
    args = get_args(hint)
    if get_origin(hint) is Annotated:
        bounds = [str(bound) for bound in args[1:] if isinstance(bound, Range)]
        return " and ".join(bounds) or _range(args[0])
    if get_origin(hint) in (Union, UnionType):
        return next((r for part in args if (r := _range(part))), None)
    return None
