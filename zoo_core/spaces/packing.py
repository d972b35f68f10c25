"""Named parts as one tensor: a row for each event, in which every part has its columns.

    integers of shape S      prod(S) columns; an absent value is K, one past the last
    reals of shape S         prod(S) columns, and one more where the part is optional: 1 if absent

Integers alone are int64. Beside reals they are float32, which holds them exactly: a part has at
most 2^24 values.

Shapes: B batch, W columns, S the shape of a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import nan
from typing import TYPE_CHECKING, Any

from zoo_core.errors import DataError, did_you_mean
from zoo_core.spaces.event import Event, as_tensor, shape_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "Slot",
    "absent",
    "check_group",
    "check_slots",
    "columns",
    "null",
    "numbered",
    "one_or_each",
    "split",
]

_EXACT = 1 << 24
"""Integers up to this one are exact in float32."""


@dataclass(frozen=True)
class Slot:
    """A named part: its values, whether it may be absent, and what its integers are called."""

    name: str
    space: Event
    optional: bool = False
    names: tuple[str, ...] = ()

    @property
    def flagged(self) -> bool:
        """Whether a column says that it is absent."""
        return self.optional and not self.space.discrete

    @property
    def width(self) -> int:
        return self.space.dims + int(self.flagged)

    @property
    def choices(self) -> int:
        """How many values an integer has for a network: K, and one for an absent one."""
        return (self.space.levels or 0) + int(self.optional)

    @property
    def features(self) -> int:
        """Columns for a network: a column for each choice of an integer, or the reals."""
        return self.space.dims * self.choices if self.space.discrete else self.width

    def __str__(self) -> str:
        return f"{self.name}: {self.space}{' (optional)' if self.optional else ''}"


def check_slots(slots: Sequence[Slot]) -> None:
    """Raise `DataError` for no parts, parts without names, and integers that are not exact."""
    if not slots:
        raise DataError("a group has no parts.", hint="Group(name=space, ...)")
    for slot in slots:
        if not slot.name or not isinstance(slot.name, str):
            raise DataError(f"{slot.name!r} is no name of a part.")
        if (slot.space.levels or 0) >= _EXACT:
            raise DataError(f"{slot.name} has {slot.space.levels:,} values; at most {_EXACT:,}.")


def columns(slots: Sequence[Slot]) -> list[slice]:
    """The columns of each part."""
    ends = list(accumulate(slot.width for slot in slots))
    return [slice(end - slot.width, end) for slot, end in zip(slots, ends, strict=True)]


def split(slots: Sequence[Slot], packed: "Tensor") -> "dict[str, Tensor]":
    """The values (B, *S) of each part: int64 of integers, where K stands for an absent one."""
    found = {}
    for slot, at in zip(slots, columns(slots), strict=True):
        values = packed[..., at][..., : slot.space.dims]
        values = values.reshape(*packed.shape[:-1], *slot.space.shape)
        found[slot.name] = values.long() if slot.space.discrete else values
    return found


def absent(slots: Sequence[Slot], packed: "Tensor") -> "Tensor":
    """Which parts of which rows are absent, (B, parts) bool."""
    import torch

    at = [c.stop - 1 for c in columns(slots)]
    marks = torch.tensor([_mark(slot) for slot in slots], device=packed.device)
    gone: Tensor = packed[..., at] == marks
    return gone


def _mark(slot: Slot) -> float:
    """What the last column of a part holds where it is absent; NaN, which equals nothing, if it
    never is."""
    if slot.flagged:
        return 1.0
    return float(slot.space.levels or 0) if slot.optional else nan


def null(slots: Sequence[Slot], batch: int, device: "torch.device | str | None") -> "Tensor":
    """Rows in which every part is absent, (batch, W)."""
    return _pack(slots, dict.fromkeys((slot.name for slot in slots), None), 1, device).expand(
        batch, -1
    )


def check_group(
    slots: Sequence[Slot],
    given: Any,
    batch: int | None,
    what: str,
    device: "torch.device | str | None" = None,
) -> "Tensor":
    """Values by name, or rows packed already, as (batch, W); raises `DataError`.

    Without a `batch`, every part has as many rows as the first.
    """
    if isinstance(given, Mapping):
        return _from_mapping(slots, given, batch, what, device)
    rows = as_tensor(given, what)
    width = sum(slot.width for slot in slots)
    if tuple(rows.shape) not in {(width,), (len(rows) if batch is None else batch, width)}:
        expected = shape_text(("B" if batch is None else batch, width))
        raise DataError(
            f"{what} has shape {tuple(rows.shape)}; expected a dict of {_listing(slots)}, "
            f"or rows {expected}."
        )
    _check_packed(slots, rows.reshape(-1, width), what)
    rows = rows.to(device, _dtype(slots))
    return rows if rows.ndim == 2 else rows.expand(1 if batch is None else batch, width)


def _from_mapping(
    slots: Sequence[Slot],
    given: Mapping[str, Any],
    batch: int | None,
    what: str,
    device: "torch.device | str | None",
) -> "Tensor":
    known = {slot.name for slot in slots}
    for name in given:
        if name not in known:
            raise DataError(
                f"{what} has no part {name!r}; parts: {_listing(slots)}.",
                hint=did_you_mean(str(name), known) or None,
            )
    rows: dict[str, Tensor | None] = {}
    for slot in slots:
        value = given.get(slot.name)
        if value is None and not slot.optional:
            raise DataError(
                f"{what} lacks the part {slot.name!r} ({slot.space}); parts: {_listing(slots)}."
            )
        label = f"{what}[{slot.name!r}]"
        rows[slot.name] = None if value is None else one_or_each(slot, value, batch, label)
        if batch is None and value is not None:
            batch = len(rows[slot.name])  # type: ignore[arg-type]
    sizes = {len(r) for r in rows.values() if r is not None}
    packed = _pack(slots, rows, max(sizes, default=1), device)
    return packed if batch is None or len(packed) == batch else packed.expand(batch, -1)


def one_or_each(slot: Slot, value: Any, batch: int | None, what: str) -> "Tensor":
    """A part's value for all events, (1, *S), or one for each, (batch, *S), checked."""
    value = as_tensor(numbered(value, slot.names, slot.space, what), what)
    shape = slot.space.shape
    if batch is None:
        return slot.space.check(value, name=what)
    if tuple(value.shape) not in (shape, (batch, *shape)):
        expected = shape_text((batch, *shape))
        raise DataError(
            f"{what} has shape {tuple(value.shape)}; expected {expected}: {slot.space}."
        )
    return slot.space.check(
        value.unsqueeze(0) if tuple(value.shape) == shape else value, name=what
    )


def numbered(value: Any, names: tuple[str, ...], space: Event, what: str) -> Any:
    """Names of classes as their numbers; everything else as it is."""
    if isinstance(value, str):
        return _number(value, names, space, what)
    if isinstance(value, list | tuple) and any(isinstance(v, str) for v in value):
        return [_number(v, names, space, what) if isinstance(v, str) else v for v in value]
    return value


def _number(name: str, names: tuple[str, ...], space: Event, what: str) -> int:
    if name in names:
        return names.index(name)
    if not names:
        raise DataError(f"{what} = {name!r} is no number; {space} have no names.")
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise DataError(
        f"{what} = {name!r} is no name of a class; names: {shown}.",
        hint=did_you_mean(name, names) or None,
    )


def _pack(
    slots: "Sequence[Slot]",
    rows: "Mapping[str, Tensor | None]",
    batch: int,
    device: "torch.device | str | None",
) -> "Tensor":
    import torch

    values = [rows[slot.name] for slot in slots]
    device = device or next((v.device for v in values if v is not None), None)
    packed = torch.zeros(batch, sum(s.width for s in slots), dtype=_dtype(slots), device=device)
    for slot, at, value in zip(slots, columns(slots), values, strict=True):
        if value is not None:
            packed[:, at.start : at.start + slot.space.dims] = value.reshape(len(value), -1).to(
                packed
            )
        elif slot.flagged:
            packed[:, at.stop - 1] = 1
        else:
            packed[:, at] = slot.space.levels or 0
    return packed


def _check_packed(slots: Sequence[Slot], rows: "Tensor", what: str) -> None:
    if rows.is_floating_point() and not bool(rows.isfinite().all()):
        raise DataError(f"{what} holds NaN or infinite values; expected {_listing(slots)}.")
    gone = absent(slots, rows)
    values = split(slots, rows)
    for i, (slot, at) in enumerate(zip(slots, columns(slots), strict=True)):
        have = values[slot.name][~gone[:, i]]
        label = f"{what}[{slot.name!r}]"
        if slot.flagged and not bool(((rows[:, at.stop - 1] == 0) | gone[:, i]).all()):
            raise DataError(f"{label}: the column that says what is absent holds more than 0, 1.")
        if slot.space.discrete and rows.is_floating_point():
            plain = rows[:, at]
            if not bool((plain == plain.round()).all()):
                raise DataError(f"{label} holds fractions; expected {slot.space}.")
        if len(have):
            slot.space.check(have, name=label)


def _dtype(slots: Sequence[Slot]) -> "torch.dtype":
    import torch

    return torch.int64 if all(s.space.discrete for s in slots) else torch.float32


def _listing(slots: Sequence[Slot]) -> str:
    return "; ".join(map(str, slots))
