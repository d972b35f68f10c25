"""A small PixelCNN of causal depthwise blocks, whose head copies (`copy_mixture.py`).

Nearly all computation is in 1 x 1 convolutions, so that it trains fast on a CPU. The input is
what the head may copy: the candidates of each pixel, which are known and which are equal, with
the row and the column. With e the condition, a block is a depthwise convolution over the rows
above and the pixels up to its own, and a pointwise network on top (MobileNet, Howard et al., 2017,
https://arxiv.org/abs/1704.04861; ConvNeXt, Liu et al., 2022, https://arxiv.org/abs/2201.03545):

    y = depthwise(h),   h' = h + g out(gelu(enter(y / rms(y) + V e)))

Features of a pixel see earlier pixels alone, as the input does.

Shapes: B batch, C = 1 or 3 channels, H rows, W columns, U units.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.copy_mixture import CopyMixtureHead
from zoo_autoregressive.image_model import (
    COORDINATE_CHANNELS,
    ImageConfig,
    RasterImageModel,
)
from zoo_autoregressive.incremental_decoding import (
    FullPass,
    IncrementalPass,
    Pass,
    PixelConv,
    RasterConv,
)
from zoo_autoregressive.layers import add_class, class_weights
from zoo_autoregressive.nearby_pixels import Candidates
from zoo_core.plugin import Range, condition_features, dropout

__all__ = ["DepthwisePixelCNN", "DepthwisePixelCNNConfig"]


@dataclass(frozen=True)
class DepthwisePixelCNNConfig(ImageConfig):
    """Event, width U = `hidden`, depth, and the width k of a block's window of k//2 + 1 rows."""

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (3, 32, 32)
    levels: Annotated[int, Range(2, 65536)] = 256
    hidden: Annotated[int, Range(1, 65536)] = 64
    layers: Annotated[int, Range(1, 256)] = 6
    kernel_size: Literal[3, 5, 7, 9, 11] = 7
    mixtures: Annotated[int, Range(1, 64)] = 12
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


class DepthwisePixelCNN(RasterImageModel):
    """Causal depthwise blocks between the candidates and the head that copies them."""

    head: CopyMixtureHead

    def __init__(self, config: DepthwisePixelCNNConfig | None = None) -> None:
        c = config or DepthwisePixelCNNConfig()
        super().__init__(c)
        self.head = CopyMixtureHead(c.hidden, c.shape, c.levels, c.mixtures)
        self.first = PixelConv(self.head.near.inputs + COORDINATE_CHANNELS, c.hidden)
        self.V = class_weights(c.classes, c.hidden)
        self.blocks = nn.ModuleList(DepthwiseBlock(c) for _ in range(c.layers))

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        near = self.head.near(x, self.dtype)  # once for the network and the head
        return self.head.log_prob(self._full(near, cond), x, near)

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self._full(self.head.near(x, self.dtype), cond)

    def decode_row(self, x: Tensor, run: IncrementalPass) -> None:
        """Nothing: the blocks keep the rows above."""

    def decode_pixel(self, x: Tensor, run: IncrementalPass) -> Tensor:
        assert run.c is not None
        rows, columns = slice(run.r, run.r + 1), slice(run.c, run.c + 1)
        near = self.head.near(x, self.dtype, rows, columns)
        return self._stack(near, self.coordinates[:, rows, columns], run)

    def _full(self, near: Candidates, cond: Tensor | None) -> Tensor:
        e = condition_features(self.condition, cond, self.dtype)
        _, H, W = self.config.shape
        return self._stack(near, self.coordinates, FullPass(H, W, e))

    def _stack(self, near: Candidates, coordinates: Tensor, run: Pass) -> Tensor:
        where = coordinates.expand(len(near.seen), -1, -1, -1)
        inputs = torch.cat((near.seen, where), 1).contiguous(memory_format=torch.channels_last)
        h = add_class(self.first(inputs), self.V, run.e).to(self.dtype)
        for block in cast("list[DepthwiseBlock]", list(self.blocks)):
            h = block(h, run)
        return h


class DepthwiseBlock(nn.Module):
    """h + g out(gelu(enter(norm(depthwise(h)) + V e)))."""

    def __init__(self, c: DepthwisePixelCNNConfig) -> None:
        super().__init__()
        U, k = c.hidden, c.kernel_size
        n, self.dropout = k // 2 + 1, c.dropout
        mask = torch.ones(U, 1, dtype=torch.bool)
        self.depthwise = RasterConv(U, U, n, k, left=k // 2, groups=U, bias=False, mask=mask)
        self.enter = PixelConv(U, 2 * U)
        self.out = PixelConv(2 * U, U)
        self.g = nn.Parameter(torch.full((U, 1, 1), 0.1))
        self.V = class_weights(c.classes, U)

    def forward(self, h: Tensor, run: Pass) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):  # its gradient is slow in bfloat16
            y = run.conv(self.depthwise, h)
        y = y * torch.rsqrt(y.square().mean(1, keepdim=True) + 1e-5)
        y = F.gelu(self.enter(add_class(y, self.V, run.e)))
        added: Tensor = self.out(dropout(y, self.dropout, self.training))
        return h + self.g * added
