"""Neural spline flow with couplings, RQ-NSF (C) (Durkan, Bekasov, Murray & Papamakarios, 2019).

https://arxiv.org/abs/1906.04032. Like Glow, with monotonic rational-quadratic splines of K bins in
place of the affine map (section 3.1); they act on [-B, B] and are the identity outside:

    actnorm, y = W x (W by PLU), spline coupling  y_b = RQS(x_b; params(x_a))       (section 3.4)

An image goes through scales as in Glow (section 5.3), a vector through steps on its features,
with one more linear step at the end.

Shapes: B batch, x (B, D) or (B, C, H, W), z (B, D). Sampling costs one pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from zoo_core.plugin import Range, ResidualConvNet, ResidualMLP
from zoo_flows.bijections import Chain, InvertibleLayer, LinearStep, Squeeze
from zoo_flows.couplings import SplineCoupling, flat_spline
from zoo_flows.flow import Flow, FlowConfig
from zoo_flows.multiscale import MultiScale, check_sides

__all__ = ["NSFCoupling", "NSFCouplingConfig"]


@dataclass(frozen=True)
class NSFCouplingConfig(FlowConfig):
    """Event, condition, preprocessing, and size."""

    scales: Annotated[int, Range(1, 8)] = 2
    """Number of scales of an image."""
    steps: Annotated[int, Range(1, 128)] = 8
    """Number of steps of each scale, or of a vector."""
    bins: Annotated[int, Range(2, 128)] = 8
    bound: Annotated[float, Range(0.1, 1000.0)] = 3.0
    hidden: Annotated[int, Range(1, 4096)] = 128
    blocks: Annotated[int, Range(0, 64)] = 2
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


class NSFCoupling(Flow):
    """Steps of actnorm, an invertible matrix and a spline coupling."""

    def __init__(self, config: NSFCouplingConfig | None = None) -> None:
        c = config or NSFCouplingConfig()
        super().__init__(c)
        self.transform = self._image() if len(c.shape) == 3 else self._vector()

    def _vector(self) -> Chain:
        d = self.event.dims
        return Chain([*self._steps(d), LinearStep(d)])

    def _image(self) -> MultiScale:
        c = self.config
        check_sides(c.shape, c.scales)
        channels, height, width = self.event.shape
        scales, shapes = [], []
        for _ in range(c.scales):
            channels, height, width = 4 * channels, height // 2, width // 2
            scales.append(Chain([Squeeze(), *self._steps(channels), LinearStep(channels)]))
            shapes.append((channels, height, width))
            channels //= 2
        return MultiScale(scales, shapes)

    def _steps(self, n: int) -> Iterator[InvertibleLayer]:
        for _ in range(self.config.steps):
            yield LinearStep(n)
            yield self._coupling(n)

    def _coupling(self, n: int) -> SplineCoupling:
        c, m = self.config, n - n // 2
        net = (ResidualMLP if len(c.shape) == 1 else ResidualConvNet)(
            n - m,
            m * (3 * c.bins - 1),
            hidden=c.hidden,
            blocks=c.blocks,
            dropout=c.dropout,
            context=self.context_features,
            initial=flat_spline(m, c.bins),
        )
        return SplineCoupling(net, m, bound=c.bound)
