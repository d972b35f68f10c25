"""A condition as tokens in front of a sequence.

    an integer           a row of an embedding; an absent one has a row of its own
    reals (N,)           W r, one token
    an image (C, H, W)   W r of each pixel, H W tokens

each plus a learned position. What may be absent has one input more, which says so.

Shapes: B batch, P tokens of the condition, U units, C channels.
"""

from math import prod

import torch
from torch import Tensor, nn

from zoo_core.nn.inputs import packed_rows
from zoo_core.spaces import Condition
from zoo_core.spaces.packing import Slot, columns, null

__all__ = ["ConditionTokens"]


class ConditionTokens(nn.Module):
    """Tokens (B, P, U) of a condition; P = `count` is 0 without one."""

    def __init__(self, condition: Condition, units: int) -> None:
        super().__init__()
        self.condition = condition
        self.parts = nn.ModuleList(_part(slot, units) for slot in condition.slots)
        self.count = sum(_tokens(slot) for slot in condition.slots)
        self.positions = (
            nn.Parameter(torch.randn(self.count, units) * 0.02) if self.count else None
        )

    def forward(self, cond: Tensor | None, batch: int) -> Tensor:
        """The tokens of `cond`; where it is None every part is absent."""
        slots, positions = self.condition.slots, self.positions
        assert positions is not None
        if cond is None:
            rows = null(slots, batch, positions.device)
        else:
            rows = packed_rows(self.condition, cond)
        tokens = [
            part(_inputs(slot, rows[:, at], positions.dtype))
            for part, slot, at in zip(self.parts, slots, columns(slots), strict=True)
        ]
        return torch.cat(tokens, 1) + positions


def _tokens(slot: Slot) -> int:
    """How many tokens a part has."""
    shape = slot.space.shape
    if slot.space.discrete:
        return slot.space.dims
    return prod(shape[1:]) if len(shape) > 1 else 1


def _part(slot: Slot, units: int) -> nn.Module:
    if slot.space.discrete:
        return nn.Embedding(slot.choices, units)
    return nn.Linear(slot.space.dims // _tokens(slot) + slot.flagged, units)


def _inputs(slot: Slot, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Integers (B, P), or reals (B, P, C), of the columns of a part."""
    if slot.space.discrete:
        return values.long()
    values, P, dims = values.to(dtype), _tokens(slot), slot.space.dims
    reals = values[:, :dims].reshape(len(values), -1, P).transpose(1, 2)
    if not slot.flagged:
        return reals
    return torch.cat((reals, values[:, dims:, None].expand(-1, P, -1)), 2)
