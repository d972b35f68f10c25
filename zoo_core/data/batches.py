"""Batches of a data set as inputs of a model: on its device, with labels as conditions."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo_core.data.dataset import CheckedSource, Dataset, Source, Split, storage_dtype
from zoo_core.errors import DataError
from zoo_core.rng import Rng
from zoo_core.spaces import Event, Group

if TYPE_CHECKING:
    from zoo_core.contracts import Batch
    from zoo_core.model import GenerativeModel

__all__ = [
    "augmented",
    "check_fit",
    "cond_to_model",
    "labelled",
    "placed",
    "read",
    "row_chunks",
    "take",
    "take_augmented",
    "to_model",
]

_READ_VALUES = 1 << 22


def check_fit(model: "GenerativeModel", data: Dataset) -> None:
    """Raise `DataError` unless the model fits the events and conditions of a data set."""
    if not model.event.holds(data.event):
        raise DataError(
            f"the model is for {model.event}; data set {data.name!r} has {data.event}.",
            hint=_hint(data),
        )
    needs, has = model.condition, data.condition
    missing = needs.kind != "none" and not needs.optional and has.kind == "none"
    differs = "none" not in (needs.kind, has.kind) and not needs.same_values(has)
    if missing or differs:
        raise DataError(f"the model needs {needs}; data set {data.name!r} has {has}.")


def _hint(data: Dataset) -> str:
    if data.columns is not None and isinstance(data.event, Group):
        return (
            "of a table, columns='numeric' gives the numbers as a vector, and bins=K every "
            "column as integers 0..K-1"
        )
    return "set the model's shape and levels to those of the data"


def labelled(model: "GenerativeModel", batch: "Batch") -> "Batch":
    """A batch with its labels as conditions, or None if the model takes none."""
    x, y = batch
    return x, None if model.condition.kind == "none" else y


def take(model: "GenerativeModel", split: Source, rows: Tensor) -> "Batch":
    """The examples (B, *S) of a split with indices `rows` (B,), as the model takes them."""
    return placed(model, split.batch(rows))


def take_augmented(
    model: "GenerativeModel", split: Source, rows: Tensor, rng: Rng, step: int
) -> "Batch":
    """The examples as `step` of a training sees them: with the random transforms of the data."""
    return placed(model, augmented(split, rows, rng.to("cpu"), step))


def augmented(split: Source, rows: Tensor, rng: Rng, step: int) -> "Batch":
    """The examples with the random transforms of `step`, on the CPU; `rng` has a row for each."""
    if isinstance(split, CheckedSource):
        return split.augmented(rows, rng, step)
    return split.batch(rows)


def read(event: Event, split: Source, rows: Any = slice(None)) -> "Batch":
    """Events at `rows` as they are stored, integers up to 255 as uint8, and their labels.

    They are read in batches of bounded memory.
    """
    if isinstance(split, Split):
        return split.rows(rows)
    indices = torch.arange(len(split))[rows]
    events, labels = [], []
    for chunk in row_chunks(event, indices):
        x, y = split.batch(chunk)
        events.append(x.to(storage_dtype(event)))
        labels += [] if y is None else [y]
    return torch.cat(events), torch.cat(labels) if labels else None


def row_chunks(event: Event, indices: Tensor) -> tuple[Tensor, ...]:
    """Indices in pieces, each of events that take bounded memory."""
    return torch.split(indices, max(1, _READ_VALUES // max(1, event.dims)))


def placed(model: "GenerativeModel", batch: "Batch") -> "Batch":
    """A batch on the model's device and in its precision; without labels if it takes none."""
    x, cond = labelled(model, batch)
    return to_model(x, model), cond_to_model(cond, model)


def to_model(x: Tensor, model: "GenerativeModel") -> Tensor:
    """Events (B, *S) on the model's device, reals in the model's precision.

    Groups keep their own: numbers of classes beside reals would be rounded.
    """
    return _moved(x, model, group=isinstance(model.event, Group))


def cond_to_model(cond: Tensor | None, model: "GenerativeModel") -> Tensor | None:
    """Conditions (B, ...) on the model's device; a vector or an image in the model's precision.

    Groups keep their own, as events do.
    """
    return None if cond is None else _moved(cond, model, group=model.condition.kind == "group")


def _moved(x: Tensor, model: "GenerativeModel", *, group: bool) -> Tensor:
    if group or not x.is_floating_point():
        return x.to(model.device)
    return x.to(model.device, model.dtype)
