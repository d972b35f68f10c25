"""What training reads of a data set: batches of its `train` and `valid` splits, never `test`."""

import hashlib

from torch import Tensor

from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import ConfigError, DataError
from zoo_core.hashing import absorb
from zoo_core.model import Batch, GenerativeModel
from zoo_core.sampling import to_model

__all__ = ["check_batch_size", "check_fit", "digest", "labelled", "take"]


def check_fit(model: GenerativeModel, data: Dataset) -> None:
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


def check_batch_size(size: int, n: int, world: int) -> None:
    """Raise `ConfigError` unless an epoch has a batch and every process a row of it."""
    if not world <= size <= n:
        raise ConfigError(
            f"train.batch_size = {size}; it must lie in [{world}, {n}]: at least one example "
            f"for each process, at most the size of the train split."
        )


def labelled(model: GenerativeModel, batch: Batch) -> Batch:
    """Events with their labels as conditions, if the model takes any."""
    x, y = batch
    return x, None if model.condition.kind == "none" else y


def take(model: GenerativeModel, split: Split, rows: Tensor) -> Batch:
    """The examples `rows` of a split, on the model's device and in its precision."""
    x, cond = labelled(model, split.batch(rows))
    return to_model(x, model), None if cond is None else to_model(cond, model)


def digest(data: Dataset) -> dict[str, str]:
    """What identifies the data that a training reads."""
    read = [name for name in ("train", "valid") if name in data.splits]
    return {"name": data.name, **{name: _sha256(data.split(name)) for name in read}}


def _sha256(split: Split) -> str:
    found = hashlib.sha256()
    for tensor in (split.x, split.y):
        if tensor is not None:
            absorb(found, tensor)
    return found.hexdigest()
