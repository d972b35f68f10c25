"""Hierarchical VAE with top-down inference: latent groups from coarse to fine.

    p(z) = prod_l p(z_l | z_<l),  q(z|x) = prod_l q(z_l | z_<l, x)
    log p(x) >= E_q[log p(x|z) - sum_l KL(q(z_l | z_<l, x) || p(z_l | z_<l))]

A ladder VAE (Sonderby et al., 2016, https://arxiv.org/abs/1602.02282) with the residual networks
of Kingma et al. (2016, https://arxiv.org/abs/1606.04934) and Child (2021, VDVAE,
https://arxiv.org/abs/2011.10650). A bottom-up pass computes features d of x at each resolution. A
top-down pass starts from a learned constant state h, and the top-down block of group l computes

    p(z_l | z_<l) = N(m, s),   q(z_l | z_<l, x) = N(m + a, s exp b),  m, s = f(h), a, b = g(h + d)
    h <- block(h + W z_l)

with the posterior parameterized relative to the prior (Vahdat & Kautz, 2020, NVAE, eq. 3). One
top-down pass gives the prior, the posterior and p(x|z) of a draw.

Networks of the signature `image` may be put at either end: `encoder` sees x before the bottom-up
pass, `decoder` maps the last state to the parameters of p(x|z), both at the resolution of x.

Shapes: B batch, C channels, H height, W width, U features, Z latents of all groups, z_1 the
coarsest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import (
    ClassCounts,
    Condition,
    ConfigError,
    Distribution,
    Draw,
    Event,
    GenerativeModel,
    Network,
    Normal,
    Product,
    Range,
    Rng,
    build_network,
    condition_features,
    dropout,
)
from zoo_vae.hierarchical_latents import (
    ChooseValue,
    Group,
    HierarchicalLatents,
    concatenate,
    split_groups,
)
from zoo_vae.networks import DecoderLikelihood, LikelihoodHead, soft_clamp, to_float32

__all__ = ["HVAE", "HVAEConfig"]


@dataclass(frozen=True)
class HVAEConfig:
    """Event, likelihood, and sizes per resolution; `classes` makes the model class-conditional.

    Resolution i is the previous one (at first the event's) divided by `strides[i]`. It has
    `channels[i]` channels and `blocks[i]` latent groups, each of `latent[i]` latents per position.
    """

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: ClassCounts = None
    likelihood: DecoderLikelihood = "bernoulli"
    channels: Annotated[tuple[int, ...], Range(1, 4096)] = (32, 64)
    blocks: Annotated[tuple[int, ...], Range(0, 64)] = (1, 2)
    latent: Annotated[tuple[int, ...], Range(1, 4096)] = (2, 8)
    strides: Annotated[tuple[int, ...], Range(2, 64)] = ()
    """Default: 2 each. The last may leave a single position, whose groups see all of x."""
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    encoder: Annotated[Any, Network("image")] | None = None
    decoder: Annotated[Any, Network("image")] | None = None

    def __post_init__(self) -> None:
        options = {"channels": self.channels, "blocks": self.blocks, "latent": self.latent}
        if self.strides:
            options["strides"] = self.strides
        if not self.channels or len({*map(len, options.values())}) > 1:
            text = ", ".join(f"{name} = {sizes}" for name, sizes in options.items())
            raise ConfigError(f"hvae has {text}; each needs one entry per resolution.")
        if not self.blocks[-1]:
            raise ConfigError(
                f"hvae has blocks = {self.blocks}; the last resolution needs a latent group."
            )


class ResidualBlock(nn.Module):
    """h + conv(silu(h))."""

    def __init__(self, channels: int, resolution: Size, dropout: float) -> None:
        super().__init__()
        self.conv, self.dropout = _same_conv(channels, resolution), dropout

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.conv(dropout(F.silu(h), self.dropout, self.training))
        return out


class TopDownBlock(nn.Module):
    """One latent group: prior and posterior at state h, and the next state given its value."""

    def __init__(self, channels: int, latent: int, resolution: Size, dropout: float) -> None:
        super().__init__()
        self.prior_head = nn.Conv2d(channels, 2 * latent, 1)
        self.join = _same_conv(channels, resolution)
        self.posterior_head = nn.Conv2d(channels, 2 * latent, 1)
        self.add = nn.Conv2d(latent, channels, 1)
        self.block = ResidualBlock(channels, resolution, dropout)
        for head in (self.prior_head, self.posterior_head):  # q = p = N(0, I) initially
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    def prior(self, h: Tensor) -> Normal:
        m, log_s = to_float32(self.prior_head(F.silu(h))).chunk(2, 1)
        return Normal(m, soft_clamp(log_s))

    def posterior(self, h: Tensor, d: Tensor, p: Normal) -> Normal:
        joined = F.silu(self.join(F.silu(h + d)))
        a, b = to_float32(self.posterior_head(joined)).chunk(2, 1)
        return Normal(p.mean + a, p.log_std + soft_clamp(b))

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """The state below the group whose value is z."""
        out: Tensor = self.block(h + self.add(z))
        return out


class HVAE(GenerativeModel):
    """Hierarchical VAE with top-down inference, the first latent group at the coarsest resolution.

    In its state dict `rise` are the bottom-up blocks and `ladder` the top-down blocks.
    """

    def __init__(self, config: HVAEConfig | None = None) -> None:
        c = config or HVAEConfig()
        event = Event(c.shape, levels=c.levels)
        super().__init__(c, event, Condition.from_classes(c.classes))
        C, U, L = c.shape[0], c.channels, c.latent
        strides = c.strides or (2,) * len(U)
        resolutions = _resolutions(c.shape, strides)
        self.scales = [i for i, n in reversed([*enumerate(c.blocks)]) for _ in range(n)]
        self.shapes = [Size((L[i], *resolutions[i])) for i in self.scales]
        self.head = LikelihoodHead(event, c.likelihood)
        self.encoder = _end(c.encoder, C, U[0], c.shape)
        self.decoder = _end(c.decoder, U[0], self.head.features, c.shape)
        C = C if self.encoder is None else U[0]
        pairs = [*zip((C, *U[:-1]), U, strides, strict=True)]
        self.down = nn.ModuleList(nn.Conv2d(n, m, *_kernel_stride_padding(s)) for n, m, s in pairs)
        self.rise = nn.ModuleList(
            ResidualBlock(u, r, c.dropout) for u, r in zip(U, resolutions, strict=True)
        )
        self.top = nn.Parameter(torch.zeros(1, U[-1], *resolutions[-1]))
        self.ladder = nn.ModuleList(
            TopDownBlock(U[i], L[i], resolutions[i], c.dropout) for i in self.scales
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(m, n, *_kernel_stride_padding(s)) for n, m, s in pairs[1:]
        )
        self.between = nn.ModuleDict(
            {
                str(i): ResidualBlock(U[i], resolutions[i], c.dropout)
                for i, n in enumerate(c.blocks)
                if not n
            }
        )
        self.finest = strides[0]
        last = self.head.features if self.decoder is None else U[0]
        self.out = nn.Conv2d(U[0], self.finest**2 * last, 3, padding=1)
        self.class_below = _class_weights(self.condition, U[0])
        self.class_above = _class_weights(self.condition, U[-1])
        self._scale_by_depth()

    @torch.no_grad()
    def _scale_by_depth(self) -> None:
        """Divide what each of n groups adds to the state by sqrt(n) (Child, 2021, app. A).

        The state then starts with a variance that does not grow with the depth.
        """
        for block in self.top_down_blocks:
            for layer in (block.add, block.block.conv):
                layer.weight.div_(len(self.scales) ** 0.5)

    @property
    def top_down_blocks(self) -> list[TopDownBlock]:
        """One block per latent group, coarsest first."""
        return cast("list[TopDownBlock]", list(self.ladder))

    def prior(self, batch: int, cond: Tensor | None = None) -> "TopDownDistribution":
        """p(z) over flat latents (B, Z)."""
        return TopDownDistribution(self, batch, cond)

    def encode(self, x: Tensor, cond: Tensor | None = None) -> "TopDownDistribution":
        """q(z|x) over flat latents (B, Z), for x (B, C, H, W)."""
        return TopDownDistribution(self, len(x), cond, self.bottom_up(x, cond))

    def decode(self, z: Tensor, cond: Tensor | None = None) -> Distribution:
        """p(x|z) over (B, C, H, W), for z (B, Z)."""
        values = split_groups(z, self.shapes)
        _, h = self.prior(len(z), cond).top_down(lambda l, q: values[l])
        return self.likelihood(h)

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """x ~ p(x|z), z ~ p(z), in one top-down pass: (B, C, H, W)."""
        return self.prior(len(rng), cond).draw(rng, stream="z").p.sample(rng, stream="x")

    def bottom_up(self, x: Tensor, cond: Tensor | None = None) -> list[Tensor]:
        """Features d of x at each resolution, finest first: (B, U, h, w)."""
        d, features = self.event.to_network(x, self.dtype), []
        if self.encoder is not None:
            d = self.encoder(d)
        for i, (down, block) in enumerate(zip(self.down, self.rise, strict=True)):
            d = down(d)
            if i == 0 and self.class_below is not None:
                d = d + self.class_below(self._class_features(cond))[:, :, None, None]
            d = block(d)
            features.append(d)
        return features

    def initial_state(self, batch: int, cond: Tensor | None) -> Tensor:
        """The learned constant state h above the first group."""
        h = self.top.expand(batch, -1, -1, -1)
        if self.class_above is not None:
            h = h + self.class_above(self._class_features(cond))[:, :, None, None]
        return h

    def upsample(self, h: Tensor, coarse: int, fine: int) -> Tensor:
        """The state at resolution `coarse`, upsampled to resolution `fine`."""
        for i in reversed(range(fine, coarse)):
            h = self.up[i](F.silu(h))
            if str(i) in self.between:
                h = self.between[str(i)](h)
        return h

    def likelihood(self, h: Tensor) -> Distribution:
        """p(x|z) from the state below the last group."""
        h = F.pixel_shuffle(self.out(F.silu(h)), self.finest)
        return self.head(h if self.decoder is None else self.decoder(h))

    def _class_features(self, cond: Tensor | None) -> Tensor | None:
        return condition_features(self.condition, cond, self.dtype)


class TopDownDistribution(HierarchicalLatents):
    """q(z|x) given bottom-up features of x, or p(z) without them."""

    def __init__(
        self,
        model: HVAE,
        batch: int,
        cond: Tensor | None,
        features: list[Tensor] | None = None,
    ) -> None:
        super().__init__(model.shapes)
        self.model, self.batch, self.cond, self.features = model, batch, cond, features

    def ancestral_pass(self, choose: ChooseValue) -> list[Group]:
        groups, _ = self.top_down(choose)
        return [(q, z) for _, q, z in groups]

    def draw(self, rng: Rng, *, stream: str, step: int = 0) -> Draw:
        """A draw with the conditionals of prior and posterior at it, and p(x|z)."""
        groups, h = self.top_down(lambda l, q: q.sample(rng, stream=f"{stream}{l}", step=step))
        p, q, _ = zip(*groups, strict=True)
        z = concatenate([(q_l, z_l) for _, q_l, z_l in groups])
        return Draw(z, Product(q), Product(p), self.model.likelihood(h))

    def top_down(self, choose: ChooseValue) -> tuple[list[tuple[Normal, Normal, Tensor]], Tensor]:
        """Prior, posterior and value of each group, and the state h below the last."""
        model, groups = self.model, []
        h = model.initial_state(self.batch, self.cond)
        for l, (scale, block) in enumerate(zip(model.scales, model.top_down_blocks, strict=True)):
            if l:
                h = model.upsample(h, model.scales[l - 1], scale)
            p = block.prior(h)
            q = p if self.features is None else block.posterior(h, self.features[scale], p)
            z = choose(l, q)
            groups.append((p, q, z))
            h = block(h, z)
        return groups, model.upsample(h, model.scales[-1], 0)


def _end(network: Any, inputs: int, outputs: int, shape: tuple[int, int, int]) -> nn.Module | None:
    """The network at one end of the hierarchy, if there is one."""
    if network is None:
        return None
    return build_network(network, "image", inputs=inputs, outputs=outputs, size=shape[1:])


def _resolutions(shape: tuple[int, int, int], strides: Sequence[int]) -> list[Size]:
    """Height and width after each stride; raises `ConfigError` where one does not divide them."""
    _, rows, columns = shape
    resolutions = []
    for stride in strides:
        if rows % stride or columns % stride:
            raise ConfigError(
                f"images of {shape[1]}x{shape[2]} cannot be divided by strides = {tuple(strides)} "
                "in turn.",
                hint="give other strides, or fewer of them and of channels",
            )
        rows, columns = rows // stride, columns // stride
        resolutions.append(Size((rows, columns)))
    return resolutions


def _kernel_stride_padding(stride: int) -> tuple[int, int, int]:
    """Overlapping windows for stride 2, non-overlapping patches otherwise."""
    return (4, 2, 1) if stride == 2 else (stride, stride, 0)


def _same_conv(channels: int, resolution: Size) -> nn.Conv2d:
    """A convolution that keeps the shape: 3 x 3, or 1 x 1 for a single position."""
    kernel = 1 if resolution.numel() == 1 else 3
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2)


def _class_weights(condition: Condition, outputs: int) -> nn.Linear | None:
    """V of the term V e that classes add to features; None without classes."""
    if not condition.features:
        return None
    return nn.Linear(condition.features, outputs, bias=False)
