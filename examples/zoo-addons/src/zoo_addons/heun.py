"""Heun's method for the probability-flow ODE of a diffusion model.

    x_t = alpha_t x_0 + sigma_t eps;  with y = x / alpha and s = sigma / alpha
    dy/ds = (y - D(x, t)) / s

Each step to a smaller s is an Euler step, corrected with the slope at its end; the last one, to
s = 0, is an Euler step. Elucidating the Design Space of Diffusion-Based Generative Models (Karras
et al., 2022), algorithm 1. Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Range, Rng

__all__ = ["Heun"]


@dataclass(frozen=True)
class Heun:
    """Deterministic given the initial noise; two network evaluations per step.

    model.sample(16, sampler=Heun(steps=30))
    """

    steps: Annotated[int, Range(1, 10_000)] = 18
    t_max: Annotated[float, Range(0.5, 1.0)] = 0.99
    """Initial time; at t = 1 some schedules have alpha = 0, by which the method divides."""

    def __call__(self, model: Denoiser, rng: Rng, cond: Tensor | None) -> Tensor:
        t = torch.linspace(self.t_max, 0, self.steps + 1, device=model.device).to(model.dtype)
        alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
        s: list[float] = (sigma / alpha).tolist()
        y = s[0] * rng.normal(model.event.shape, stream="start").to(model.dtype)

        def slope(y: Tensor, i: int) -> Tensor:
            x_0 = model.denoise(alpha[i] * y, t[i].expand(len(y)), cond)
            return (y - x_0) / s[i]

        for i in range(self.steps):
            h = s[i + 1] - s[i]
            d = slope(y, i)
            euler = y + h * d
            y = euler if s[i + 1] <= 0 else y + h * (d + slope(euler, i + 1)) / 2
        return y * alpha[-1]
