"""Heads of autoregressive models: what turns features into logits over K levels.

Two levels take one feature l, p(x = 1) = sigmoid(l), and K > 2 levels take K features.
Shapes: B batch, C channels, H height, W width, K levels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["categorical_log_prob", "features_per_value", "to_logits"]

BINARY = 2


def features_per_value(levels: int) -> int:
    """Return how many head outputs one K-level value needs: 1 for a bit, else K."""
    return 1 if levels == BINARY else levels


def to_logits(features: Tensor, levels: int) -> Tensor:
    """Map head outputs (..., 1 or K) to logits (..., K); a bit's are (0, l)."""
    if levels == BINARY:
        return F.pad(features, (1, 0))
    return features


def categorical_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """Return sum_i log softmax(logits_i)[x_i] in nats, (B,), for logits (B, C, H, W, K)."""
    log_p = logits.log_softmax(-1).gather(-1, x.long().unsqueeze(-1))
    return log_p.flatten(1).sum(1)
