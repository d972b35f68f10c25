"""The U-Net of diffusion models, from 8x8 on; its tensors are those of diffusers' UNet2DModel.

Levels go down and up again; features of the way down join those of the same size on the way up.
Kinds of levels: `plain` and `attention` (DDPM, Ho et al., 2020, https://arxiv.org/abs/2006.11239),
`resnet` (resampling inside ResNet blocks; Dhariwal and Nichol, 2021), `skip` and `attention_skip`
(NCSN++, Song et al., 2021, https://arxiv.org/abs/2011.13456: FIR filters and an image pyramid that
enters and leaves at every level).

Features lie in memory with their channels last: convolutions need no copies in another order, and
attention's tokens are a view.

Shapes: B batch, C channels, H rows, W columns, E = 4 channels[0].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import ConfigError, Range
from zoo_diffusion.networks.blocks import (
    Attention,
    Resample,
    ResnetBlock,
    group_norm,
    resample,
    silu,
)
from zoo_diffusion.networks.embedding import Fourier, Positional, TimeMLP

__all__ = ["Level", "UNet", "UNetConfig"]

Level = Literal["plain", "attention", "resnet", "skip", "attention_skip"]
_Channels = Annotated[int, Range(1, 65536)]
_SQRT2 = 2.0**0.5


@dataclass(frozen=True)
class UNetConfig:
    """Channels and kind of each level, from the finest; `up` is by default `down` mirrored.

    `head` is the channels of an attention head (None: one head). `downsample_padding` 0 pads at
    the right and below alone. `steps` is the number of times of a learned embedding.
    """

    type: ClassVar[str] = "unet"
    channels: tuple[_Channels, ...] = (128, 256, 256, 256)
    down: tuple[Level, ...] = ("plain", "attention", "plain", "plain")
    up: tuple[Level, ...] | None = None
    layers: Annotated[int, Range(1, 64)] = 2
    groups: Annotated[int, Range(1, 65536)] | None = 32
    eps: Annotated[float, Range(0.0, 1.0)] = 1e-6
    head: _Channels | None = None
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    scale_shift: bool = False
    middle: bool = True
    middle_attention: bool = True
    middle_groups: _Channels | None = None
    middle_scale: Annotated[float, Range(0.0, 1e6, open=True)] = 1.0
    downsample: Literal["conv", "resnet"] = "conv"
    upsample: Literal["conv", "resnet"] = "conv"
    downsample_padding: Literal[0, 1] = 1
    time: Literal["positional", "fourier", "learned"] = "positional"
    time_size: _Channels | None = None
    time_flip: bool = False
    time_shift: Annotated[float, Range(0.0, 1.0)] = 1.0
    steps: Annotated[int, Range(1, 1 << 20)] = 1000
    center: bool = False

    def __post_init__(self) -> None:
        if not (self.channels and len(self.channels) == len(self.down) == len(self.upward)):
            raise ConfigError(
                f"network: {len(self.channels)} channels, {len(self.down)} levels down and "
                f"{len(self.upward)} up; give one of each a level."
            )

    @property
    def upward(self) -> tuple[Level, ...]:
        """Kinds of levels on the way up, from the coarsest."""
        return self.down[::-1] if self.up is None else self.up


class _Conv(nn.Module):
    """A convolution around resampling: strided on the way down, after doubling on the way up."""

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


class _Blocks:
    """Makes the blocks of one network; NCSN++'s levels have their own groups and scale."""

    def __init__(self, c: UNetConfig, E: int) -> None:
        self.c, self.E = c, E

    def resnet(
        self, kind: Level, inputs: int, outputs: int, *, how: Resample | None = None,
        groups: int | None = None,
    ) -> ResnetBlock:  # fmt: skip
        c, skips = self.c, kind in ("skip", "attention_skip")
        own = min(inputs // 4, 32) if skips else c.groups or 32
        return ResnetBlock(
            inputs, outputs, self.E, groups=groups or own, eps=c.eps, dropout=c.dropout,
            groups_out=min(outputs // 4, 32) if skips else None, scale=_SQRT2 if skips else 1.0,
            scale_shift=c.scale_shift, how=how, shortcut=True if skips and how else None,
        )  # fmt: skip

    def attention(self, kind: Level, C: int) -> Attention:
        skips = kind == "attention_skip"
        groups, scale = (32, _SQRT2) if skips else (self.c.groups or 32, 1.0)
        return Attention(C, head=self.c.head or C, groups=groups, eps=self.c.eps, scale=scale)


class _Down(nn.Module):
    """One level on the way down: `layers` blocks, then half the size unless it is the last."""

    def __init__(
        self, b: _Blocks, kind: Level, inputs: int, C: int, image: int, *, last: bool
    ) -> None:
        super().__init__()
        c, n = b.c, b.c.layers
        self.resnets = nn.ModuleList(b.resnet(kind, C if i else inputs, C) for i in range(n))
        if kind in ("attention", "attention_skip"):
            self.attentions = nn.ModuleList(b.attention(kind, C) for _ in range(n))
        self.attends, self.skips = kind.startswith("attention"), kind.endswith("skip")
        self.last = last
        if last:
            return
        if self.skips:
            self.resnet_down = b.resnet(kind, C, C, how="fir_down")
            self.skip_conv = nn.Conv2d(image, C, 1)
        else:
            inside = kind == "resnet" or (kind == "attention" and c.downsample == "resnet")
            by = (
                b.resnet(kind, C, C, how="down")
                if inside
                else _Conv(C, padding=c.downsample_padding)
            )
            self.downsamplers = nn.ModuleList([by])

    def forward(
        self, h: Tensor, e: Tensor, pyramid: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features, the image at the new size, and what the way up will want."""
        kept = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, e)
            h = self.attentions[i](h) if self.attends else h
            kept.append(h)
        if self.last:
            return h, pyramid, kept
        if self.skips:
            pyramid = resample(pyramid, "fir_down")
            h = self.resnet_down(h, e) + self.skip_conv(pyramid)
        else:
            h = self.downsamplers[0](h, e)
        return h, pyramid, [*kept, h]


class _Up(nn.Module):
    """One level on the way up: `layers` + 1 blocks, then twice the size unless it is the last."""

    def __init__(
        self, b: _Blocks, kind: Level, before: int, C: int, below: int, image: int, *, last: bool
    ) -> None:
        super().__init__()
        c, n = b.c, b.c.layers + 1
        sizes = [(C if i else before, below if i == n - 1 else C) for i in range(n)]
        self.skips, self.attends = kind.endswith("skip"), kind.startswith("attention")
        self.resnets = nn.ModuleList(
            b.resnet(kind, x + s, C, groups=_joined_groups(kind, x, s)) for x, s in sizes
        )
        if self.attends:
            m = 1 if self.skips else n
            self.attentions = nn.ModuleList(b.attention(kind, C) for _ in range(m))
        self.last = last
        if last:
            return
        if self.skips:
            self.resnet_up = b.resnet(kind, C, C, how="fir_up")
            self.skip_conv = nn.Conv2d(C, image, 3, padding=1)
            self.skip_norm = group_norm(min(C // 4, 32), C, c.eps)
        else:
            inside = kind == "resnet" or (kind == "attention" and c.upsample == "resnet")
            by = b.resnet(kind, C, C, how="up") if inside else _Conv(C, up=True)
            self.upsamplers = nn.ModuleList([by])

    def forward(
        self, h: Tensor, kept: list[Tensor], e: Tensor, pyramid: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Features and, where the level has one, the image that has grown so far."""
        for i, resnet in enumerate(self.resnets):
            h = resnet(torch.cat((h, kept.pop()), 1), e)
            h = self.attentions[i](h) if self.attends and not self.skips else h
        if self.skips:
            h = self.attentions[0](h) if self.attends else h
            pyramid = None if pyramid is None else resample(pyramid, "fir_up")
        if self.last:
            return h, pyramid
        if self.skips:
            grown = self.skip_conv(F.silu(self.skip_norm(h)))
            return self.resnet_up(h, e), grown if pyramid is None else pyramid + grown
        return self.upsamplers[0](h, e), pyramid


def _joined_groups(kind: Level, x: int, skip: int) -> int | None:
    """Groups of norm1 over x + skip channels; the first form is what checkpoints were made by."""
    if kind == "attention_skip":
        return min(x + skip // 4, 32)
    return min((x + skip) // 4, 32) if kind == "skip" else None


class _Middle(nn.Module):
    def __init__(self, c: UNetConfig, E: int) -> None:
        super().__init__()
        C = c.channels[-1]
        groups = c.groups or min(C // 4, 32)
        attention_groups = c.middle_groups or (None if c.scale_shift else groups)
        self.resnets = nn.ModuleList(
            ResnetBlock(C, C, E, groups=groups, eps=c.eps, dropout=c.dropout,
                        scale=c.middle_scale, scale_shift=c.scale_shift) for _ in range(2)
        )  # fmt: skip
        self.attentions = nn.ModuleList(
            Attention(
                C, head=c.head or C, groups=attention_groups, eps=c.eps, scale=c.middle_scale
            )
            for _ in range(c.middle_attention)
        )

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        h = self.resnets[0](h, e)
        for attention in self.attentions:
            h = attention(h)
        out: Tensor = self.resnets[1](h, e)
        return out


class UNet(nn.Module):
    """m(x_t, time, label) for images (C, H, W) whose sides halve at each level."""

    def __init__(
        self, config: UNetConfig, shape: tuple[int, ...], inputs: int, labels: int = 0
    ) -> None:
        super().__init__()
        c, (image, H, W) = config, shape
        if H % (f := 1 << (len(c.channels) - 1)) or W % f:
            raise ConfigError(
                f"images of {H}x{W} cannot be halved {len(c.channels) - 1} times.",
                hint="use fewer levels (network.channels, network.down)",
            )
        self.config, first = c, c.channels[0]
        E = c.time_size or 4 * first
        b = _Blocks(c, E)
        self.conv_in = nn.Conv2d(inputs, first, 3, padding=1)
        self.time_proj = _time(c)
        self.time_embedding = TimeMLP(2 * first if c.time == "fourier" else first, E)
        self.class_embedding = nn.Embedding(labels, E) if labels else None
        self.down_blocks = nn.ModuleList(_downs(b, inputs))
        self.mid_block = _Middle(c, E) if c.middle else None
        self.up_blocks = nn.ModuleList(_ups(b, image))
        groups = c.groups or min(first // 4, 32)
        self.conv_norm_out = group_norm(groups, first, c.eps)
        self.conv_out = nn.Conv2d(first, image, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        for p in self.parameters():
            if p.ndim == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, inputs, H, W), time (B,), label (B,) int64 -> (B, C, H, W)."""
        e = self._embedded(time, label, x.dtype)
        image = (2 * x - 1 if self.config.center else x).contiguous(
            memory_format=torch.channels_last
        )
        h = self.conv_in(image)
        kept = [h]
        for down in self.down_blocks:
            h, image, more = down(h, e, image)
            kept += more
        h = h if self.mid_block is None else self.mid_block(h, e)
        pyramid: Tensor | None = None
        for up in self.up_blocks:
            h, pyramid = up(h, kept, e, pyramid)
        out: Tensor = self.conv_out(silu(self.conv_norm_out(h)))
        out = out if pyramid is None else out + pyramid
        return out / time[:, None, None, None].to(out) if self.config.time == "fourier" else out

    def _embedded(self, time: Tensor, label: Tensor | None, dtype: torch.dtype) -> Tensor:
        """silu of the embedded time and label: every block takes it so."""
        e = self.time_proj(time.long() if self.config.time == "learned" else time)
        e = self.time_embedding(e.to(dtype))
        if self.class_embedding is not None and label is not None:
            e = e + self.class_embedding(label)
        return F.silu(e)


def _time(c: UNetConfig) -> nn.Module:
    first = c.channels[0]
    kinds: dict[str, Callable[[], nn.Module]] = {
        "positional": lambda: Positional(first, flip=c.time_flip, shift=c.time_shift),
        "fourier": lambda: Fourier(first),
        "learned": lambda: nn.Embedding(c.steps, first),
    }
    return kinds[c.time]()


def _downs(b: _Blocks, image: int) -> list[nn.Module]:
    channels = b.c.channels
    before = (channels[0], *channels)
    last = len(channels) - 1
    return [
        _Down(b, kind, before[i], channels[i], image, last=i == last)
        for i, kind in enumerate(b.c.down)
    ]


def _ups(b: _Blocks, image: int) -> list[nn.Module]:
    channels = b.c.channels[::-1]
    before, below = (channels[0], *channels), (*channels[1:], channels[-1])
    last = len(channels) - 1
    return [
        _Up(b, kind, before[i], channels[i], below[i], image, last=i == last)
        for i, kind in enumerate(b.c.upward)
    ]
