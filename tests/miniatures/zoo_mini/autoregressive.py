"""A masked autoencoder over binary images, in raster order (MADE, Germain et al., 2015)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F

import zoo_core as zoo
from zoo_core.plugin import Bernoulli, Range


@dataclass(frozen=True)
class Config:
    side: Annotated[int, Range(1, 64)] = 3
    hidden: Annotated[int, Range(1, 4096)] = 64


class Masked(nn.Linear):
    """A linear map whose output i sees inputs of a lower (or equal) degree."""

    def __init__(self, degrees_in, degrees_out, *, strict):
        super().__init__(len(degrees_in), len(degrees_out))
        gap = degrees_out[:, None] - degrees_in
        self.register_buffer("mask", (gap > 0 if strict else gap >= 0).float())

    def forward(self, x):
        return F.linear(x, self.mask * self.weight, self.bias)


class MiniAR(zoo.GenerativeModel):
    def __init__(self, config):
        super().__init__(config, zoo.Event((1, config.side, config.side), levels=2))
        d = self.event.dims
        inputs = torch.arange(1, d + 1)
        hidden = torch.arange(config.hidden) % max(1, d - 1) + 1
        self.first = Masked(inputs, hidden, strict=False)
        self.last = Masked(hidden, inputs, strict=True)

    def order(self):
        return torch.arange(self.event.dims)

    def logits(self, x, cond=None):
        ones = self._ones(x)
        return torch.stack((torch.zeros_like(ones), ones), -1)

    def init_cache(self, batch, cond=None):
        return None

    def decode_step(self, x, i, cache):
        return self.logits(x).flatten(1, -2)[:, i], cache

    def log_prob(self, x, cond=None):
        return Bernoulli(self._ones(x)).log_prob(x)

    def sample_rows(self, rng, cond=None):
        x = torch.zeros(len(rng), *self.event.shape, dtype=torch.int64, device=rng.device)
        for i in range(self.event.dims):
            logits, _ = self.decode_step(x, i, None)
            x.flatten(1)[:, i] = rng.categorical(logits, stream="pixel", step=i)
        return x

    def _ones(self, x):
        """Logits of x_i = 1, (B, *S)."""
        h = self.first(x.flatten(1).to(self.dtype) * 2 - 1).relu()
        return self.last(h).view(x.shape)
