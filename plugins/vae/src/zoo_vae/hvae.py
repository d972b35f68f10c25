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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import (
    Condition,
    ConfigError,
    Distribution,
    Draw,
    Event,
    GenerativeModel,
    Normal,
    Product,
    Range,
    Rng,
    one_hot,
    ordinal,
)
from zoo_vae.hierarchical_latents import Level, Levels, Pick, flat, split
from zoo_vae.networks import Head, Likelihood, bounded, full

__all__ = ["HVAE", "Config"]


@dataclass(frozen=True)
class Config:
    """Event, likelihood and, scale by scale, sizes. `classes` makes it class-conditional.

    Scale i has the resolution of the one before it (the event's) divided by `strides[i]`,
    `channels[i]` units a place, and `blocks[i]` levels of `latent[i]` latents a place each.
    """

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: Annotated[int, Range(1, 65536)] | None = None
    likelihood: Likelihood = "bernoulli"
    channels: Annotated[tuple[int, ...], Range(1, 4096)] = (32, 64)
    blocks: Annotated[tuple[int, ...], Range(0, 64)] = (1, 2)
    latent: Annotated[tuple[int, ...], Range(1, 4096)] = (2, 8)
    strides: Annotated[tuple[int, ...], Range(2, 64)] = ()
    """None given: 2 each. The last may reach a single place, whose levels see all of x."""
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0

    def __post_init__(self) -> None:
        given = {"channels": self.channels, "blocks": self.blocks, "latent": self.latent}
        if self.strides:
            given["strides"] = self.strides
        if not self.channels or len({*map(len, given.values())}) > 1:
            told = ", ".join(f"{name} = {sizes}" for name, sizes in given.items())
            raise ConfigError(f"hvae has {told}; each needs one entry a scale.")
        if not self.blocks[-1]:
            raise ConfigError(f"hvae has blocks = {self.blocks}; the last scale needs a level.")


class Block(nn.Module):
    """h + conv(silu(h))."""

    def __init__(self, units: int, places: Size, dropout: float) -> None:
        super().__init__()
        self.conv, self.dropout = _same(units, places), dropout

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv(F.dropout(F.silu(h), self.dropout, self.training))  # type: ignore[no-any-return]


class Stochastic(nn.Module):
    """One level: its prior and posterior at the state h, and what its draw adds to h."""

    def __init__(self, units: int, latent: int, places: Size, dropout: float) -> None:
        super().__init__()
        self.prior_head = nn.Conv2d(units, 2 * latent, 1)
        self.join = _same(units, places)
        self.posterior_head = nn.Conv2d(units, 2 * latent, 1)
        self.add = nn.Conv2d(latent, units, 1)
        self.block = Block(units, places, dropout)
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
        C, U, L = c.shape[0], c.channels, c.latent
        strides = c.strides or (2,) * len(U)
        places = _places(c.shape, strides)
        self.scales = [i for i, n in reversed([*enumerate(c.blocks)]) for _ in range(n)]
        self.shapes = [Size((L[i], *places[i])) for i in self.scales]
        head = Head(event, c.likelihood)
        self.head = head
        pairs = [*zip((C, *U[:-1]), U, strides, strict=True)]
        self.down = nn.ModuleList(nn.Conv2d(n, m, *_window(s)) for n, m, s in pairs)
        self.rise = nn.ModuleList(Block(u, p, c.dropout) for u, p in zip(U, places, strict=True))
        self.top = nn.Parameter(torch.zeros(1, U[-1], *places[-1]))
        self.ladder = nn.ModuleList(
            Stochastic(U[i], L[i], places[i], c.dropout) for i in self.scales
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(m, n, *_window(s)) for n, m, s in pairs[1:])
        self.between = nn.ModuleDict(
            {str(i): Block(U[i], places[i], c.dropout) for i, n in enumerate(c.blocks) if not n}
        )
        self.finest = strides[0]
        self.out = nn.Conv2d(U[0], self.finest**2 * head.features, 3, padding=1)  # of its pixels
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

    def pass_down(self, h: Tensor, above: int, scale: int) -> Tensor:
        """The state of a scale as that of a finer one."""
        for i in reversed(range(scale, above)):
            h = self.up[i](F.silu(h))
            if str(i) in self.between:
                h = self.between[str(i)](h)
        return h

    def likelihood(self, h: Tensor) -> Distribution:
        """p(x|z) from the state below the last level."""
        return self.head(F.pixel_shuffle(self.out(F.silu(h)), self.finest))

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
            if l:
                h = model.pass_down(h, model.scales[l - 1], scale)
            p = level.prior(h)
            q = p if self.features is None else level.posterior(h, self.features[scale], p)
            z = pick(l, q)
            levels.append((p, q, z))
            h = level.descend(h, z)
        return levels, model.pass_down(h, model.scales[-1], 0)


def _places(shape: tuple[int, int, int], strides: Sequence[int]) -> list[Size]:
    """Rows and columns of each scale; raises `ConfigError` where a stride does not divide them."""
    _, rows, columns = shape
    places = []
    for stride in strides:
        if rows % stride or columns % stride:
            raise ConfigError(
                f"images of {shape[1]}x{shape[2]} cannot be divided by strides = {tuple(strides)} "
                "in turn.",
                hint="give other strides, or fewer channels of them",
            )
        rows, columns = rows // stride, columns // stride
        places.append(Size((rows, columns)))
    return places


def _window(stride: int) -> tuple[int, int, int]:
    """Kernel, stride and padding: overlapping where a resolution is halved, else side by side."""
    return (4, 2, 1) if stride == 2 else (stride, stride, 0)


def _same(units: int, places: Size) -> nn.Conv2d:
    """A convolution that keeps units and places: 3 x 3, of a single place 1 x 1."""
    kernel = 1 if places.numel() == 1 else 3
    return nn.Conv2d(units, units, kernel, padding=kernel // 2)
