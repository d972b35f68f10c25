"""What training reads of a data set: batches of its `train` and `valid` splits, never `test`."""

import hashlib
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo_core.data.event import Condition, Event
from zoo_core.errors import ConfigError, DataError
from zoo_core.model import Batch, GenerativeModel

__all__ = ["DataSplit", "TrainingData", "check_batch_size", "check_fit", "digest", "take"]


class DataSplit(Protocol):
    """Events x (N, *S) and labels y (N,) or None."""

    @property
    def x(self) -> Tensor: ...

    @property
    def y(self) -> Tensor | None: ...


class TrainingData(Protocol):
    """A data set, as far as training needs it (`zoo_core.data.Dataset` is one)."""

    @property
    def name(self) -> str: ...

    @property
    def event(self) -> Event: ...

    @property
    def condition(self) -> Condition: ...

    def split(self, name: str, /) -> DataSplit: ...


def check_fit(model: GenerativeModel, data: TrainingData) -> None:
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


def take(model: GenerativeModel, split: DataSplit, rows: Tensor) -> Batch:
    """The examples `rows` of a split, on the model's device and in its dtype."""
    x = split.x[rows].to(model.device)
    x = x.long() if model.event.discrete else x.to(model.dtype)
    labelled = split.y is not None and model.condition.kind != "none"
    return x, split.y[rows].to(model.device) if labelled and split.y is not None else None


def digest(data: TrainingData) -> dict[str, Any]:
    """What identifies the data that a training reads."""
    return {"name": data.name, "train": _sha256(data.split("train")), **_valid(data)}


def _valid(data: TrainingData) -> dict[str, str]:
    try:
        return {"valid": _sha256(data.split("valid"))}
    except DataError:
        return {}  # some data sets have none


def _sha256(split: DataSplit) -> str:
    found = hashlib.sha256()
    for tensor in (split.x, split.y):
        if tensor is not None:
            found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            for part in torch.split(tensor.detach().cpu(), 4096):
                found.update(part.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
