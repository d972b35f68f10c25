"""A generative adversarial network over the plane (Goodfellow et al., 2014)."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from torch import nn
from torch.nn import functional as F

import zoo_core as zoo
from zoo_core.plugin import Loss, Normal, Player, Range


@dataclass(frozen=True)
class Config:
    latent: Annotated[int, Range(1, 256)] = 2
    hidden: Annotated[int, Range(1, 4096)] = 64


@dataclass(frozen=True)
class Adversarial:
    """The non-saturating game, one method a player; `penalty` weighs D's gradient at the data."""

    penalty: Annotated[float, Range(0, 1e3)] = 0.1

    def discriminator(self, model, batch, rng, step):
        x, cond = batch
        x = x.detach().requires_grad_()
        real = model.critic(x)
        fake = model.critic(model.draw(rng, cond, step).detach())
        (slope,) = x_grad(real, x)
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        return Loss(loss + self.penalty * slope.square().sum(1).mean())

    def generator(self, model, batch, rng, step):
        fake = model.critic(model.draw(rng, batch[1], step))
        return Loss(F.softplus(-fake).mean())


def x_grad(y, x):
    from torch.autograd import grad

    return grad(y.sum(), x, create_graph=True)


def mlp(inputs, hidden, outputs):
    layers = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class MiniGAN(zoo.GenerativeModel):
    def __init__(self, config):
        super().__init__(config, zoo.Event((2,)))
        self.generator = mlp(config.latent, config.hidden, 2)
        self.critic = mlp(2, config.hidden, 1)

    def prior(self, batch, cond=None):
        return Normal.standard(batch, self.config.latent, like=self.generator[0].weight)

    def generate(self, z, cond=None):
        return self.generator(z)

    def draw(self, rng, cond, step=0):
        return self.generate(self.prior(len(rng)).sample(rng, stream="z", step=step), cond)

    def sample_rows(self, rng, cond=None):
        return self.draw(rng, cond)

    def make_players(self, loss):
        networks = {"discriminator": self.critic, "generator": self.generator}
        return {
            name: Player(tuple(net.parameters()), partial(getattr(loss, name), self))
            for name, net in networks.items()
        }
