"""Inputs of networks from events and conditions.

Shapes: B batch, K classes, F features of a condition, N columns of integers.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.compat import moved_attribute
from zoo_core.errors import NoCapabilityError
from zoo_core.spaces import Condition, rescale_levels
from zoo_core.spaces.packing import Slot, columns, null

if TYPE_CHECKING:  # annotations only; the tests check them (tests/shapes.py)
    from jaxtyping import Float, Int

__all__ = [
    "class_rows",
    "condition_features",
    "embed_classes",
    "one_hot",
    "packed_rows",
    "rescale_levels",
]


def one_hot(
    cond: Int[Tensor, "B"] | None, classes: int | None, dtype: torch.dtype
) -> Float[Tensor, "B K"] | None:
    """Classes (B,) as one-hot vectors (B, K); None if there is no class, or no condition."""
    return None if cond is None or classes is None else F.one_hot(cond, classes).to(dtype)


def condition_features(
    condition: Condition,
    cond: Tensor | None,
    dtype: torch.dtype,
    *,
    like: Tensor | None = None,
) -> Tensor | None:
    """A condition as a vector (B, F), F = `condition.features`; None where there is none.

    Every class is e_c, with a column more where it may be absent, so that the weights of that
    column are its learned null value. Reals are as they are, and where they may be absent a column
    says so. `like` (B, ...) stands for the rows of a condition that was left out: all parts are
    absent.
    """
    if condition.kind == "none" or (cond is None and (like is None or not condition.optional)):
        return None
    slots = condition.slots
    rows = null(slots, len(like), like.device) if cond is None else packed_rows(condition, cond)  # type: ignore[arg-type,union-attr]
    pieces = [_piece(s, rows[:, at], dtype) for s, at in zip(slots, columns(slots), strict=True)]
    return torch.cat(pieces, 1)


def _piece(slot: Slot, values: Tensor, dtype: torch.dtype) -> Tensor:
    if not slot.space.discrete:
        return values.to(dtype)
    return F.one_hot(values.long(), slot.choices).flatten(1).to(dtype)


def packed_rows(condition: Condition, cond: Tensor) -> Tensor:
    """The packed form; a lone optional vector or image gets the column that says it is there."""
    rows = cond if condition.kind == "group" else cond.reshape(len(cond), -1)
    missing = sum(slot.width for slot in condition.slots) - rows.shape[1]
    return F.pad(rows, (0, missing)) if missing else rows


def class_rows(condition: Condition, cond: Tensor) -> Tensor:
    """Rows (B, N) of one table of `condition.features` rows, of which each column has its own.

    A sum of these rows of an `nn.Embedding` is a sum of one embedding for each part. Raises
    `NoCapabilityError` for a part that is no class and no tokens.
    """
    slots = condition.slots
    for slot in slots:
        if not slot.space.discrete:
            raise NoCapabilityError(
                f"{slot} has no embedding, which is for classes and tokens.",
                hint="condition_features(...) gives a network all parts as a vector",
            )
    sizes = [slot.choices for slot in slots for _ in range(slot.space.dims)]
    starts = [0, *accumulate(sizes[:-1])]  # added one by one: a CUDA graph can capture that
    rows = cond.reshape(len(cond), -1)
    return torch.stack([rows[:, i] + start for i, start in enumerate(starts)], 1)


def embed_classes(table: nn.Embedding, condition: Condition, cond: Tensor) -> Tensor:
    """The sum of the parts' rows of one table of `condition.features` rows: (B, D)."""
    if condition.kind == "classes" and not condition.shape:
        return table(cond)  # type: ignore[no-any-return]
    return table(class_rows(condition, cond)).sum(1)  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
