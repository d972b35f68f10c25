"""Preprocessing of events, as invertible layers whose Jacobians are part of the likelihood.

Integers x in 0..K-1 are dequantized (`dequantization`), x + u with u in [0, 1), and mapped to

    v = (x + u) / K                                  log |det| = -D log K
    y = 2 v - 1                                      log |det| = D log 2
    or, with a > 0, w = a + (1 - 2 a) v, y = logit w
                              log |det| = sum log (1 - 2 a) - log w - log (1 - w)

(Dinh et al., 2017, section 4.1, with the symmetric interval of Papamakarios et al., 2017).
Log-densities are those of x + u, in units of one level, so bits/dim need no offset.

Shapes: B batch, S the event's shape; ladj (B,) in nats.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.plugin import Event, Range
from zoo_flows.bijections import Chain, InvertibleLayer

__all__ = ["ConstantAffine", "Logit", "Preprocess", "event_of", "preprocessing"]


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing options.

    `dequantize` is how integers become continuous: by `uniform` noise, or `variational`, by a flow
    of its own with `hidden` units. `logit` is the a of the logit transform, 0 for none; with it,
    continuous events must lie in [0, 1].
    """

    dequantize: Literal["uniform", "variational"] = "uniform"
    logit: Annotated[float, Range(0.0, 0.49)] = 0.0
    hidden: Annotated[int, Range(1, 4096)] = 32


class ConstantAffine(InvertibleLayer):
    """y = scale x + shift, both constants."""

    def __init__(self, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.scale * x + self.shift, self._ladj(x)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (y - self.shift) / self.scale, -self._ladj(y)

    def _ladj(self, x: Tensor) -> Tensor:
        return x.new_full((x.shape[0],), x[0].numel() * math.log(self.scale))


class Logit(InvertibleLayer):
    """y = logit(a + (1 - 2 a) v), v in [0, 1]."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = a

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        w = self.a + (1 - 2 * self.a) * x
        y = w.log() - torch.log1p(-w)
        return y, self._ladj(y)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (y.sigmoid() - self.a) / (1 - 2 * self.a), -self._ladj(y)

    def _ladj(self, y: Tensor) -> Tensor:
        """-log w - log (1 - w) of w = sigmoid(y) is softplus(y) + softplus(-y)."""
        per_value = math.log(1 - 2 * self.a) + F.softplus(y) + F.softplus(-y)
        return per_value.flatten(1).sum(1)


def event_of(shape: tuple[int, ...], levels: int | None, preprocess: Preprocess) -> Event:
    """The event of a flow: integers of K levels, or continuous; in [0, 1] with the logit."""
    if levels is None and preprocess.logit:
        return Event(shape, low=0.0, high=1.0)
    return Event(shape, levels=levels)


def preprocessing(event: Event, preprocess: Preprocess) -> Chain:
    """The layers from dequantized integers, or continuous events, to the input of the flow."""
    layers: list[InvertibleLayer] = []
    if event.levels is not None:
        layers.append(ConstantAffine(1 / event.levels))
    if preprocess.logit:
        layers.append(Logit(preprocess.logit))
    elif event.levels is not None:
        layers.append(ConstantAffine(2.0, -1.0))
    return Chain(layers)
