"""Fair dice (log p = -D log K exactly), perhaps with a class, and a fog without a density."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from zoo_core.plugin import (
    Condition,
    Event,
    GenerativeModel,
    LikelihoodKind,
    Loss,
    NoCapabilityError,
    Range,
)


@dataclass(frozen=True)
class DiceConfig:
    shape: tuple[int, ...] = (1, 8, 8)
    levels: Annotated[int, Range(2, 256)] = 17
    classes: Annotated[int, Range(0, 1000)] = 0
    paint: Literal["white", "red"] = "white"


class Dice(GenerativeModel):
    def __init__(self, config):
        condition = Condition("classes", classes=config.classes) if config.classes else None
        super().__init__(config, Event(config.shape, levels=config.levels), condition)
        self.logits = torch.nn.Parameter(torch.zeros(max(1, config.classes), config.levels))

    def _logits(self, batch, cond):
        rows = torch.zeros(batch, dtype=torch.long) if cond is None else cond
        logits = self.logits[rows].view(batch, *[1] * len(self.event.shape), -1)
        return logits.expand(batch, *self.event.shape, -1)

    def log_prob(self, x, cond=None):
        picked = self._logits(len(x), cond).log_softmax(-1).gather(-1, x.unsqueeze(-1))
        return picked.flatten(1).sum(-1)

    def sample_rows(self, rng, cond=None):
        return rng.categorical(self._logits(len(rng), cond), stream="dice")


@dataclass(frozen=True)
class FogConfig:
    shape: tuple[int, ...] = (2,)


class Fog(GenerativeModel):
    def __init__(self, config):
        super().__init__(config, Event(config.shape, low=0.0, high=1.0))
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def sample_rows(self, rng, cond=None):
        return rng.uniform(self.event.shape, stream="fog")


@dataclass(frozen=True)
class Settle:
    def __call__(self, model, batch, rng, step):
        return Loss(sum((p - 1).square().sum() for p in model.parameters()))


@dataclass(frozen=True)
class Loaded:
    face: Annotated[int, Range(0, 16)] = 3

    def __call__(self, model, rng, cond):
        if not model.event.discrete:
            raise NoCapabilityError("dice have faces; these events are reals.")
        face = min(self.face, model.event.levels - 1)
        loaded = rng.uniform(model.event.shape, stream="load") < 0.9
        return torch.where(loaded, face, model.sample_rows(rng, cond))


@dataclass(frozen=True)
class Bound:
    slack: Annotated[float, Range(0, 10)] = 1.0

    @property
    def kind(self):
        return LikelihoodKind("tiny_bound", "lower", f"slack={self.slack:g}")

    def __call__(self, model, x, cond, rng):
        return model.log_prob(x, cond) - self.slack
