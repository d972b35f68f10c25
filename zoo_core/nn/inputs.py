"""Inputs of networks from events and classes.

Shapes: B batch, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.compat import moved_attribute
from zoo_core.spaces import rescale_levels

if TYPE_CHECKING:  # annotations only; the tests check them (tests/shapes.py)
    from jaxtyping import Float, Int

__all__ = ["one_hot", "rescale_levels"]


def one_hot(
    cond: Int[Tensor, "B"] | None, classes: int | None, dtype: torch.dtype
) -> Float[Tensor, "B K"] | None:
    """Classes (B,) as one-hot vectors (B, K); None if there is no class, or no condition."""
    return None if cond is None or classes is None else F.one_hot(cond, classes).to(dtype)


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
