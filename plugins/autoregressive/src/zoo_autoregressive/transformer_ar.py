"""An autoregressive model over a transformer: images, vectors and sequences, any condition.

Pixels are tokens of one embedding for each channel, in raster or a random order, and the channels
of a pixel are drawn in turn by the head:

    categorical         K free probabilities of each value (a bit: one logit)
    logistic_mixture    the discretized mixture of logistics of PixelCNN++, of 1 or 3 channels

Generating long sequences with sparse transformers (Child et al., 2019),
https://arxiv.org/abs/1904.10509, and Image Transformer (Parmar et al., 2018),
https://arxiv.org/abs/1802.05751, model images so. The network is an option; the condition's parts
are tokens in front of the sequence.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from zoo_autoregressive.events import integer_event, pixel_shape
from zoo_autoregressive.heads import (
    CategoricalHead,
    Head,
    LogisticMixtureHead,
    features_per_value,
)
from zoo_autoregressive.sequence_model import DirectHead, SequenceModel
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
    that is more than free probabilities of one channel.
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
    head: Literal["categorical", "logistic_mixture"] = "categorical"
    units: Annotated[int, Range(1, 65536)] = 128
    mixtures: Annotated[int, Range(1, 64)] = 10
    network: Annotated[Any, Network("sequence")] = TransformerConfig()

    def __post_init__(self) -> None:
        if self.classes and self.condition != Condition():
            raise ConfigError("classes and condition are both given.", hint="give one of them")
        if self.head != "categorical" and (self.tokens or len(self.shape) == 3 and self.shape[0] not in (1, 3)):
            raise ConfigError(
                f"head = {self.head!r} is for values on a scale, of 1 or 3 channels; the events "
                f"are {'tokens' if self.tokens else f'of the shape {self.shape}'}.",
                hint='head = "categorical"',
            )


class TransformerAR(SequenceModel):
    """A head over a network of the signature `sequence`."""

    def __init__(self, config: TransformerARConfig | None = None) -> None:
        c = config or TransformerARConfig()
        event = integer_event(c.shape, c.levels, tokens=c.tokens)
        condition = Condition.from_classes(c.classes) if c.classes else c.condition
        super().__init__(c, event, condition, *_head(c), _pixels(c))


def _head(c: TransformerARConfig) -> tuple[Head, int]:
    """The head, and how many outputs of the network it takes."""
    C = pixel_shape(c.shape)[0]
    if c.head == "logistic_mixture":
        return LogisticMixtureHead(c.units, c.mixtures, C, c.levels), c.units
    if C == 1:
        return DirectHead(c.levels), features_per_value(c.levels)
    return CategoricalHead(c.units, c.units, C, c.levels), c.units


def _pixels(c: TransformerARConfig) -> Tensor:
    """The pixels in the order in which they are drawn, int64 (P,)."""
    _, H, W = pixel_shape(c.shape)
    if c.order == "raster":
        return torch.arange(H * W)
    return permutation(c.order_seed, H * W, stream="transformer_ar order")
