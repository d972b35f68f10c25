"""The multi-scale architecture: half of the channels are split off after each scale.

    (z_l, x_{l+1}) = f_l(x_l),   z = (z_1, ..., z_L)          (RealNVP, section 3.6, eqs. 13-16)

Shapes: B batch, x (B, C, H, W), z (B, D) with D = C H W.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from zoo_core.plugin import ConfigError
from zoo_flows.bijections import InvertibleLayer

__all__ = ["MultiScale", "check_sides"]

_Apply = Callable[[InvertibleLayer, Tensor], tuple[Tensor, Tensor]]


class MultiScale(InvertibleLayer):
    """Scales in sequence; after each but the last, the last half of the channels is split off.

    `shapes` are the output shapes of the scales, before the split.
    """

    def __init__(
        self, scales: Sequence[InvertibleLayer], shapes: Sequence[tuple[int, int, int]]
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)
        self.shapes = [(c // 2, h, w) for c, h, w in shapes[:-1]] + [shapes[-1]]

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_scales(x, lambda scale, x: scale(x, h))

    def data_dependent_init(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        return self._apply_scales(
            x, lambda scale, x: (scale.data_dependent_init(x, h), x.new_zeros(x.shape[0]))
        )[0]

    def _apply_scales(self, x: Tensor, apply: _Apply) -> tuple[Tensor, Tensor]:
        """z and the sum of the log-determinants that `apply` gives for each scale."""
        latents: list[Tensor] = []
        total = x.new_zeros(x.shape[0])
        for scale in self.scales:
            assert isinstance(scale, InvertibleLayer)
            x, ladj = apply(scale, x)
            total = total + ladj
            if len(latents) < len(self.scales) - 1:
                x, z = x.chunk(2, 1)
                latents.append(z)
        return torch.cat([z.flatten(1) for z in [*latents, x]], 1), total

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        chunks = torch.split(y, [math.prod(shape) for shape in self.shapes], 1)
        latents = [
            z.reshape(y.shape[0], *shape) for z, shape in zip(chunks, self.shapes, strict=True)
        ]
        x, total = latents.pop(), y.new_zeros(y.shape[0])
        for scale in reversed(self.scales):
            assert isinstance(scale, InvertibleLayer)
            x, ladj = scale.inverse(x, h)
            total = total + ladj
            if latents:
                x = torch.cat([x, latents.pop()], 1)
        return x, total


def check_sides(shape: tuple[int, ...], halvings: int) -> None:
    """Raise `ConfigError` unless the sides of an image can be halved so many times."""
    factor = 2**halvings
    if any(side % factor for side in shape[1:]):
        raise ConfigError(
            f"images of shape {shape} cannot be halved {halvings} times: the sides must be "
            f"multiples of {factor}, and a flow never pads.",
            hint="set fewer scales",
        )
