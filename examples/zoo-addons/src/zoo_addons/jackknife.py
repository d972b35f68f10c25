"""log p(x) of a latent-variable model with the bias of importance weighting reduced.

    J_k = k L_k - (k - 1) mean_i L_{k-1}^{(-i)},  L_k = log (1/k) sum_i w_i

where L^{(-i)} leaves draw i out. L_k is below log p by O(1/k) on average; J_k is off by O(1/k^2),
on either side, and so no bound. Debiasing Evidence Approximations: On Importance-weighted
Autoencoders and Jackknife Variational Inference (Nowozin, 2018). Shapes: k draws, B events.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_core.plugin import LikelihoodKind, Range, Rng

__all__ = ["Jackknife", "jackknife"]


@dataclass(frozen=True)
class Jackknife:
    """The estimate from k draws of q(z|x) for each event."""

    k: Annotated[int, Range(2, 100_000)] = 64

    @property
    def kind(self) -> LikelihoodKind:
        return LikelihoodKind("jackknife", "estimate", f"k={self.k}")

    def __call__(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        q, prior = model.encode(x, cond), model.prior(len(x), cond)
        log_w = []
        for step in range(self.k):
            z = q.sample(rng, stream="z", step=step)
            joint = model.decode(z, cond).log_prob(x) + prior.log_prob(z)
            log_w.append(joint - q.log_prob(z))
        return jackknife(torch.stack(log_w).double())


def jackknife(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """The estimate from log-weights (k, B), and its standard error by the pseudo-values, (B,)."""
    k = len(log_w)
    whole = log_w.logsumexp(0) - math.log(k)
    share = (log_w - log_w.logsumexp(0)).exp().clamp(max=1 - 1e-12)
    without = log_w.logsumexp(0) + torch.log1p(-share) - math.log(k - 1)  # (k, B)
    pseudo = k * whole - (k - 1) * without
    return pseudo.mean(0), pseudo.std(0) / math.sqrt(k)
