"""Hierarchical VAE with top-down inference: levels of codes from coarse to fine.

    p(z) = prod_l p(z_l | z_<l),  q(z|x) = prod_l q(z_l | z_<l, x)
    log p(x) >= E_q[log p(x|z) - sum_l KL(q(z_l | z_<l, x) || p(z_l | z_<l))]

Ladder VAEs (Sonderby et al., 2016, https://arxiv.org/abs/1602.02282) with the residual networks
of Kingma et al. (2016, https://arxiv.org/abs/1606.04934) and Child (2021, VDVAE). Features d of x
rise through halvings of its resolution; a state h descends from a learned one, and at level l

    p(z_l | z_<l) = N(m, s),   q(z_l | z_<l, x) = N(m + a, s exp b),  m, s = f(h), a, b = g(h + d)
    h <- block(h + W z_l)

where the posterior is told relative to the prior (Vahdat & Kautz, 2020, NVAE, eq. 3). One descent
gives the prior, the posterior and p(x|z) of a draw.

Shapes: B batch, C channels, H rows, W columns, U units, Z latents of all levels, z_1 the coarsest.
"""

from dataclasses import dataclass
from typing import Annotated, cast

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from zoo_core import Condition, ConfigError, Event, GenerativeModel, Range, Rng
from zoo_core.capabilities import Distribution
from zoo_core.likelihoods.elbo import Draw
from zoo_core.nn.distributions import Normal, Product
from zoo_core.nn.inputs import one_hot, ordinal
from zoo_vae.levels import Level, Levels, Pick, flat, split
from zoo_vae.networks import Head, Likelihood, bounded, full

__all__ = ["HVAE", "Config"]


@dataclass(frozen=True)
class Config:
    """Event, likelihood and, scale by scale, sizes. `classes` makes it class-conditional.

    Scale i has the event's resolution halved i + 1 times, `channels[i]` units a place, and
    `blocks[i]` levels of `latent[i]` latents a place each.
    """

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: Annotated[int, Range(1, 65536)] | None = None
    likelihood: Likelihood = "bernoulli"
    channels: Annotated[tuple[int, ...], Range(1, 4096)] = (32, 64)
    blocks: Annotated[tuple[int, ...], Range(1, 64)] = (1, 2)
    latent: Annotated[tuple[int, ...], Range(1, 4096)] = (2, 8)
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0

    def __post_init__(self) -> None:
        if not self.channels or len({*map(len, (self.channels, self.blocks, self.latent))}) > 1:
            raise ConfigError(
                f"hvae has channels = {self.channels}, blocks = {self.blocks} and "
                f"latent = {self.latent}; each needs one entry a scale."
            )


class Block(nn.Module):
    """h + conv(silu(h)), 3 x 3."""

    def __init__(self, units: int, dropout: float) -> None:
        super().__init__()
        self.conv, self.dropout = nn.Conv2d(units, units, 3, padding=1), dropout

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv(F.dropout(F.silu(h), self.dropout, self.training))  # type: ignore[no-any-return]


class Stochastic(nn.Module):
    """One level: its prior and posterior at the state h, and what its draw adds to h."""

    def __init__(self, units: int, latent: int, dropout: float) -> None:
        super().__init__()
        self.prior_head = nn.Conv2d(units, 2 * latent, 1)
        self.join = nn.Conv2d(units, units, 3, padding=1)
        self.posterior_head = nn.Conv2d(units, 2 * latent, 1)
        self.add = nn.Conv2d(latent, units, 1)
        self.block = Block(units, dropout)
        for head in (self.prior_head, self.posterior_head):  # q = p = N(0, I) at the start
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def prior(self, h: Tensor) -> Normal:
        m, log_s = full(self.prior_head(F.silu(h))).chunk(2, 1)
        return Normal(m, bounded(log_s))

    def posterior(self, h: Tensor, d: Tensor, p: Normal) -> Normal:
        a, b = full(self.posterior_head(F.silu(self.join(F.silu(h + d))))).chunk(2, 1)
        return Normal(p.mean + a, p.log_std + bounded(b))

    def descend(self, h: Tensor, z: Tensor) -> Tensor:
        return self.block(h + self.add(z))  # type: ignore[no-any-return]


class HVAE(GenerativeModel):
    """A ladder of levels, the first at the coarsest scale."""

    def __init__(self, config: Config | None = None) -> None:
        c = config or Config()
        event = Event(c.shape, levels=c.levels)
        super().__init__(c, event, Condition("classes", c.classes) if c.classes else None)
        C, H, W = c.shape
        coarsest = 2 ** len(c.channels)
        if H % coarsest or W % coarsest:
            raise ConfigError(f"images of {H}x{W} cannot be halved {len(c.channels)} times.")
        self.scales = [i for i, n in reversed([*enumerate(c.blocks)]) for _ in range(n)]
        places = [(H >> i + 1, W >> i + 1) for i in range(len(c.channels))]
        self.shapes = [Size((c.latent[i], *places[i])) for i in self.scales]
        head = Head(event, c.likelihood)
        self.head, U = head, c.channels
        pairs = [*zip((C, *U[:-1]), U, strict=True)]
        self.down = nn.ModuleList(nn.Conv2d(n, m, 4, 2, 1) for n, m in pairs)
        self.rise = nn.ModuleList(Block(u, c.dropout) for u in U)
        self.top = nn.Parameter(torch.zeros(1, U[-1], *places[-1]))
        self.ladder = nn.ModuleList(Stochastic(U[i], c.latent[i], c.dropout) for i in self.scales)
        self.up = nn.ModuleList(nn.ConvTranspose2d(m, n, 4, 2, 1) for n, m in pairs[1:])
        self.out = nn.Conv2d(U[0], 4 * head.features, 3, padding=1)  # of 2 x 2 pixels each
        self.class_below = nn.Linear(c.classes, U[0], bias=False) if c.classes else None
        self.class_above = nn.Linear(c.classes, U[-1], bias=False) if c.classes else None

    @property
    def rungs(self) -> list[Stochastic]:
        """The levels, coarsest first."""
        return cast("list[Stochastic]", list(self.ladder))

    def prior(self, batch: int, cond: Tensor | None = None) -> "TopDown":
        """p(z) over flat codes (B, Z)."""
        return TopDown(self, batch, cond)

    def encode(self, x: Tensor, cond: Tensor | None = None) -> "TopDown":
        """q(z|x) over flat codes (B, Z), for x (B, C, H, W)."""
        return TopDown(self, len(x), cond, self.features(x, cond))

    def decode(self, z: Tensor, cond: Tensor | None = None) -> Distribution:
        """p(x|z) over (B, C, H, W), for z (B, Z)."""
        known = split(z, self.shapes)
        _, h = self.prior(len(z), cond).descend(lambda l, q: known[l])
        return self.likelihood(h)

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """x ~ p(x|z), z ~ p(z), in one descent."""
        return self.prior(len(rng), cond).draw(rng, stream="z").p.sample(rng, stream="x")

    def features(self, x: Tensor, cond: Tensor | None = None) -> list[Tensor]:
        """What the posteriors see of x at each scale, finest first."""
        d, features = ordinal(x, self.config.levels, self.dtype), []
        for i, (down, block) in enumerate(zip(self.down, self.rise, strict=True)):
            d = down(d)
            if i == 0 and self.class_below is not None:
                d = d + self.class_below(self._one_hot(cond))[:, :, None, None]
            d = block(d)
            features.append(d)
        return features

    def start(self, batch: int, cond: Tensor | None) -> Tensor:
        """The state h above the first level."""
        h = self.top.expand(batch, -1, -1, -1)
        if self.class_above is not None:
            h = h + self.class_above(self._one_hot(cond))[:, :, None, None]
        return h

    def likelihood(self, h: Tensor) -> Distribution:
        """p(x|z) from the state below the last level."""
        return self.head(F.pixel_shuffle(self.out(F.silu(h)), 2))

    def _one_hot(self, cond: Tensor | None) -> Tensor | None:
        return one_hot(cond, self.config.classes, self.dtype)


class TopDown(Levels):
    """q(z|x) of an event's features, or without them p(z)."""

    def __init__(
        self,
        model: HVAE,
        batch: int,
        cond: Tensor | None,
        features: list[Tensor] | None = None,
    ) -> None:
        super().__init__(model.shapes)
        self.model, self.batch, self.cond, self.features = model, batch, cond, features

    def walk(self, pick: Pick) -> list[Level]:
        levels, _ = self.descend(pick)
        return [(q, z) for _, q, z in levels]

    def draw(self, rng: Rng, *, stream: str, step: int = 0) -> Draw:
        """A draw with the conditionals of the prior and the posterior at it, and p(x|z)."""
        levels, h = self.descend(lambda l, q: q.sample(rng, stream=f"{stream}{l}", step=step))
        p, q, _ = zip(*levels, strict=True)
        z = flat([level[1:] for level in levels])
        return Draw(z, Product(q), Product(p), self.model.likelihood(h))

    def descend(self, pick: Pick) -> tuple[list[tuple[Normal, Normal, Tensor]], Tensor]:
        """Prior, posterior and value of each level, and the state h below the last."""
        model, levels = self.model, []
        h = model.start(self.batch, self.cond)
        for l, (scale, level) in enumerate(zip(model.scales, model.rungs, strict=True)):
            if l and scale < model.scales[l - 1]:
                h = model.up[scale](F.silu(h))
            p = level.prior(h)
            q = p if self.features is None else level.posterior(h, self.features[scale], p)
            z = pick(l, q)
            levels.append((p, q, z))
            h = level.descend(h, z)
        return levels, h
