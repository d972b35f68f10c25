"""A condition as an option of a model: the type of a Config's field.

    condition: Annotated[Any, ConditionOption()] = None

In Python it is a `Condition`; in a recipe a table such as `{kind = "tokens", shape = [8],
classes = 100}`, of a group `{kind = "group", parts = {style = {kind = "classes", classes = 3}}}`.
"""

from collections.abc import Mapping
from typing import Any

from zoo_core.config import FieldType
from zoo_core.errors import ConfigError, DataError
from zoo_core.reading import shown
from zoo_core.spaces.condition import Condition
from zoo_core.spaces.event import Event
from zoo_core.spaces.group import as_condition

__all__ = ["ConditionOption"]


class ConditionOption(FieldType):
    """Any condition, or None."""

    def read(self, value: Any, where: str) -> Condition:
        try:
            if isinstance(value, Mapping):
                return Condition.from_record(_complete(value))
            if value is None or isinstance(value, Condition | Event):
                return as_condition(value)
            raise DataError("it must be a condition, or a table of one")
        except DataError as error:
            raise ConfigError(f"{where} = {shown(value)}: {error.message}") from None

    def write(self, value: Any) -> Any:
        return value.record()


def _complete(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table with the keys that a recipe may leave out."""
    parts = {k: _complete(v) if isinstance(v, Mapping) else v for k, v in _parts(table).items()}
    defaults = {"kind": "none", "classes": None, "shape": (), "optional": False}
    return {**defaults, **table, **({"parts": parts} if parts else {})}


def _parts(table: Mapping[str, Any]) -> Mapping[str, Any]:
    parts = table.get("parts", {})
    return parts if isinstance(parts, Mapping) else {}
