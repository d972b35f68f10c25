"""What a network gives, and how each form follows from another at x_t = alpha x_0 + sigma eps.

    x0 = (x_t - sigma eps) / alpha        v = alpha eps - sigma x0 (Salimans & Ho, 2022, app. D)
    eps = (x_t - alpha x0) / sigma        score = -eps / sigma (Song et al., 2021)

Shapes: B batch, S the event's shape; alpha and sigma broadcast.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Event, Schedule

__all__ = ["Prediction", "Predictor", "ScoreAt", "convert", "per_row", "to_x0"]

Prediction = Literal["epsilon", "x0", "v", "score"]


@runtime_checkable
class Predictor(Denoiser, Protocol):
    """A denoiser whose network's own output can enter an update directly, without a detour."""

    prediction: Prediction

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_t (B, *S), t (B,) float64 -> what `prediction` says (B, *S), in x_t's dtype."""
        ...


def to_x0(m: Tensor, kind: str, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x_0 from a network's output m of some kind."""
    if kind == "x0":
        return m
    if kind == "v":
        return (alpha * x_t - sigma * m) / (alpha.square() + sigma.square())
    return (x_t - sigma * (m if kind == "epsilon" else -sigma * m)) / alpha


def convert(
    m: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, *, have: str, want: str
) -> Tensor:
    """An output of one kind as another; `have` and `want` are epsilon, x0, v or score."""
    if have == want:
        return m
    x0 = to_x0(m, have, x_t, alpha, sigma)
    if want == "x0":
        return x0
    eps = (x_t - alpha * x0) / sigma
    return {"epsilon": eps, "v": alpha * eps - sigma * x0, "score": -eps / sigma}[want]


def per_row(value: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ..., 1) in the dtype of `like` (B, *S)."""
    return value.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def at_time(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t for every row of `like` (B, *S), computed in float64."""
    t = t.double()
    return per_row(schedule.alpha(t), like), per_row(schedule.sigma(t), like)


@dataclass(frozen=True, eq=False)
class ScoreAt:
    """The score of a denoiser's p_t at one time t: the capability `Score` for any sampler."""

    model: Any
    t: float

    @property
    def event(self) -> Event:
        return self.model.event  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype  # type: ignore[no-any-return]

    def score(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """grad_x log p_t(x | cond) = (alpha E[x_0 | x] - x) / sigma^2 (Tweedie), (B, *S)."""
        t = x.new_full((len(x),), self.t)
        alpha, sigma = at_time(self.model.schedule, t, x)
        score: Tensor = (alpha * self.model.denoise(x, t, cond) - x) / sigma.square()
        return score
