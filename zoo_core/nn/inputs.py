"""How events and classes enter networks.

Shapes: B batch, K levels or classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["one_hot", "ordinal"]


def ordinal(x: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Integers 0..K-1 as equally spaced reals from -1 to 1."""
    return x.to(dtype) * (2 / (levels - 1)) - 1


def one_hot(cond: Tensor | None, classes: int | None, dtype: torch.dtype) -> Tensor | None:
    """Classes (B,) as e_c (B, K); None without a class, or for a model without classes."""
    return None if cond is None or classes is None else F.one_hot(cond, classes).to(dtype)
