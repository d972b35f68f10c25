"""WGAN-GP: Improved Training of Wasserstein GANs (Gulrajani et al., 2017).

https://arxiv.org/abs/1704.00028. D has no boundary to draw: its mean score is higher on data than
on G's samples by the Wasserstein-1 distance, once its slope is 1 (eq. 3, `losses.Wasserstein`).
A row's slope is to be its own, so D has no batch normalization (section 4); G has none either,
as in the authors' network for MNIST.

An event (C, H, W) is generated from a coarse grid by transposed convolutions that double it, and
scored by convolutions that halve it. Events (D,), and images if the network is `dense`, are of
MLPs. The paper conditions on a class by an auxiliary classifier; here it is projected
(`parts.Critic`).

Shapes: B batch, C channels, H rows, W columns, L latents.
"""

from dataclasses import dataclass
from math import prod
from typing import Annotated

from torch import nn

from zoo_core.plugin import ConfigError, Range
from zoo_gan.layers import SLOPE, Critic, Generator, Waves, mlp, width_of
from zoo_gan.model import AdversarialModel, channels_last, event_of

__all__ = ["WGANGP", "Config"]


@dataclass(frozen=True)
class Config:
    """Event, latents and size; `classes` makes the model class-conditional.

    `shape` is (C, H, W), halved `halvings` times, or (D,). `width` is that of an MLP's `layers`,
    or the number of channels at the highest resolution but the image's, doubled at each halving.
    `dense` makes both networks of images MLPs, too. The D of an MLP may see `waves` beside its
    events (`parts.Waves`).
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: Annotated[int, Range(1, 65536)] | None = None
    latent: Annotated[int, Range(1, 4096)] = 128
    width: Annotated[int, Range(1, 4096)] = 64
    layers: Annotated[int, Range(1, 16)] = 3
    halvings: Annotated[int, Range(1, 10)] = 2
    dense: bool = False
    waves: Annotated[int, Range(0, 4096)] = 0
    frequency: Annotated[float, Range(0.0, 1e6)] = 1.0


class WGANGP(AdversarialModel):
    """Two networks without batch normalization."""

    def __init__(self, config: Config | None = None) -> None:
        c = config or Config()
        super().__init__(c, event_of(c.shape, c.levels), latent=c.latent, classes=c.classes)
        inputs = width_of(c.latent, c.classes)
        if c.dense or len(c.shape) == 1:
            body, critic, features = _dense_body(c, inputs), _dense_critic(c), c.width
        else:
            body, critic, features = _Up(c, inputs), _down(c), prod(_coarse(c))
        self.generator = Generator(body, c.classes)
        self.discriminator = Critic(critic, features, c.classes)
        channels_last(self)


def _dense_body(c: Config, inputs: int) -> nn.Sequential:
    """(B, L) -> (B, *S), images in [-1, 1]."""
    body = mlp((inputs, *[c.width] * c.layers, prod(c.shape)), last=False)
    if len(c.shape) > 1:
        body.extend((nn.Unflatten(1, c.shape), nn.Tanh()))
    return body


def _dense_critic(c: Config) -> nn.Sequential:
    """(B, *S) -> features (B, F)."""
    features = prod(c.shape)
    flat: list[nn.Module] = [nn.Flatten()] if len(c.shape) > 1 else []
    waves: list[nn.Module] = [Waves(features, c.waves, c.frequency)] if c.waves else []
    body = mlp((features + 2 * c.waves, *[c.width] * c.layers), last=True)
    return nn.Sequential(*flat, *waves, *body)


class _Up(nn.Sequential):
    """(B, L) -> (B, C, H, W) in [-1, 1]."""

    def __init__(self, c: Config, inputs: int) -> None:
        coarse = _coarse(c)
        layers: list[nn.Module] = [nn.Linear(inputs, prod(coarse)), nn.Unflatten(1, coarse)]
        widths = _widths(c)[::-1]
        for a, b in zip(widths, (*widths[1:], c.shape[0]), strict=True):
            layers += [nn.LeakyReLU(SLOPE), nn.ConvTranspose2d(a, b, 4, 2, 1)]
        super().__init__(*layers, nn.Tanh())


def _down(c: Config) -> nn.Sequential:
    """(B, C, H, W) -> features (B, F)."""
    layers: list[nn.Module] = []
    widths = (c.shape[0], *_widths(c))
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Flatten())


def _widths(c: Config) -> tuple[int, ...]:
    """Channels after each halving."""
    return tuple(c.width << i for i in range(c.halvings))


def _coarse(c: Config) -> tuple[int, int, int]:
    """Channels, rows and columns after the last halving."""
    _, height, width = c.shape
    if (height | width) % (1 << c.halvings):
        raise ConfigError(f"shape = {c.shape} cannot be halved {c.halvings} times.")
    return _widths(c)[-1], height >> c.halvings, width >> c.halvings
