"""The U-Nets DDPM++ and NCSN++ of Song et al., 2021, as EDM trains them.

    e = silu(W_1 silu(W_0 (features(time) + label + A a))),  a augmentation labels
    NCSN++: the encoder's features at each lower resolution are (h + conv(image)) / sqrt(2)

Every residual block and attention is divided by sqrt(2). The encoder attends after every block of
its resolution, the decoder after the last one alone. DDPM++ (positional embedding, box filter,
standard encoder) is the default; NCSN++ has `embedding="fourier"`, `encoder="residual"`,
`filter="fir"` and `noise_multiplier=2`.

Song et al., 2021, app. H, https://arxiv.org/abs/2011.13456; Karras et al., 2022, app. F,
https://arxiv.org/abs/2206.00364.

Shapes: B batch, C channels, H height, W width, E size of the embedding, A augmentation labels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.errors import ConfigError
from zoo_core.nn.embedding import (
    RandomFourierFeatures,
    SinusoidalEmbedding,
    TimestepEmbedding,
    embed_labels,
)
from zoo_core.nn.padding import on_padded
from zoo_core.nn.song_unet.blocks import EPS, Down, Middle, Up, groups_of
from zoo_core.nn.song_unet.config import SongUNetConfig
from zoo_core.nn.unet.blocks import group_norm, silu

__all__ = ["SongUNet"]


class SongUNet(nn.Module):
    """m(x, time, label) for images (C, H, W); `time` is embedded as it is.

    Sides that cannot be halved often enough are padded (`zoo_core.nn.padding`).
    """

    def __init__(
        self, config: SongUNetConfig, shape: tuple[int, ...], inputs: int, num_labels: int = 0
    ) -> None:
        super().__init__()
        c = config
        if len(shape) != 3:
            raise ConfigError(
                f"a U-Net is for images (C, H, W), and the shape is {shape}.",
                hint="set network.type = 'mlp'",
            )
        self.factor = 1 << (len(c.multipliers) - 1)
        noise, E = c.width * c.noise_multiplier, c.width * c.embedding_multiplier
        self.time_proj = _time_features(c, noise)
        self.class_embedding = nn.Embedding(num_labels, noise) if num_labels else None
        self.augment = nn.Linear(c.augment, noise, bias=False) if c.augment else None
        self.time_embedding = TimestepEmbedding(noise, E)
        self.conv_in = nn.Conv2d(inputs, c.width, 3, padding=1)
        widths = [c.width * m for m in c.multipliers]
        last = len(widths) - 1
        attends = [shape[1] >> i in c.attention for i in range(len(widths))]
        finer, coarser = [c.width, *widths], [*widths[1:], widths[-1]]
        images = [None, inputs, *widths]
        downs = [
            Down(c, E, finer[i], C, images[i], attends=attends[i]) for i, C in enumerate(widths)
        ]
        skips = [c.width, *(C for down in downs for C in down.skips)]
        self.down_blocks = nn.ModuleList(downs)
        self.mid_block = Middle(c, E, widths[-1])
        self.up_blocks = nn.ModuleList(
            Up(c, E, coarser[i], C, skips, first=i == last, attends=attends[i])
            for i, C in reversed(list(enumerate(widths)))
        )
        self.conv_norm_out = group_norm(groups_of(widths[0]), widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], shape[0], 3, padding=1)
        _initialize(self)

    def forward(
        self, x: Tensor, time: Tensor, label: Tensor | None = None, augment: Tensor | None = None
    ) -> Tensor:
        """x (B, inputs, H, W), time (B,), label (B,) or (B, N), augment (B, A) -> (B, C, H, W)."""
        e = self._embedded(time, label, augment, x.dtype)
        return on_padded(lambda image: self._out(image, e), x, self.factor)

    def _out(self, x: Tensor, e: Tensor) -> Tensor:
        """The output at images that can be halved, given the embedding (B, E)."""
        h, image = self.conv_in(x), x
        skips = [h]
        for down in self.down_blocks:
            h, image, more = down(h, e, image)
            skips += more
        h = self.mid_block(h, e)
        for up in self.up_blocks:
            h = up(h, skips, e)
        out: Tensor = self.conv_out(silu(self.conv_norm_out(h)))
        return out

    def _embedded(
        self, time: Tensor, label: Tensor | None, augment: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """silu(embedding of time, label and augmentation), (B, E)."""
        e = self.time_proj(time).to(dtype)
        if self.class_embedding is not None and label is not None:
            e = e + embed_labels(self.class_embedding, label)
        if self.augment is not None and augment is not None:
            e = e + self.augment(augment.to(dtype))
        return F.silu(self.time_embedding(e))


def _time_features(c: SongUNetConfig, size: int) -> nn.Module:
    if c.embedding == "positional":
        return SinusoidalEmbedding(size)
    return RandomFourierFeatures(size // 2, log=False)


def _initialize(net: SongUNet) -> None:
    """Xavier's uniform weights and zero biases; last layers of residuals start near zero."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            last = name.endswith(("conv2", "to_out.0", "conv_out"))
            qkv = name.endswith(("to_q", "to_k", "to_v"))
            nn.init.xavier_uniform_(module.weight, 1e-5 if last else 0.2**0.5 if qkv else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
