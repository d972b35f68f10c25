"""The score of a diffusion model: grad_x log p_t(x) of the noised data at one stated time t.

    grad_x log p_t(x) = (alpha_t E[x_0 | x_t = x] - x) / sigma_t^2    (Tweedie's formula)

A model's own `score` is at its earliest time, where p_t is nearest to the data: the first step of
a chain, or `t_min`. `ScoreAt` has it at any other time. p_t is the data with noise of sigma_t, so
steps x + eps / 2 score + sqrt(eps) n of Langevin dynamics diverge for eps > 4 sigma_t^2.

Shapes: B batch, S the event's shape; x is on the scale of networks.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, GenerativeModel, Range, UsageError
from zoo_diffusion.parameterization import at_time, earliest_time

__all__ = ["ScoreAt", "ScoreAtConfig", "earliest_score"]


def earliest_score(model: Any, x: Tensor, cond: Tensor | None) -> Tensor:
    """grad_x log p_t(x | cond), (B, *S), at the earliest time t of a denoiser."""
    return _score(model, x, earliest_time(model), cond)


@dataclass(frozen=True)
class ScoreAtConfig:
    """The time of the score."""

    t: Annotated[float, Range(0.0, 1.0)]


class ScoreAt(GenerativeModel):
    """The noised data of a denoiser at one time t, as a model with the capability `Score`.

        ScoreAt(model, 0.2).sample(16, sampler=Langevin(step_size=0.02))

    Its samples are of p_t, noise included.
    """

    def __init__(self, model: Denoiser, t: float) -> None:
        super().__init__(ScoreAtConfig(float(t)), model.event, model.condition)
        if t < (earliest := earliest_time(model)):
            raise UsageError(
                f"t = {t:g}; the earliest time of {type(model).__name__} is {earliest:g}.",
                hint=f"t from {earliest:g} to 1",
            )
        self.model, self.t = model, float(t)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def score(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """grad_x log p_t(x | cond), (B, *S)."""
        return _score(self.model, x, self.t, cond)


def _score(model: Denoiser, x: Tensor, t: float, cond: Tensor | None) -> Tensor:
    times = x.new_full((len(x),), t)
    alpha, sigma = at_time(model.schedule, times, x)
    score: Tensor = (alpha * model.denoise(x, times, cond) - x) / sigma.square()
    return score
