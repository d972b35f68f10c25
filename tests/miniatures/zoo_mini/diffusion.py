"""Class-conditional denoising diffusion over the plane (Ho et al., 2020; Song et al., 2021)."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

import zoo_core as zoo
from zoo_core.plugin import Loss, Range


@dataclass(frozen=True)
class Config:
    classes: Annotated[int, Range(1, 1000)] = 3
    hidden: Annotated[int, Range(1, 4096)] = 64


class Cosine:
    """alpha_t = cos(pi t / 2), sigma_t = sin(pi t / 2)."""

    def alpha(self, t):
        return torch.cos(0.5 * math.pi * t)

    def sigma(self, t):
        return torch.sin(0.5 * math.pi * t)


class MiniDiffusion(zoo.GenerativeModel):
    def __init__(self, config):
        condition = zoo.Condition("classes", classes=config.classes, optional=True)
        super().__init__(config, zoo.Event((2,)), condition)
        h = config.hidden
        self.schedule = Cosine()
        self.label = nn.Embedding(config.classes + 1, h)  # the last one: no class
        self.inner = nn.Sequential(nn.Linear(4, h), nn.SiLU())
        self.outer = nn.Sequential(nn.Linear(h, h), nn.SiLU(), nn.Linear(h, 2))

    def denoise(self, x_t, t, cond=None):
        none = torch.full((len(x_t),), self.config.classes, device=x_t.device)
        label = self.label(none if cond is None else cond)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        v = self.outer(self.inner(torch.cat((x_t, alpha[:, None], sigma[:, None]), 1)) * label)
        return alpha[:, None] * x_t - sigma[:, None] * v  # Salimans & Ho (2022), appendix D


def levels(model, t):
    """alpha_t and sigma_t as (B, 1, ...), for events of any shape."""
    shape = (-1, *[1] * len(model.event.shape))
    return model.schedule.alpha(t).view(shape), model.schedule.sigma(t).view(shape)


@dataclass(frozen=True)
class Denoising:
    """|x_0 - x_0_hat|^2 / sigma_t^2, which is |v - v_hat|^2; classes are dropped now and then."""

    drop: Annotated[float, Range(0, 1)] = 0.1

    def __call__(self, model, batch, rng, step):
        x, cond = batch
        t = 1e-3 + (1 - 1e-3) * rng.uniform(stream="t", step=step)
        eps = rng.normal(x.shape[1:], stream="eps", step=step)
        if cond is not None:
            dropped = rng.uniform(stream="drop", step=step) < self.drop
            cond = torch.where(dropped, model.config.classes, cond)
        x = model.event.to_network(x)
        alpha, sigma = levels(model, t)
        error = (model.denoise(alpha * x + sigma * eps, t, cond) - x) / sigma
        return Loss(error.square().flatten(1).sum(1).mean())


@dataclass(frozen=True)
class DDIM:
    """Deterministic steps from noise to data, with classifier-free guidance."""

    steps: Annotated[int, Range(1, 1000)] = 25
    guidance: Annotated[float, Range(0, 100)] = 1.0

    def __call__(self, model, rng, cond):
        times = torch.linspace(1, 0, self.steps + 1).tolist()
        x = rng.normal(model.event.shape, stream="x_1").to(model.dtype)
        for now, then in zip(times, times[1:], strict=False):
            t, s = (torch.full((len(x),), v, device=x.device, dtype=x.dtype) for v in (now, then))
            x_0 = self._guided(model, x, t, cond)
            alpha, sigma = levels(model, t)
            eps = (x - alpha * x_0) / sigma
            alpha, sigma = levels(model, s)
            x = alpha * x_0 + sigma * eps
        return x

    def _guided(self, model, x, t, cond):
        with_class = model.denoise(x, t, cond)
        if cond is None or self.guidance == 1:
            return with_class
        without = model.denoise(x, t, None)
        return without + self.guidance * (with_class - without)
