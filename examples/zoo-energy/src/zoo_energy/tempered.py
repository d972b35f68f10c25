"""A capability of this family: tempered distributions between a simple base and the model.

    f_b(x) = base(x)^(1-b) exp(-E(x))^b,  0 <= b <= 1

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from torch import Tensor

from zoo_core.plugin import Distribution, Energy, Range, Rng

__all__ = ["Tempered", "TemperedChain", "TemperedEnergy"]


@runtime_checkable
class Tempered(Protocol):
    """A base distribution, and Markov transitions for every f_b between it and the model."""

    def base(self, batch: int) -> Distribution:
        """A normalized distribution over `batch` events whose support covers the model's."""
        ...

    def transition(self, x: Tensor, beta: float, rng: Rng, *, step: int) -> Tensor:
        """One transition of x (B, *S) that leaves f_beta exactly invariant."""
        ...


class TemperedEnergy(Tempered, Energy, Protocol):
    """Both capabilities, for type checkers."""


@dataclass(frozen=True)
class TemperedChain:
    """Draws from the base, moved to the model by a chain whose beta rises from 0 to 1.

    The first half of the steps anneals; the second half has beta = 1, where the chain leaves p
    invariant.
    """

    steps: Annotated[int, Range(2, 1_000_000)] = 200

    def __call__(self, model: Tempered, rng: Rng, cond: Tensor | None) -> Tensor:
        x = model.base(len(rng)).sample(rng, stream="base")
        for k in range(self.steps):
            beta = min(1.0, 2 * (k + 1) / self.steps)
            x = model.transition(x, beta, rng, step=k)
        return x
