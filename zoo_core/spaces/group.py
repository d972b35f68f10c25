"""Named groups: events of several parts, such as a table's columns, and conditions of several.

An event of a group is one row (W,), in which every part has its columns
(`zoo_core.spaces.packing`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo_core.errors import DataError, did_you_mean
from zoo_core.spaces import packing
from zoo_core.spaces.condition import Condition
from zoo_core.spaces.event import Event, Tokens
from zoo_core.spaces.packing import Slot

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Group", "as_condition"]


@dataclass(frozen=True, init=False)
class Group(Event):
    """Named parts, each an `Event`, `Classes`, `Vector`, `Image` or `Tokens`.

    As an event it has one row of all columns, and its likelihood is in nats, of the whole row.
    As a condition of a model it becomes a `Condition` of the kind `group`.

    >>> from zoo_core import Classes
    >>> Group(age=Event((), low=0), job=Classes(2, names=("cook", "smith"))).shape
    (2,)
    """

    parts: tuple[tuple[str, Event | Condition], ...] = ()

    unit = None

    def __init__(self, /, **parts: Event | Condition) -> None:
        for name, part in parts.items():
            if isinstance(part, Group) or not isinstance(part, Event | Condition):
                raise DataError(
                    f"part {name!r} is a {type(part).__name__}; parts are Event, Classes, Vector, "
                    "Image or Tokens."
                )
        object.__setattr__(self, "parts", tuple(parts.items()))
        packing.check_slots(self.slots)
        width = sum(slot.width for slot in self.slots)
        for name, value in (("shape", (width,)), ("levels", None), ("low", None), ("high", None)):
            object.__setattr__(self, name, value)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The values of each part, by its name."""
        return tuple(_slot(name, part) for name, part in self.parts)

    @property
    def discrete(self) -> bool:
        """Whether every part is one of integers."""
        return all(slot.space.discrete for slot in self.slots)

    def columns(self) -> list[tuple[Slot, list[int]]]:
        """Every part with the numbers of its columns."""
        pairs = zip(self.slots, packing.columns(self.slots), strict=True)
        return [(slot, list(range(at.start, at.stop))) for slot, at in pairs]

    def __str__(self) -> str:
        return "; ".join(f"{name}: {part}" for name, part in self.parts)

    def record(self) -> dict[str, Any]:
        parts = {name: part.record() for name, part in self.parts}
        return {"kind": "group", "shape": self.shape, "levels": None, "parts": parts}

    def holds(self, other: Event) -> bool:
        return isinstance(other, Group) and self.parts == other.parts

    def select(self, names: Iterable[str]) -> "Group":
        """The group of some of the parts, in the order of `names`."""
        parts = dict(self.parts)
        for name in (names := list(names)):
            if name not in parts:
                raise DataError(
                    f"no part {name!r}; parts: {', '.join(parts)}.",
                    hint=did_you_mean(name, parts) or None,
                )
        return Group(**{name: parts[name] for name in names})

    def split(self, x: "Tensor") -> "dict[str, Tensor]":
        """The values (B, *S) of each part of events (B, W), by name; int64 of integers."""
        return packing.split(self.slots, x)

    def to_network(self, x: "Tensor", dtype: "torch.dtype | None" = None) -> "Tensor":
        """Every part on its own scale, (B, W): integers as -1..1, reals as they are."""
        import torch

        pieces = [(part if isinstance(part, Event) else part.values) for _, part in self.parts]
        values = self.split(x).values()
        dtype = dtype or torch.get_default_dtype()
        seen = [p.to_network(v, dtype).to(dtype) for p, v in zip(pieces, values, strict=True)]
        return torch.cat([v.reshape(len(x), -1) for v in seen], 1)

    def from_network(self, y: "Tensor") -> "Tensor":
        """The nearest events (B, W) of reals on the networks' scale, part by part."""
        import torch

        found = []
        for slot, at in zip(self.slots, packing.columns(self.slots), strict=True):
            found.append(slot.space.from_network(y[:, at]))
        dtype = torch.int64 if self.discrete else y.dtype
        return torch.cat([v.to(dtype) for v in found], 1)

    def check_values(self, x: Any, *, name: str = "x") -> "Tensor":
        """Events as `check` lets them in; of a dict, the rows."""
        if isinstance(x, dict):
            return self.check(x, name=name)
        return super().check_values(x, name=name)

    def check(
        self, x: Any, *, device: "torch.device | str | None" = None, name: str = "x"
    ) -> "Tensor":
        """Events (B, W) from a dict of values (B, *S), or from rows; raises `DataError`."""
        if not isinstance(x, dict):
            x = self.check_shape(x, name=name)
        optional = [slot.name for slot in self.slots if slot.optional]
        if optional:
            raise DataError(
                f"{', '.join(optional)}: an event has all of its parts; optional ones are for "
                "conditions.",
                hint="drop optional=True, or give missing values a class of their own",
            )
        return packing.check_group(self.slots, x, None, name, device)


def _slot(name: str, part: Event | Condition) -> Slot:
    if isinstance(part, Event):
        return Slot(name, part, isinstance(part, Tokens) and part.optional)
    return Slot(name, part.values, part.optional, part.names)


def as_condition(space: Event | Condition | None) -> Condition:
    """A space as what a model is conditioned on; None is no condition."""
    if space is None or isinstance(space, Condition):
        return space or Condition()
    if isinstance(space, Group):
        return Condition("group", parts=tuple((k, as_condition(p)) for k, p in space.parts))
    if isinstance(space, Tokens):
        return Condition("tokens", space.levels, space.shape, space.optional)
    if space.levels is not None:
        return Condition("classes", space.levels, space.shape)
    return Condition("image" if len(space.shape) == 3 else "vector", shape=space.shape)
