"""Sources: what gives events and labels by their indices, from memory, files or other libraries.

A `Source` of another kind needs no class of these: a length and `batch(rows)` are enough.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.data.dataset import CheckedSource, Source, Split
from zoo_core.data.transforms import Transformed
from zoo_core.errors import DataError
from zoo_core.hashing import absorb

__all__ = ["Arrays", "Items", "Subset", "sample_digest", "subset"]

_SAMPLED = 64
_LABELS = ("label", "labels", "y", "class")


@dataclass(frozen=True, eq=False)
class Arrays:
    """Arrays that are read by rows: events x (N, *S) and labels y (N,), e.g. memory-mapped ones.

    Integers and bits become int64, floating point float32.
    """

    x: Any
    y: Any = None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        indices = rows.numpy() if isinstance(rows, Tensor) else rows
        x = np.ascontiguousarray(self.x[indices])
        y = None if self.y is None else np.ascontiguousarray(self.y[indices])
        return _numbers(x), None if y is None else torch.from_numpy(y.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Subset:
    """Some rows of another source."""

    source: Source
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        return self.source.batch(self.rows[rows])


def subset(source: Source, rows: Tensor) -> Source:
    """Some rows of a source: a copy of them if it is in memory."""
    if isinstance(source, Split):
        return Split(source.x[rows], None if source.y is None else source.y[rows])
    return Subset(source, rows)


@dataclass(frozen=True, eq=False)
class Items:
    """Examples of a map-style data set: torch's, or one of Hugging Face's `datasets`.

    An example is an event, a tuple (event, label), or a dict with the keys `events` and `labels`.
    Events are tensors, arrays or pictures of PIL, which become (C, H, W).
    """

    items: Any
    events: str | int | None = None
    labels: str | int | None = None

    @classmethod
    def of(cls, items: Any, events: str | None = None, labels: str | None = None) -> "Items":
        """The examples with the keys given, or those found in the first one.

        By default events are the only entry of a dict that is a picture or an array, labels are
        `label`, `labels`, `y` or `class`. Raises `DataError` if that is not one entry.
        """
        if not len(items):
            raise DataError("the data set is empty.", hint="give at least one example")
        first = items[0]
        if isinstance(first, Mapping):
            return cls(items, *_keys(first, events, labels))
        if events is not None or labels is not None:
            raise DataError(
                f"examples are of type {type(first).__name__}, which has no keys.",
                hint="drop events= and labels=; a tuple is (event, label)",
            )
        if isinstance(first, tuple | list):
            return cls(items, 0, 1 if len(first) > 1 else None)
        return cls(items)

    @property
    def classes(self) -> int | None:
        """The number of classes, if the data set states it, as those of images do."""
        stated = getattr(self.items, "features", None) or {}
        number = getattr(stated.get(self.labels), "num_classes", None)
        names = getattr(self.items, "classes", None)
        return number if number is not None else len(names) if names is not None else None

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        indices = torch.arange(len(self))[rows].tolist()
        many = getattr(self.items, "__getitems__", None)
        examples = many(indices) if many is not None else [self.items[i] for i in indices]
        x = [_event(e if self.events is None else e[self.events]) for e in examples]
        for i, other in zip(indices, x, strict=True):
            if other.shape != x[0].shape:
                raise DataError(
                    f"example {i} has shape {tuple(other.shape)}, example {indices[0]} "
                    f"{tuple(x[0].shape)}; all must have one shape.",
                    hint="resize or crop them in the data set",
                )
        y = None if self.labels is None else torch.tensor([int(e[self.labels]) for e in examples])
        return torch.stack(x), y


def sample_digest(source: Source) -> str:
    """A SHA-256 of the source's length and of the content of 64 rows spread evenly over it.

    A change that touches none of these rows is not noticed: a whole folder would take minutes to
    hash. Transforms count by their options, as `repr` shows them.
    """
    digest = hashlib.sha256(str(len(source)).encode())
    inner: Any = source.source if isinstance(source, CheckedSource) else source
    if isinstance(inner, Transformed):
        digest.update(repr(inner.transforms).encode())
    n = min(len(source), _SAMPLED)
    for tensor in source.batch(torch.arange(n) * len(source) // n):
        if tensor is not None:
            absorb(digest, tensor)
    return digest.hexdigest()


def _numbers(x: np.ndarray) -> Tensor:
    if x.dtype.kind not in "buif":
        raise DataError(f"events have dtype {x.dtype}; expected bits or numbers.")
    return torch.from_numpy(x.astype(np.float32 if x.dtype.kind == "f" else np.int64))


def _event(value: Any) -> Tensor:
    """One event as a tensor; a picture (H, W) or (H, W, C) becomes (C, H, W)."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value.long()
    array = np.asarray(value)
    if hasattr(value, "getbands"):  # a picture of PIL
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return _numbers(array)


def _keys(
    example: Mapping[str, Any], events: str | None, labels: str | None
) -> tuple[str, str | None]:
    """The keys of events and labels in an example."""
    known = ", ".join(map(str, example))
    for name, key in {"events": events, "labels": labels}.items():
        if key is not None and key not in example:
            raise DataError(f"{name} = {key!r}; an example has the keys {known}.")
    if events is None:
        arrays = [k for k, v in example.items() if k != labels and _is_array(v)]
        if len(arrays) != 1:
            raise DataError(
                f"an example has the keys {known}; {len(arrays)} of them hold arrays or pictures.",
                hint="name the one of the events: events='image'",
            )
        (events,) = arrays
    return events, labels or next((k for k in _LABELS if k in example and k != events), None)


def _is_array(value: Any) -> bool:
    if hasattr(value, "getbands"):
        return True
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray | Tensor):
        return False
    return np.ndim(value) > 0 and np.asarray(value).dtype.kind in "buif"
