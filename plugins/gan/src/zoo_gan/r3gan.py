"""R3GAN: The GAN is dead; long live the GAN! A Modern Baseline GAN (Huang et al., 2024).

https://arxiv.org/abs/2501.05441. The relativistic game, regularized by R1 and R2 together, locally
converges without tricks (section 2), and lets both networks be plain modern residual ones:

    block(h) = h + A_3 s(A_2 s(A_1 h)),  A_1, A_3 1 x 1, A_2 3 x 3 in groups    (section 3)

with s a leaky rectifier, an inverted bottleneck, no normalization, and A_3 zero at first (fix-up).
Networks change the resolution by interpolation. G starts from a learned basis of the coarsest
grid, scaled channel by channel by a linear map of z; D ends with a depthwise map of that grid to
features. G has no tanh, unless the config asks: events of two levels lie on the bounds of [-1, 1],
which a linear last layer cannot hold, and D would tell samples by that alone.

Images are folded: `patch` rows and columns of a square become channels first, which keeps small
networks fast. Events (D,), and images if the network is `dense`, are of residual MLPs of the same
form.

Shapes: B batch, C channels, H rows, W columns, L latents, F features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import ConfigError, Range
from zoo_gan.layers import SLOPE, Critic, Generator, Waves, width_of
from zoo_gan.model import AdversarialModel, channels_last, event_of

__all__ = ["R3GAN", "Config"]

_GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance through a leaky rectifier


@dataclass(frozen=True)
class Config:
    """Event, latents and size; `classes` makes the model class-conditional.

    `widths` are the channels of each resolution, the coarsest first, with `blocks` residual blocks
    each; `group` channels are convolved together. For MLPs they are the widths of stages.
    `squash` ends G with a tanh. The D of an MLP may see `waves` beside its events (`parts.Waves`).
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: Annotated[int, Range(1, 65536)] | None = None
    latent: Annotated[int, Range(1, 4096)] = 64
    widths: Annotated[tuple[int, ...], Range(1, 4096)] = (64, 32)
    blocks: Annotated[int, Range(1, 16)] = 1
    expansion: Annotated[int, Range(1, 8)] = 2
    group: Annotated[int, Range(1, 4096)] = 16
    patch: Annotated[int, Range(1, 16)] = 2
    dense: bool = False
    squash: bool = False
    waves: Annotated[int, Range(0, 4096)] = 0
    frequency: Annotated[float, Range(0.0, 1e6)] = 1.0

    def __post_init__(self) -> None:
        if not self.widths:
            raise ConfigError("widths = (); give one for each resolution or stage.")


class R3GAN(AdversarialModel):
    """Two residual networks that mirror each other."""

    def __init__(self, config: Config | None = None) -> None:
        c = config or Config()
        super().__init__(c, event_of(c.shape, c.levels), latent=c.latent, classes=c.classes)
        inputs = width_of(c.latent, c.classes)
        dense = c.dense or len(c.shape) == 1
        body = _dense_body(c, inputs) if dense else _image_body(c, inputs)
        critic = _dense_critic(c) if dense else _image_critic(c)
        if c.squash:
            body.append(nn.Tanh())
        self.generator = Generator(body, c.classes)
        self.discriminator = Critic(critic, c.widths[0], c.classes)
        channels_last(self)


class Block(nn.Module):
    """h + A_3 s(A_2 s(A_1 h)); `depth` blocks share the variance that a network may gain."""

    def __init__(self, first: nn.Module, middle: nn.Module, last: nn.Module, depth: int) -> None:
        super().__init__()
        self.first, self.middle, self.last = first, middle, last
        for layer in (first, middle):
            _scale(layer, _GAIN * depth**-0.25)  # two scaled layers a block (Zhang et al., 2019)
        _scale(last, 0.0)

    def forward(self, h: Tensor) -> Tensor:
        y = F.leaky_relu(self.first(h), SLOPE)
        y = F.leaky_relu(self.middle(y), SLOPE)
        out: Tensor = h + self.last(y)
        return out


class Resample(nn.Module):
    """A 1 x 1 map of the channels, and half or twice the resolution by interpolation."""

    def __init__(self, inputs: int, outputs: int, *, up: bool) -> None:
        super().__init__()
        self.map, self.up = _scale(nn.Conv2d(inputs, outputs, 1, bias=False), 1.0), up

    def forward(self, h: Tensor) -> Tensor:
        if self.up:
            return F.interpolate(self.map(h), scale_factor=2, mode="bilinear")
        out: Tensor = self.map(F.avg_pool2d(h, 2))
        return out


class Basis(nn.Module):
    """A learned grid (F, h, w) whose channels are scaled by a linear map of z."""

    def __init__(self, inputs: int, features: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(features, *grid))
        self.scales = _scale(nn.Linear(inputs, features), 1.0)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.basis * self.scales(z)[:, :, None, None]
        return out


def _image_body(c: Config, inputs: int) -> nn.Sequential:
    """(B, L) -> (B, C, H, W)."""
    layers: list[nn.Module] = [Basis(inputs, c.widths[0], _grid(c))]
    for i, width in enumerate(c.widths):
        if i:
            layers.append(Resample(c.widths[i - 1], width, up=True))
        layers += _blocks(c, width)
    last = nn.Conv2d(c.widths[-1], c.shape[0] * c.patch**2, 1)
    return nn.Sequential(*layers, _scale(last, 1.0), nn.PixelShuffle(c.patch))


def _image_critic(c: Config) -> nn.Sequential:
    """(B, C, H, W) -> features (B, F)."""
    widths = c.widths[::-1]
    first = nn.Conv2d(c.shape[0] * c.patch**2, widths[0], 1)
    layers: list[nn.Module] = [nn.PixelUnshuffle(c.patch), _scale(first, 1.0)]
    for i, width in enumerate(widths):
        if i:
            layers.append(Resample(widths[i - 1], width, up=False))
        layers += _blocks(c, width)
    last = nn.Conv2d(widths[-1], widths[-1], _grid(c), groups=widths[-1], bias=False)
    return nn.Sequential(*layers, _scale(last, 1.0), nn.Flatten())


def _blocks(c: Config, width: int) -> list[nn.Module]:
    inner = width * c.expansion
    if inner % c.group:
        raise ConfigError(
            f"width {width} x expansion {c.expansion} does not divide into groups of {c.group}.",
            hint="choose group so that it divides every width x expansion",
        )
    depth = c.blocks * len(c.widths)
    return [
        Block(
            nn.Conv2d(width, inner, 1),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner // c.group),
            nn.Conv2d(inner, width, 1, bias=False),
            depth,
        )
        for _ in range(c.blocks)
    ]


def _dense_body(c: Config, inputs: int) -> nn.Sequential:
    """(B, L) -> (B, *S)."""
    last = _scale(nn.Linear(c.widths[-1], math.prod(c.shape)), 1.0)
    return nn.Sequential(*_stages(c, (inputs, *c.widths)), last, nn.Unflatten(1, c.shape))


def _dense_critic(c: Config) -> nn.Sequential:
    """(B, *S) -> features (B, F)."""
    features = math.prod(c.shape)
    seen: list[nn.Module] = [Waves(features, c.waves, c.frequency)] if c.waves else []
    return nn.Sequential(
        nn.Flatten(), *seen, *_stages(c, (features + 2 * c.waves, *c.widths[::-1]))
    )


def _stages(c: Config, widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    depth = c.blocks * len(c.widths)
    for a, b in zip(widths, widths[1:], strict=False):
        layers.append(_scale(nn.Linear(a, b), 1.0, spread=0.0 if layers else 1.0))
        layers += [
            Block(
                nn.Linear(b, b * c.expansion),
                nn.Linear(b * c.expansion, b * c.expansion),
                nn.Linear(b * c.expansion, b, bias=False),
                depth,
            )
            for _ in range(c.blocks)
        ]
    return layers


def _grid(c: Config) -> tuple[int, int]:
    """Rows and columns of the coarsest resolution."""
    _, height, width = c.shape
    factor = c.patch << (len(c.widths) - 1)
    if height % factor or width % factor:
        raise ConfigError(
            f"shape = {c.shape} cannot be divided by {factor}: patches of {c.patch} and "
            f"{len(c.widths)} resolutions.",
            hint="choose fewer widths or another patch",
        )
    return height // factor, width // factor


def _scale(layer: nn.Module, gain: float, *, spread: float = 0.0) -> nn.Module:
    """Weights N(0, gain^2 / fan in), biases N(0, spread^2).

    The first layer of an MLP spreads its kinks over the space: without, all pass through 0.
    """
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    fan_in = weight[0].numel()
    nn.init.normal_(weight, std=gain / math.sqrt(fan_in))
    if isinstance(bias, Tensor):
        nn.init.normal_(bias, std=spread)
    return layer
