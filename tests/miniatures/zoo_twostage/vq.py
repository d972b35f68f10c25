"""A vector-quantized autoencoder of 8x8 images, and a prior over its codes: a model of two models.

VQ-VAE (van den Oord et al., 2017), https://arxiv.org/abs/1711.00937: each of the 4x4 positions of
an encoder's output is replaced by the nearest of K vectors e_k, whose index is its code,

    z = argmin_k |h - e_k|^2,  loss = |x - d(e_z)|^2 + |sg(h) - e_z|^2 + beta |h - sg(e_z)|^2  (3)

and gradients pass from e_z to h as if they were equal.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import torch
from torch import nn

import zoo_core as zoo
from zoo_core.plugin import ConfigError, Loss, Range, draw_rows


@dataclass(frozen=True)
class Config:
    levels: Annotated[int, Range(2, 256)] = 17
    codes: Annotated[int, Range(2, 256)] = 8
    hidden: Annotated[int, Range(1, 256)] = 8


class MiniVQ(zoo.GenerativeModel):
    """8x8 images as 4x4 integers below K; its own samples decode codes drawn at random."""

    def __init__(self, config):
        super().__init__(config, zoo.Event((1, 8, 8), levels=config.levels))
        h = config.hidden
        self.latent_event = zoo.Event((1, 4, 4), levels=config.codes)
        self.encoder = nn.Conv2d(1, h, 4, 2, 1)
        self.codebook = nn.Parameter(torch.randn(config.codes, h) / 2)
        self.decoder = nn.ConvTranspose2d(h, 1, 4, 2, 1)

    def features(self, x):
        return self.encoder(self.event.to_network(x, self.dtype)).movedim(1, -1)  # (B, 4, 4, H)

    def nearest(self, h):
        return torch.cdist(h.flatten(0, 2), self.codebook).argmin(1).view(h.shape[:-1])

    def pixels(self, e):
        return self.decoder(e.movedim(-1, 1))

    def to_latents(self, x):
        return self.nearest(self.features(x)).unsqueeze(1)

    def from_latents(self, z):
        return self.event.from_network(self.pixels(self.codebook[z.squeeze(1)]))

    def sample_rows(self, rng, cond=None):
        logits = torch.zeros(len(rng), 1, 4, 4, self.config.codes)
        return self.from_latents(rng.categorical(logits, stream="z"))


@dataclass(frozen=True)
class VQLoss:
    """The loss above, per pixel."""

    beta: Annotated[float, Range(0, 10)] = 0.25

    def __call__(self, model, batch, rng, step):
        h = model.features(batch[0])
        e = model.codebook[model.nearest(h)]
        through = h + (e - h).detach()
        x = model.event.to_network(batch[0], model.dtype)
        error = (model.pixels(through) - x).square().mean()
        return Loss(
            error + (h.detach() - e).square().mean() + self.beta * (h - e.detach()).square().mean()
        )


@dataclass(frozen=True)
class LatentConfig:
    pass


@runtime_checkable
class HasPrior(Protocol):
    """A model of latents: an autoencoder, and a density of its latents."""

    autoencoder: nn.Module
    prior: nn.Module


class MiniLatent(zoo.GenerativeModel):
    """A prior over the codes of an autoencoder: samples are decoded codes."""

    def __init__(self, config, autoencoder, prior):
        super().__init__(config, autoencoder.event)
        if prior.event != autoencoder.latent_event:
            raise ConfigError(f"the prior is of {prior.event}, not of {autoencoder.latent_event}.")
        self.autoencoder, self.prior = autoencoder, prior

    def sample_rows(self, rng, cond=None):
        return self.autoencoder.from_latents(draw_rows(self.prior, rng.scope("prior")))


@dataclass(frozen=True)
class Tokens:
    """log p(z) of the codes z of an image, in nats of its tokens: says nothing of log p(x)."""

    kind: ClassVar[zoo.LikelihoodKind] = zoo.LikelihoodKind("tokens", "equal", "of the latents")

    def event_of(self, model):
        codes = model.autoencoder.latent_event
        return zoo.Tokens(codes.dims, codes.levels)

    def __call__(self, model, x, cond, rng):
        return model.prior.log_prob(model.autoencoder.to_latents(x))
