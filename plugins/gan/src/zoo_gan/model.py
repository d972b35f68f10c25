"""Base of the family's generative adversarial networks: a generator, a discriminator, a prior.

    x = G(z, c),  z ~ N(0, I)

Networks work on continuous values: integers 0..K-1 are scaled to 2 x / (K - 1) - 1 in [-1, 1],
continuous events stay as they are. `generate` returns G(z) in the units of events, differentiable;
samples of integer events are G(z) rounded.

Shapes: B batch, S the event's shape, L latents.
"""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo_core.plugin import (
    Batch,
    ClassCounts,
    Condition,
    ConfigError,
    Distribution,
    Event,
    GenerativeModel,
    Loss,
    Normal,
    Player,
    Rng,
    UsageError,
)

__all__ = ["AdversarialModel", "Adversaries", "PlayerLosses", "channels_last", "event_of"]


@runtime_checkable
class Adversaries(Protocol):
    """Capability that adversarial losses require: a generator and a discriminator."""

    generator: nn.Module
    """Called as `(z, cond)`, (B, L) -> (B, *S) on the networks' scale."""
    discriminator: nn.Module
    """Called as `(v, cond)`, (B, *S) on the networks' scale -> scores (B,)."""

    def prior(self, batch: int, cond: Tensor | None = None) -> Distribution: ...

    def generate(self, z: Tensor, cond: Tensor | None = None) -> Tensor: ...

    def normalize(self, x: Tensor) -> Tensor:
        """Events on the networks' scale, (B, *S) -> (B, *S)."""
        ...

    def to_events(self, x: Tensor) -> Tensor:
        """Output of `generate` as valid events (B, *S)."""
        ...


class PlayerLosses(Protocol):
    """A loss with a method for each player; `steps` are D's steps per step of G."""

    steps: int

    def discriminator(self, model: Adversaries, batch: Batch, rng: Rng, step: int) -> Loss: ...

    def generator(self, model: Adversaries, batch: Batch, rng: Rng, step: int) -> Loss: ...


class AdversarialModel(GenerativeModel):
    """Base of the family's models; a subclass sets `generator` and `discriminator`.

    A model converted from a generator alone has no discriminator: it samples and cannot train.
    """

    generator: nn.Module
    discriminator: nn.Module | None

    def __init__(
        self, config: Any, event: Event, *, latent: int, classes: ClassCounts = None
    ) -> None:
        super().__init__(config, event, Condition.from_classes(classes))
        self._latent = latent

    def prior(self, batch: int, cond: Tensor | None = None) -> Normal:
        """Standard normal latents (B, L)."""
        return Normal.standard(batch, self._latent, like=next(self.generator.parameters()))

    def generate(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """G(z) in the units of events, before rounding: (B, L) -> (B, *S)."""
        v: Tensor = self.generator(z, cond).contiguous()
        return v if self.event.levels is None else (v + 1) * ((self.event.levels - 1) / 2)

    def normalize(self, x: Tensor) -> Tensor:
        """Events on the networks' scale, (B, *S) -> (B, *S)."""
        return self.event.to_network(x, self.dtype)

    def to_events(self, x: Tensor) -> Tensor:
        """Output of `generate` as valid events (B, *S): clamped and, for integers, rounded."""
        if self.event.levels is not None:
            return x.float().round().clamp(0, self.event.levels - 1).long()
        return self.event.from_network(x)

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """G(z) as events (B, *S), in one forward pass."""
        z = self.prior(len(rng), cond).sample(rng, stream="z")
        return self.to_events(self.generate(z, cond))

    def make_players(self, loss: PlayerLosses) -> dict[str, Player]:
        """The discriminator, which is updated first, and the generator."""
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
    """Event of K quantization levels, or continuous: images in [-1, 1], vectors unbounded."""
    if len(shape) not in (1, 3):
        raise ConfigError(f"shape = {shape}; it must be (C, H, W) for images or (D,).")
    if levels is not None or len(shape) == 1:
        return Event(shape, levels=levels)
    return Event(shape, low=-1.0, high=1.0)


def channels_last(model: nn.Module) -> None:
    """Use the channels-last memory format, which cuts sampling time on CPUs by a third."""
    for p in model.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
