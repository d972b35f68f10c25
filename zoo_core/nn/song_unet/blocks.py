"""The encoder, middle and decoder of one resolution of DDPM++ and NCSN++.

Shapes: B batch, C channels, H height, W width, E size of the embedding.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.nn.song_unet.config import SongUNetConfig
from zoo_core.nn.unet.blocks import Attention, Resample, ResnetBlock, resample

__all__ = ["EPS", "Down", "Middle", "Up", "groups_of"]

EPS = 1e-6
_SQRT2 = math.sqrt(2)


def groups_of(C: int) -> int:
    """Groups of at least four channels, at most 32."""
    return max(min(32, C // 4), 1)


class Block(nn.Module):
    """A residual block, perhaps with attention of one head after it."""

    def __init__(
        self,
        c: SongUNetConfig,
        E: int,
        inputs: int,
        outputs: int,
        *,
        attends: bool = False,
        resampling: Resample | None = None,
    ) -> None:
        super().__init__()
        self.resnet = ResnetBlock(
            inputs,
            outputs,
            E,
            groups=groups_of(inputs),
            groups_out=groups_of(outputs),
            eps=EPS,
            dropout=c.dropout,
            scale=_SQRT2,
            resampling=resampling,
            shortcut=True if resampling else None,
        )
        self.attention = (
            Attention(outputs, head=outputs, groups=groups_of(outputs), eps=EPS, scale=_SQRT2)
            if attends
            else None
        )

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        h = self.resnet(h, e)
        return h if self.attention is None else self.attention(h)


class Residual(nn.Module):
    """(h + conv(image)) / sqrt(2), the convolution padded so that the filter needs no padding."""

    def __init__(self, inputs: int, outputs: int, *, fir: bool) -> None:
        super().__init__()
        self.fir = fir
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=2 if fir else 1)

    def forward(self, h: Tensor, image: Tensor) -> Tensor:
        y = F.conv2d(image, self.conv.weight, padding=self.conv.padding)
        y = resample(y, "fir_down", padding=0) if self.fir else resample(y, "down")
        assert self.conv.bias is not None
        return (h + (y + self.conv.bias[:, None, None])) / _SQRT2


class Down(nn.Module):
    """Half the resolution unless it is the finest (`image` None), then the residual blocks."""

    def __init__(
        self, c: SongUNetConfig, E: int, inputs: int, C: int, image: int | None, *, attends: bool
    ) -> None:
        super().__init__()
        how: Resample = "fir_down" if c.filter == "fir" else "down"
        finest = image is None
        self.down = None if finest else Block(c, E, inputs, inputs, resampling=how)
        self.residual = None
        if image is not None and c.encoder == "residual":
            self.residual = Residual(image, inputs, fir=c.filter == "fir")
        self.blocks = nn.ModuleList(
            Block(c, E, C if i else inputs, C, attends=attends) for i in range(c.blocks)
        )
        self.skips = ([] if finest else [inputs]) + [C] * c.blocks

    def forward(self, h: Tensor, e: Tensor, image: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features, the image's features at this resolution, and the features for the decoder."""
        skips = []
        if self.down is not None:
            h = self.down(h, e)
            if self.residual is not None:
                h = image = self.residual(h, image)
            skips.append(h)
        for block in self.blocks:
            h = block(h, e)
            skips.append(h)
        return h, image, skips


class Middle(nn.Module):
    """Two residual blocks at the coarsest resolution, the first with attention."""

    def __init__(self, c: SongUNetConfig, E: int, C: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(c, E, C, C, attends=i == 0) for i in range(2))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, e)
        return h


class Up(nn.Module):
    """Twice the resolution unless it is the coarsest (`first`), then blocks over the skips.

    The constructor takes the channels that it concatenates from the end of `skips`.
    """

    def __init__(
        self,
        c: SongUNetConfig,
        E: int,
        inputs: int,
        C: int,
        skips: list[int],
        *,
        first: bool,
        attends: bool,
    ) -> None:
        super().__init__()
        how: Resample = "fir_up" if c.filter == "fir" else "up"
        self.up = None if first else Block(c, E, inputs, inputs, resampling=how)
        self.blocks = nn.ModuleList(
            Block(c, E, (C if i else inputs) + skips.pop(), C, attends=attends and i == c.blocks)
            for i in range(c.blocks + 1)
        )

    def forward(self, h: Tensor, skips: list[Tensor], e: Tensor) -> Tensor:
        h = h if self.up is None else self.up(h, e)
        for block in self.blocks:
            h = block(torch.cat((h, skips.pop()), 1), e)
        return h
