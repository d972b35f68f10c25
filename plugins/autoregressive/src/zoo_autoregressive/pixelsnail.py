"""PixelSNAIL: causal convolutions and attention over all earlier pixels (Chen et al., 2018).

https://arxiv.org/abs/1712.09763. With glu(a, b) = a sigmoid(b), f = elu and a one-hot class e_c,
a block of the stack is some residual blocks of causal 2 x 2 convolutions, and then attention:

    h = h + glu(out(drop(f(in(f(h))))) + V e_c)          `convolutions` times
    a = softmax(q k^T / sqrt(d)) v,   q = Q h,  k, v = W [h, left]
    h = h + glu(merge(f([h, a])))

over h at the pixel itself and all before it in raster order. `left` is the input one pixel to
the left with the coordinates, so that keys also hold the value beside them. The first convolution
is a strictly causal k x k. (The paper's merge has one more gated residual block on each side.)

Shapes: B batch, C channels, I inputs, H rows, W columns, U units, d size of a head.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.heads import LogisticMixtureHead
from zoo_autoregressive.image_model import AutoregressiveImageModel, ImageConfig, make_head
from zoo_autoregressive.incremental_decoding import Pass, PixelConv, RasterConv
from zoo_autoregressive.layers import TypeAConv, add_class, class_weights
from zoo_core.plugin import ConfigError, Range, dropout

__all__ = ["PixelSNAIL", "PixelSNAILConfig"]


@dataclass(frozen=True)
class PixelSNAILConfig(ImageConfig):
    """Width and depth; the defaults are the paper's on CIFAR-10, with 10 logistics as its head.

    `keys` and `values` are the sizes of a head's keys and values.
    """

    hidden: Annotated[int, Range(1, 65536)] = 256
    blocks: Annotated[int, Range(1, 256)] = 12
    convolutions: Annotated[int, Range(1, 64)] = 4
    kernel_size: Literal[3, 5, 7, 9, 11] = 5
    heads: Annotated[int, Range(1, 256)] = 1
    keys: Annotated[int, Range(1, 4096)] = 16
    values: Annotated[int, Range(1, 4096)] = 128
    head: Annotated[int, Range(1, 65536)] | Literal["logistic_mixture", "copy_mixture"] = 32
    """The hidden units of free probabilities, or which mixture."""
    mixtures: Annotated[int, Range(1, 64)] = 10
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.5

    def __post_init__(self) -> None:
        if self.head == "logistic_mixture" and self.shape[0] not in (1, 3):
            raise ConfigError(
                f"shape = {self.shape}; the mixture of logistics is for 1 or 3 channels.",
                hint="head = 32 is of free probabilities",
            )


class PixelSNAIL(AutoregressiveImageModel):
    """A stack of convolutions and attention."""

    def __init__(self, config: PixelSNAILConfig | None = None) -> None:
        c = config or PixelSNAILConfig()
        super().__init__(c)
        U = c.hidden
        self.first = TypeAConv(self.inputs, U, c.kernel_size)
        self.blocks = nn.ModuleList(SnailBlock(c, self.inputs) for _ in range(c.blocks))
        if c.head == "logistic_mixture":
            self.head = LogisticMixtureHead(U, c.mixtures, c.shape[0], c.levels)
        else:
            self.head = make_head(c.head, U, c.shape, c.levels)

    def vertical(self, above: Tensor, run: Pass) -> None:
        self.first.vertical(above, run)

    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        h = self.first.horizontal(left, run)
        for block in cast("list[SnailBlock]", list(self.blocks)):
            h = block(h, left, run)
        return h


class SnailBlock(nn.Module):
    """Residual blocks, attention, and the gate that merges them."""

    def __init__(self, c: PixelSNAILConfig, inputs: int) -> None:
        super().__init__()
        U, seen = c.hidden, c.hidden + inputs
        self.sizes = (c.heads, c.keys, c.values)
        self.residual = nn.ModuleList(ResidualBlock(c) for _ in range(c.convolutions))
        self.query = PixelConv(U, c.heads * c.keys)
        self.key = PixelConv(seen, c.heads * c.keys)
        self.value = PixelConv(seen, c.heads * c.values)
        self.merge = PixelConv(U + c.heads * c.values, 2 * U)
        self.dropout = c.dropout

    def forward(self, h: Tensor, left: Tensor, run: Pass) -> Tensor:
        """h' (B, U, ., .) of h; `left` (B, I, ., .) is the input one pixel to the left."""
        for block in cast("list[ResidualBlock]", list(self.residual)):
            h = block(h, run)
        seen = torch.cat((h, left), 1)
        q, k, v = (self._heads(y) for y in (self.query(h), self.key(seen), self.value(seen)))
        a = run.attend(self, q, k, v).transpose(2, 3).reshape(len(h), -1, *h.shape[2:])
        y = F.elu(torch.cat((h, a), 1))
        y = self.merge(dropout(y, self.dropout, self.training))
        return h + F.glu(y, 1)

    def _heads(self, y: Tensor) -> Tensor:
        """(B, heads d, ., .) -> (B, heads, pixels, d)."""
        heads: Tensor = y.flatten(2).unflatten(1, (self.sizes[0], -1))
        return heads.transpose(2, 3)


class ResidualBlock(nn.Module):
    """h + glu(out(drop(f(in(f(h))))) + V e_c)."""

    def __init__(self, c: PixelSNAILConfig) -> None:
        super().__init__()
        U = c.hidden
        self.enter = RasterConv(U, U, 2, 2, left=1)
        self.out = RasterConv(U, 2 * U, 2, 2, left=1)
        self.V = class_weights(c.classes, 2 * U)
        self.dropout = c.dropout

    def forward(self, h: Tensor, run: Pass) -> Tensor:
        y = F.elu(run.conv(self.enter, F.elu(h)))
        y = run.conv(self.out, dropout(y, self.dropout, self.training))
        return h + F.glu(add_class(y, self.V, run.e), 1)
