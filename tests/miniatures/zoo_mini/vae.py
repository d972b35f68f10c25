"""A variational autoencoder of binary images (Kingma & Welling, 2014)."""

from dataclasses import dataclass
from typing import Annotated

from torch import nn

import zoo_core as zoo
from zoo_core.plugin import Bernoulli, Normal, Range


@dataclass(frozen=True)
class Config:
    side: Annotated[int, Range(1, 64)] = 3
    latent: Annotated[int, Range(1, 256)] = 2
    hidden: Annotated[int, Range(1, 4096)] = 64


class MiniVAE(zoo.GenerativeModel):
    def __init__(self, config):
        super().__init__(config, zoo.Event((1, config.side, config.side), levels=2))
        d, h, k = self.event.dims, config.hidden, config.latent
        self.encoder = nn.Sequential(nn.Linear(d, h), nn.SiLU(), nn.Linear(h, 2 * k))
        self.decoder = nn.Sequential(nn.Linear(k, h), nn.SiLU(), nn.Linear(h, d))

    def prior(self, batch, cond=None):
        return Normal.standard(batch, self.config.latent, like=self.decoder[0].weight)

    def encode(self, x, cond=None):
        mean, log_std = self.encoder(x.flatten(1).to(self.dtype) * 2 - 1).chunk(2, 1)
        return Normal(mean, log_std)

    def decode(self, z, cond=None):
        return Bernoulli(self.decoder(z).view(-1, *self.event.shape))

    def sample_rows(self, rng, cond=None):
        z = self.prior(len(rng)).sample(rng, stream="z")
        return self.decode(z).sample(rng, stream="x")
