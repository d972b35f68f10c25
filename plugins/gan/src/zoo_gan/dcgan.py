"""DCGAN: Unsupervised Representation Learning with Deep Convolutional GANs (Radford et al., 2016).

https://arxiv.org/abs/1511.06434. G is a stack of transposed convolutions with batch normalization
and ReLUs, D its mirror image with leaky ReLUs (section 3). Sampling uses the running statistics,
so that a sample does not depend on the rest of its batch.

Layers are named as in the PyTorch tutorial, whose state dicts convert. The kernel sizes of G
determine the resolution, starting from 1 x 1:

| kernel | stride, padding | n becomes |
|---|---|---|
| the first, k | 1, 0 | k |
| 4 | 2, 1 | 2 n |
| 3 | 2, 1 | 2 n - 1 |
| 1, at the end | 1, 2 | n - 4 |

The tutorial's (4, 4, 4, 4, 4) gives 64 pixels; (4, 4, 4, 4), (7, 4, 4) and (4, 3, 4, 4) give 32,
28 and 28.

Shapes: B batch, C channels, L latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from zoo_core.plugin import ConfigError, Event, Range
from zoo_gan.layers import LEAKY_SLOPE
from zoo_gan.model import AdversarialModel, channels_last

__all__ = ["DCGAN", "DCGANConfig", "resolution"]

_STD = 0.02
"""Standard deviation of initial weights (section 3 and the tutorial)."""


@dataclass(frozen=True)
class DCGANConfig:
    """Event, latents and networks' sizes.

    `width` is the number of channels next to the image, doubled at each lower resolution. Without
    `levels` images are continuous in [-1, 1]. `discriminator = False` leaves D out, as for a
    converted generator.
    """

    channels: Annotated[int, Range(1, 64)] = 3
    levels: Annotated[int, Range(2, 65536)] | None = None
    kernels: Annotated[tuple[int, ...], Range(1, 16)] = (4, 4, 4, 4, 4)
    latent: Annotated[int, Range(1, 4096)] = 100
    width: Annotated[int, Range(1, 4096)] = 64
    discriminator: bool = True


class DCGAN(AdversarialModel):
    """Convolutional networks with batch normalization."""

    def __init__(self, config: DCGANConfig | None = None) -> None:
        c = config or DCGANConfig()
        n = resolution(c.kernels)
        bounds = {} if c.levels else {"low": -1.0, "high": 1.0}
        super().__init__(c, Event((c.channels, n, n), levels=c.levels, **bounds), latent=c.latent)
        self.generator = Generator(c)
        self.discriminator = Discriminator(c) if c.discriminator else None
        self.apply(_initialize)
        channels_last(self)


class Generator(nn.Module):
    """(B, L) -> (B, C, H, W) in [-1, 1]."""

    def __init__(self, c: DCGANConfig) -> None:
        super().__init__()
        widths = (c.latent, *_widths(c), c.channels)
        layers: list[nn.Module] = []
        for i, k in enumerate(c.kernels):
            layers.append(
                nn.ConvTranspose2d(
                    widths[i], widths[i + 1], k, *_stride_and_padding(i, k), bias=False
                )
            )
            if i + 1 < len(c.kernels):
                layers += [nn.BatchNorm2d(widths[i + 1]), nn.ReLU(inplace=True)]
        self.main = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        x: Tensor = self.main(z[:, :, None, None])
        return x


class Discriminator(nn.Module):
    """(B, C, H, W) -> scores (B,), the logits of the tutorial's sigmoid."""

    def __init__(self, c: DCGANConfig) -> None:
        super().__init__()
        widths = (c.latent, *_widths(c), c.channels)
        layers: list[nn.Module] = []
        for i, k in reversed(list(enumerate(c.kernels))):
            outputs = widths[i] if i else 1
            layers.append(
                nn.Conv2d(widths[i + 1], outputs, k, *_stride_and_padding(i, k), bias=False)
            )
            if 0 < i < len(c.kernels) - 1:
                layers.append(nn.BatchNorm2d(outputs))
            if i:
                layers.append(nn.LeakyReLU(LEAKY_SLOPE, inplace=True))
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        score: Tensor = self.main(x)
        return score.flatten()


def resolution(kernels: Sequence[int]) -> int:
    """Height and width of the images.

    Raises `ConfigError` for kernels that give no image.

        >>> resolution((4, 4, 4, 4, 4))
        64
    """
    n = 1
    for i, k in enumerate(kernels):
        stride, padding = _stride_and_padding(i, k)
        n = (n - 1) * stride - 2 * padding + k
    if len(kernels) < 2 or n < 1:
        raise ConfigError(f"kernels = {tuple(kernels)}; give at least two that make an image.")
    return n


def _stride_and_padding(i: int, kernel: int) -> tuple[int, int]:
    """Stride and padding of convolution i of the generator."""
    if i == 0:
        return 1, 0
    strides = {4: (2, 1), 3: (2, 1), 1: (1, 2)}
    if kernel not in strides:
        raise ConfigError(
            f"kernels[{i}] = {kernel}; after the first one, kernels are 4, 3 or 1.",
            hint="4 doubles the resolution, 3 makes it 2 n - 1, 1 cuts two pixels off each side",
        )
    return strides[kernel]


def _widths(c: DCGANConfig) -> tuple[int, ...]:
    """Channels between the convolutions of the generator."""
    return tuple(c.width << i for i in reversed(range(len(c.kernels) - 1)))


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=_STD)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, _STD)
