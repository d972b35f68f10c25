"""What turns the features of an autoregressive network into probabilities of K levels.

A bit takes one feature l with p(x = 1) = sigmoid(l); K > 2 levels take K features. Values enter
networks on an ordinal scale.

`Categorical` is the head of networks whose features do not see their own pixel. There the
channels of a pixel meet: channel c sees the channels before c beside the features.

Shapes: B batch, C channels, H rows, W columns, U units, K levels.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.layers import ChannelConv, channel_groups

__all__ = [
    "Categorical",
    "Head",
    "categorical_log_prob",
    "features_per_value",
    "ordinal",
    "split_channels",
    "to_logits",
]


class Head(Protocol):
    """Conditionals of pixels from features (B, U, H, W) and the pixels x (B, C, H, W) themselves,
    of which channel c sees those before c."""

    def logits(self, s: Tensor, x: Tensor) -> Tensor:
        """(B, C, H, W, K), unnormalized."""
        ...

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,)."""
        ...


class Categorical(nn.Module):
    """y = W_1 relu(s) + W_2 x_<c,  f = V relu(y): free logits of K levels, or of a bit."""

    def __init__(self, features: int, hidden: int, channels: int, levels: int) -> None:
        super().__init__()
        C, self.levels = channels, levels
        g, per_value = channel_groups(hidden, C), features_per_value(levels)
        self.first = nn.Conv2d(features, hidden, 1)
        self.here = ChannelConv(torch.arange(C), g, strict=True) if C > 1 else None
        self.last = ChannelConv(g, torch.arange(C).repeat_interleave(per_value))

    def logits(self, s: Tensor, x: Tensor) -> Tensor:
        y = self.first(F.relu(s))
        if self.here is not None:
            y = y + self.here(ordinal(x, self.levels, y.dtype))
        return split_channels(self.last(F.relu(y)), x.shape[1], self.levels)

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        return categorical_log_prob(self.logits(s, x), x)


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
    """log p(x) = sum_i log softmax(logits_i)[x_i], (B, C, H, W, K) and (B, C, H, W) -> (B,).

    In single precision at least: a sum over an image has no digits left in bfloat16.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_p = logits.log_softmax(-1).gather(-1, x.long().unsqueeze(-1))
    return log_p.flatten(1).sum(1)


def split_channels(f: Tensor, channels: int, levels: int) -> Tensor:
    """Head outputs (B, C F, H, W) as logits (B, C, H, W, K)."""
    return to_logits(f.unflatten(1, (channels, -1)).movedim(2, -1), levels)
