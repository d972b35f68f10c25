"""Data sets: events in named, disjoint splits, with license and provenance.

Shapes: N events, S the event's shape. Integers up to 255 are stored as uint8, larger ones as
int64, reals as float32; `Split.batch` returns them in the dtypes that models take.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core.errors import DataError
from zoo_core.spaces import Condition, Event

__all__ = ["Dataset", "Split", "storage_dtype"]

_CHECKED_VALUES = 1 << 22


@dataclass(frozen=True, eq=False)
class Split:
    """Events x (N, *S) and their labels y (N,) int64, if there are any."""

    x: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Events and labels by their indices: int64 events if discrete, else float32."""
        x = self.x[rows]
        y = None if self.y is None else self.y[rows]
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
    splits: Mapping[str, Split]
    license: str
    provenance: str
    truth: Callable[[Tensor], Tensor] | None = None
    binarization: Literal["static", "dynamic", "threshold"] | None = None
    """How grey levels became bits, if they did; likelihoods are comparable only within a kind."""

    def __post_init__(self) -> None:
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
        for chunk in _chunks(split.x, self.event.dims):
            self.event.check(chunk, name=name)
        if (split.y is None) != (self.condition.kind == "none"):
            raise DataError(f"{name}: labels and condition ({self.condition}) do not agree.")
        if split.y is not None:
            self.condition.check(split.y, len(split.x))


def storage_dtype(event: Event) -> torch.dtype:
    """The dtype in which such events are stored."""
    if event.levels is None:
        return torch.float32
    return torch.uint8 if event.levels <= 256 else torch.int64


def _chunks(x: Tensor, dims: int) -> Iterator[Tensor]:
    """Chunks of bounded size; an empty x is one chunk, so that it is refused, not skipped."""
    size = max(1, _CHECKED_VALUES // max(1, dims))
    starts = range(0, len(x), size) if x.ndim and len(x) else ()
    return iter([x[a : a + size] for a in starts] or [x])
