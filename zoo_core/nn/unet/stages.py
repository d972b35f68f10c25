"""The down, middle and up blocks of a U-Net, of each type in `config.py`.

Shapes: B batch, C channels, H height, W width, E size of the time embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.nn.unet.blocks import (
    Attention,
    Resample,
    ResnetBlock,
    group_norm,
    resample,
)
from zoo_core.nn.unet.config import BlockType, UNetConfig

__all__ = ["BlockFactory", "DownBlock", "MidBlock", "UpBlock"]

_SQRT2 = 2.0**0.5


class _ResampleConv(nn.Module):
    """A convolution that resamples: with stride 2, or after doubling if `up`."""

    def __init__(self, C: int, *, up: bool = False, padding: int = 1) -> None:
        super().__init__()
        self.up, self.pad = up, padding == 0
        self.conv = nn.Conv2d(C, C, 3, stride=1 if up else 2, padding=padding)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        if self.up:
            x = resample(x, "up")
        elif self.pad:
            x = F.pad(x, (0, 1, 0, 1))
        out: Tensor = self.conv(x)
        return out


class BlockFactory:
    """Makes the layers of one network; NCSN++ blocks have their own groups and scale."""

    def __init__(self, c: UNetConfig, E: int) -> None:
        self.c, self.E = c, E

    def resnet(
        self,
        kind: BlockType,
        inputs: int,
        outputs: int,
        *,
        resampling: Resample | None = None,
        groups: int | None = None,
    ) -> ResnetBlock:
        c, ncsnpp = self.c, kind in ("skip", "attention_skip")
        own = min(inputs // 4, 32) if ncsnpp else c.groups or 32
        return ResnetBlock(
            inputs,
            outputs,
            self.E,
            groups=groups or own,
            groups_out=min(outputs // 4, 32) if ncsnpp else None,
            eps=c.eps,
            dropout=c.dropout,
            scale=_SQRT2 if ncsnpp else 1.0,
            scale_shift=c.scale_shift,
            resampling=resampling,
            shortcut=True if ncsnpp and resampling else None,
            act=c.activation,
        )

    def attention(self, kind: BlockType, C: int) -> Attention:
        ncsnpp = kind == "attention_skip"
        groups, scale = (32, _SQRT2) if ncsnpp else (self.c.groups or 32, 1.0)
        return Attention(C, head=self.c.head_of(C), groups=groups, eps=self.c.eps, scale=scale)


class DownBlock(nn.Module):
    """`layers` ResNet blocks, then half the resolution unless it is the last block."""

    takes_embedding = False

    def __init__(
        self,
        b: BlockFactory,
        kind: BlockType,
        inputs: int,
        C: int,
        image_channels: int,
        *,
        last: bool,
    ) -> None:
        super().__init__()
        c, n = b.c, b.c.layers
        self.resnets = nn.ModuleList(b.resnet(kind, C if i else inputs, C) for i in range(n))
        if kind in ("attention", "attention_skip"):
            self.attentions = nn.ModuleList(b.attention(kind, C) for _ in range(n))
        self.attends, self.has_pyramid = kind.startswith("attention"), kind.endswith("skip")
        self.last = last
        if last:
            return
        if self.has_pyramid:
            self.resnet_down = b.resnet(kind, C, C, resampling="fir_down")
            self.skip_conv = nn.Conv2d(image_channels, C, 1)
        else:
            by_resnet = kind == "resnet" or (kind == "attention" and c.downsample == "resnet")
            downsampler = (
                b.resnet(kind, C, C, resampling="down")
                if by_resnet
                else _ResampleConv(C, padding=c.downsample_padding)
            )
            self.downsamplers = nn.ModuleList([downsampler])

    def forward(
        self, h: Tensor, e: Tensor, pyramid: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features, the image at the new resolution, and the features for the up block."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, e)
            h = self.attentions[i](h) if self.attends else h
            skips.append(h)
        if self.last:
            return h, pyramid, skips
        if self.has_pyramid:
            pyramid = resample(pyramid, "fir_down")
            h = self.resnet_down(h, e) + self.skip_conv(pyramid)
        else:
            h = self.downsamplers[0](h, e)
        return h, pyramid, [*skips, h]


class UpBlock(nn.Module):
    """`layers` + 1 ResNet blocks, then twice the resolution unless it is the last block."""

    takes_embedding = False

    def __init__(
        self,
        b: BlockFactory,
        kind: BlockType,
        inputs: int,
        C: int,
        skip_channels: int,
        image_channels: int,
        *,
        last: bool,
    ) -> None:
        super().__init__()
        c, n = b.c, b.c.layers + 1
        sizes = [(C if i else inputs, skip_channels if i == n - 1 else C) for i in range(n)]
        self.has_pyramid, self.attends = kind.endswith("skip"), kind.startswith("attention")
        self.resnets = nn.ModuleList(
            b.resnet(kind, x + s, C, groups=_joined_groups(kind, x, s)) for x, s in sizes
        )
        if self.attends:
            m = 1 if self.has_pyramid else n
            self.attentions = nn.ModuleList(b.attention(kind, C) for _ in range(m))
        self.last = last
        if last:
            return
        if self.has_pyramid:
            self.resnet_up = b.resnet(kind, C, C, resampling="fir_up")
            self.skip_conv = nn.Conv2d(C, image_channels, 3, padding=1)
            self.skip_norm = group_norm(min(C // 4, 32), C, c.eps)
        else:
            by_resnet = kind == "resnet" or (kind == "attention" and c.upsample == "resnet")
            upsampler = (
                b.resnet(kind, C, C, resampling="up") if by_resnet else _ResampleConv(C, up=True)
            )
            self.upsamplers = nn.ModuleList([upsampler])

    def forward(
        self, h: Tensor, skips: list[Tensor], e: Tensor, pyramid: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Features and, for NCSN++ blocks, the output image so far; pops from `skips`."""
        for i, resnet in enumerate(self.resnets):
            h = resnet(torch.cat((h, skips.pop()), 1), e)
            h = self.attentions[i](h) if self.attends and not self.has_pyramid else h
        if self.has_pyramid:
            h = self.attentions[0](h) if self.attends else h
            pyramid = None if pyramid is None else resample(pyramid, "fir_up")
        if self.last:
            return h, pyramid
        if self.has_pyramid:
            image = self.skip_conv(F.silu(self.skip_norm(h)))
            return self.resnet_up(h, e), image if pyramid is None else pyramid + image
        return self.upsamplers[0](h, e), pyramid


def _joined_groups(kind: BlockType, x: int, skip: int) -> int | None:
    """Groups of norm1 over x + skip channels, for each block type as checkpoints have them."""
    if kind == "attention_skip":
        return min(x + skip // 4, 32)
    return min((x + skip) // 4, 32) if kind == "skip" else None


class MidBlock(nn.Module):
    """Two ResNet blocks at the coarsest resolution, with attention between them."""

    def __init__(self, c: UNetConfig, E: int) -> None:
        super().__init__()
        C = c.channels[-1]
        groups = c.groups or min(C // 4, 32)
        attention_groups = c.middle_groups or (None if c.scale_shift else groups)
        self.resnets = nn.ModuleList(
            ResnetBlock(
                C,
                C,
                E,
                groups=groups,
                eps=c.eps,
                dropout=c.dropout,
                scale=c.middle_scale,
                scale_shift=c.scale_shift,
                act=c.activation,
            )
            for _ in range(2)
        )
        self.attentions = nn.ModuleList(
            Attention(
                C, head=c.head_of(C), groups=attention_groups, eps=c.eps, scale=c.middle_scale
            )
            for _ in range(c.middle_attention)
        )

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        h = self.resnets[0](h, e)
        for attention in self.attentions:
            h = attention(h)
        out: Tensor = self.resnets[1](h, e)
        return out
