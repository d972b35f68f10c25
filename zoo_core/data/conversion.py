"""`zoo.as_dataset`: a data set from arrays, torch's data sets, Hugging Face's, or any source."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.data.dataset import Dataset, Source, Split, storage_dtype
from zoo_core.data.loading import load_dataset
from zoo_core.data.npz import levels_of
from zoo_core.data.shuffle import cut
from zoo_core.data.sources import Arrays, Items, subset
from zoo_core.data.transforms import parse_transforms
from zoo_core.errors import DataError, UsageError
from zoo_core.spaces import Condition, Event

__all__ = ["as_dataset"]

_SPLITS = {"validation": "valid", "val": "valid"}


def as_dataset(
    data: Any,
    *,
    event: Event | None = None,
    condition: Condition | None = None,
    events: str | None = None,
    labels: str | None = None,
    valid: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    transforms: Any = (),
    name: str = "data",
) -> Dataset:
    """A data set from what holds examples.

        zoo.as_dataset(x, valid=0.1)                            # (N, *S), numpy or torch
        zoo.as_dataset((x, y), event=zoo.Event((1, 28, 28), levels=256))
        zoo.as_dataset(torchvision_dataset)                     # map style: x or (x, label)
        zoo.as_dataset(datasets.load_from_disk("mnist"), events="image", labels="label")
        zoo.as_dataset({"train": x, "valid": x_valid})          # splits that are kept apart

    Arrays in memory are checked at once; memory-mapped arrays, data sets of others and objects
    with `len` and `batch(rows)` are read and checked batch by batch. A name or path is what
    `load_dataset` takes, and a `Dataset` stays as it is.

    `event` and `condition` are by default those of the values: integers 0..K-1 for integers,
    reals without bounds for floating point, and the classes of the labels. `events` and `labels`
    are the keys of examples that are dicts. `valid` and `test` are fractions that `seed` holds
    out. `transforms` are names or objects of `zoo_core.data.transforms`; with them, the shape of
    `event` is that of the data, and the data set's event is the one that they make of it.

    Raises `DataError` for what does not fit, and `UsageError` for what holds no examples.
    """
    chosen = parse_transforms(transforms)
    if isinstance(data, str | Dataset):
        given = {"event": event, "condition": condition, "events": events, "labels": labels}
        _refuse(data, [k for k, v in (given | {"valid": valid, "test": test}).items() if v])
        loaded = load_dataset(data) if isinstance(data, str) else data
        return loaded.transformed(*chosen)
    splits = _splits(data, events, labels)
    known = _condition(splits, condition)
    if valid or test:
        splits = _cut(splits, valid=valid, test=test, seed=seed)
    first = splits.get("train", next(iter(splits.values())))
    event = event or _event(first)
    if chosen:
        event = replace(event, shape=_shape(first, event))
    splits = {k: _stored(split, event) for k, split in splits.items()}
    if known.kind == "none":
        splits = {k: Split(s.x) if isinstance(s, Split) else s for k, s in splits.items()}
    dataset = Dataset(name, event, known, splits, "unstated", f"given as {type(data).__name__}")
    return dataset.transformed(*chosen)


def _refuse(data: str | Dataset, options: list[str]) -> None:
    if options:
        what = repr(data) if isinstance(data, str) else "a Dataset"
        raise UsageError(
            f"{', '.join(options)} do not concern {what}, which states its own.",
            hint="give options of the data set to load_dataset",
        )


def _shape(source: Source, event: Event) -> tuple[int, ...]:
    """The shape of a source's events; grey images without a channel get one for images."""
    shape = tuple(source.batch(torch.arange(1))[0].shape[1:])
    return (1, *shape) if len(shape) + 1 == len(event.shape) else shape


def _splits(data: Any, events: str | None, labels: str | None) -> dict[str, Source]:
    if not isinstance(data, Mapping):
        return {"train": _source(data, events, labels)}
    if not data:
        raise DataError("the mapping has no splits.", hint="e.g. {'train': x}")
    return {str(_SPLITS.get(k, k)): _source(v, events, labels) for k, v in data.items()}


def _source(data: Any, events: str | None, labels: str | None) -> Source:
    """A source from an object, by what it can do."""
    if isinstance(data, Split) or callable(getattr(data, "batch", None)) and _sized(data):
        if not _is_hugging_face(data):
            source: Source = data
            return source
    if isinstance(data, np.memmap):
        return Arrays(data)
    if isinstance(data, np.ndarray | Tensor):
        return Split(_tensor(data))
    if isinstance(data, tuple) and len(data) == 2:
        return _pair(*data)
    if _sized(data) and hasattr(data, "__getitem__") and not isinstance(data, str | bytes):
        return Items.of(data, events, labels)
    raise UsageError(
        f"{type(data).__name__} holds no examples by index.",
        hint="give an array (N, ...), a pair (x, y), a map-style data set, or an object with len "
        "and batch(rows)",
    )


def _sized(data: Any) -> bool:
    return hasattr(data, "__len__")


def _is_hugging_face(data: Any) -> bool:
    """Data sets of Hugging Face have a `batch` of another meaning."""
    return hasattr(data, "column_names")


def _pair(x: Any, y: Any) -> Source:
    if len(x) != len(y):
        raise DataError(f"{len(x)} events and {len(y)} labels; give one label for each event.")
    if isinstance(x, np.memmap):
        return Arrays(x, np.asarray(y))
    return Split(_tensor(x), torch.as_tensor(y).long())


def _tensor(x: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(x)
    except (TypeError, ValueError) as error:
        raise DataError(f"data is no array of numbers ({error}).") from None
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _cut(splits: dict[str, Source], *, valid: float, test: float, seed: int) -> dict[str, Source]:
    if list(splits) != ["train"]:
        raise DataError(
            f"the splits {', '.join(splits)} are there already.",
            hint="drop valid and test",
        )
    whole = splits["train"]
    rows = cut(len(whole), valid=valid, test=test, seed=seed)
    return {name: subset(whole, chosen) for name, chosen in rows}


def _event(source: Source) -> Event:
    """The event of a source's values; integers that are not in memory must be stated."""
    if isinstance(source, Split):
        shape = tuple(source.x.shape[1:])
        if source.x.is_floating_point():
            return Event(shape)
        return Event(shape, levels=levels_of([source.x.numpy()]))
    x, _ = source.batch(torch.arange(1))
    if not x.is_floating_point():
        raise DataError(
            "the number of levels of integers that are read lazily is not known.",
            hint=f"state the event: its shape is {tuple(x.shape[1:])}",
        )
    return Event(tuple(x.shape[1:]))


def _stored(source: Source, event: Event) -> Source:
    """Events in memory in the dtype in which they are stored, if no value is changed by it."""
    if not isinstance(source, Split):
        return source
    x = source.x
    dims = event.shape[1:] if event.shape[:1] == (1,) else None
    if dims is not None and tuple(x.shape[1:]) == dims:
        x = x.unsqueeze(1)  # grey images without a channel
    if len(x):
        x = event.check(x, name="data")
    return replace(source, x=x.to(storage_dtype(event)))


def _condition(splits: Mapping[str, Source], condition: Condition | None) -> Condition:
    """The condition of the labels: the stated one, or as many classes as there are."""
    labelled = [s.batch(torch.arange(1))[1] is not None for s in splits.values()]
    if condition is not None:
        missing = condition.optional and not any(labelled)
        return Condition() if missing else condition
    if not any(labelled):
        return Condition()
    counts = [_classes(s) for s in splits.values()]
    return Condition("classes", classes=max(counts))


def _classes(source: Source) -> int:
    """The number of classes of labels that are in memory, or that a data set states."""
    if isinstance(source, Items) and (known := source.classes) is not None:
        return known
    y = source.y if isinstance(source, Split | Arrays) else None
    if y is None:
        raise DataError(
            "the number of classes of labels that are read lazily is not known.",
            hint="state the condition, with its number of classes",
        )
    return 1 + int(y.max())
