"""Data sets: events in named, disjoint splits, with license and provenance.

Shapes: N events, S the event's shape. Integers up to 255 are stored as uint8, larger ones as
int64, reals as float32; `Split.batch` returns them in the dtypes that models take.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core.errors import DataError
from zoo_core.spaces import Condition, Event, as_condition

__all__ = ["Dataset", "Split", "storage_dtype"]


@dataclass(frozen=True, eq=False)
class Split:
    """Events x (N, *S) and their labels y, if any: int64 (N,), or the rows (N, W) of a group."""

    x: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Events and labels of some rows, as they are stored."""
        return self.x[rows], None if self.y is None else self.y[rows]

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Events and labels by their indices: int64 events if discrete, else float32."""
        x, y = self.rows(rows)
        return (x if x.is_floating_point() else x.long()), y


@dataclass(frozen=True, eq=False)
class Dataset:
    """Named splits of events of one kind.

    `truth` is log p(x) in nats, (N, *S) -> (N,) float64, if the distribution is known; with labels
    it is that of the marginal. `provenance` states the source of the data, with hashes. Raises
    `DataError` if a split does not fit the event or the condition.
    """

    name: str
    event: Event
    condition: Condition
    """What y is; given as a `Group`, it becomes the condition of its parts."""
    splits: Mapping[str, Split]
    license: str
    provenance: str
    truth: Callable[[Tensor], Tensor] | None = None
    binarization: Literal["static", "dynamic", "threshold"] | None = None
    """How grey levels became bits, if they did; likelihoods are comparable only within a kind."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "condition", as_condition(self.condition))
        if not self.splits:
            raise DataError(f"data set {self.name!r} has no splits.")
        for name, split in self.splits.items():
            self._check(f"{self.name}.{name}", split)

    def split(self, name: str) -> Split:
        """The split of a name; raises `DataError` if there is none."""
        if name not in self.splits:
            raise DataError(
                f"data set {self.name!r} has no split {name!r}; splits: {', '.join(self.splits)}."
            )
        return self.splits[name]

    def _check(self, name: str, split: Split) -> None:
        self.event.check_values(split.x, name=name)
        if (split.y is None) != (self.condition.kind == "none"):
            raise DataError(f"{name}: labels and condition ({self.condition}) do not agree.")
        if split.y is not None:
            self.condition.check(split.y, len(split.x))


def storage_dtype(event: Event) -> torch.dtype:
    """The dtype in which such events are stored."""
    if not event.discrete:
        return torch.float32
    return torch.uint8 if (event.levels or 257) <= 256 else torch.int64
