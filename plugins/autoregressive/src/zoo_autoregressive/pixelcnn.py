"""PixelCNN: one stack of masked convolutions (van den Oord et al., 2016).

Pixel recurrent neural networks, https://arxiv.org/abs/1601.06759, section 3.3 and table 1:

    h = conv_A k x k (x)                                  mask A: not the pixel's own channel
    h = h + out(relu(mid(relu(enter(relu(h))))))          L times; mid is 3 x 3, all of mask B
    f = W_2 relu(W_1 relu(h))                             1 x 1, mask B

enter is 1 x 1 from 2U to U features, out from U to 2U. Features are split into C groups; group c
sees the channels up to c of its own pixel (mask B), or those before c (mask A). Masks leave a
blind spot above to the right that grows with depth, which Gated PixelCNN removes. A class c adds
V e_c after conv_A and after each mid.

Shapes: B batch, C channels, H rows, W columns, U units.
"""

from dataclasses import dataclass
from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.heads import ChannelGroupHead
from zoo_autoregressive.image_model import (
    COORDINATE_CHANNELS,
    AutoregressiveImageModel,
    StackConfig,
)
from zoo_autoregressive.incremental_decoding import Pass, RasterConv
from zoo_autoregressive.layers import (
    ChannelMaskedConv,
    TypeAConv,
    add_class,
    channel_groups,
    class_weights,
)
from zoo_core.plugin import Range, dropout

__all__ = ["PixelCNN", "PixelCNNConfig"]


@dataclass(frozen=True)
class PixelCNNConfig(StackConfig):
    """A `StackConfig` with the 15 layers that the paper uses on CIFAR-10."""

    layers: Annotated[int, Range(1, 256)] = 15


class PixelCNN(AutoregressiveImageModel):
    """A stack of residual blocks of masked convolutions."""

    grouped = True

    def __init__(self, config: PixelCNNConfig | None = None) -> None:
        c = config or PixelCNNConfig()
        super().__init__(c)
        C, U = c.shape[0], 2 * c.hidden
        self.first = TypeAConv(C + COORDINATE_CHANNELS, U, c.kernel_size)
        g = channel_groups(U, C)
        self.here = ChannelMaskedConv(torch.arange(C), g, strict=True) if C > 1 else None
        self.V = class_weights(c.classes, U)
        self.blocks = nn.ModuleList(MaskedBlock(c) for _ in range(c.layers))
        self.head = ChannelGroupHead(U, c.head, C, c.levels)

    def vertical(self, above: Tensor, run: Pass) -> None:
        self.first.vertical(above, run)

    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        h = self.first.horizontal(left, run)
        h = add_class(h, self.V, run.e)
        if self.here is not None:
            h = h + self.here(here[:, : self.config.shape[0]])
        for block in cast("list[MaskedBlock]", list(self.blocks)):
            h = block(h, run)
        return h


class MaskedBlock(nn.Module):
    """h + out(relu(mid(relu(enter(relu(h))))))."""

    def __init__(self, c: PixelCNNConfig) -> None:
        super().__init__()
        U, C = c.hidden, c.shape[0]
        wide, narrow = channel_groups(2 * U, C), channel_groups(U, C)
        self.dropout = c.dropout
        self.enter = ChannelMaskedConv(wide, narrow)
        self.mid = RasterConv(U, U, 2, 3, left=1, mask=narrow <= narrow[:, None])
        self.out = ChannelMaskedConv(narrow, wide)
        self.V = class_weights(c.classes, U)

    def forward(self, h: Tensor, run: Pass) -> Tensor:
        y = run.conv(self.mid, F.relu(self.enter(F.relu(h))))
        y = add_class(y, self.V, run.e)
        added: Tensor = self.out(dropout(F.relu(y), self.dropout, self.training))
        return h + added
