"""An autoregressive model over a transformer: images, vectors and sequences, any condition.

Cells, which are pixels or patches, follow one another in raster or a random order; the values of
a cell, its channels, are drawn in turn by the head:

    categorical         K free probabilities of each value (a bit: one logit)
    logistic_mixture    the discretized mixture of logistics of PixelCNN++, of 1 or 3 channels
    copy_mixture        copies of nearby pixels, or a mixture (`copy_mixture.py`), in raster order

Generating long sequences with sparse transformers (Child et al., 2019),
https://arxiv.org/abs/1904.10509, and Image Transformer (Parmar et al., 2018),
https://arxiv.org/abs/1802.05751, model images so. The network is an option; the condition's parts
are tokens in front of the sequence.
"""

from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

from torch import Tensor

from zoo_autoregressive.copy_mixture import CopyMixtureHead
from zoo_autoregressive.events import integer_event
from zoo_autoregressive.heads import (
    COPY,
    CategoricalHead,
    Head,
    LogisticMixtureHead,
    features_per_value,
)
from zoo_autoregressive.sequence_model import DirectHead, SequenceModel, cells, with_neighbours
from zoo_core.plugin import (
    ClassCounts,
    Condition,
    ConditionOption,
    ConfigError,
    Network,
    Range,
    TransformerConfig,
    permutation,
)

__all__ = ["TransformerAR", "TransformerARConfig"]


@dataclass(frozen=True)
class TransformerARConfig:
    """Event, condition, order, head and network.

    `classes` conditions on labels, `condition` on anything else, e.g. `Tokens(8, 100)`.
    `order_seed` fixes the order where it is random. `units` are the network's outputs for a head
    that is more than free probabilities of one value.
    """

    shape: Annotated[tuple[int, ...], Range(1, 65536)] = (1, 28, 28)
    """Of events: [C, H, W] for images, [D] for vectors and sequences."""
    levels: Annotated[int, Range(2, 65536)] = 2
    tokens: bool = False
    """Whether events (L,) are tokens of a vocabulary of `levels`, scored in nats per token."""
    classes: ClassCounts = None
    condition: Annotated[Any, ConditionOption()] = Condition()
    order: Literal["raster", "random"] = "raster"
    order_seed: Annotated[int, Range(0, (1 << 63) - 1)] = 0
    head: Literal["categorical", "logistic_mixture", "copy_mixture"] = "categorical"
    units: Annotated[int, Range(1, 65536)] = 128
    mixtures: Annotated[int, Range(1, 64)] = 10
    patch: Annotated[int, Range(1, 64)] = 1
    """A cell is `patch` x `patch` pixels, whose values are drawn in turn by the head."""
    neighbours: bool = False
    """Whether the network reads, at a cell of an image, also those above it and to its left."""
    network: Annotated[Any, Network("sequence")] = TransformerConfig()

    def __post_init__(self) -> None:
        image = len(self.shape) == 3
        if self.classes and self.condition != Condition():
            raise ConfigError("classes and condition are both given.", hint="give one of them")
        if self.patch > 1 and (not image or any(n % self.patch for n in self.shape[1:])):
            raise ConfigError(
                f"patch = {self.patch} with shape = {self.shape}; patches divide the rows and "
                "columns of images (C, H, W)."
            )
        if self.neighbours and not (image and self.order == "raster"):
            raise ConfigError(
                f"neighbours with shape = {self.shape} and order = {self.order!r}; they are those "
                "of images in raster order."
            )
        _check_head(self)


def _check_head(c: TransformerARConfig) -> None:
    """Raise `ConfigError` for a head that is not for such events."""
    if c.head == COPY and not (len(c.shape) == 3 and c.patch == 1 and c.order == "raster"):
        raise ConfigError(
            f"head = {c.head!r} copies pixels of images in raster order; the shape is {c.shape}, "
            f"patch = {c.patch} and order = {c.order!r}.",
            hint='head = "categorical"',
        )
    if c.head == "logistic_mixture" and (c.tokens or _values(c) not in (1, 3)):
        raise ConfigError(
            f"head = {c.head!r} is for cells of 1 or 3 values on a scale; here they have "
            f"{_values(c)}{' tokens' if c.tokens else ''}.",
            hint='head = "categorical"',
        )


class TransformerAR(SequenceModel):
    """A head over a network of the signature `sequence`."""

    def __init__(self, config: TransformerARConfig | None = None) -> None:
        c = config or TransformerARConfig()
        event = integer_event(c.shape, c.levels, tokens=c.tokens)
        condition = Condition.from_classes(c.classes) if c.classes else c.condition
        grid = cells(c.shape, _order(c), patch=c.patch)
        grid = with_neighbours(grid) if c.neighbours else grid
        super().__init__(c, event, condition, *_head(c), grid)


def _values(c: TransformerARConfig) -> int:
    """How many values a cell has."""
    return (c.shape[0] if len(c.shape) == 3 else 1) * c.patch**2


def _head(c: TransformerARConfig) -> tuple[Head, int]:
    """The head, and how many outputs of the network it takes."""
    C = _values(c)
    if c.head == COPY:
        _, H, W = c.shape
        return CopyMixtureHead(c.units, (C, H, W), c.levels, c.mixtures), c.units
    if c.head == "logistic_mixture":
        return LogisticMixtureHead(c.units, c.mixtures, C, c.levels), c.units
    if C == 1:
        return DirectHead(c.levels), features_per_value(c.levels)
    return CategoricalHead(c.units, c.units, C, c.levels), c.units


def _order(c: TransformerARConfig) -> Tensor | None:
    """The numbers of the cells in the order of generation, int64 (P,); None of raster order."""
    if c.order == "raster":
        return None
    return permutation(c.order_seed, prod(c.shape) // _values(c), stream="transformer_ar order")
