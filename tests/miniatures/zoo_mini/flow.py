"""Affine coupling layers over the plane (RealNVP, Dinh et al., 2017)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

import zoo_core as zoo
from zoo_core.plugin import Normal, Range


@dataclass(frozen=True)
class Config:
    layers: Annotated[int, Range(1, 64)] = 6
    hidden: Annotated[int, Range(1, 4096)] = 64


class Coupling(nn.Module):
    """z_a = x_a, z_b = x_b exp(s(x_a)) + t(x_a) (eqs. 4-5)."""

    def __init__(self, hidden):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, hidden), nn.SiLU(), nn.Linear(hidden, 2))

    def forward(self, x):
        s, t = self._scale_and_shift(x)
        return torch.cat((x[:, :1], x[:, 1:] * s.exp() + t), 1), s.sum(1)

    def inverse(self, z):
        s, t = self._scale_and_shift(z)
        return torch.cat((z[:, :1], (z[:, 1:] - t) * (-s).exp()), 1), -s.sum(1)

    def _scale_and_shift(self, x):
        s, t = self.net(x[:, :1]).chunk(2, 1)
        return 2 * torch.tanh(s / 2), t


class MiniFlow(zoo.GenerativeModel):
    def __init__(self, config):
        super().__init__(config, zoo.Event((2,)))
        self.layers = nn.ModuleList(Coupling(config.hidden) for _ in range(config.layers))

    def forward_and_ladj(self, x, cond=None):
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, ladj = layer(x.flip(1))
            total = total + ladj
        return x, total

    def inverse_and_ladj(self, z, cond=None):
        total = z.new_zeros(len(z))
        for layer in reversed(self.layers):
            z, ladj = layer.inverse(z)
            z, total = z.flip(1), total + ladj
        return z, total

    def log_prob(self, x, cond=None):
        z, ladj = self.forward_and_ladj(x)
        return self._base(len(x)).log_prob(z) + ladj

    def sample_rows(self, rng, cond=None):
        z = self._base(len(rng)).sample(rng, stream="z")
        return self.inverse_and_ladj(z)[0]

    def _base(self, batch):
        return Normal.standard(batch, 2, like=self.layers[0].net[0].weight)
