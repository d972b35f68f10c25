"""Prediction types: what a network outputs at x_t = alpha x_0 + sigma eps, and their conversions.

    x0 = (x_t - sigma eps) / alpha        v = alpha eps - sigma x0 (Salimans & Ho, 2022, app. D)
    eps = (x_t - alpha x0) / sigma        score = -eps / sigma (Song et al., 2021)

Shapes: B batch, S the event's shape; alpha and sigma broadcast.
"""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from zoo_core.plugin import Denoiser, Schedule

__all__ = [
    "Prediction",
    "Predictor",
    "append_dims",
    "at_time",
    "convert",
    "to_x0",
]

Prediction = Literal["epsilon", "x0", "v", "score"]


@runtime_checkable
class Predictor(Denoiser, Protocol):
    """A denoiser whose network's output can enter a solver's update without conversion to x_0."""

    prediction: Prediction

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The output of type `prediction`, (B, *S) in x_t's dtype, at x_t (B, *S), t (B,)."""
        ...


def to_x0(m: Tensor, prediction: str, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x_0 from a network's output m of the type `prediction`."""
    if prediction == "x0":
        return m
    if prediction == "v":
        return (alpha * x_t - sigma * m) / (alpha.square() + sigma.square())
    return (x_t - sigma * (m if prediction == "epsilon" else -sigma * m)) / alpha


def convert(
    m: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, *, source: str, target: str
) -> Tensor:
    """An output m of type `source` as type `target`, each epsilon, x0, v or score."""
    if source == target:
        return m
    x0 = to_x0(m, source, x_t, alpha, sigma)
    if target == "x0":
        return x0
    eps = (x_t - alpha * x0) / sigma
    return {"epsilon": eps, "v": alpha * eps - sigma * x0, "score": -eps / sigma}[target]


def append_dims(value: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ..., 1), to broadcast with `like` (B, *S) and in its dtype."""
    return value.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def at_time(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t (B, 1, ..., 1) for t (B,), computed in float64, in `like`'s dtype."""
    t = t.double()
    return append_dims(schedule.alpha(t), like), append_dims(schedule.sigma(t), like)
