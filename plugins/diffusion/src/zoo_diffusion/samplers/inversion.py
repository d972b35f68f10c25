"""From an event to the noise that it comes from, and back: inversion of the probability flow.

    x_T = encode(model, x)                  # 100 steps of DDIM, backwards
    x = decode(model, x_T)                  # model.sample(len(x_T), x_T=x_T, sampler=...)

A step of DDIM from x_t to x_s, x_s / alpha_s = x_t / alpha_t + (n_s - n_t) eps(x_t, t) with
n = sigma / alpha, is solved for x_t, which is on both sides:

    x_t = alpha_t (x_s / alpha_s + (n_t - n_s) eps(x_t, t))

Plain inversion (Song et al., 2021, sec. 4.3) takes eps at alpha_t / alpha_s x_s instead, and errs
by O(1 / steps). Every iteration of the equation (Pan et al., 2023) brings x_t nearer to its root.

Shapes: B batch, S the event's shape.
"""

from typing import Any

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Rng, cond_to_model, evaluating
from zoo_diffusion.samplers.adaptive import ODE
from zoo_diffusion.samplers.loop import Outputs
from zoo_diffusion.samplers.one_step import DDIM
from zoo_diffusion.samplers.timesteps import Level

__all__ = ["decode", "encode", "interpolate"]


def encode(
    model: Any,
    x: Tensor,
    *,
    cond: Any = None,
    sampler: DDIM | ODE = DDIM(steps=100),  # noqa: B008
    iterations: int = 5,
) -> Tensor:
    """x_T (B, *S) from which `sampler` comes to the events x (B, *S), the noise of the flow.

    `iterations` of every step are for `DDIM`, each a call of the network beside the first;
    guidance, clipping and spacing are the sampler's. `ODE` solves the flow adaptively.
    """
    x, cond = model.event.check(x), model.condition.check(cond, len(x))
    clean: Tensor = model.event.to_network(x, torch.float32).to(model.device)
    condition = None if cond is None else cond_to_model(cond, model)
    with evaluating(model):
        if isinstance(sampler, ODE):
            return sampler.encode(model, clean, condition)
        return _inverted(sampler, model, clean, condition, iterations)


def decode(
    model: Any,
    x_T: Tensor,
    *,
    cond: Any = None,
    sampler: DDIM | ODE = DDIM(steps=100),  # noqa: B008
) -> Tensor:
    """The events (B, *S) to which `sampler` comes from x_T (B, *S)."""
    events: Tensor = model.sample(len(x_T), x_T=x_T, cond=cond, sampler=sampler)
    return events


def interpolate(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """x_T (N, *S) on the great circle from a to b (*S), for weights (N,) from 0 to 1.

    Its norm goes from |a| to |b| on the way, as noise needs it (Song et al., 2021, app. D.5).
    """
    cosine = torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())
    angle = cosine.clamp(-1, 1).acos()
    w = weights.to(a).view(-1, *[1] * a.ndim)
    if float(angle.sin()) < 1e-6:  # parallel: a straight line
        return (1 - w) * a + w * b
    between: Tensor = (((1 - w) * angle).sin() * a + (w * angle).sin() * b) / angle.sin()
    return between


def _inverted(
    sampler: DDIM, model: Denoiser, x: Tensor, cond: Tensor | None, iterations: int
) -> Tensor:
    """x_T (B, *S) by all steps of DDIM, solved backwards."""
    outputs = Outputs(model, Rng(0, len(x)).to(x.device), cond, sampler.options())
    for _, p, q in reversed([*sampler.path(model).steps()]):
        x = _solved(outputs, x, p, q, iterations)
    return x


def _solved(outputs: Outputs, x_s: Tensor, p: Level, q: Level, iterations: int) -> Tensor:
    """x_t at level p, from which a step of DDIM comes to x_s at level q."""

    def x_0(x_t: Tensor) -> Tensor:
        return outputs.denoised(0, x_t, p)[0]

    if p.a == 0:  # x_s = alpha_s x_0 + sigma_s eps with eps = x_t / sigma_t
        x_t = p.s / q.s * x_s
        for _ in range(iterations + 1):
            x_t = p.s / q.s * (x_s - q.a * x_0(x_t))
        return x_t
    x_t = p.a / q.a * x_s
    for _ in range(iterations + 1):
        eps = (x_t - p.a * x_0(x_t)) / p.s
        x_t = p.a / q.a * x_s + (p.s - p.a / q.a * q.s) * eps
    return x_t
