"""Conditions: what a model may be told beside the event.

A condition of several parts travels as one tensor (B, W), a row for each event, so that whatever
indexes, repeats or moves conditions needs to know nothing of the parts; `split` gives them back.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from zoo_core.config import Range
from zoo_core.errors import DataError
from zoo_core.reading import shown
from zoo_core.spaces import packing
from zoo_core.spaces.event import Event, Tokens, as_tensor, positive, shape_text
from zoo_core.spaces.packing import Slot

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["ClassCounts", "Classes", "Condition", "Image", "Vector", "class_features"]

_Count = Annotated[int, Range(1, 65536)]
ClassCounts = _Count | tuple[tuple[str, _Count], ...] | None
"""What a Config says of classes: none, so many, or so many of each name:
`classes = [["group", 9], ["style", 3]]`."""

_SHOWN = 4
"""Names of classes that a sentence lists."""


@dataclass(frozen=True)
class Condition:
    """What a model is conditioned on: nothing, a class, a vector, an image, tokens or a group.

    An `optional` condition may be left out (classifier-free guidance, completion); of a group,
    each part by itself. `names` are what classes are called; they tell no spaces apart.
    """

    kind: Literal["none", "classes", "vector", "image", "tokens", "group"] = "none"
    classes: int | None = None
    """How many classes; of tokens, the vocabulary."""
    shape: tuple[int, ...] = ()
    optional: bool = False
    names: tuple[str, ...] = field(default=(), compare=False)
    parts: "tuple[tuple[str, Condition], ...]" = ()

    def __post_init__(self) -> None:
        if self.names and len(self.names) != self.classes:
            raise DataError(f"{self.classes} classes have {len(self.names)} names; name each.")
        if self.kind in ("classes", "tokens") and not self.classes:
            raise DataError(f"a condition of {self.kind} needs their number, classes = K.")
        if self.kind == "tokens" and len(self.shape) != 1:
            raise DataError(f"tokens have the shape {shape_text(self.shape)}; expected (L,).")
        if self.kind == "group":
            packing.check_slots(self.slots)
            object.__setattr__(self, "shape", (sum(slot.width for slot in self.slots),))
            object.__setattr__(self, "optional", all(part.optional for _, part in self.parts))

    @classmethod
    def from_classes(cls, counts: ClassCounts, *, optional: bool = False) -> "Condition":
        """The condition that a Config's `classes` mean; `optional` holds of each part."""
        if not counts:
            return cls()
        if isinstance(counts, int):
            return cls("classes", counts, optional=optional)
        return cls("group", parts=tuple((k, cls("classes", n, (), optional)) for k, n in counts))

    @property
    def values(self) -> Event:
        """The space of a condition that is no group."""
        if self.kind == "tokens":
            return Tokens(self.shape[0], self.classes or 0)
        return Event(self.shape, levels=self.classes)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The parts of a group; the whole as one part, called `cond`, of anything else."""
        parts = self.parts if self.kind == "group" else (("cond", self),)
        return tuple(Slot(k, c.values, c.optional, c.names) for k, c in parts if c.kind != "none")

    def __str__(self) -> str:
        if self.kind == "none":
            return "no condition"
        if self.kind == "group":
            return "; ".join(f"{name}: {part}" for name, part in self.parts)
        article = "an" if self.kind == "image" else "a"
        text = f"{article} {self.kind} of shape {shape_text(self.shape)}"
        if self.kind == "classes":
            text = f"a class 0..{(self.classes or 1) - 1}{self._named()}"
        if self.kind == "tokens":
            text = str(self.values)
        return f"{text} (optional)" if self.optional else text

    def _named(self) -> str:
        more = ", ..." if len(self.names) > _SHOWN else ""
        return f" ({', '.join(self.names[:_SHOWN])}{more})" if self.names else ""

    def record(self) -> dict[str, Any]:
        """The JSON form; names and parts where there are any."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        parts = {name: part.record() for name, part in found.pop("parts")}
        names = {"names": self.names} if found.pop("names") else {}
        return {**found, **names, **({"parts": parts} if parts else {})}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Condition":
        """The condition of a JSON form; raises `DataError` for what is none."""
        try:
            names, parts = record.get("names", ()), record.get("parts", {})
            if not all(isinstance(name, str) for name in (*names, *parts)):
                raise TypeError("names are strings")
            return cls(
                record["kind"],
                record["classes"],
                tuple(record["shape"]),
                record["optional"] is True,
                tuple(names),
                tuple((name, cls.from_record(part)) for name, part in parts.items()),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"{shown(record)} describes no condition ({error!r}).") from None

    def same_values(self, other: "Condition") -> bool:
        """Whether both have the same parts, values and, where both have any, names of classes."""
        if (self.kind, self.classes, self.shape if self.kind != "group" else ()) != (
            other.kind,
            other.classes,
            other.shape if other.kind != "group" else (),
        ):
            return False
        if self.names and other.names and self.names != other.names:
            return False
        return [k for k, _ in self.parts] == [k for k, _ in other.parts] and all(
            mine.same_values(theirs)
            for (_, mine), (_, theirs) in zip(self.parts, other.parts, strict=True)
        )

    def called_as(self, other: "Condition") -> "Condition":
        """This condition with the names of classes of another one with the same parts."""
        if not self.same_values(other):
            return self
        parts = tuple(
            (name, mine.called_as(theirs))
            for (name, mine), (_, theirs) in zip(self.parts, other.parts, strict=True)
        )
        return dataclasses.replace(self, names=self.names or other.names, parts=parts)

    @property
    def features(self) -> int:
        """The size F of the vector that networks get (`zoo_core.nn.inputs`); 0 of no condition."""
        return sum(slot.features for slot in self.slots)

    @property
    def cells(self) -> int | None:
        """How many combinations of classes there are; None where not all parts are classes."""
        if self.kind == "none" or any(
            slot.space != Event((), slot.space.levels) for slot in self.slots
        ):
            return None
        return prod(slot.choices for slot in self.slots)

    def cell(self, cond: "Tensor") -> "Tensor":
        """The number (B,) of each row's combination of classes; a lone class is its own."""
        if self.kind != "group":
            return cond
        number = cond.new_zeros(len(cond))
        for slot, values in zip(self.slots, self.split(cond).values(), strict=True):
            number = number * slot.choices + values
        return number

    def split(self, cond: "Tensor") -> "dict[str, Tensor]":
        """The parts of a packed group (B, W), by name; K stands for an absent class."""
        return packing.split(self.slots, cond)

    def null(self, batch: int, device: "torch.device | str | None" = None) -> "Tensor":
        """Every part left out, for `batch` events: class K, or reals marked as absent."""
        if self.kind not in ("classes", "tokens", "group") or not self.optional:
            raise DataError(f"{self}: there is no value that stands for an absent one.")
        rows = packing.null(self.slots, batch, device)
        return rows if self.kind == "group" else rows.view(batch, *self.shape)

    def drop(self, cond: "Tensor", dropped: "Tensor") -> "Tensor":
        """`cond` without the parts of the rows that `dropped` (B, parts) names.

        A part that is not optional is never dropped.
        """
        import torch

        slots = self.slots
        columns = [
            (dropped[:, i : i + 1] & slot.optional).expand(-1, slot.width)
            for i, slot in enumerate(slots)
        ]
        rows = cond.reshape(len(cond), -1)
        absent = packing.null(slots, 1, cond.device)
        return torch.where(torch.cat(columns, 1), absent, rows).view_as(cond)

    def check(
        self, cond: Any, batch: int, *, device: "torch.device | str | None" = None
    ) -> "Tensor | None":
        """`cond` as a tensor of `batch` conditions, for which a single one is repeated.

        Raises `DataError` if it does not fit, or is missing and not optional. Classes may be given
        by their names, and a group by a dict of its parts, each for all events or one for each.
        The result stays on its device unless `device` names another.
        """
        if cond is None:
            if self.kind == "none" or self.optional:
                return None
            raise DataError(
                f"cond is missing; this model needs {self}.",
                hint="pass cond=...",
                command="--cond C, or data with labels",
            )
        if self.kind == "none":
            raise DataError(
                "cond was given; this model takes no condition.",
                hint="drop cond",
                command="drop --cond",
            )
        if self.kind == "group":
            return packing.check_group(self.slots, cond, batch, "cond", device)
        return self._check_one(cond, batch, device)

    def _check_one(self, cond: Any, batch: int, device: "torch.device | str | None") -> "Tensor":
        cond = as_tensor(packing.numbered(cond, self.names, self.values, "cond"), "cond")
        if tuple(cond.shape) not in (self.shape, (batch, *self.shape)):
            expected = shape_text((batch, *self.shape))
            raise DataError(f"cond has shape {tuple(cond.shape)}; expected {expected}: {self}.")
        values = Event(self.shape, levels=self.classes)
        if tuple(cond.shape) == self.shape:  # checked once, however many it serves
            one = values.check(cond.unsqueeze(0), device=device, name="cond")
            return one.expand(batch, *self.shape)
        return values.check(cond, device=device, name="cond")


def class_features(counts: ClassCounts) -> int:
    """The size of the vector that networks get of a Config's `classes`; 0 of none."""
    return Condition.from_classes(counts).features


def Classes(  # noqa: N802
    k: int, *, names: "tuple[str, ...] | list[str]" = (), optional: bool = False
) -> Condition:
    """One of K classes 0..K-1, which may have names."""
    positive(k=k)
    return Condition("classes", k, optional=optional, names=tuple(names))


def Vector(d: int, *, optional: bool = False) -> Condition:  # noqa: N802
    """A vector of d reals."""
    positive(d=d)
    return Condition("vector", shape=(d,), optional=optional)


def Image(shape: tuple[int, ...], *, optional: bool = False) -> Condition:  # noqa: N802
    """An image of reals, (C, H, W)."""
    return Condition("image", shape=tuple(shape), optional=optional)
