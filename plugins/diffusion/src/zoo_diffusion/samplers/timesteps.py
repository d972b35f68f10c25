"""The times at which a sampler calls a model's network.

Time t runs from 0 (data) to 1 (noise). A sampler calls the network at N falling times:

    uniform     t_i = 1 - i / N                                every k-th step of a chain
    leading     t_i = (floor(T / N) (N - 1 - i) + 1) / T        the default of diffusers
    quadratic   sqrt(t) evenly spaced from 1 to sqrt(t_min)     DDIM (Song et al., 2021), app. D.2
    karras      (sigma / alpha)^(1/7) evenly spaced             Karras et al., 2022, eq. 5;
                if alpha_1 = 0, a call at 1 comes first and the spacing starts at 1 - t_min

Shapes: N calls.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, UsageError
from zoo_diffusion.parameterization import DiscreteTime, earliest_time, prior_std
from zoo_diffusion.schedules import time_at

__all__ = ["Spacing", "TimeGrid", "spaced_times", "time_grid"]

Spacing = Literal["uniform", "leading", "quadratic", "karras"]
_RHO = 7.0


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
