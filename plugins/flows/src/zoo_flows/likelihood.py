"""The dequantization bound on the probability of integers, and the training loss of flows.

    log P(x) >= E log (1/k) sum_i p(x + u_i) / q(u_i|x),   u_i ~ q(u|x)

The bound rises with k towards log P(x) (Burda et al., 2016, theorem 1, with u as the latent).

Shapes: B batch; log-densities in nats (B,).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, cast

import torch
from torch import Tensor

from zoo_core.plugin import (
    Batch,
    Density,
    GenerativeModel,
    LikelihoodKind,
    LogMeanExp,
    Loss,
    NoCapabilityError,
    Range,
    Rng,
)
from zoo_flows.dequantization import Dequantizer

__all__ = ["DeqBound", "Dequantized", "FlowNLL", "dequantized_log_prob"]


class Dequantized(Density, Protocol):
    """A density of continuous x + u; `dequantizer` draws u for integers x, else it is None."""

    dequantizer: Dequantizer | None


def dequantized_log_prob(
    model: GenerativeModel, x: Tensor, cond: Tensor | None, rng: Rng, *, step: int
) -> Tensor:
    """log p(x + u) - log q(u|x) for one draw u of the model's dequantizer, (B,)."""
    flow = cast(Dequantized, model)
    assert flow.dequantizer is not None  # its events are integers
    u, log_q = flow.dequantizer(x, rng, step)
    return flow.log_prob(x.to(u.dtype) + u, cond) - log_q


@dataclass(frozen=True)
class DeqBound:
    """The mean of `draws` dequantization bounds, each importance-weighted over `k` draws of u.

        model.log_likelihood(x, method=DeqBound(draws=1, k=64))

    The standard error is that over the bounds, or for one bound that over its k weights; it is
    infinite if both are 1. Raises `NoCapabilityError` if the events are continuous.
    """

    draws: Annotated[int, Range(1, 1_000_000)] = 4
    k: Annotated[int, Range(1, 1_000_000)] = 1

    @property
    def kind(self) -> LikelihoodKind:
        """A lower bound of log p, with the options that tell it from others."""
        weighted = f", k={self.k}" if self.k > 1 else ""
        return LikelihoodKind("deq_bound", "lower", f"draws={self.draws}{weighted}")

    def __call__(
        self, model: GenerativeModel, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        if model.event.levels is None:
            raise NoCapabilityError(
                f"deq_bound is for integers; the model's events are {model.event}.",
                hint="method='exact_density'",
                command="--method exact_density",
            )
        bounds, errors = zip(
            *(self._bound(model, x, cond, rng, draw) for draw in range(self.draws)), strict=True
        )
        if self.draws == 1:
            return bounds[0], errors[0]
        nats = torch.stack(bounds)
        return nats.mean(0), nats.std(0) / math.sqrt(self.draws)

    def _bound(
        self, model: GenerativeModel, x: Tensor, cond: Tensor | None, rng: Rng, draw: int
    ) -> tuple[Tensor, Tensor]:
        total = LogMeanExp()
        for i in range(self.k):
            step = draw * self.k + i
            total.add(dequantized_log_prob(model, x, cond, rng, step=step)[None])
        return total.value()


@dataclass(frozen=True)
class FlowNLL:
    """-log p(x) in nats per event; for integers, minus the dequantization bound at one draw."""

    def __call__(self, model: GenerativeModel, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        assert isinstance(model, Density)  # the capability this loss is registered for
        if model.event.levels is None:
            log_p = model.log_prob(x, cond)
        else:
            log_p = dequantized_log_prob(model, x, cond, rng, step=step)
        nll = -log_p.mean()
        return Loss(nll, {"nats": nll.detach()})
