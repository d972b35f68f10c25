"""Batches of a data set as a model takes them: on its device, with labels as conditions."""

from typing import TYPE_CHECKING

from torch import Tensor

from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import DataError

if TYPE_CHECKING:
    from zoo_core.contracts import Batch
    from zoo_core.model import GenerativeModel

__all__ = ["check_fit", "labelled", "take", "to_model"]


def check_fit(model: "GenerativeModel", data: Dataset) -> None:
    """Raise `DataError` unless the model is one of this data's events and conditions."""
    have, want = data.event, model.event
    inside = (want.low is None or (have.low is not None and want.low <= have.low)) and (
        want.high is None or (have.high is not None and want.high >= have.high)
    )
    if have.shape != want.shape or have.levels != want.levels or not (want.discrete or inside):
        raise DataError(
            f"the model is for {want}; data set {data.name!r} has {have}.",
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
    """Events with their labels as conditions, if the model takes any."""
    x, y = batch
    return x, None if model.condition.kind == "none" else y


def take(model: "GenerativeModel", split: Split, rows: Tensor) -> "Batch":
    """The examples `rows` of a split, on the model's device and in its precision."""
    x, cond = labelled(model, split.batch(rows))
    return to_model(x, model), None if cond is None else to_model(cond, model)


def to_model(x: Tensor, model: "GenerativeModel") -> Tensor:
    """Events or conditions on the model's device, reals in the model's precision."""
    return x.to(model.device, model.dtype) if x.is_floating_point() else x.to(model.device)
