"""How events and classes enter networks.

Shapes: B batch, K levels or classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.spaces import ordinal

__all__ = ["one_hot", "ordinal"]


def one_hot(cond: Tensor | None, classes: int | None, dtype: torch.dtype) -> Tensor | None:
    """Classes (B,) as e_c (B, K); None without a class, or for a model without classes."""
    return None if cond is None or classes is None else F.one_hot(cond, classes).to(dtype)
