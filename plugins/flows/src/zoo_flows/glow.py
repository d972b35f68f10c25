"""Glow (Kingma & Dhariwal, 2018), https://arxiv.org/abs/1807.03039.

A scale squeezes the image and goes K times through a step (figure 2, table 1):

    actnorm             y = s x + b, channel by channel
    1x1 convolution     y = W x, W = P L (U + diag(s))           (eq. 10)
    affine coupling     y_b = s (x_b + t), s = sigmoid(r + 2)    (the paper's code)

The first two are folded into one convolution. After each scale but the last, half of the channels
are split off; with `prior`, their distribution given the others is a learned normal, computed as
one more affine coupling before the split.

Shapes: B batch, x (B, C, H, W), z (B, D). Sampling costs one pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from zoo_core.plugin import Range
from zoo_flows.bijections import Chain, InvertibleLayer, LinearStep, Squeeze
from zoo_flows.couplings import AffineCoupling
from zoo_flows.flow import Flow, FlowConfig
from zoo_flows.multiscale import MultiScale, check_sides
from zoo_flows.networks import ConvNet

__all__ = ["Glow", "GlowConfig"]


@dataclass(frozen=True)
class GlowConfig(FlowConfig):
    """Event, condition, preprocessing, and size; `prior` learns that of the split channels."""

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    scales: Annotated[int, Range(1, 8)] = 2
    steps: Annotated[int, Range(1, 128)] = 16
    hidden: Annotated[int, Range(1, 4096)] = 128
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    prior: bool = True


class Glow(Flow):
    """Steps of actnorm, 1x1 convolution and affine coupling, at several scales."""

    def __init__(self, config: GlowConfig | None = None) -> None:
        c = config or GlowConfig()
        super().__init__(c)
        check_sides(c.shape, c.scales)
        channels, height, width = c.shape
        scales, shapes = [], []
        for scale in range(c.scales):
            channels, height, width = 4 * channels, height // 2, width // 2
            layers: list[InvertibleLayer] = [Squeeze(), *self._steps(channels)]
            if c.prior and scale < c.scales - 1:
                layers.append(self._coupling(channels))
            scales.append(Chain(layers))
            shapes.append((channels, height, width))
            channels //= 2
        self.transform = MultiScale(scales, shapes)

    def _steps(self, channels: int) -> Iterator[InvertibleLayer]:
        for _ in range(self.config.steps):
            yield LinearStep(channels)
            yield self._coupling(channels)

    def _coupling(self, channels: int) -> AffineCoupling:
        c, half = self.config, channels // 2
        net = ConvNet(
            half, 2 * half, hidden=c.hidden, dropout=c.dropout, context=self.context_features
        )
        return AffineCoupling(net, half, scale="sigmoid", order="shift_scale")
