"""RealNVP (Dinh, Sohl-Dickstein & Bengio, 2017), https://arxiv.org/abs/1605.08803.

Affine couplings z_b = exp(s(x_a)) x_b + t(x_a) (eqs. 7-8). An image goes through scales; in each,
N couplings between the colours of a checkerboard, a squeeze and N couplings between the halves of
the channels, after which half of the channels are split off. The last scale has N + 1 checkerboard
couplings (section 4.1). A vector goes through 2N couplings between its halves.

Actnorm before each coupling replaces the paper's batch normalization, with which the density of an
event would depend on its batch. Scales are bounded, log s = 2 tanh(r / 2), as in section 4.1.

Shapes: B batch, x (B, D) or (B, C, H, W), z (B, D). Sampling costs one pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from zoo_core.plugin import Range, ResidualConvNet, ResidualMLP
from zoo_flows.bijections import ActNorm, Chain, InvertibleLayer, Squeeze
from zoo_flows.couplings import AffineCoupling, CheckerboardCoupling
from zoo_flows.flow import Flow, FlowConfig
from zoo_flows.multiscale import MultiScale, check_sides

__all__ = ["RealNVP", "RealNVPConfig"]


@dataclass(frozen=True)
class RealNVPConfig(FlowConfig):
    """Event, condition, preprocessing, and size."""

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (1, 28, 28)
    scales: Annotated[int, Range(1, 8)] = 2
    """Number of scales of an image; its sides are halved one time fewer."""
    layers: Annotated[int, Range(1, 64)] = 3
    hidden: Annotated[int, Range(1, 4096)] = 64
    blocks: Annotated[int, Range(0, 64)] = 4
    """Residual blocks of each coupling's network."""
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


class RealNVP(Flow):
    """Affine couplings of an image by checkerboard and channels, or of a vector by halves."""

    def __init__(self, config: RealNVPConfig | None = None) -> None:
        c = config or RealNVPConfig()
        super().__init__(c)
        self.transform = self._image() if len(c.shape) == 3 else Chain(self._vector())

    def _vector(self) -> Iterator[InvertibleLayer]:
        c, d = self.config, self.event.dims
        for i in range(2 * c.layers):
            m = d - d // 2 if i % 2 == 0 or d == 1 else d // 2
            net = ResidualMLP(
                d - m,
                2 * m,
                hidden=c.hidden,
                blocks=c.blocks,
                dropout=c.dropout,
                context=self.context_features,
            )
            yield ActNorm(d)
            yield AffineCoupling(net, m, first=i % 2 == 0)

    def _image(self) -> MultiScale:
        c = self.config
        check_sides(c.shape, c.scales)
        channels, height, width = self.event.shape
        scales, shapes = [], []
        for scale in range(c.scales):
            last = scale == c.scales - 1
            layers = list(self._checkerboards(channels, (height, width), c.layers + last))
            if not last:
                channels, height, width = 4 * channels, height // 2, width // 2
                layers += [Squeeze(), *self._channels(channels)]
            scales.append(Chain(layers))
            shapes.append((channels, height, width))
            channels //= 2
        return MultiScale(scales, shapes)

    def _checkerboards(
        self, channels: int, side: tuple[int, int], n: int
    ) -> Iterator[InvertibleLayer]:
        for i in range(n):
            yield ActNorm(channels)
            yield CheckerboardCoupling(self._net(channels, 2 * channels), side, parity=i % 2)

    def _channels(self, channels: int) -> Iterator[InvertibleLayer]:
        half = channels // 2
        for i in range(self.config.layers):
            yield ActNorm(channels)
            yield AffineCoupling(self._net(half, 2 * half), half, first=i % 2 == 0)

    def _net(self, n: int, m: int) -> ResidualConvNet:
        c = self.config
        return ResidualConvNet(
            n,
            m,
            hidden=c.hidden,
            blocks=c.blocks,
            dropout=c.dropout,
            context=self.context_features,
        )
