"""Data sets: events in named, disjoint splits, with license and provenance.

Shapes: N events, S the event's shape. A split is any `Source`. In memory, integers up to 255 are
stored as uint8, larger ones as int64, reals as float32; `batch` returns them in the dtypes that
models take: int64 for integers, floating point for reals.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from zoo_core.data.columns import Columns
from zoo_core.data.transforms import Transform, Transformed, transformed_event
from zoo_core.errors import DataError
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event, as_condition

__all__ = ["CheckedSource", "Dataset", "Source", "Split", "log_det", "storage_dtype"]


class Source(Protocol):
    """A split: anything with a length that gives events and labels by their indices."""

    def __len__(self) -> int: ...

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Events (B, *S) and their labels (B,) at `rows`, int64 (B,); by default all."""
        ...


@dataclass(frozen=True, eq=False)
class Split:
    """A source in memory: events x (N, *S) and their labels y, if there are any.

    Labels are int64 (N,), or the rows (N, W) of a group.
    """

    x: Tensor
    y: Tensor | None = None
    log_det: float = 0.0
    """Nats that make log p(x) that of the file's units; 0 where events are in these units."""

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Events and labels of some rows, as they are stored."""
        return self.x[rows], None if self.y is None else self.y[rows]

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Events and labels by their indices: int64 events if discrete, else float32."""
        x, y = self.rows(rows)
        return (x if x.is_floating_point() else x.long()), y


def log_det(source: Source) -> float:
    """Nats that make log p(x) that of the file's units (`Split.log_det`)."""
    return source.log_det if isinstance(source, Split) else 0.0


@dataclass(frozen=True, eq=False)
class CheckedSource:
    """A source that is read lazily: each batch is checked as it is read.

    Labels are left out if the condition is `none`. Raises `DataError` for events and labels that
    do not fit.
    """

    source: Source
    name: str
    event: Event
    condition: Condition

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        return self._checked(self.source.batch(self._indices(rows)))

    def augmented(self, rows: Any, rng: Rng, step: int) -> tuple[Tensor, Tensor | None]:
        """A batch as training sees it: with the random transforms of `step`, if there are any."""
        if not isinstance(self.source, Transformed):
            return self.batch(rows)
        return self._checked(self.source.augmented(self._indices(rows), rng, step))

    def _indices(self, rows: Any) -> Tensor:
        return torch.arange(len(self))[rows] if isinstance(rows, slice) else torch.as_tensor(rows)

    def _checked(self, batch: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None]:
        x, y = batch
        x = self.event.check(x, name=self.name)
        if self.condition.kind == "none":
            return x, None
        if y is None:
            raise DataError(
                f"{self.name} has no labels, and {self.condition} is stated for it.",
                hint="name the key of the labels, or give (x, y)",
            )
        return x, self.condition.check(y, len(x))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Named splits of events of one kind.

    Splits in memory are checked at once, other sources batch by batch, as they are read.

    `truth` is log p(x) in nats, (N, *S) -> (N,) float64, if the distribution is known; with labels
    it is that of the marginal. `provenance` states the source of the data, with hashes. Raises
    `DataError` if a split does not fit the event or the condition.
    """

    name: str
    event: Event
    condition: Condition
    """What y is; given as a `Group`, it becomes the condition of its parts."""
    splits: Mapping[str, Source]
    license: str
    provenance: str
    truth: Callable[[Tensor], Tensor] | None = None
    binarization: Literal["static", "dynamic", "threshold"] | None = None
    """How grey levels became bits, if they did; likelihoods are comparable only within a kind."""
    columns: Columns | None = None
    """Of a table: what the columns are called, and their units in the file."""

    def __post_init__(self) -> None:
        if self.columns is not None:
            own = self.columns.log_det
            splits = {
                k: replace(split, log_det=own) if isinstance(split, Split) else split
                for k, split in self.splits.items()
            }
            object.__setattr__(self, "splits", splits)
        object.__setattr__(self, "condition", as_condition(self.condition))
        if not self.splits:
            raise DataError(f"data set {self.name!r} has no splits.")
        lazy = {}
        for name, split in self.splits.items():
            if isinstance(split, Split):
                self._check(f"{self.name}.{name}", split)
            elif not isinstance(split, CheckedSource):
                where = f"{self.name}.{name}"
                lazy[name] = CheckedSource(split, where, self.event, self.condition)
        if lazy:
            object.__setattr__(self, "splits", {**self.splits, **lazy})

    def split(self, name: str) -> Source:
        """The split of a name; raises `DataError` if there is none."""
        if name not in self.splits:
            raise DataError(
                f"data set {self.name!r} has no split {name!r}; splits: {', '.join(self.splits)}.",
                hint="hold out a fraction, e.g. valid=0.1" if name != "train" else None,
            )
        return self.splits[name]

    def transformed(self, *transforms: Transform) -> "Dataset":
        """The data set with transforms, applied in this order to each batch that is read.

        Their random parts act on `train` in training only, keyed by (seed, step, row); all else
        reads the events with the fixed parts (a centre crop, a resize). The truth is dropped.
        """
        if not transforms:
            return self
        if self.columns is not None:
            raise DataError(f"{self.name} is a table; transforms would change its units.")
        splits = {k: Transformed(v, self.event, transforms) for k, v in self.splits.items()}
        event = transformed_event(self.event, transforms)
        return replace(self, event=event, splits=splits, truth=None)

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
