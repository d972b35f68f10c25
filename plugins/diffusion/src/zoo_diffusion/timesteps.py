"""The times at which a model is defined, and those at which a sampler calls its network.

Time t runs from 0 (data) to 1 (noise). A sampler calls the network at N falling times:

    uniform     t_i = 1 - i / N                                every k-th step of a chain
    leading     t_i = (floor(T / N) (N - 1 - i) + 1) / T        the default of diffusers
    quadratic   sqrt(t) evenly spaced from 1 to sqrt(t_min)     DDIM (Song et al., 2021), app. D.2
    karras      (sigma / alpha)^(1/7) evenly spaced             Karras et al., 2022, eq. 5;
                if alpha_1 = 0, a call at 1 comes first and the spacing starts at 1 - t_min

Shapes: B batch, N calls.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Rng, UsageError
from zoo_diffusion.schedules import time_at

__all__ = [
    "ContinuousTime",
    "DiscreteTime",
    "Spacing",
    "TimeGrid",
    "earliest_time",
    "prior_std",
    "spaced_times",
    "stratified",
    "time_grid",
]

Spacing = Literal["uniform", "leading", "quadratic", "karras"]
_RHO = 7.0
_T_MIN = 1e-3
"""The earliest time of a model that states none: t = 1 / T for T = 1000."""


@runtime_checkable
class DiscreteTime(Denoiser, Protocol):
    """A chain of T steps t = i / T; p(x_0 | x_{1/T}) is its last normal, discretized."""

    timesteps: int
    variance: Literal["small", "large"]


@runtime_checkable
class ContinuousTime(Denoiser, Protocol):
    """A model of every t in [t_min, 1]."""

    t_min: float


@dataclass(frozen=True)
class TimeGrid:
    """The times at which a sampler calls the network, and the noise levels between its steps.

    `times` is (N,); `alpha` and `sigma` are (N + 1,), at these times and at the data, where they
    are 1 and 0. All are float64 on the CPU. `std` is the standard deviation of x_1.
    """

    times: Tensor
    alpha: Tensor
    sigma: Tensor
    std: float


def time_grid(model: Denoiser, steps: int, spacing: Spacing) -> TimeGrid:
    """The grid of a model for `steps` calls.

    Raises UsageError if sigma / alpha does not fall from each time to the next.
    """
    t = spaced_times(model, steps, spacing)
    on_device = t.to(model.device)
    alpha, sigma = model.schedule.alpha(on_device).cpu(), model.schedule.sigma(on_device).cpu()
    a = torch.cat((alpha.clamp(min=0), t.new_ones(1)))
    s = torch.cat((sigma, t.new_zeros(1)))
    if not bool((a[:-1] * s[1:] < s[:-1] * a[1:]).all()):  # e.g. two steps of a chain of one
        raise UsageError(
            f"steps = {steps}, spacing = {spacing!r}: the noise of the model's schedule does not "
            "fall from each of these times to the next.",
            hint="fewer steps, or spacing='uniform'",
        )
    return TimeGrid(t, a, s, prior_std(model))


def spaced_times(model: Denoiser, steps: int, spacing: Spacing) -> Tensor:
    """t (N,) float64, falling from the noise."""
    i = torch.arange(steps, dtype=torch.float64)
    if spacing == "uniform":
        return 1 - i / steps
    if spacing == "quadratic":
        return _evenly_spaced(1.0, earliest_time(model) ** 0.5, steps).square()
    if spacing == "karras":
        return _karras(model, steps)
    if not isinstance(model, DiscreteTime):
        raise UsageError(
            f"spacing 'leading' is for chains of discrete steps; {type(model).__name__} is none.",
            hint="spacing='uniform', 'quadratic' or 'karras'",
        )
    T = model.timesteps
    if steps > T:
        raise UsageError(f"steps = {steps}; the chain has {T}.", hint=f"steps of at most {T}")
    return ((T // steps) * (steps - 1 - i) + 1) / T


def earliest_time(model: Denoiser) -> float:
    """The first step of a chain, or the `t_min` of a model of continuous time."""
    if isinstance(model, DiscreteTime):
        return 1 / model.timesteps
    return model.t_min if isinstance(model, ContinuousTime) else _T_MIN


def _evenly_spaced(a: float, b: float, steps: int) -> Tensor:
    return torch.linspace(a, b, steps, dtype=torch.float64)


def _karras(model: Denoiser, steps: int) -> Tensor:
    t_min = earliest_time(model)
    ends = torch.tensor([1.0, t_min], dtype=torch.float64, device=model.device)
    calls_at_one = 0 if bool(model.schedule.alpha(ends[:1]) > 0) else 1
    ends[0] -= calls_at_one * t_min
    noise = (model.schedule.sigma(ends) / model.schedule.alpha(ends)).cpu()
    warped = noise.pow(1 / _RHO).tolist()
    n = _evenly_spaced(warped[0], warped[1], steps - calls_at_one).pow(_RHO)
    t = time_at(model.schedule, (-2 * n.log()).to(model.device)).cpu()
    return torch.cat((t.new_ones(calls_at_one), t))


def prior_std(model: Denoiser) -> float:
    """sqrt(alpha_1^2 + sigma_1^2), the standard deviation of x_1 for data of unit variance.

    It is read back from the device.
    """
    one = torch.ones(1, dtype=torch.float64, device=model.device)
    with torch.no_grad():
        return float(torch.hypot(model.schedule.alpha(one), model.schedule.sigma(one)))


def stratified(rng: Rng, *, stream: str, step: int = 0) -> Tensor:
    """u in [0, 1) for every example, (B,) float64: (u_0 + i / B) mod 1 with one draw u_0.

    Each u is uniform and the batch covers [0, 1) evenly, so that its mean varies less: the
    low-discrepancy sampler of Kingma et al., 2021, app. I.1.
    """
    first = rng.uniform(stream=stream, step=step).double()[:1]
    offsets = torch.arange(len(rng), device=first.device, dtype=torch.float64) / max(1, len(rng))
    return (first + offsets) % 1
