"""Importance-weighted autoencoder (Burda, Grosse & Salakhutdinov, 2016).

https://arxiv.org/abs/1509.00519. A chain of L stochastic levels, inferred from the bottom up and
generated from the top down, each conditional a normal told by two tanh layers:

    q(z|x) = q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1})                                    (eq. 5)
    p(x, z) = p(z_L) p(z_{L-1}|z_L) ... p(x|z_1),  p(z_L) = N(0, I)                    (eq. 1)
    log p(x) >= E[log (1/k) sum_i p(x, z_i) / q(z_i|x)],  z_i ~ q(z|x)                 (eq. 8)

trained on that bound (`IWAELoss(k=50)`); with k = 1 it is a VAE of several levels.

Shapes: B batch, C channels, H rows, W columns, Z latents of all levels, z_1 nearest to x.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, cast

from torch import Size, Tensor, nn

from zoo_core.plugin import (
    Condition,
    ConfigError,
    Distribution,
    Event,
    GenerativeModel,
    Normal,
    Range,
    Rng,
    one_hot,
    ordinal,
)
from zoo_vae.hierarchical_latents import Level, Levels, Pick, split
from zoo_vae.networks import Head, Likelihood, Mlp, bounded, full

__all__ = ["IWAE", "Config"]

Conditional = Callable[[Tensor], Normal]
"""p or q of a level (B, Z_l), given the one before it in the chain."""


@dataclass(frozen=True)
class Config:
    """Event, likelihood, and, level by level from x upwards, latents and the networks' widths.

    The defaults are the paper's two levels; one level is latent = (50,), hidden = (200,).
    `classes` makes the model class-conditional.
    """

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: Annotated[int, Range(1, 65536)] | None = None
    likelihood: Likelihood = "bernoulli"
    latent: Annotated[tuple[int, ...], Range(1, 65536)] = (100, 50)
    hidden: Annotated[tuple[int, ...], Range(1, 65536)] = (200, 100)

    def __post_init__(self) -> None:
        if not self.latent or len(self.latent) != len(self.hidden):
            raise ConfigError(
                f"iwae has latent = {self.latent} and hidden = {self.hidden}; "
                "each needs one entry a level."
            )


class IWAE(GenerativeModel):
    """Levels of normal codes between tanh networks."""

    def __init__(self, config: Config | None = None) -> None:
        c = config or Config()
        event = Event(c.shape, levels=c.levels)
        super().__init__(c, event, Condition("classes", c.classes) if c.classes else None)
        self.head = Head(event, c.likelihood)
        self.shapes = [Size((n,)) for n in c.latent]
        below = (event.dims, *c.latent[:-1])
        sizes = [*zip(below, c.hidden, c.latent, strict=True)]
        self.up = nn.ModuleList(self._net(n, h, 2 * z) for n, h, z in sizes)
        values = event.dims // c.shape[0] * self.head.features
        outputs = (values, *(2 * n for n in c.latent[:-1]))
        self.down = nn.ModuleList(
            self._net(z, h, n) for (_, h, z), n in zip(sizes, outputs, strict=True)
        )

    def _net(self, inputs: int, hidden: int, outputs: int) -> Mlp:
        c = self.config
        widths = (inputs, hidden, hidden, outputs)
        return Mlp(widths, classes=c.classes, act=nn.Tanh)

    def prior(self, batch: int, cond: Tensor | None = None) -> "Chain":
        """p(z) over flat codes (B, Z), from the last level to the first."""
        e, last = self._one_hot(cond), len(self.shapes) - 1
        links = [_normal(net, e) for net in reversed(_nets(self.down)[1:])]
        like = _nets(self.down)[0].like
        first = Normal.standard(batch, *self.shapes[-1], like=like)
        return Chain(self.shapes, first, links, order=range(last, -1, -1))

    def encode(self, x: Tensor, cond: Tensor | None = None) -> "Chain":
        """q(z|x) over flat codes (B, Z), for x (B, C, H, W), from the first level to the last."""
        e = self._one_hot(cond)
        first, *links = (_normal(net, e) for net in _nets(self.up))
        seen = ordinal(x.flatten(1), self.config.levels, self.dtype)
        return Chain(self.shapes, first(seen), links, order=range(len(self.shapes)))

    def decode(self, z: Tensor, cond: Tensor | None = None) -> Distribution:
        """p(x|z) = p(x|z_1) over (B, C, H, W), for z (B, Z)."""
        z_1 = split(z, self.shapes)[0]
        h = self.down[0](z_1, self._one_hot(cond))
        return self.head(h.unflatten(1, (-1, *self.event.shape[1:])))

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """x ~ p(x|z), z ~ p(z)."""
        z = self.prior(len(rng), cond).sample(rng, stream="z")
        return self.decode(z, cond).sample(rng, stream="x")

    def _one_hot(self, cond: Tensor | None) -> Tensor | None:
        return one_hot(cond, self.config.classes, self.dtype)


class Chain(Levels):
    """Levels of which each depends on the one before it in `order` alone."""

    def __init__(
        self,
        shapes: Sequence[Size],
        first: Normal,
        links: Sequence[Conditional],
        *,
        order: Sequence[int],
    ) -> None:
        super().__init__(shapes)
        self.first, self.links, self.order = first, links, order

    def walk(self, pick: Pick) -> list[Level]:
        at = self.order[0]
        found = {at: (self.first, pick(at, self.first))}
        for (before, l), link in zip(pairwise(self.order), self.links, strict=True):
            q = link(found[before][1])
            found[l] = q, pick(l, q)
        return [found[l] for l in sorted(found)]


def _nets(modules: nn.ModuleList) -> list[Mlp]:
    return cast("list[Mlp]", list(modules))


def _normal(net: Mlp, e: Tensor | None) -> Conditional:
    """The normal whose mean and log-spread a network tells."""

    def conditional(h: Tensor) -> Normal:
        mean, log_std = full(net(h, e)).chunk(2, 1)
        return Normal(mean, bounded(log_std))

    return conditional
