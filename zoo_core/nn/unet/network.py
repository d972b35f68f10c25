"""The U-Net of diffusion models, with the tensor names of diffusers' UNet2DModel.

Down blocks halve the resolution and up blocks double it; an up block concatenates the features of
the down block with the same resolution. Features are stored with channels last: convolutions need
no transposed copies, and attention's tokens are a view.

Shapes: B batch, C channels, H height, W width, E = 4 channels[0].
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo_core.errors import ConfigError
from zoo_core.nn.embedding import (
    RandomFourierFeatures,
    SinusoidalEmbedding,
    TimestepEmbedding,
    embed_labels,
)
from zoo_core.nn.padding import on_padded
from zoo_core.nn.unet.blocks import activation, group_norm, silu
from zoo_core.nn.unet.config import UNetConfig
from zoo_core.nn.unet.k_blocks import KDownBlock, KUpBlock
from zoo_core.nn.unet.stages import BlockFactory, DownBlock, MidBlock, UpBlock

__all__ = ["UNet"]


class UNet(nn.Module):
    """m(x_t, time, label) for images (C, H, W) whose sides are halved by each down block.

    Sides that cannot be halved so often are padded (`zoo_core.nn.padding`).
    """

    def __init__(
        self, config: UNetConfig, shape: tuple[int, ...], inputs: int, num_labels: int = 0
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ConfigError(
                f"a U-Net is for images (C, H, W), and the shape is {shape}.",
                hint="set network.type = 'mlp'",
            )
        c, image = config, shape[0]
        self.config, first = c, c.channels[0]
        self.factor = 1 << (len(c.channels) - 1)
        E, features = c.time_size or 4 * first, c.time_features or first
        b = BlockFactory(c, E)
        self.conv_in = nn.Conv2d(inputs, first, 3, padding=1)
        self.time_proj = _time_projection(c, features)
        features *= 2 if c.time == "fourier" else 1
        self.time_embedding = TimestepEmbedding(features, E)
        self.class_embedding = _label_embedding(c, num_labels, features, E)
        self.down_blocks = nn.ModuleList(_downs(b, inputs))
        self.mid_block = MidBlock(c, E) if c.middle else None
        self.up_blocks = nn.ModuleList(_ups(b, image))
        groups = c.groups or min(first // 4, 32)
        self.conv_norm_out = group_norm(groups, first, c.eps)
        self.conv_out = nn.Conv2d(first, image, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        for p in self.parameters():
            if p.ndim == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, inputs, H, W), time (B,), label (B,) or (B, N) int64 -> (B, C, H, W)."""
        embedding = self._embedded(time, label, x.dtype)
        return on_padded(lambda image: self._out(image, embedding, time), x, self.factor)

    def _out(self, x: Tensor, embedding: Tensor, time: Tensor) -> Tensor:
        """The output at images that can be halved, given the embedding (B, E)."""
        e = activation(self.config.activation)(embedding.clone())
        image = (2 * x - 1 if self.config.center else x).contiguous(
            memory_format=torch.channels_last
        )
        h = self.conv_in(image)
        skips = [h]
        for down in self.down_blocks:
            h, image, more = down(h, embedding if down.takes_embedding else e, image)
            skips += more
        h = h if self.mid_block is None else self.mid_block(h, e)
        pyramid: Tensor | None = None
        for up in self.up_blocks:
            h, pyramid = up(h, skips, embedding if up.takes_embedding else e, pyramid)
        out: Tensor = self.conv_out(silu(self.conv_norm_out(h)))
        out = out if pyramid is None else out + pyramid
        return out / time[:, None, None, None].to(out) if self.config.time == "fourier" else out

    def _embedded(self, time: Tensor, label: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The embedding of time and label, (B, E)."""
        e: Tensor = self.time_embedding(self._features(time).to(dtype))
        if self.class_embedding is None or label is None:
            return e
        if isinstance(self.class_embedding, nn.Embedding):
            return e + embed_labels(self.class_embedding, label)
        features = self._features(label.to(time.dtype).flatten()).to(dtype)
        labels: Tensor = self.class_embedding(features)
        return e + labels.view(len(label), -1, labels.shape[-1]).sum(1)

    def _features(self, time: Tensor) -> Tensor:
        out: Tensor = self.time_proj(time.long() if self.config.time == "learned" else time)
        return out


def _time_projection(c: UNetConfig, size: int) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "positional": lambda: SinusoidalEmbedding(size, flip=c.time_flip, shift=c.time_shift),
        "fourier": lambda: RandomFourierFeatures(size),
        "learned": lambda: nn.Embedding(c.steps, size),
    }
    return kinds[c.time]()


def _label_embedding(c: UNetConfig, num_labels: int, features: int, E: int) -> nn.Module | None:
    if not num_labels:
        return None
    return nn.Embedding(num_labels, E) if c.labels == "table" else TimestepEmbedding(features, E)


def _downs(b: BlockFactory, image: int) -> list[nn.Module]:
    channels = b.c.channels
    before = (channels[0], *channels)
    last = len(channels) - 1
    return [
        KDownBlock(b.c, before[i], channels[i], b.E, last=i == last)
        if kind == "k"
        else DownBlock(b, kind, before[i], channels[i], image, last=i == last)
        for i, kind in enumerate(b.c.down)
    ]


def _ups(b: BlockFactory, image: int) -> list[nn.Module]:
    channels = b.c.channels[::-1]
    before, below = (channels[0], *channels), (*channels[1:], channels[-1])
    last = len(channels) - 1
    return [
        KUpBlock(b.c, channels[i], below[i], b.E, last=i == last)
        if kind == "k"
        else UpBlock(b, kind, before[i], channels[i], below[i], image, last=i == last)
        for i, kind in enumerate(b.c.up_types)
    ]
