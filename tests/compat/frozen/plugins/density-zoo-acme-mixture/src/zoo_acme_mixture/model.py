"""A mixture of Gaussians in the plane.

    log p(x) = log sum_k pi_k N(x; mu_k, (A_k' A_k)^-1),  A_k = [[a, 0], [b, c]], a, c > 0

Shapes: B batch, K components. Log-densities are in nats.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from zoo_core import Event, GenerativeModel, Range, Rng

__all__ = ["AcmeMixtureMixture", "Config"]


@dataclass(frozen=True)
class Config:
    """Options of the model; they are saved with its weights."""

    components: Annotated[int, Range(1, 1024)] = 24


class AcmeMixtureMixture(GenerativeModel):
    """Exact density, one-pass sampling, six parameters a component."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, Event((2,)))
        k = config.components
        self.logits = nn.Parameter(torch.zeros(k))
        self.mu = nn.Parameter(torch.randn(k, 2))
        self.log_diagonal = nn.Parameter(torch.ones(k, 2))  # of A: deviations start at 1/e
        self.b = nn.Parameter(torch.zeros(k))

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x), (B, 2) -> (B,)."""
        d = x.unsqueeze(1) - self.mu  # (B, K, 2)
        a, c = self.log_diagonal.exp().unbind(-1)
        z_1, z_2 = a * d[..., 0], self.b * d[..., 0] + c * d[..., 1]  # z = A (x - mu)
        log_normal = -(z_1.square() + z_2.square()) / 2 + self.log_diagonal.sum(-1)
        joint = self.logits.log_softmax(-1) + log_normal - math.log(2 * math.pi)
        return torch.logsumexp(joint, -1)

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """One point per row of `rng`, (B, 2); every draw names its stream."""
        k = rng.categorical(self.logits.expand(len(rng), -1), stream="component")
        z_1, z_2 = rng.normal((2,), stream="z").to(self.dtype).unbind(-1)
        a, c = self.log_diagonal[k].exp().unbind(-1)
        d_1 = z_1 / a  # x - mu = A^-1 z
        d_2 = (z_2 - self.b[k] * d_1) / c
        return self.mu[k] + torch.stack((d_1, d_2), -1)
