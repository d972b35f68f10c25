"""A capability of this family: distributions between a base that is easy and the model.

    f_b(x) = base(x)^(1-b) exp(-E(x))^b,  0 <= b <= 1

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Distribution, Range, Rng

__all__ = ["Tempered", "TemperedChain"]


@runtime_checkable
class Tempered(Protocol):
    """A base distribution, and a Markov chain for everything on the way from it to the model."""

    def base(self, batch: int) -> Distribution:
        """A normalized distribution of `batch` events that covers the model's."""
        ...

    def transition(self, x: Tensor, beta: float, rng: Rng, *, step: int) -> Tensor:
        """One move of x (B, *S) that leaves f_beta invariant, exactly."""
        ...


@dataclass(frozen=True)
class TemperedChain:
    """Draws of the base, carried to the model by a chain whose beta rises from 0 to 1.

    Half of the steps anneal, half are taken at beta = 1, where the chain leaves p invariant.
    """

    steps: Annotated[int, Range(2, 1_000_000)] = 200

    def __call__(self, model: Any, rng: Rng, cond: Tensor | None) -> Tensor:
        x: Tensor = model.base(len(rng)).sample(rng, stream="base")
        for k in range(self.steps):
            beta = min(1.0, 2 * (k + 1) / self.steps)
            x = model.transition(x, beta, rng, step=k)
        return x if model.event.discrete else _inside(x, model.event)


def _inside(x: Tensor, event: Any) -> Tensor:
    return x if event.low is None and event.high is None else torch.clamp(x, event.low, event.high)
