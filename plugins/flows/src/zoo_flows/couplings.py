"""Coupling layers: some channels pass unchanged, and a network of them transforms the others.

    affine         z_b = exp(s(x_a)) x_b + t(x_a), or s (x_b + t)       (RealNVP, eqs. 7-8; Glow)
    checkerboard   the same, with a and b the two colours of a board     (RealNVP, figure 3)
    spline         z_b = RQS(x_b; params(x_a))                           (NSF, section 3)

Values and log-determinants come from `zoo_kernels.coupling` and `zoo_kernels.spline`. Under
autocast the networks may run in half precision; the maps run in the precision of the events.

Shapes: B batch, C channels or features of which C' are transformed, x (B, C, *S), K bins.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_flows.bijections import InvertibleLayer
from zoo_kernels import coupling, spline

__all__ = ["AffineCoupling", "CheckerboardCoupling", "SplineCoupling", "flat_spline", "pack"]

ScaleFunction = Literal["exp", "sigmoid", "tanh"]
ParameterOrder = Literal["scale_shift", "shift_scale"]


class AffineCoupling(InvertibleLayer):
    """`net` takes the passing channels to (B, 2C', *S): shifts, then raw scales.

    The last C' channels are transformed, or with `first` the first ones.
    """

    def __init__(
        self,
        net: nn.Module,
        transformed: int,
        *,
        first: bool = False,
        scale: ScaleFunction = "tanh",
        order: ParameterOrder = "scale_shift",
    ) -> None:
        super().__init__()
        self.net = net
        self.transformed, self.first = transformed, first
        self.scale, self.order = scale, order

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return coupling.forward(
            x, self._params(x, h), scale=self.scale, order=self.order, first=self.first
        )

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return coupling.inverse(
            y, self._params(y, h), scale=self.scale, order=self.order, first=self.first
        )

    def _params(self, x: Tensor, h: Tensor | None) -> Tensor:
        n = self.transformed
        passing = x[:, n:] if self.first else x[:, : x.shape[1] - n]
        params: Tensor = self.net(passing, h)
        return params.to(x.dtype).reshape(x.shape[0], 2, n, *x.shape[2:])


def pack(x: Tensor, parity: int) -> Tensor:
    """The sites of one colour, then those of the other: (B, C, H, W) -> (B, 4C, H/2, W/2).

    The last 2C channels are the sites whose row + column is `parity` modulo 2.
    """
    b, c, height, width = x.shape
    blocks = F.pixel_unshuffle(x, 2).reshape(b, c, 4, height // 2, width // 2)
    return blocks[:, :, _SITES[parity]].transpose(1, 2).flatten(1, 2)


def unpack(y: Tensor, parity: int) -> Tensor:
    """The inverse of `pack`."""
    b, c, height, width = y.shape
    blocks = y.reshape(b, 4, c // 4, height, width).transpose(1, 2)[:, :, _INVERSE_SITES[parity]]
    return F.pixel_shuffle(blocks.flatten(1, 2), 2)


_SITES = ([1, 2, 0, 3], [0, 3, 1, 2])
"""For each parity, the order of the positions 00, 01, 10, 11 (row, column) of a 2x2 block that
puts the transformed colour last."""
_INVERSE_SITES = ([2, 0, 1, 3], [0, 2, 3, 1])


class CheckerboardCoupling(InvertibleLayer):
    """An affine coupling between the colours of a checkerboard, for sides of even length.

    The sites whose row + column is `parity` modulo 2 are transformed. `net` takes the image with
    these sites set to zero to their parameters: (B, C, H, W) -> (B, 2C, H, W).
    """

    mask: Tensor

    def __init__(self, net: nn.Module, side: tuple[int, int], *, parity: int) -> None:
        super().__init__()
        self.net = net
        self.parity = parity
        rows, columns = torch.arange(side[0])[:, None], torch.arange(side[1])
        self.register_buffer("mask", (rows + columns) % 2 != parity, persistent=False)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, ladj = coupling.forward(pack(x, self.parity), self._params(x, h), scale="tanh")
        return unpack(z, self.parity), ladj

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, ladj = coupling.inverse(pack(y, self.parity), self._params(y, h), scale="tanh")
        return unpack(x, self.parity), ladj

    def _params(self, x: Tensor, h: Tensor | None) -> Tensor:
        b, c, height, width = x.shape
        params: Tensor = self.net(x * self.mask, h)
        packed = pack(params.to(x.dtype).reshape(2 * b, c, height, width), self.parity)
        return packed.view(b, 2, 4 * c, height // 2, width // 2)[:, :, 2 * c :]


class SplineCoupling(InvertibleLayer):
    """`net` takes the passing channels to (B, C' (3K - 1), *S): splines of the last C' channels.

    Splines act on [-bound, bound] and are the identity outside.
    """

    def __init__(self, net: nn.Module, transformed: int, *, bound: float) -> None:
        super().__init__()
        self.net = net
        self.transformed, self.bound = transformed, bound

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        passing, b = self._split(x)
        z, ladj = spline.forward(b, self._params(passing, h), left=-self.bound, right=self.bound)
        return torch.cat([passing, z], 1), ladj

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        passing, b = self._split(y)
        x, ladj = spline.inverse(b, self._params(passing, h), left=-self.bound, right=self.bound)
        return torch.cat([passing, x], 1), ladj

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n = x.shape[1] - self.transformed
        return x[:, :n], x[:, n:]

    def _params(self, passing: Tensor, h: Tensor | None) -> Tensor:
        params: Tensor = self.net(passing, h)
        b, m, *space = params.shape
        n = self.transformed
        return params.to(passing.dtype).reshape(b, n, m // n, *space).movedim(2, -1)


def flat_spline(transformed: int, bins: int) -> Tensor:
    """Parameters (C' (3K - 1),) of the identity: equal bins, slope 1 at every knot."""
    p = torch.zeros(transformed, 3 * bins - 1)
    p[:, 2 * bins :] = math.log(math.e - 1)  # softplus of this is 1
    return p.flatten()
