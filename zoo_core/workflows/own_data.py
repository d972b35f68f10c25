"""Data of one's own, made ready for `zoo choose`: splits, axes and units that models take."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.columns import Columns
from zoo_core.data.dataset import Dataset, Source, Split
from zoo_core.data.shuffle import cut
from zoo_core.errors import DataError
from zoo_core.spaces import Event

__all__ = ["prepared", "with_all_splits"]

_HELD_OUT = 0.15
_COLUMNS = 128
"""Vectors of more reals are no rows of a table."""
_SIDE = 4
"""The least height and width of integers (H, W) that are taken as a gray image."""


def prepared(data: Dataset, seed: int) -> Dataset:
    """The data set with three splits, common axes, and reals on a scale near 1."""
    return standardized(with_common_axes(with_all_splits(data, seed)))


def with_common_axes(data: Dataset) -> Dataset:
    """Events as vectors (D,) or images (C, H, W): the same values, and the same probabilities.

    Integers (H, W) become images (1, H, W); other events that have neither one axis nor three,
    such as signals (C, L), become vectors.
    """
    shape = data.event.shape
    if type(data.event) is not Event or len(shape) in (1, 3):
        return data
    gray = data.event.discrete and len(shape) == 2 and min(shape) >= _SIDE
    axes = (1, *shape) if gray else (data.event.dims,)
    splits = {name: _reshaped(source, axes) for name, source in data.splits.items()}
    return replace(data, event=replace(data.event, shape=axes), splits=splits, truth=None)


def standardized(data: Dataset) -> Dataset:
    """Vectors of unbounded reals as the columns of a table, standardized by train.

    Likelihoods stay those of the given units, and a mixture of Gaussians is a baseline.
    """
    event, train = data.event, data.splits["train"]
    bounded = event.low is not None or event.high is not None
    if type(event) is not Event or event.discrete or bounded or data.columns is not None:
        return data
    if len(event.shape) != 1 or event.dims > _COLUMNS or not isinstance(train, Split):
        return data
    x = train.x.double()
    std = x.std(0, correction=0)
    names = tuple(f"x{i}" for i in range(event.dims))
    columns = Columns(names, x.mean(0), torch.where(std > 0, std, 1.0))
    splits = {
        name: replace(split, x=columns.standardize(split.x).float())
        for name, split in data.splits.items()
        if isinstance(split, Split)
    }
    return replace(data, splits=splits, columns=columns, truth=None)


def _reshaped(source: Source, shape: tuple[int, ...]) -> Source:
    """The same events with other axes."""
    if isinstance(source, Split):
        return replace(source, x=source.x.reshape(len(source), *shape))
    return _Reshaped(source, shape)


@dataclass(frozen=True, eq=False)
class _Reshaped:
    """A source that is read lazily, of the same events with other axes."""

    source: Source
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        x, y = self.source.batch(rows)
        return x.reshape(len(x), *self.shape), y


def with_all_splits(data: Dataset, seed: int) -> Dataset:
    """The data set with the splits train, valid and test; a single split is cut by the seed.

    Where only `valid` is missing, it is cut from `train`; `test` is never touched.
    """
    have = {*data.splits}
    if {"train", "valid", "test"} <= have:
        return data
    source = data.splits["train"] if "train" in have else next(iter(data.splits.values()))
    if not isinstance(source, Split) or not (len(have) == 1 or have == {"train", "test"}):
        raise DataError(
            f"data set {data.name!r} has the splits {', '.join(sorted(have))}; choices need "
            "train, valid and test.",
            hint="zoo data info DATA tells the options that make splits",
        )
    rows = cut(len(source), valid=_HELD_OUT, test=_HELD_OUT if len(have) == 1 else 0.0, seed=seed)
    parts = {name: replace(source, x=x, y=y) for name, (x, y) in _rows(source, rows)}
    return replace(data, splits={**data.splits, **parts})


def _rows(source: Split, rows: Any) -> Iterator[tuple[str, Any]]:
    return ((name, source.rows(r)) for name, r in rows)
