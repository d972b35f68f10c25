"""Layers of masked networks: convolutions that respect the order of pixels and channels.

Shapes: B batch, U units, H rows, W columns.
"""

import torch
from torch import Tensor, nn

from zoo_autoregressive.incremental_decoding import Pass, RasterConv, convolve
from zoo_core.plugin import ClassCounts, class_features

__all__ = [
    "ChannelMaskedConv",
    "TypeAConv",
    "add_class",
    "channel_groups",
    "class_weights",
    "gate",
]


class ChannelMaskedConv(nn.Conv2d):
    """A 1 x n convolution whose last tap, the pixel itself, is masked by channel groups.

    Output j of group g_out[j] sees input i at its own pixel where g_in[i] <= g_out[j] (mask B),
    or where g_in[i] < g_out[j] if `strict` (mask A). With one channel only mask A hides anything.
    """

    mask: Tensor

    def __init__(self, g_in: Tensor, g_out: Tensor, n: int = 1, *, strict: bool = False) -> None:
        super().__init__(len(g_in), len(g_out), (1, n))
        mask = torch.ones(self.weight.shape, dtype=torch.bool)
        mask[:, :, 0, -1] = (g_in < g_out[:, None]) if strict else (g_in <= g_out[:, None])
        self.register_buffer("mask", mask, persistent=False)
        self.masked = not bool(mask.all())

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.mask if self.masked else self.weight
        return convolve(x, weight, self.bias)


class TypeAConv(nn.Module):
    """A strictly causal (type A) k x k convolution: the rows above and the pixels to the left."""

    def __init__(self, inputs: int, outputs: int, k: int) -> None:
        super().__init__()
        self.above = RasterConv(inputs, outputs, k // 2, k, left=k // 2)
        self.left = RasterConv(inputs, outputs, 1, k // 2, left=k // 2 - 1)

    def vertical(self, above: Tensor, run: Pass) -> None:
        """Store the sum over the rows above; `above` is the input one row above the positions."""
        run.put(self, run.conv(self.above, above))

    def horizontal(self, left: Tensor, run: Pass) -> Tensor:
        """The whole convolution; `left` is the input one column to the left."""
        return run.get(self) + run.conv(self.left, left)


def class_weights(classes: ClassCounts, outputs: int) -> nn.Linear | None:
    """V of the term V e that classes add to features; None without classes."""
    return nn.Linear(class_features(classes), outputs, bias=False) if classes else None


def add_class(y: Tensor, V: nn.Linear | None, e: Tensor | None) -> Tensor:
    """y + V e at every pixel, (B, U, ., .) e (B, F) stands for the classes; y without classes."""
    return y if V is None else y + V(e)[..., None, None]


def channel_groups(features: int, channels: int) -> Tensor:
    """The channel that each feature belongs to, int64 (features,): equal groups in order."""
    return torch.arange(features) * channels // features


def gate(y: Tensor) -> Tensor:
    """tanh(y_1) sigmoid(y_2) of the two halves of the channels, (B, 2U, H, W) -> (B, U, H, W)."""
    f, g = y.chunk(2, 1)
    return f.tanh() * g.sigmoid()
