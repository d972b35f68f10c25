"""The events of a data set that a verb scores or codes by a model, and their conditions."""

from typing import TYPE_CHECKING

from zoo_core.catalog.units import per_value
from zoo_core.errors import DataError
from zoo_core.uncertainty import plus_minus

if TYPE_CHECKING:
    from torch import Tensor

    from zoo_core.data.dataset import Dataset
    from zoo_core.likelihood import Mean
    from zoo_core.model import GenerativeModel

__all__ = ["check_event", "condition_of_data", "first_of_permutation", "mean_text"]


def check_event(data: "Dataset", model: "GenerativeModel") -> None:
    """Raise unless the data's events are of the model's kind, shape and quantization levels."""
    event, expected = data.event, model.event
    sides = [(type(e), e.shape, e.levels) for e in (event, expected)]
    if sides[0] != sides[1]:
        raise DataError(
            f"data set {data.name!r} holds {event}; the model's events are {expected}.",
            hint="zoo data lists data sets; --data-option levels=K tells the levels of a file",
        )


def first_of_permutation(size: int, limit: int | None, seed: int, stream: str) -> "Tensor":
    """All sample indices, or the first `limit` of a permutation by the seed."""
    import torch

    from zoo_core.data.shuffle import permutation

    if limit is None or limit >= size:
        return torch.arange(size)
    return permutation(seed, size, stream=stream)[:limit]


def condition_of_data(model: "GenerativeModel", y: "Tensor | None") -> "Tensor | None":
    """The labels, if the model takes a condition."""
    condition = model.condition
    if condition.kind == "none":
        return None
    if y is None and not condition.optional:
        raise DataError(
            f"the model needs {condition}; this data set has no labels.",
            hint="zoo data lists the data sets, with their labels",
        )
    return y


def mean_text(mean: "Mean", what: str) -> str:
    """A mean log-likelihood with its kind and error, in nats and per value."""
    if mean.impossible:
        what += f", {mean.impossible} of probability zero"
    rate, each = per_value(mean.record()), ""
    if rate is not None:
        name, value, error = rate
        each = f", {name} {mean.kind.bits_sign} {value:.4f} {plus_minus(error, '.4f')}"
    return (
        f"log p {mean.kind.sign} {mean.nats:.3f} {plus_minus(mean.std_err)} nats{each} "
        f"({mean.kind}, n={mean.n}, {what})"
    )
