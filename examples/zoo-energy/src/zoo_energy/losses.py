"""Losses for p = exp(-E) / Z that do not need Z. Shapes: B batch, S the event's shape."""

from dataclasses import dataclass
from typing import Annotated

import torch

from zoo_core.plugin import Batch, Loss, Range, Rng, Score
from zoo_energy.tempered import TemperedEnergy

__all__ = ["ContrastiveDivergence", "ScoreMatching"]


@dataclass(frozen=True)
class ScoreMatching:
    """Sliced score matching with variance reduction (Song, Garg, Shi & Ermon, 2019).

        E_v[v' grad_x s(x) v] + |s(x)|^2 / 2,  s = grad log p,  v ~ N(0, I)

    https://arxiv.org/abs/1905.07088. `directions` is the number of v per event; `noise` the
    standard deviation of normal noise added to the data.
    """

    directions: Annotated[int, Range(1, 1000)] = 1
    noise: Annotated[float, Range(0.0, 100.0)] = 0.0

    def __call__(self, model: Score, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
        with torch.enable_grad():
            x = (x + self.noise * eps).detach().requires_grad_()
            score = model.score(x, cond)
            half_square = score.square().flatten(1).sum(1) / 2
            total = half_square.mean()
            for k in range(self.directions):
                v = rng.normal(x.shape[1:], stream=f"v{k}", step=step).to(x.dtype)
                (hessian_v,) = torch.autograd.grad((score * v).sum(), x, create_graph=True)
                total = total + (hessian_v * v).flatten(1).sum(1).mean() / self.directions
        return Loss(total, {"score": half_square.mean().detach()})


@dataclass(frozen=True)
class ContrastiveDivergence:
    """E(data) - E(chains), with chains of `steps` transitions that start at the data.

    Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002).
    """

    steps: Annotated[int, Range(1, 10_000)] = 5

    def __call__(self, model: TemperedEnergy, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        y = x
        for k in range(self.steps):
            y = model.transition(y, 1.0, rng.scope(f"move{k}"), step=step)
        data, chains = model.energy(x, cond).mean(), model.energy(y, cond).mean()
        return Loss(data - chains, {"data": data.detach(), "chains": chains.detach()})
