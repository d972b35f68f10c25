"""Importance-weighted autoencoder (Burda, Grosse & Salakhutdinov, 2016).

https://arxiv.org/abs/1509.00519. L groups of latents form a Markov chain with bottom-up inference
and top-down generation. Every conditional is a normal, parameterized by two tanh layers:

    q(z|x) = q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1})                                    (eq. 5)
    p(x, z) = p(z_L) p(z_{L-1}|z_L) ... p(x|z_1),  p(z_L) = N(0, I)                    (eq. 1)
    log p(x) >= E[log (1/k) sum_i p(x, z_i) / q(z_i|x)],  z_i ~ q(z|x)                 (eq. 8)

It is trained on that bound (`IWAELoss(k=50)`); with k = 1 it is a VAE with L latent groups.

Shapes: B batch, C channels, H height, W width, Z latents of all groups, z_1 next to x.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, cast

from torch import Size, Tensor, nn

from zoo_core.plugin import (
    ClassCounts,
    Condition,
    ConfigError,
    Distribution,
    Event,
    GenerativeModel,
    Normal,
    Range,
    Rng,
    condition_features,
    rescale_levels,
)
from zoo_vae.hierarchical_latents import (
    ChooseValue,
    Group,
    HierarchicalLatents,
    split_groups,
)
from zoo_vae.networks import (
    ConditionalMLP,
    DecoderLikelihood,
    LikelihoodHead,
    soft_clamp,
    to_float32,
)

__all__ = ["IWAEConfig", "ImportanceWeightedAutoencoder"]

Transition = Callable[[Tensor], Normal]
"""p or q of a group (B, Z_l) given the previous one in the chain."""


@dataclass(frozen=True)
class IWAEConfig:
    """Event, likelihood, and the latents and network widths of each group from x upwards.

    The defaults are the paper's model with two groups; with one it has latent = (50,), hidden =
    (200,). `classes` makes the model class-conditional.
    """

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: ClassCounts = None
    likelihood: DecoderLikelihood = "bernoulli"
    latent: Annotated[tuple[int, ...], Range(1, 65536)] = (100, 50)
    hidden: Annotated[tuple[int, ...], Range(1, 65536)] = (200, 100)

    def __post_init__(self) -> None:
        if not self.latent or len(self.latent) != len(self.hidden):
            raise ConfigError(
                f"iwae has latent = {self.latent} and hidden = {self.hidden}; "
                "each needs one entry per latent group."
            )


class ImportanceWeightedAutoencoder(GenerativeModel):
    """A Markov chain of normal latent groups between tanh networks."""

    def __init__(self, config: IWAEConfig | None = None) -> None:
        c = config or IWAEConfig()
        event = Event(c.shape, levels=c.levels)
        super().__init__(c, event, Condition.from_classes(c.classes))
        self.head = LikelihoodHead(event, c.likelihood)
        self.shapes = [Size((n,)) for n in c.latent]
        inputs = (event.dims, *c.latent[:-1])
        sizes = [*zip(inputs, c.hidden, c.latent, strict=True)]
        self.up = nn.ModuleList(self._net(n, h, 2 * z) for n, h, z in sizes)
        values = event.dims // c.shape[0] * self.head.features
        outputs = (values, *(2 * n for n in c.latent[:-1]))
        self.down = nn.ModuleList(
            self._net(z, h, n) for (_, h, z), n in zip(sizes, outputs, strict=True)
        )

    def _net(self, inputs: int, hidden: int, outputs: int) -> ConditionalMLP:
        widths = (inputs, hidden, hidden, outputs)
        return ConditionalMLP(widths, classes=self.condition.features, act=nn.Tanh)

    def prior(self, batch: int, cond: Tensor | None = None) -> "MarkovChain":
        """p(z) over flat latents (B, Z), from the last group to the first."""
        e, last = self._class_features(cond), len(self.shapes) - 1
        transitions = [_transition(net, e) for net in reversed(_nets(self.down)[1:])]
        like = _nets(self.down)[0].like
        first = Normal.standard(batch, *self.shapes[-1], like=like)
        return MarkovChain(self.shapes, first, transitions, order=range(last, -1, -1))

    def encode(self, x: Tensor, cond: Tensor | None = None) -> "MarkovChain":
        """q(z|x) over flat latents (B, Z) for x (B, C, H, W), from the first group to the last."""
        e = self._class_features(cond)
        first, *transitions = (_transition(net, e) for net in _nets(self.up))
        v = rescale_levels(x.flatten(1), self.config.levels, self.dtype)
        return MarkovChain(self.shapes, first(v), transitions, order=range(len(self.shapes)))

    def decode(self, z: Tensor, cond: Tensor | None = None) -> Distribution:
        """p(x|z) = p(x|z_1) over (B, C, H, W), for z (B, Z)."""
        z_1 = split_groups(z, self.shapes)[0]
        h = self.down[0](z_1, self._class_features(cond))
        return self.head(h.unflatten(1, (-1, *self.event.shape[1:])))

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """x ~ p(x|z), z ~ p(z): (B, C, H, W)."""
        z = self.prior(len(rng), cond).sample(rng, stream="z")
        return self.decode(z, cond).sample(rng, stream="x")

    def _class_features(self, cond: Tensor | None) -> Tensor | None:
        return condition_features(self.condition, cond, self.dtype)


class MarkovChain(HierarchicalLatents):
    """Groups that each depend only on the previous one in `order`."""

    def __init__(
        self,
        shapes: Sequence[Size],
        first: Normal,
        transitions: Sequence[Transition],
        *,
        order: Sequence[int],
    ) -> None:
        super().__init__(shapes)
        self.first, self.transitions, self.order = first, transitions, order

    def ancestral_pass(self, choose: ChooseValue) -> list[Group]:
        start = self.order[0]
        groups = {start: (self.first, choose(start, self.first))}
        for (before, l), transition in zip(pairwise(self.order), self.transitions, strict=True):
            q = transition(groups[before][1])
            groups[l] = q, choose(l, q)
        return [groups[l] for l in sorted(groups)]


def _nets(modules: nn.ModuleList) -> list[ConditionalMLP]:
    return cast("list[ConditionalMLP]", list(modules))


def _transition(net: ConditionalMLP, e: Tensor | None) -> Transition:
    """The normal whose mean and log standard deviation a network returns."""

    def conditional(h: Tensor) -> Normal:
        mean, log_std = to_float32(net(h, e)).chunk(2, 1)
        return Normal(mean, soft_clamp(log_std))

    return conditional
