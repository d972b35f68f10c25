"""Unadjusted Langevin dynamics for every model with a score, energy-based or diffusion.

    x_{k+1} = x_k + eps / 2 grad log p(x_k) + sqrt(eps) n_k,  n_k ~ N(0, I)

The stationary distribution approaches p as eps -> 0. Bayesian Learning via Stochastic Gradient
Langevin Dynamics (Welling & Teh, 2011), here with exact gradients.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Range, Rng, Score

__all__ = ["Langevin"]


@dataclass(frozen=True)
class Langevin:
    """Steps of one size from N(0, init_std^2), clamped to the event's range.

    model.sample(16, sampler=Langevin(steps=1000))
    """

    steps: Annotated[int, Range(1, 1_000_000)] = 500
    step_size: Annotated[float, Range(0.0, 10.0, open=True)] = 0.01
    """eps, in squared units of x."""
    init_std: Annotated[float, Range(0.0, 1e3)] = 1.0
    """Standard deviation of the initial distribution."""

    def __call__(self, model: Score, rng: Rng, cond: Tensor | None) -> Tensor:
        event = model.event
        x = self.init_std * rng.normal(event.shape, stream="start").to(model.dtype)
        for k in range(self.steps):
            noise = rng.normal(event.shape, stream="noise", step=k).to(x.dtype)
            x = x + self.step_size / 2 * model.score(x, cond) + self.step_size**0.5 * noise
            if event.low is not None or event.high is not None:
                x = torch.clamp(x, event.low, event.high)
        return x
