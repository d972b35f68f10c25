"""PixelCNN++: residual blocks in a causal U-Net, mixture of logistics (Salimans et al., 2017).

https://arxiv.org/abs/1701.05517. `backbone.py` has the U-Net, `heads.LogisticMixtureHead` the
discretized mixture of logistics (section 2.1), with bins as wide as one of the data's K levels and
with the coupling of channels (section 2.2). With f = concat_elu, f(y) = elu([y, -y]), a one-hot
class e_c, and u the output of the block's skip connection (upsampling blocks only), a block is

    y = f(v_in(f(v)) + v_skip(f(u_v))),               v' = v + glu(v_out(drop(y)) + V_v e_c)
    y = f(h_in(f(h)) + link(f(v')) + h_skip(f(u_h))), h' = h + glu(h_out(drop(y)) + V_h e_c)

where glu(a, b) = a sigmoid(b); _in and _out are 2 x 3 convolutions in v and 2 x 2 in h. The
official code has 5 blocks at each of 3 scales while downsampling and 5, 6, 6 while upsampling;
here the coarsest scale has 10 and the two paths are symmetric. `head = "copy_mixture"` takes the
head that copies instead (`copy_mixture.py`), for images of flat colours.

Shapes: B batch, C = 1 or 3 channels, H rows, W columns, U units, M mixtures.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.backbone import Backbone
from zoo_autoregressive.copy_mixture import CopyMixtureHead
from zoo_autoregressive.heads import COPY, LogisticMixtureHead
from zoo_autoregressive.image_model import AutoregressiveImageModel, ImageConfig
from zoo_autoregressive.incremental_decoding import Pass, PixelConv, RasterConv
from zoo_autoregressive.layers import add_class, class_weights
from zoo_core.plugin import ClassCounts, ConfigError, Range, dropout

__all__ = ["PixelCNNPP", "PixelCNNPPConfig"]


@dataclass(frozen=True)
class PixelCNNPPConfig(ImageConfig):
    """Event, width, and number of blocks of each scale, finest first."""

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (3, 32, 32)
    levels: Annotated[int, Range(2, 65536)] = 256
    hidden: Annotated[int, Range(1, 65536)] = 160
    blocks: Annotated[tuple[int, ...], Range(1, 256)] = (5, 5, 10)
    kernel_size: Literal[3, 5, 7, 9, 11] = 5
    mixtures: Annotated[int, Range(1, 64)] = 10
    head: Literal["logistic_mixture", "copy_mixture"] = "logistic_mixture"
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.5

    def __post_init__(self) -> None:
        if self.shape[0] not in (1, 3):
            raise ConfigError(
                f"shape = {self.shape}; the mixture of logistics is for 1 or 3 channels.",
                hint="multiscale_pixelcnn and gated_pixelcnn take any number of channels",
            )
        if not self.blocks:
            raise ConfigError(
                "blocks = (); it must have a number for each scale, e.g. [5, 5, 10]."
            )


class PixelCNNPP(AutoregressiveImageModel):
    """`Backbone` of gated residual blocks with a mixture head."""

    def __init__(self, config: PixelCNNPPConfig | None = None) -> None:
        c = config or PixelCNNPPConfig()
        super().__init__(c)
        self.trunk = Backbone(
            self.inputs,
            [c.hidden] * len(c.blocks),
            c.blocks,
            c.kernel_size,
            lambda U, skip: ResidualBlock(U, c.classes, c.dropout, skip=skip),
        )
        self.head = (
            CopyMixtureHead(c.hidden, c.shape, c.levels, c.mixtures)
            if c.head == COPY
            else LogisticMixtureHead(c.hidden, c.mixtures, c.shape[0], c.levels)
        )

    def vertical(self, above: Tensor, run: Pass) -> None:
        self.trunk.vertical(above, run)

    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        return self.trunk.horizontal(left, run)


class ResidualBlock(nn.Module):
    """One block of both stacks, of U units; `skip` says whether it has a skip connection."""

    def __init__(self, U: int, classes: ClassCounts, dropout: float, *, skip: bool) -> None:
        super().__init__()
        self.dropout = dropout
        self.v_in = RasterConv(2 * U, U, 2, 3, left=1)
        self.v_out = RasterConv(2 * U, 2 * U, 2, 3, left=1)
        self.h_in = RasterConv(2 * U, U, 2, 2, left=1)
        self.h_out = RasterConv(2 * U, 2 * U, 2, 2, left=1)
        self.link = PixelConv(2 * U, U, bias=False)
        self.v_skip = PixelConv(2 * U, U, bias=False) if skip else None
        self.h_skip = PixelConv(2 * U, U, bias=False) if skip else None
        self.V_v = class_weights(classes, 2 * U)
        self.V_h = class_weights(classes, 2 * U)

    def vertical(self, v: Tensor, skip: Tensor | None, run: Pass) -> tuple[Tensor, Tensor]:
        y = run.conv(self.v_in, concat_elu(v))
        if self.v_skip is not None and skip is not None:
            y = y + self.v_skip(concat_elu(skip))
        v = v + self._gated(self.v_out, self.V_v, y, run)
        return v, self.link(concat_elu(v))

    def horizontal(self, h: Tensor, skip: Tensor | None, link: Tensor, run: Pass) -> Tensor:
        y = run.conv(self.h_in, concat_elu(h)) + link
        if self.h_skip is not None and skip is not None:
            y = y + self.h_skip(concat_elu(skip))
        return h + self._gated(self.h_out, self.V_h, y, run)

    def _gated(self, out: RasterConv, V: nn.Linear | None, y: Tensor, run: Pass) -> Tensor:
        y = run.conv(out, dropout(concat_elu(y), self.dropout, self.training))
        return F.glu(add_class(y, V, run.e), 1)


def concat_elu(y: Tensor) -> Tensor:
    """elu([y, -y]), (B, U, ., .) -> (B, 2U, ., .)."""
    return F.elu(torch.cat((y, -y), 1), inplace=True)
