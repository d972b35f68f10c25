"""Dequantization: from integers x to continuous x + u.

The probability P(x) is the integral of p(x + u) over [0, 1)^D, and

    log P(x) >= E_q [log p(x + u) - log q(u|x)]

for every q on the unit cube (Theis et al., 2016; Ho et al., 2019, eqs. 10-12), with equality
where q is the posterior of u. `uniform` has log q = 0; `variational` is a conditional flow.

A Note on the Evaluation of Generative Models, https://arxiv.org/abs/1511.01844; Flow++,
https://arxiv.org/abs/1902.00275. Shapes: B batch, S the event's shape.
"""

from collections.abc import Callable
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import Event, Normal, ResidualMLP, Rng
from zoo_flows.networks import ConvNet
from zoo_flows.preprocessing import Preprocess
from zoo_kernels import coupling

__all__ = ["Dequantizer", "UniformDequantizer", "VariationalDequantizer", "dequantizer"]

Dequantizer = Callable[[Tensor, Rng, int], tuple[Tensor, Tensor]]
"""Called as `(x, rng, step)`: a draw u (B, *S) in [0, 1)^D, and log q(u|x) in nats (B,)."""

_LAYERS = 4  # couplings, as in Flow++


class UniformDequantizer(nn.Module):
    """u ~ U[0, 1)^D."""

    def forward(self, x: Tensor, rng: Rng, step: int) -> tuple[Tensor, Tensor]:
        """u (B, *S) and log q(u|x) (B,)."""
        u = rng.uniform(x.shape[1:], stream="u", step=step)
        return u, u.new_zeros(len(u))


class VariationalDequantizer(nn.Module):
    """u = sigmoid(g(eps; x)), eps ~ N(0, I): affine couplings whose networks see x.

    The couplings transform the two halves in turn: of the channels of a squeezed image, or of the
    values of a vector. An image with a side of odd length is treated as a vector.
    """

    def __init__(self, event: Event, hidden: int) -> None:
        super().__init__()
        self.levels = event.levels or 1
        self.image = len(event.shape) == 3 and not any(s % 2 for s in event.shape[1:])
        n = 4 * event.shape[0] if self.image else event.dims
        halves = [m for m in (n // 2, n - n // 2) if m]
        self.transformed = [m for m, _ in zip(cycle(halves), range(_LAYERS), strict=False)]
        self.nets = nn.ModuleList(
            ConvNet(2 * n - m, 2 * m, hidden=hidden)
            if self.image
            else ResidualMLP(2 * n - m, 2 * m, hidden=hidden, blocks=1)
            for m in self.transformed
        )

    def forward(self, x: Tensor, rng: Rng, step: int) -> tuple[Tensor, Tensor]:
        """u (B, *S), in (0, 1), and log q(u|x) (B,)."""
        dtype = next(self.parameters()).dtype
        eps = rng.normal(x.shape[1:], stream="u", step=step).to(dtype)
        log_q = Normal.standard(*eps.shape, like=eps).log_prob(eps)
        midpoints = (2 * x.to(dtype) + 1) / self.levels - 1  # of the bins, from -1 to 1
        context = self._channels(midpoints)
        y, ladj = self._couple(self._channels(eps), context)
        g = F.pixel_shuffle(y, 2) if self.image else y.view(x.shape)
        u = g.sigmoid()
        slope = -(F.softplus(g) + F.softplus(-g)).flatten(1).sum(1)  # log sigmoid'
        return u, log_q - ladj - slope

    def _couple(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = y.new_zeros(len(y))
        for i, (net, m) in enumerate(zip(self.nets, self.transformed, strict=True)):
            first = i % 2 == 0
            passing = y[:, m:] if first else y[:, : y.shape[1] - m]
            output = net(torch.cat([passing, context], 1)).to(y.dtype)
            params = output.view(len(y), 2, m, *y.shape[2:])
            y, ladj = coupling.forward(y, params, scale="tanh", first=first)
            total = total + ladj
        return y, total

    def _channels(self, x: Tensor) -> Tensor:
        """The input of the couplings: (B, 4C, H/2, W/2) of an image, else (B, D)."""
        return F.pixel_unshuffle(x, 2) if self.image else x.flatten(1)


def dequantizer(
    event: Event, preprocess: Preprocess
) -> UniformDequantizer | VariationalDequantizer | None:
    """The dequantizer of integer events; None for continuous ones."""
    if event.levels is None:
        return None
    if preprocess.dequantize == "uniform":
        return UniformDequantizer()
    return VariationalDequantizer(event, preprocess.hidden)
