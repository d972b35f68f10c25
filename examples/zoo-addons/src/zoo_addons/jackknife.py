"""log p(x) of a latent-variable model by the jackknife, which reduces the bias of IWAE.

    J_k = k L_k - (k - 1) mean_i L_{k-1}^{(-i)},  L_k = log (1/k) sum_i w_i

where L^{(-i)} leaves draw i out. The bias of L_k is negative and O(1/k). That of J_k is O(1/k^2)
and may have either sign, so J_k is an estimate and no bound. Debiasing Evidence Approximations: On
Importance-weighted Autoencoders and Jackknife Variational Inference (Nowozin, 2018).

Shapes: k draws, B events.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from torch import Tensor

from zoo_core.plugin import Decoder, Encoder, LikelihoodKind, Range, Rng

__all__ = ["Jackknife", "jackknife"]


class EncoderDecoder(Encoder, Decoder, Protocol):
    """Both required capabilities, for type checkers."""


@dataclass(frozen=True)
class Jackknife:
    """The estimate from k draws of q(z|x) per event: `method=Jackknife(k=64)`."""

    k: Annotated[int, Range(2, 100_000)] = 64

    @property
    def kind(self) -> LikelihoodKind:
        return LikelihoodKind("jackknife", "estimate", f"k={self.k}")

    def __call__(
        self, model: EncoderDecoder, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        q, prior = model.encode(x, cond), model.prior(len(x), cond)
        log_w = []
        for step in range(self.k):
            z = q.sample(rng, stream="z", step=step)
            joint = model.decode(z, cond).log_prob(x) + prior.log_prob(z)
            log_w.append(joint - q.log_prob(z))
        return jackknife(torch.stack(log_w).double())


def jackknife(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates (B,) from log-weights (k, B), with standard errors from the pseudo-values."""
    k = len(log_w)
    log_mean = log_w.logsumexp(0) - math.log(k)
    weight = (log_w - log_w.logsumexp(0)).exp().clamp(max=1 - 1e-12)
    leave_one_out = log_w.logsumexp(0) + torch.log1p(-weight) - math.log(k - 1)  # (k, B)
    pseudo = k * log_mean - (k - 1) * leave_one_out
    return pseudo.mean(0), pseudo.std(0) / math.sqrt(k)
