"""What diffusion models share: a denoiser and a score by the output of one network.

The score is that of the noised data at one stated time t:

    grad_x log p_t(x) = (alpha_t E[x_0 | x_t = x] - x) / sigma_t^2    (Tweedie's formula)

A model's own `score` is at its earliest time, where p_t is nearest to the data: the first step of
a chain, or `t_min`. `ScoreAt` has it at any other time. p_t is the data with noise of sigma_t, so
steps x + eps / 2 score + sqrt(eps) n of Langevin dynamics diverge for eps > 4 sigma_t^2.

Shapes: B batch, S the event's shape; x is on the scale of networks.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, GenerativeModel, Range, Schedule, UsageError
from zoo_diffusion.parameterization import Prediction, at_time, earliest_time, to_x0

__all__ = ["DiffusionModel", "ScoreAt", "ScoreAtConfig"]


class DiffusionModel(GenerativeModel, ABC):
    """A network whose output `predict` is of the type `prediction`, and its `schedule`."""

    prediction: Prediction
    schedule: Schedule

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's output (B, *S) at x_t (B, *S), t (B,)."""

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t], (B, *S)."""
        alpha, sigma = at_time(self.schedule, t, x_t)
        return to_x0(self.predict(x_t, t, cond), self.prediction, x_t, alpha, sigma)

    def score(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """grad_x log p_t(x | cond), (B, *S), at the earliest time t; `ScoreAt` has other times."""
        return _score(self, x, earliest_time(self), cond)


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
