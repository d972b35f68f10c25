"""What all baselines share: the protocol, the rows of tables of classes, and blocks of events."""

from typing import Protocol

import torch
from torch import Tensor

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event

__all__ = ["NOTHING", "Baseline", "classes_of", "in_blocks", "table_rows"]

_BLOCK_VALUES = 1 << 22
NOTHING = Condition()


class Baseline(Protocol):
    """A fitted distribution with a name and a likelihood of a stated kind."""

    @property
    def event(self) -> Event: ...

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> LikelihoodKind: ...

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        """log p(x | y) in nats, (N, *S) -> (N,), float64."""
        ...

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        """One event per row of `rng`, stored as in the data set, (N, *S)."""
        ...


def table_rows(y: Tensor | None, n: int, classes: int | None, told: Condition = NOTHING) -> Tensor:
    """The row of a table for each event: its class, or 0 without classes."""
    return torch.zeros(n, dtype=torch.long) if y is None or not classes else told.cell(y)


def classes_of(table: Tensor) -> int | None:
    return len(table) if len(table) > 1 else None


def in_blocks(n: int, values: int) -> list[slice]:
    """Rows 0..n-1 in parts of bounded memory, where each row takes so many values."""
    size = max(1, _BLOCK_VALUES // max(1, values))
    return [slice(a, min(a + size, n)) for a in range(0, n, size)]
