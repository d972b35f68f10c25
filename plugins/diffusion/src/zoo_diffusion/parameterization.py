"""What a network outputs at x_t = alpha x_0 + sigma eps, at which times, and conversions.

    x0 = (x_t - sigma eps) / alpha        v = alpha eps - sigma x0 (Salimans & Ho, 2022, app. D)
    eps = (x_t - alpha x0) / sigma        score = -eps / sigma (Song et al., 2021)
    flow = eps - x0 (Liu et al., 2023)

The same names are those of `zoo_kernels.denoise.PREDICTIONS`.

Shapes: B batch, S the event's shape; alpha and sigma broadcast.
"""

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Schedule

__all__ = [
    "ContinuousTime",
    "DiscreteTime",
    "HasSchedule",
    "LearnsVariance",
    "Prediction",
    "Predictor",
    "append_dims",
    "at_time",
    "convert",
    "earliest_time",
    "prior_scale",
    "prior_std",
    "to_epsilon",
    "to_x0",
]

Prediction = Literal["epsilon", "x0", "v", "score", "flow"]
_T_MIN = 1e-3
"""The earliest time of a model that states none: t = 1 / T for T = 1000."""


@runtime_checkable
class Predictor(Denoiser, Protocol):
    """A denoiser whose network's output can enter a solver's update without conversion to x_0."""

    prediction: Prediction

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The output of type `prediction`, (B, *S) in x_t's dtype, at x_t (B, *S), t (B,)."""
        ...


@runtime_checkable
class DiscreteTime(Denoiser, Protocol):
    """A chain of T steps t = i / T; p(x_0 | x_{1/T}) is its last normal, discretized."""

    timesteps: int
    variance: Literal["small", "large", "learned"]


@runtime_checkable
class LearnsVariance(DiscreteTime, Protocol):
    """A chain whose `variance` may be "learned": between the small and the large one."""

    def denoise_and_weigh(
        self, x_t: Tensor, t: Tensor, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """E[x_0 | x_t], and the weight v (B, *S) of the large log-variance."""
        ...


@runtime_checkable
class ContinuousTime(Denoiser, Protocol):
    """A model of every t in [t_min, 1]."""

    t_min: float


def to_x0(m: Tensor, prediction: str, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x_0 from a network's output m of the type `prediction`."""
    if prediction == "x0":
        return m
    if prediction == "v":
        return (alpha * x_t - sigma * m) / (alpha.square() + sigma.square())
    if prediction == "flow":
        return (x_t - sigma * m) / (alpha + sigma)
    return (x_t - sigma * to_epsilon(m, prediction, x_t, alpha, sigma)) / alpha


def to_epsilon(m: Tensor, prediction: str, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """epsilon from a network's output m of the type `prediction`."""
    if prediction == "epsilon":
        return m
    if prediction == "score":
        return -sigma * m
    if prediction == "v":
        return (sigma * x_t + alpha * m) / (alpha.square() + sigma.square())
    if prediction == "flow":
        return (x_t + alpha * m) / (alpha + sigma)
    return (x_t - alpha * m) / sigma


def convert(
    m: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, *, source: str, target: str
) -> Tensor:
    """An output m of type `source` as type `target`, both of `Prediction`."""
    if source == target:
        return m
    if target == "x0":
        return to_x0(m, source, x_t, alpha, sigma)
    eps = to_epsilon(m, source, x_t, alpha, sigma)
    if target in ("epsilon", "score"):
        return eps if target == "epsilon" else -eps / sigma
    x0 = to_x0(m, source, x_t, alpha, sigma)
    return alpha * eps - sigma * x0 if target == "v" else eps - x0


def append_dims(value: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ..., 1), to broadcast with `like` (B, *S) and in its dtype."""
    return value.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def at_time(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t (B, 1, ..., 1) for t (B,), computed in float64, in `like`'s dtype."""
    t = t.double()
    return append_dims(schedule.alpha(t), like), append_dims(schedule.sigma(t), like)


def earliest_time(model: Denoiser) -> float:
    """The first step of a chain, or the `t_min` of a model of continuous time."""
    if isinstance(model, DiscreteTime):
        return 1 / model.timesteps
    return model.t_min if isinstance(model, ContinuousTime) else _T_MIN


class HasSchedule(Protocol):
    """A model of noisy events, by whatever it knows of them."""

    schedule: Schedule

    @property
    def device(self) -> torch.device: ...


def prior_std(model: HasSchedule) -> float:
    """sqrt(alpha_1^2 + sigma_1^2), the standard deviation of x_1 for data of unit variance.

    It is read back from the device.
    """
    return float(prior_scale(model))


def prior_scale(model: HasSchedule) -> Tensor:
    """`prior_std` where it is, float64 ()."""
    one = torch.ones((), dtype=torch.float64, device=model.device)
    with torch.no_grad():
        return torch.hypot(model.schedule.alpha(one), model.schedule.sigma(one))
