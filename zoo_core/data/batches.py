"""Batches of a data set as inputs of a model: on its device, with labels as conditions."""

from typing import TYPE_CHECKING

from torch import Tensor

from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import DataError

if TYPE_CHECKING:
    from zoo_core.contracts import Batch
    from zoo_core.model import GenerativeModel

__all__ = ["check_fit", "labelled", "take", "to_model"]


def check_fit(model: "GenerativeModel", data: Dataset) -> None:
    """Raise `DataError` unless the model fits the events and conditions of a data set."""
    ours, theirs = model.event, data.event
    inside = (ours.low is None or (theirs.low is not None and ours.low <= theirs.low)) and (
        ours.high is None or (theirs.high is not None and ours.high >= theirs.high)
    )
    if ours.shape != theirs.shape or ours.levels != theirs.levels or not (ours.discrete or inside):
        raise DataError(
            f"the model is for {ours}; data set {data.name!r} has {theirs}.",
            hint="set the model's shape and levels to those of the data",
        )
    needs, has = model.condition, data.condition
    missing = needs.kind != "none" and not needs.optional and has.kind == "none"
    differs = "none" not in (needs.kind, has.kind) and (
        (needs.kind, needs.classes, needs.shape) != (has.kind, has.classes, has.shape)
    )
    if missing or differs:
        raise DataError(f"the model needs {needs}; data set {data.name!r} has {has}.")


def labelled(model: "GenerativeModel", batch: "Batch") -> "Batch":
    """A batch with its labels as conditions, or None if the model takes none."""
    x, y = batch
    return x, None if model.condition.kind == "none" else y


def take(model: "GenerativeModel", split: Split, rows: Tensor) -> "Batch":
    """The examples of a split with indices `rows`, on the model's device and in its precision."""
    x, cond = labelled(model, split.batch(rows))
    return to_model(x, model), None if cond is None else to_model(cond, model)


def to_model(x: Tensor, model: "GenerativeModel") -> Tensor:
    """Events or conditions on the model's device; reals in the model's precision."""
    return x.to(model.device, model.dtype) if x.is_floating_point() else x.to(model.device)
