"""Networks for the rows of a table: numbers beside categories.

    encoder   numbers as they are, a category k as the one-hot vector e_k -> dense layers
    decoder   z -> dense layers -> p(x|z) = prod of
                  N(mean, exp(2 log_std))    for every number
                  softmax(logits)_k          for every category

so that log p(x|z) adds densities of numbers and probabilities of categories.

Shapes: B batch, W columns, K categories, Z latents.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

from torch import Tensor, nn

from zoo_core.plugin import (
    Categorical,
    Classes,
    Condition,
    ConfigError,
    Event,
    Group,
    Normal,
    Product,
    Range,
    as_condition,
    condition_features,
)
from zoo_vae.networks import ConditionalMLP, clamp_log_std, to_float32

__all__ = ["ColumnSizes", "RowDecoder", "RowEncoder", "row_event"]

ColumnSizes = tuple[tuple[str, Annotated[int, Range(0, 65536)]], ...]
"""Columns by name, each with its number of categories, 0 of numbers."""


def row_event(columns: ColumnSizes) -> Event:
    """A vector if all columns are numbers, else a group with a part for each."""
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        raise ConfigError(f"columns = {names}; each has a name of its own.")
    if not any(k for _, k in columns):
        return Event((len(columns),))
    return Group(**{name: Classes(k) if k else Event(()) for name, k in columns})


def columns_of(event: Event) -> list[tuple[str, int]]:
    """The columns whose rows are `event`; raises `ConfigError` if there are none."""
    if not isinstance(event, Group):
        if event.discrete or len(event.shape) != 1:
            raise ConfigError(f"{event} are no rows of numbers.")
        return [(f"x{i}", 0) for i in range(event.dims)]
    columns = [(name, _categories(part)) for name, part in event.parts]
    if any(k is None for _, k in columns):
        raise ConfigError(f"{event} have parts that are neither numbers nor categories.")
    return [(name, k or 0) for name, k in columns]


def _categories(part: Event | Condition) -> int | None:
    """Categories of a column, 0 of a number; None if it is neither."""
    if isinstance(part, Condition):
        return part.classes
    return 0 if part.shape == () and not part.discrete else None


class RowEncoder(nn.Module):
    """Rows (B, W) -> features (B, outputs)."""

    def __init__(
        self,
        event: Event,
        hidden: Sequence[int],
        outputs: int,
        *,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.space = as_condition(event)
        widths = (self.space.features, *hidden, outputs)
        self.dense = ConditionalMLP(widths, classes=classes, dropout=dropout)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        features: Tensor = self.dense(condition_features(self.space, x, self.dense.like.dtype), e)
        return features


class RowDecoder(nn.Module):
    """Latents (B, Z) -> p(x|z) over rows (B, W): numbers side by side are one `Normal`."""

    def __init__(
        self,
        columns: ColumnSizes,
        hidden: Sequence[int],
        latent: int,
        *,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.runs = [(k, len(list(run))) for k, run in groupby(k for _, k in columns)]
        outputs = sum(n * (k or 2) for k, n in self.runs)
        widths = (latent, *hidden, outputs)
        self.dense = ConditionalMLP(widths, classes=classes, dropout=dropout)

    def forward(self, z: Tensor, e: Tensor | None = None) -> Product:
        h = to_float32(self.dense(z, e))
        parts = h.split([n * (k or 2) for k, n in self.runs], 1)
        return Product(tuple(_factor(k, p) for (k, _), p in zip(self.runs, parts, strict=True)))


def _factor(k: int, h: Tensor) -> Normal | Categorical:
    """p(x|z) of adjacent columns of one kind: numbers if k = 0, else of k categories."""
    if k:
        return Categorical(h.unflatten(1, (-1, k)))
    mean, log_std = h.chunk(2, 1)
    return Normal(mean, clamp_log_std(log_std))
