"""A mixture of rings in the plane with log-normal radii.

A point has a ring k of probability pi_k, a uniform angle, and a radius r = |x| with
log r ~ N(mu_k, s_k^2). In Cartesian coordinates

    p(x) = sum_k pi_k N(log r; mu_k, s_k^2) / (2 pi r^2),

since dx = r dr dphi and p(r) = N(log r) / r. Shapes: B batch, K rings. Log-densities in nats.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from zoo_core.plugin import Event, GenerativeModel, Range, Rng

__all__ = ["Config", "RingMixture"]


@dataclass(frozen=True)
class Config:
    """Number of rings, initially at radii 1..K, and their initial relative width."""

    rings: Annotated[int, Range(1, 64)] = 3
    width: Annotated[float, Range(0.0, 1.0, open=True)] = 0.1


class RingMixture(GenerativeModel):
    """Exact density, sampling in one pass, three parameters per ring."""

    def __init__(self, config: Config | None = None) -> None:
        config = config or Config()
        super().__init__(config, Event((2,)))
        self.logits = nn.Parameter(torch.zeros(config.rings))
        self.mu = nn.Parameter(torch.arange(1.0, config.rings + 1).log())
        self.log_s = nn.Parameter(torch.full((config.rings,), math.log(config.width)))

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x), (B, 2) -> (B,)."""
        log_r = x.square().sum(-1, keepdim=True).clamp_min(1e-30).log() / 2  # (B, 1)
        z = (log_r - self.mu) * (-self.log_s).exp()  # (B, K)
        ring = -z.square() / 2 - self.log_s - math.log(2 * math.pi) / 2
        joint = self.logits.log_softmax(-1) + ring
        return torch.logsumexp(joint, -1) - math.log(2 * math.pi) - 2 * log_r.squeeze(-1)

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """One point per row of `rng`, (B, 2)."""
        k = rng.categorical(self.logits.expand(len(rng), -1), stream="ring")
        eps = rng.normal(stream="radius")
        r = (self.mu[k] + self.log_s[k].exp() * eps).exp()
        phi = 2 * math.pi * rng.uniform(stream="angle")
        return torch.stack((r * phi.cos(), r * phi.sin()), -1)
