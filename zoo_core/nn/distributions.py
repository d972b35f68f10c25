"""Distributions with the batch first, drawn from an `Rng` and scored row by row.

What encoders, decoders and priors return (`zoo_core.capabilities.Distribution`). Shapes: B batch,
S any event shape. Log-densities are in nats, summed over S.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.rng import Rng

__all__ = ["Bernoulli", "Categorical", "Normal", "kl"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Normal:
    """N(mean, diag exp(2 log_std)) over reals; `mean` and `log_std` are (B, *S)."""

    mean: Tensor
    log_std: Tensor

    @classmethod
    def standard(cls, *shape: int, like: Tensor) -> "Normal":
        """N(0, 1) of shape (B, *S), on the device and in the dtype of `like`."""
        zeros = torch.zeros(shape, device=like.device, dtype=like.dtype)
        return cls(zeros, zeros)

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Tensor:
        """mean + std eps, (B, *S), differentiable in both."""
        eps = rng.normal(self.mean.shape[1:], stream=stream, step=step)
        return self.mean + self.log_std.exp() * eps.to(self.mean.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of x (B, *S), (B,)."""
        z = (x - self.mean) * (-self.log_std).exp()
        return _sum(-0.5 * (z.square() + _LOG_2PI) - self.log_std)


@dataclass(frozen=True)
class Bernoulli:
    """P(x_i = 1) = sigmoid(logits_i), x in {0, 1}; `logits` are (B, *S)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """P(x_i = 1), (B, *S)."""
        return self.logits.sigmoid()

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Tensor:
        """int64 (B, *S)."""
        return rng.bernoulli(self.logits, stream=stream, step=step)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of x (B, *S), (B,)."""
        x = x.to(self.logits.dtype)
        return _sum(x * F.logsigmoid(self.logits) + (1 - x) * F.logsigmoid(-self.logits))


@dataclass(frozen=True)
class Categorical:
    """P(x_i = k) = softmax(logits_i)_k, x in 0..K-1; `logits` are (B, *S, K)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """sum_k k P(x_i = k), (B, *S)."""
        p = self.logits.softmax(-1)
        return p @ torch.arange(p.shape[-1], device=p.device, dtype=p.dtype)

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Tensor:
        """int64 (B, *S)."""
        return rng.categorical(self.logits, stream=stream, step=step)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of x (B, *S), (B,)."""
        log_p = self.logits.log_softmax(-1)
        return _sum(log_p.gather(-1, x.long().unsqueeze(-1)).squeeze(-1))


def kl(q: Normal, p: Normal) -> Tensor:
    """KL(q || p) in closed form, summed over S: (B,)."""
    var_ratio = (2 * (q.log_std - p.log_std)).exp()
    gap = (q.mean - p.mean) * (-p.log_std).exp()
    return _sum(0.5 * (var_ratio + gap.square() - 1) + p.log_std - q.log_std)


def _sum(x: Tensor) -> Tensor:
    """Sum over all but the batch."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x
