"""Attention by torch."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Tokens first, as U-Nets have them."""
    parts = (t.transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(*parts).transpose(1, 2)


@cache
def _compiled() -> Any:
    return torch.compile(attention, dynamic=False)


def attention_compiled(*args: Tensor) -> Tensor:
    out: Tensor = _compiled()(*args)
    return out
