"""R3GAN: The GAN is dead; long live the GAN! A Modern Baseline GAN (Huang et al., 2024).

https://arxiv.org/abs/2501.05441. The relativistic loss with both R1 and R2 penalties converges
locally without tricks (section 2), which allows plain modern residual networks:

    block(h) = h + A_3 s(A_2 s(A_1 h)),  A_1, A_3 1 x 1, A_2 3 x 3 grouped convolutions (section 3)

with s a leaky ReLU, an inverted bottleneck, no normalization, and A_3 initialized to zero (Fixup).
The resolution changes by interpolation: bilinear, or with the published networks' filter
[1, 3, 3, 1] (`resampling = "fir"`), which map no channels between equal widths. G starts from a
learned constant input at the coarsest resolution, whose channels are scaled by a linear function
of z; D ends with a depthwise convolution over that resolution. G ends with a tanh only if `squash`
is set, as binary events need: they lie on the bounds of [-1, 1], and D would recognize the samples
of a linear last layer, which miss the bounds.

Images are space-to-depth transformed first: each `patch` x `patch` square becomes channels, which
keeps small networks fast. Vectors (D,), and images if `dense`, use residual MLPs of the same form.

A network of the signature `vector`, which maps z to the values of an event, can take the place of
G; one of the signature `image`, whose channels are averaged over pixels, that of D. The class
embeddings and D's projection stay around them.

Shapes: B batch, C channels, H rows, W columns, L latents, F features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import ClassCounts, ConfigError, Network, Range, build_network, resample
from zoo_gan.layers import (
    LEAKY_SLOPE,
    ConditionalGenerator,
    FourierFeatures,
    ProjectionDiscriminator,
    input_width,
)
from zoo_gan.model import AdversarialModel, channels_last, event_of

__all__ = ["R3GAN", "R3GANConfig"]

_GAIN = math.sqrt(2 / (1 + LEAKY_SLOPE**2))  # preserves the variance through a leaky ReLU


@dataclass(frozen=True)
class R3GANConfig:
    """Event, latents and networks' sizes; `classes` makes the model class-conditional.

    `widths` are the channels of each resolution from the coarsest (for MLPs, the units of each
    stage), with `blocks` residual blocks each, whose hidden width is `expansion` times as large.
    `group` is the channels per group of the grouped convolutions, `embedding` the size of G's
    class embeddings. `squash` ends G with a tanh. `generator_only` leaves D out, as for a
    converted generator. The D of an MLP also sees `fourier_features` random Fourier features of
    its events (`layers.FourierFeatures`), of standard deviation `frequency`. `generator` and
    `discriminator` are networks in place of those of these options.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    latent: Annotated[int, Range(1, 4096)] = 64
    widths: Annotated[tuple[int, ...], Range(1, 4096)] = (64, 32)
    blocks: Annotated[int, Range(1, 16)] = 1
    expansion: Annotated[int, Range(1, 8)] = 2
    group: Annotated[int, Range(1, 4096)] = 16
    patch: Annotated[int, Range(1, 16)] = 2
    resampling: Literal["bilinear", "fir"] = "bilinear"
    embedding: Annotated[int, Range(1, 65536)] = 32
    dense: bool = False
    squash: bool = False
    generator_only: bool = False
    fourier_features: Annotated[int, Range(0, 4096)] = 0
    frequency: Annotated[float, Range(0.0, 1e6)] = 1.0
    generator: Annotated[Any, Network("vector")] | None = None
    discriminator: Annotated[Any, Network("image")] | None = None

    def __post_init__(self) -> None:
        if not self.widths:
            raise ConfigError("widths = (); give one for each resolution or stage.")
        if self.discriminator is not None and len(self.shape) != 3:
            raise ConfigError(
                f"discriminator is a network for images (C, H, W); the shape is {self.shape}.",
                hint="leave discriminator out: the built-in one is an MLP",
            )


class R3GAN(AdversarialModel):
    """Residual networks, D the mirror image of G."""

    def __init__(self, config: R3GANConfig | None = None) -> None:
        c = config or R3GANConfig()
        super().__init__(c, event_of(c.shape, c.levels), latent=c.latent, classes=c.classes)
        inputs = input_width(c.latent, self.condition, c.embedding)
        dense = c.dense or len(c.shape) == 1
        g = _generator(c, inputs, dense=dense)
        d = None if c.generator_only else _discriminator(c, dense=dense)
        if c.squash:
            g.append(nn.Tanh())
        self.generator = ConditionalGenerator(g, self.condition, c.embedding)
        self.discriminator = d and ProjectionDiscriminator(d, c.widths[0], self.condition)
        channels_last(self)


def _generator(c: R3GANConfig, inputs: int, *, dense: bool) -> nn.Sequential:
    """(B, L) -> (B, *S)."""
    if c.generator is None:
        return _dense_generator(c, inputs) if dense else _conv_generator(c, inputs)
    outputs = math.prod(c.shape)
    body = build_network(c.generator, "vector", inputs=inputs, outputs=outputs, features=0)
    return nn.Sequential(body, nn.Unflatten(1, c.shape))


def _discriminator(c: R3GANConfig, *, dense: bool) -> nn.Sequential:
    """(B, *S) -> features (B, F)."""
    if c.discriminator is None:
        return _dense_discriminator(c) if dense else _conv_discriminator(c)
    channels, *size = c.shape
    body = build_network(
        c.discriminator, "image", inputs=channels, outputs=c.widths[0], size=tuple(size)
    )
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ResidualBlock(nn.Module):
    """h + A_3 s(A_2 s(A_1 h)), initialized at a scale for networks of `depth` blocks."""

    def __init__(self, first: nn.Module, middle: nn.Module, last: nn.Module, depth: int) -> None:
        super().__init__()
        self.first, self.middle, self.last = first, middle, last
        for layer in (first, middle):
            _initialize(
                layer, _GAIN * depth**-0.25
            )  # two scaled layers a block (Zhang et al., 2019)
        _initialize(last, 0.0)

    def forward(self, h: Tensor) -> Tensor:
        y = F.leaky_relu(self.first(h), LEAKY_SLOPE)
        y = F.leaky_relu(self.middle(y), LEAKY_SLOPE)
        out: Tensor = h + self.last(y)
        return out


class Resample(nn.Module):
    """A 1 x 1 convolution, and twice (`up`) or half the resolution by interpolation.

    With the filter `fir` there is no convolution between equal widths.
    """

    def __init__(self, inputs: int, outputs: int, *, up: bool, fir: bool) -> None:
        super().__init__()
        plain = fir and inputs == outputs
        convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.map = nn.Identity() if plain else _initialize(convolution, 1.0)
        self.up, self.fir = up, fir

    def forward(self, h: Tensor) -> Tensor:
        if self.up:
            return self._resampled(self.map(h))
        out: Tensor = self.map(self._resampled(h))
        return out

    def _resampled(self, h: Tensor) -> Tensor:
        if self.fir:
            return resample(h, "fir_up" if self.up else "fir_down")
        if self.up:
            return F.interpolate(h, scale_factor=2, mode="bilinear")
        return F.avg_pool2d(h, 2)


class LearnedConstant(nn.Module):
    """A learned constant input (F, h, w) whose channels are scaled by a linear function of z."""

    def __init__(self, inputs: int, features: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(features, *grid))
        self.scales = _initialize(nn.Linear(inputs, features), 1.0)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.basis * self.scales(z)[:, :, None, None]
        return out


def _conv_generator(c: R3GANConfig, inputs: int) -> nn.Sequential:
    """(B, L) -> (B, C, H, W)."""
    layers: list[nn.Module] = [LearnedConstant(inputs, c.widths[0], _coarsest(c))]
    for i, width in enumerate(c.widths):
        if i:
            layers.append(Resample(c.widths[i - 1], width, up=True, fir=c.resampling == "fir"))
        layers += _blocks(c, width)
    last = nn.Conv2d(c.widths[-1], c.shape[0] * c.patch**2, 1)
    return nn.Sequential(*layers, _initialize(last, 1.0), nn.PixelShuffle(c.patch))


def _conv_discriminator(c: R3GANConfig) -> nn.Sequential:
    """(B, C, H, W) -> features (B, F)."""
    widths = c.widths[::-1]
    first = nn.Conv2d(c.shape[0] * c.patch**2, widths[0], 1)
    layers: list[nn.Module] = [nn.PixelUnshuffle(c.patch), _initialize(first, 1.0)]
    for i, width in enumerate(widths):
        if i:
            layers.append(Resample(widths[i - 1], width, up=False, fir=c.resampling == "fir"))
        layers += _blocks(c, width)
    last = nn.Conv2d(widths[-1], widths[-1], _coarsest(c), groups=widths[-1], bias=False)
    return nn.Sequential(*layers, _initialize(last, 1.0), nn.Flatten())


def _blocks(c: R3GANConfig, width: int) -> list[nn.Module]:
    inner = width * c.expansion
    if inner % c.group:
        raise ConfigError(
            f"width {width} x expansion {c.expansion} does not divide into groups of {c.group}.",
            hint="choose group so that it divides every width x expansion",
        )
    depth = c.blocks * len(c.widths)
    return [
        ResidualBlock(
            nn.Conv2d(width, inner, 1),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner // c.group),
            nn.Conv2d(inner, width, 1, bias=False),
            depth,
        )
        for _ in range(c.blocks)
    ]


def _dense_generator(c: R3GANConfig, inputs: int) -> nn.Sequential:
    """(B, L) -> (B, *S)."""
    last = _initialize(nn.Linear(c.widths[-1], math.prod(c.shape)), 1.0)
    return nn.Sequential(*_stages(c, (inputs, *c.widths)), last, nn.Unflatten(1, c.shape))


def _dense_discriminator(c: R3GANConfig) -> nn.Sequential:
    """(B, *S) -> features (B, F)."""
    features = math.prod(c.shape)
    count = c.fourier_features
    fourier: list[nn.Module] = [FourierFeatures(features, count, c.frequency)] if count else []
    widths = (features + 2 * count, *c.widths[::-1])
    return nn.Sequential(nn.Flatten(), *fourier, *_stages(c, widths))


def _stages(c: R3GANConfig, widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    depth = c.blocks * len(c.widths)
    for a, b in zip(widths, widths[1:], strict=False):
        layers.append(_initialize(nn.Linear(a, b), 1.0, bias_std=0.0 if layers else 1.0))
        layers += [
            ResidualBlock(
                nn.Linear(b, b * c.expansion),
                nn.Linear(b * c.expansion, b * c.expansion),
                nn.Linear(b * c.expansion, b, bias=False),
                depth,
            )
            for _ in range(c.blocks)
        ]
    return layers


def _coarsest(c: R3GANConfig) -> tuple[int, int]:
    """Height and width of the coarsest resolution."""
    _, height, width = c.shape
    factor = c.patch << (len(c.widths) - 1)
    if height % factor or width % factor:
        raise ConfigError(
            f"shape = {c.shape} cannot be divided by {factor}: patches of {c.patch} and "
            f"{len(c.widths)} resolutions.",
            hint="choose fewer widths or another patch",
        )
    return height // factor, width // factor


def _initialize(layer: nn.Module, gain: float, *, bias_std: float = 0.0) -> nn.Module:
    """Initialize weights to N(0, gain^2 / fan_in) and biases to N(0, bias_std^2).

    Random biases in the first layer of an MLP place its kinks across the input space; with zero
    biases, all would pass through the origin.
    """
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    fan_in = weight[0].numel()
    nn.init.normal_(weight, std=gain / math.sqrt(fan_in))
    if isinstance(bias, Tensor):
        nn.init.normal_(bias, std=bias_std)
    return layer
