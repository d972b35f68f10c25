"""What every generative adversarial network of this family shares: two networks and a scale.

    x = G(z, c),  z ~ N(0, I)

Networks see reals: integers 0..K-1 become 2 x / (K - 1) - 1 in [-1, 1], reals stay as they are.
`generate` gives G(z) in the units of events, differentiable; a sample of an integer event is that,
rounded.

Shapes: B batch, S the event's shape, L latents.
"""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo_core.plugin import (
    Condition,
    ConfigError,
    Distribution,
    Event,
    GenerativeModel,
    Normal,
    Player,
    Rng,
    UsageError,
)

__all__ = ["AdversarialModel", "Adversaries", "Losses", "channels_last", "event_of"]


@runtime_checkable
class Adversaries(Protocol):
    """Two networks that adversarial losses train: the capability they require."""

    generator: nn.Module
    """Called as (z, cond): (B, L) -> events on the networks' scale (B, *S)."""
    discriminator: nn.Module
    """Called as (v, cond): events on the networks' scale (B, *S) -> scores (B,)."""

    def prior(self, batch: int, cond: Tensor | None = None) -> Distribution: ...

    def generate(self, z: Tensor, cond: Tensor | None = None) -> Tensor: ...

    def normalize(self, x: Tensor) -> Tensor:
        """Events on the networks' scale, (B, *S) -> (B, *S)."""
        ...

    def to_events(self, x: Tensor) -> Tensor:
        """What `generate` gave, as events (B, *S)."""
        ...


class Losses(Protocol):
    """What `make_players` asks of a loss: a method for each player, and D's steps per G's."""

    steps: int

    def discriminator(self, model: Any, batch: Any, rng: Rng, step: int) -> Any: ...

    def generator(self, model: Any, batch: Any, rng: Rng, step: int) -> Any: ...


class AdversarialModel(GenerativeModel):
    """Base of the family's models, which set `generator` and `discriminator`.

    A model converted from a generator alone has no discriminator; it samples, and does not train.
    """

    generator: nn.Module
    discriminator: nn.Module | None

    def __init__(
        self, config: Any, event: Event, *, latent: int, classes: int | None = None
    ) -> None:
        super().__init__(config, event, Condition("classes", classes) if classes else None)
        self._latent = latent

    def prior(self, batch: int, cond: Tensor | None = None) -> Normal:
        """Standard normal latents (B, L)."""
        return Normal.standard(batch, self._latent, like=next(self.generator.parameters()))

    def generate(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """G(z) in the units of events, (B, L) -> (B, *S), not yet rounded."""
        v: Tensor = self.generator(z, cond).contiguous()
        return v if self.event.levels is None else (v + 1) * ((self.event.levels - 1) / 2)

    def normalize(self, x: Tensor) -> Tensor:
        """Events on the networks' scale, (B, *S) -> (B, *S)."""
        return self.event.to_network(x, self.dtype)

    def to_events(self, x: Tensor) -> Tensor:
        """What `generate` gave, as events: rounded to levels, or held in range."""
        if self.event.levels is not None:
            return x.float().round().clamp(0, self.event.levels - 1).long()
        return self.event.from_network(x)

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """One pass of G, (B, *S)."""
        z = self.prior(len(rng), cond).sample(rng, stream="z")
        return self.to_events(self.generate(z, cond))

    def make_players(self, loss: Losses) -> dict[str, Player]:
        """The discriminator, which moves first, and the generator."""
        if self.discriminator is None:
            raise UsageError(
                "this model is a generator without a discriminator; it cannot be trained.",
                hint="zoo.create(...) makes a model with both",
                command="zoo train --recipe NAME makes a model with both",
            )
        networks = {"discriminator": self.discriminator, "generator": self.generator}
        steps = {"discriminator": loss.steps, "generator": 1}
        return {
            name: Player(
                tuple(net.parameters()), partial(getattr(loss, name), self), steps=steps[name]
            )
            for name, net in networks.items()
        }


def event_of(shape: tuple[int, ...], levels: int | None) -> Event:
    """Integers, reals in [-1, 1] for images, or any reals for vectors."""
    if len(shape) not in (1, 3):
        raise ConfigError(f"shape = {shape}; it must be (C, H, W) for images or (D,).")
    if levels is not None or len(shape) == 1:
        return Event(shape, levels=levels)
    return Event(shape, low=-1.0, high=1.0)


def channels_last(model: nn.Module) -> None:
    """Lay convolutions out so that sampling on CPUs takes two thirds of the time."""
    for p in model.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
