"""Invertible maps with tractable Jacobians, each a module of two directions.

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

__all__ = ["PLU", "ActNorm", "Bijection", "Chain", "Flip", "LinearStep", "Squeeze"]


class Bijection(nn.Module, ABC):
    """A map and its inverse; `h` is what the model is conditioned on, where it is."""

    @abstractmethod
    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y and log |det dy/dx|."""

    @abstractmethod
    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x and log |det dx/dy|."""

    def start(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """y, after fresh parameters were set from x where they depend on data.

        What has such layers inside calls theirs one after the other.
        """
        return self(x, h)[0]  # type: ignore[no-any-return]


class Chain(Bijection):
    """One bijection after another; their log-determinants add up."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, ladj = layer(x, h)
            total = total + ladj
        return x, total

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = y.new_zeros(len(y))
        for layer in reversed(self.layers):
            assert isinstance(layer, Bijection)
            y, ladj = layer.inverse(y, h)
            total = total + ladj
        return y, total

    def start(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            assert isinstance(layer, Bijection)
            x = layer.start(x, h)
        return x


class ActNorm(Bijection):
    """y = exp(log_scale) x + shift, a channel each (Glow, section 3.1).

    Fresh, it is the identity; `start` sets both so that y has mean 0 and variance 1, and does so
    once. `forward` changes nothing.
    """

    ready: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s = self._over(self.log_scale, x)
        return s.exp() * x + self._over(self.shift, x), self._ladj(x)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s = self._over(self.log_scale, y)
        return (y - self._over(self.shift, y)) * (-s).exp(), -self._ladj(y)

    def start(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        if not bool(self.ready):
            self._standardize(x)
        return self(x, h)[0]  # type: ignore[no-any-return]

    @torch.no_grad()
    def _standardize(self, x: Tensor) -> None:
        rows = x.transpose(0, 1).flatten(1).double()
        mean, square = rows.mean(1), rows.square().mean(1)
        log_scale = -0.5 * (square - mean.square() + 1e-6).log()  # a constant channel stays finite
        self.log_scale.copy_(log_scale)
        self.shift.copy_(-mean * log_scale.exp())
        self.ready.fill_(True)

    def _ladj(self, x: Tensor) -> Tensor:
        return (math.prod(x.shape[2:]) * self.log_scale.sum()).expand(len(x))

    @staticmethod
    def _over(v: Tensor, x: Tensor) -> Tensor:
        return v.view(-1, *[1] * (x.dim() - 2))


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
        """W x of each row of x (B, C), in B C^2 multiplications; W itself costs C^3."""
        lower, upper = self._triangles()
        return F.linear(F.linear(x, upper), lower).index_select(1, self._order())

    def _triangles(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.p), dtype=self.p.dtype, device=self.p.device)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())
        return self.lower.tril(-1) + eye, upper

    def _order(self) -> Tensor:
        """P as an index (C,): row i of P v is v[order[i]]."""
        return self.p.argmax(1)


class LinearStep(Bijection):
    """Actnorm and an invertible 1x1 convolution (for vectors: a matrix), folded into one.

    Without gradients the folded matrices stay, while the parameters keep their values. With
    gradients, vectors are multiplied by one triangle after the other, because to multiply the
    triangles by each other costs more than all rows of a batch do.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ActNorm(channels)
        self.matrix = PLU(channels)
        self._kept = Kept(), Kept()  # forward and inverse

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            if x.dim() == 2 and torch.is_grad_enabled():
                y, ladj = self.norm(x, h)
                return self.matrix.rows(y), ladj + self.matrix.log_s.sum()
            return place_by_place(x, self._kept[0](lambda: fold(*self._parts()), *self._tensors()))

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(y.device.type, enabled=False):
            return place_by_place(
                y, self._kept[1](lambda: fold_inverse(*self._parts()), *self._tensors())
            )

    def start(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        y = self.norm.start(x, h)
        return self.matrix.rows(y) if x.dim() == 2 else self(x, h)[0]

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.matrix(), self.norm.log_scale, self.norm.shift, self.matrix.log_s.sum()

    def _tensors(self) -> tuple[Tensor, ...]:
        m, norm = self.matrix, self.norm
        return m.p, m.sign, m.lower, m.upper, m.log_s, norm.log_scale, norm.shift


class Flip(Bijection):
    """The features in reverse order."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flip(1), x.new_zeros(len(x))

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.flip(1), y.new_zeros(len(y))


class Squeeze(Bijection):
    """2x2 blocks of pixels become channels, (C, H, W) -> (4C, H/2, W/2) (RealNVP, section 3.6)."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(y, 2), y.new_zeros(len(y))
