"""What happens to events before the flow, as bijections whose Jacobians are in the likelihood.

Integers x in 0..K-1 are dequantized (`dequantization`), x + u with u in [0, 1), and mapped to

    v = (x + u) / K                                  log |det| = -D log K
    y = 2 v - 1                                      log |det| = D log 2
    or, with a > 0, w = a + (1 - 2 a) v, y = logit w
                              log |det| = sum log (1 - 2 a) - log w - log (1 - w)

(Dinh et al., 2017, section 4.1, with the symmetric interval of Papamakarios et al., 2017). So
log-densities are always those of x + u, whose unit is one level: no offset is added to bits/dim.

Shapes: B batch, S the event's shape; ladj (B,) in nats.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.plugin import Event, Range
from zoo_flows.bijections import Bijection, Chain

__all__ = ["Logit", "Preprocess", "Scale", "event_of", "preprocessing"]


@dataclass(frozen=True)
class Preprocess:
    """How events reach the flow.

    `dequantize` says how integers become reals: `uniform`, or `variational`, by a flow of its own
    with `hidden` units. `logit` is the a of the logit transform, 0 for none; reals that go
    through it lie in [0, 1].
    """

    dequantize: Literal["uniform", "variational"] = "uniform"
    logit: Annotated[float, Range(0.0, 0.49)] = 0.0
    hidden: Annotated[int, Range(1, 4096)] = 32


class Scale(Bijection):
    """y = scale x + shift, both constants."""

    def __init__(self, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.scale * x + self.shift, self._ladj(x)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (y - self.shift) / self.scale, -self._ladj(y)

    def _ladj(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), x[0].numel() * math.log(self.scale))


class Logit(Bijection):
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
        each = math.log(1 - 2 * self.a) + F.softplus(y) + F.softplus(-y)
        return each.flatten(1).sum(1)


def event_of(shape: tuple[int, ...], levels: int | None, preprocess: Preprocess) -> Event:
    """Integers of K levels, or reals: of [0, 1] where they go through the logit."""
    if levels is None and preprocess.logit:
        return Event(shape, low=0.0, high=1.0)
    return Event(shape, levels=levels)


def preprocessing(event: Event, preprocess: Preprocess) -> Chain:
    """The bijection from dequantized integers, or reals, to what the flow sees."""
    layers: list[Bijection] = []
    if event.levels is not None:
        layers.append(Scale(1 / event.levels))
    if preprocess.logit:
        layers.append(Logit(preprocess.logit))
    elif event.levels is not None:
        layers.append(Scale(2.0, -1.0))
    return Chain(layers)
