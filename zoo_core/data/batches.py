"""Batches of a data set as inputs of a model: on its device, with labels as conditions."""

from typing import TYPE_CHECKING

from torch import Tensor

from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import DataError
from zoo_core.spaces import Group

if TYPE_CHECKING:
    from zoo_core.contracts import Batch
    from zoo_core.model import GenerativeModel

__all__ = ["check_fit", "cond_to_model", "labelled", "take", "to_model"]


def check_fit(model: "GenerativeModel", data: Dataset) -> None:
    """Raise `DataError` unless the model fits the events and conditions of a data set."""
    if not model.event.holds(data.event):
        raise DataError(
            f"the model is for {model.event}; data set {data.name!r} has {data.event}.",
            hint="set the model's shape and levels to those of the data",
        )
    needs, has = model.condition, data.condition
    missing = needs.kind != "none" and not needs.optional and has.kind == "none"
    differs = "none" not in (needs.kind, has.kind) and not needs.same_values(has)
    if missing or differs:
        raise DataError(f"the model needs {needs}; data set {data.name!r} has {has}.")


def labelled(model: "GenerativeModel", batch: "Batch") -> "Batch":
    """A batch with its labels as conditions, or None if the model takes none."""
    x, y = batch
    return x, None if model.condition.kind == "none" else y


def take(model: "GenerativeModel", split: Split, rows: Tensor) -> "Batch":
    """The examples of a split with indices `rows`, on the model's device and in its precision."""
    x, cond = labelled(model, split.batch(rows))
    return to_model(x, model), cond_to_model(cond, model)


def to_model(x: Tensor, model: "GenerativeModel") -> Tensor:
    """Events on the model's device, reals in the model's precision.

    Groups keep their own: numbers of classes beside reals would be rounded.
    """
    keep = not x.is_floating_point() or isinstance(model.event, Group)
    return x.to(model.device) if keep else x.to(model.device, model.dtype)


def cond_to_model(cond: Tensor | None, model: "GenerativeModel") -> Tensor | None:
    """Conditions on the model's device; a vector or an image in the model's precision.

    Groups keep their own, as events do.
    """
    if cond is None:
        return None
    keep = not cond.is_floating_point() or model.condition.kind == "group"
    return cond.to(model.device) if keep else cond.to(model.device, model.dtype)
