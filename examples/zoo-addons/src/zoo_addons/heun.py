"""Heun's method for the probability-flow ODE of a diffusion model.

    x_t = alpha_t x_0 + sigma_t eps;  with y = x / alpha and s = sigma / alpha
    dy/ds = (y - D(x, t)) / s

A step from s to r < s is Euler's, corrected by the slope at its end. Elucidating the Design Space
of Diffusion-Based Generative Models (Karras et al., 2022), algorithm 1. The last step, to s = 0,
is Euler's. Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_core.plugin import Range, Rng

__all__ = ["Heun"]


@dataclass(frozen=True)
class Heun:
    """Deterministic but for the noise at the start; two evaluations a step."""

    steps: Annotated[int, Range(1, 10_000)] = 18
    start: Annotated[float, Range(0.5, 1.0)] = 0.99
    """Time of the first noise; at 1 a schedule may have no signal left to divide by."""

    def __call__(self, model: Any, rng: Rng, cond: Tensor | None) -> Tensor:
        event = model.event
        times = torch.linspace(self.start, 0, self.steps + 1, device=model.device).to(model.dtype)
        alpha, sigma = model.schedule.alpha(times), model.schedule.sigma(times)
        s: list[float] = (sigma / alpha).tolist()
        y = s[0] * rng.normal(event.shape, stream="start").to(model.dtype)

        def slope(y: Tensor, i: int) -> Tensor:
            t = times[i].expand(len(y))
            x_0: Tensor = model.denoise(alpha[i] * y, t, cond)
            return (y - x_0) / s[i]

        for i in range(self.steps):
            h = s[i + 1] - s[i]
            d = slope(y, i)
            euler = y + h * d
            y = euler if s[i + 1] <= 0 else y + h * (d + slope(euler, i + 1)) / 2
        x: Tensor = y * alpha[-1]
        if event.low is not None or event.high is not None:
            x = torch.clamp(x, event.low, event.high)
        return x
