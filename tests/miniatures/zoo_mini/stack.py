"""A second image on top of a base image whose model is a part: p(a, b) = p(a) p(b | a)."""

from dataclasses import dataclass

import torch
from torch import nn

import zoo_core as zoo
from zoo_core.plugin import Bernoulli


@dataclass(frozen=True)
class Config:
    bias: bool = True


class MiniStack(zoo.GenerativeModel):
    def __init__(self, config, base):
        _, height, width = base.event.shape
        super().__init__(config, zoo.Event((2, height, width), levels=2))
        self.base = base
        self.top = nn.Linear(base.event.dims, base.event.dims, bias=config.bias)

    def log_prob(self, x, cond=None):
        a, b = x.split(1, dim=1)
        return self.base.log_prob(a) + self._given(a).log_prob(b)

    def sample_rows(self, rng, cond=None):
        a = self.base.sample_rows(rng.scope("base"))
        return torch.cat((a, self._given(a).sample(rng, stream="top")), 1)

    def _given(self, a):
        return Bernoulli(self.top(a.flatten(1).to(self.dtype)).view(a.shape))
