"""What turns the features of an autoregressive network into logits over K levels.

A bit takes one feature l with p(x = 1) = sigmoid(l); K > 2 levels take K features. Values enter
networks on an ordinal scale.

Shapes: B batch, C channels, H rows, W columns, K levels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["categorical_log_prob", "features_per_value", "ordinal", "to_logits"]


def features_per_value(levels: int) -> int:
    """How many head outputs describe one value: 1 for a bit, else K."""
    return 1 if levels == 2 else levels


def to_logits(features: Tensor, levels: int) -> Tensor:
    """Head outputs (..., 1) or (..., K) as logits (..., K); those of a bit are (0, l)."""
    return F.pad(features, (1, 0)) if levels == 2 else features


def ordinal(x: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Integers 0..K-1 as equally spaced reals from -1 to 1."""
    return x.to(dtype) * (2 / (levels - 1)) - 1


def categorical_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x) = sum_i log softmax(logits_i)[x_i], (B, C, H, W, K) and (B, C, H, W) -> (B,)."""
    log_p = logits.log_softmax(-1).gather(-1, x.long().unsqueeze(-1))
    return log_p.flatten(1).sum(1)
