"""What diffusion models share: a denoiser and a score by the output of one network.

Shapes: B batch, S the event's shape.
"""

from abc import ABC, abstractmethod

from torch import Tensor

from zoo_core.plugin import GenerativeModel, Schedule
from zoo_diffusion.parameterization import Prediction, at_time, to_x0
from zoo_diffusion.score import earliest_score

__all__ = ["DiffusionModel"]


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
        return earliest_score(self, x, cond)
