"""Multi-scale gated PixelCNN: gated blocks in a causal U-Net.

The layers of Gated PixelCNN (van den Oord et al., 2016), https://arxiv.org/abs/1606.05328, at
full, half and quarter resolution in the manner of PixelCNN++ (`backbone.py`). Most of the
computation is at the coarsest scale, which has few pixels with large receptive fields: at a
quarter of the resolution a 2 x 3 convolution spans 8 x 12 pixels. With gate(y_1, y_2) = tanh(y_1)
sigmoid(y_2), a one-hot class e_c, and u the output of the block's skip connection (upsampling
blocks only), a block is

    v' = v + gate(v_conv(v) + v_skip(u_v) + V_v e_c)
    g = gate(h_conv(h) + link(v') + h_skip(u_h) + V_h e_c),   h' = h + out(g)

The head is relu, 1 x 1, relu, 1 x 1 on h, of width `head`; a channel sees those before it in the
first 1 x 1. Or it is "copy_mixture" (`copy_mixture.py`).

Shapes: B batch, C channels, H rows, W columns, U units.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from zoo_autoregressive.backbone import Backbone
from zoo_autoregressive.image_model import (
    AutoregressiveImageModel,
    ImageConfig,
    make_head,
)
from zoo_autoregressive.incremental_decoding import Pass, PixelConv, RasterConv
from zoo_autoregressive.layers import class_weights, gate
from zoo_core.plugin import ClassCounts, ConfigError, Range, dropout

__all__ = ["MultiscalePixelCNN", "MultiscalePixelCNNConfig"]


@dataclass(frozen=True)
class MultiscalePixelCNNConfig(ImageConfig):
    """Event, and width and number of blocks of each scale, finest first."""

    hidden: Annotated[tuple[int, ...], Range(1, 65536)] = (16, 40, 64)
    blocks: Annotated[tuple[int, ...], Range(1, 256)] = (1, 1, 3)
    kernel_size: Literal[3, 5, 7, 9, 11] = 7
    head: Annotated[int, Range(1, 65536)] | Literal["copy_mixture"] = 32
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0

    def __post_init__(self) -> None:
        if not self.hidden or len(self.hidden) != len(self.blocks):
            raise ConfigError(
                f"hidden = {self.hidden} and blocks = {self.blocks}; each scale has one of both.",
                hint="e.g. hidden = [16, 40, 64], blocks = [1, 1, 3]",
            )


class MultiscalePixelCNN(AutoregressiveImageModel):
    """`Backbone` of gated blocks with a categorical head."""

    def __init__(self, config: MultiscalePixelCNNConfig | None = None) -> None:
        c = config or MultiscalePixelCNNConfig()
        super().__init__(c)
        self.trunk = Backbone(
            self.inputs,
            c.hidden,
            c.blocks,
            c.kernel_size,
            lambda U, skip: GatedBlock(U, c.classes, c.dropout, skip=skip),
        )
        self.head = make_head(c.head, c.hidden[0], c.shape, c.levels)

    def vertical(self, above: Tensor, run: Pass) -> None:
        self.trunk.vertical(above, run)

    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        return self.trunk.horizontal(left, run)


class GatedBlock(nn.Module):
    """One block of both stacks, of U units; `skip` says whether it has a skip connection."""

    def __init__(self, U: int, classes: ClassCounts, dropout: float, *, skip: bool) -> None:
        super().__init__()
        self.dropout = dropout
        self.v_conv = RasterConv(U, 2 * U, 2, 3, left=1)
        self.h_conv = RasterConv(U, 2 * U, 2, 2, left=1)
        self.link = PixelConv(U, 2 * U)
        self.out = PixelConv(U, U)
        self.v_skip = PixelConv(U, 2 * U, bias=False) if skip else None
        self.h_skip = PixelConv(U, 2 * U, bias=False) if skip else None
        self.V = class_weights(classes, 4 * U)

    def vertical(self, v: Tensor, skip: Tensor | None, run: Pass) -> tuple[Tensor, Tensor]:
        V_v, V_h = (0.0, 0.0) if self.V is None else self.V(run.e)[..., None, None].chunk(2, 1)
        y = run.conv(self.v_conv, v) + V_v
        if self.v_skip is not None:
            y = y + self.v_skip(skip)
        v = v + self._drop(gate(y))
        return v, self.link(v) + V_h

    def horizontal(self, h: Tensor, skip: Tensor | None, link: Tensor, run: Pass) -> Tensor:
        y = run.conv(self.h_conv, h) + link
        if self.h_skip is not None:
            y = y + self.h_skip(skip)
        added: Tensor = self.out(self._drop(gate(y)))
        return h + added

    def _drop(self, y: Tensor) -> Tensor:
        return dropout(y, self.dropout, self.training)
