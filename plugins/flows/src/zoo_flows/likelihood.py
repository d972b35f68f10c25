"""The bound on the probability of integers that dequantization gives, and the loss of flows.

    log P(x) >= E log (1/k) sum_i p(x + u_i) / q(u_i|x),   u_i ~ q(u|x)

It rises with k towards log P(x) (Burda et al., 2016, theorem 1, for the latent u). Shapes: B
batch; nats (B,).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_core.plugin import Batch, LikelihoodKind, LogMeanExp, Loss, NoCapabilityError, Range, Rng

__all__ = ["DeqBound", "FlowNLL", "dequantized_log_prob"]


def dequantized_log_prob(
    model: Any, x: Tensor, cond: Tensor | None, rng: Rng, *, step: int
) -> Tensor:
    """log p(x + u) - log q(u|x) of one draw u of the model's dequantizer, (B,)."""
    u, log_q = model.dequantizer(x, rng, step)
    found: Tensor = model.log_prob(x.to(u.dtype) + u, cond) - log_q
    return found


@dataclass(frozen=True)
class DeqBound:
    """The mean of `draws` bounds, each of `k` importance-weighted draws of u for each event."""

    draws: Annotated[int, Range(1, 1_000_000)] = 4
    k: Annotated[int, Range(1, 1_000_000)] = 1

    @property
    def kind(self) -> LikelihoodKind:
        weighted = f", k={self.k}" if self.k > 1 else ""
        return LikelihoodKind("deq_bound", "lower", f"draws={self.draws}{weighted}")

    def __call__(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        if model.event.levels is None:
            raise NoCapabilityError(
                f"deq_bound is for integers; the model's events are {model.event}.",
                hint="method='exact_density'",
                command="--method exact_density",
            )
        found = [self._bound(model, x, cond, rng, draw) for draw in range(self.draws)]
        bounds = torch.stack([value for value, _ in found])
        if self.draws == 1:
            return found[0]  # the error is that of the k weights; infinite for one
        return bounds.mean(0), bounds.std(0) / math.sqrt(self.draws)

    def _bound(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng, draw: int
    ) -> tuple[Tensor, Tensor]:
        total = LogMeanExp()
        for i in range(self.k):
            step = draw * self.k + i
            total.add(dequantized_log_prob(model, x, cond, rng, step=step)[None])
        return total.value()


@dataclass(frozen=True)
class FlowNLL:
    """-log p(x) in nats per event; of integers, minus the bound at one draw of u."""

    def __call__(self, model: Any, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        integers = model.event.levels is not None
        log_p: Tensor = (
            dequantized_log_prob(model, x, cond, rng, step=step)
            if integers
            else model.log_prob(x, cond)
        )
        nll = -log_p.mean()
        return Loss(nll, {"nats": nll.detach()})
