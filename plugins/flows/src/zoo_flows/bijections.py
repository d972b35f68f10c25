"""Invertible layers: maps with tractable Jacobians, as modules with two directions.

    y, ladj = layer(x, h)              ladj = log |det dy/dx|
    x, ladj = layer.inverse(y, h)      ladj = log |det dx/dy|

Shapes: B batch, C channels or features, x (B, C) or (B, C, H, W); the context h (B, E) or None;
ladj (B,) in nats.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_kernels.coupling import Kept, fold, fold_inverse, place_by_place

__all__ = ["PLU", "ActNorm", "Chain", "Flip", "InvertibleLayer", "LinearStep", "Squeeze"]


class InvertibleLayer(nn.Module, ABC):
    """A map and its inverse; h is the context of a conditional model, else None."""

    @abstractmethod
    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y and log |det dy/dx|."""

    @abstractmethod
    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x and log |det dx/dy|."""

    def data_dependent_init(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """y, after setting fresh parameters from x in the layers that start from data.

        A layer that contains others calls this method of each, in order.
        """
        return self.forward(x, h)[0]


class Chain(InvertibleLayer):
    """One layer after another; their log-determinants add up."""

    def __init__(self, layers: Iterable[InvertibleLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ladjs = []
        for layer in self.layers:
            x, ladj = layer(x, h)
            ladjs.append(ladj)
        return x, _sum(ladjs, x)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ladjs = []
        for layer in reversed(self.layers):
            assert isinstance(layer, InvertibleLayer)
            y, ladj = layer.inverse(y, h)
            ladjs.append(ladj)
        return y, _sum(ladjs, y)

    def data_dependent_init(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            assert isinstance(layer, InvertibleLayer)
            x = layer.data_dependent_init(x, h)
        return x


def _sum(ladjs: list[Tensor], like: Tensor) -> Tensor:
    """The sum of log-determinants (B,); zeros for a chain of no layers."""
    return torch.stack(ladjs).sum(0) if ladjs else like.new_zeros(len(like))


class ActNorm(InvertibleLayer):
    """y = exp(log_scale) x + shift per channel (Glow, section 3.1).

    A fresh layer is the identity. The first `data_dependent_init` sets both parameters so that y
    has mean 0 and variance 1; later calls, and `forward`, change nothing.
    """

    ready: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s, t = self._over(self.log_scale, x), self._over(self.shift, x)
        return torch.addcmul(t, s.exp(), x), self._ladj(x)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s = self._over(self.log_scale, y)
        return (y - self._over(self.shift, y)) * (-s).exp(), -self._ladj(y)

    def data_dependent_init(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        if not bool(self.ready):
            self._standardize(x)
        return self.forward(x, h)[0]

    @torch.no_grad()
    def _standardize(self, x: Tensor) -> None:
        channels = x.transpose(0, 1).flatten(1).double()
        mean, square = channels.mean(1), channels.square().mean(1)
        log_scale = -0.5 * (square - mean.square() + 1e-6).log()  # a constant channel stays finite
        self.log_scale.copy_(log_scale)
        self.shift.copy_(-mean * log_scale.exp())
        self.ready.fill_(True)

    def _ladj(self, x: Tensor) -> Tensor:
        ladj = self.log_scale.sum()
        return (ladj if x.dim() == 2 else math.prod(x.shape[2:]) * ladj).expand(x.shape[0])

    @staticmethod
    def _over(v: Tensor, x: Tensor) -> Tensor:
        return v if x.dim() == 2 else v.view(-1, *[1] * (x.dim() - 2))


class PLU(nn.Module):
    """An invertible matrix W = P L (U + diag(sign exp(log_s))) (Glow, eq. 10), from a rotation.

    L is unit lower and U strictly upper triangular, P a fixed permutation; log |det W| is the sum
    of log_s.
    """

    p: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        q, _ = torch.linalg.qr(torch.randn(channels, channels))
        p, l, u = torch.linalg.lu(q)
        s = u.diagonal()
        self.register_buffer("p", p)
        self.register_buffer("sign", s.sign())
        self.lower, self.upper = nn.Parameter(l.tril(-1)), nn.Parameter(u.triu(1))
        self.log_s = nn.Parameter(s.abs().log())

    def forward(self) -> Tensor:
        """W (C, C)."""
        lower, upper = self._triangles()
        return (lower @ upper)[self._order()]

    def rows(self, x: Tensor) -> Tensor:
        """W x for each row of x (B, C), in B C^2 multiplications; computing W takes C^3."""
        lower, upper = self._triangles()
        return F.linear(F.linear(x, upper), lower).index_select(1, self._order())

    def _triangles(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.p), dtype=self.p.dtype, device=self.p.device)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())
        return self.lower.tril(-1) + eye, upper

    def _order(self) -> Tensor:
        """P as an index (C,): row i of P v is v[order[i]]."""
        return self.p.argmax(1)


class LinearStep(InvertibleLayer):
    """Actnorm and an invertible 1x1 convolution (for vectors: a matrix), folded into one.

    Without gradients, the folded matrices are cached until a parameter changes. With gradients,
    vectors are multiplied by one triangle after the other, because multiplying the triangles by
    each other costs more than multiplying all rows of a batch by both.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ActNorm(channels)
        self.matrix = PLU(channels)
        self._folded = Kept(), Kept()  # forward and inverse

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            if x.dim() == 2 and torch.is_grad_enabled():
                y, ladj = self.norm(x, h)
                return self.matrix.rows(y), ladj + self.matrix.log_s.sum()
            return place_by_place(
                x, self._folded[0](lambda: fold(*self._factors()), *self._tensors())
            )

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(y.device.type, enabled=False):
            return place_by_place(
                y, self._folded[1](lambda: fold_inverse(*self._factors()), *self._tensors())
            )

    def data_dependent_init(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        y = self.norm.data_dependent_init(x, h)
        return self.matrix.rows(y) if x.dim() == 2 else self(x, h)[0]

    def _factors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.matrix(), self.norm.log_scale, self.norm.shift, self.matrix.log_s.sum()

    def _tensors(self) -> tuple[Tensor, ...]:
        m, norm = self.matrix, self.norm
        return m.p, m.sign, m.lower, m.upper, m.log_s, norm.log_scale, norm.shift


class Flip(InvertibleLayer):
    """The features in reverse order."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flip(1), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.flip(1), y.new_zeros(y.shape[0])


class Squeeze(InvertibleLayer):
    """2x2 blocks of pixels become channels, (C, H, W) -> (4C, H/2, W/2) (RealNVP, section 3.6)."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x, 2), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(y, 2), y.new_zeros(y.shape[0])
