"""Latent-space tools for generators: truncation sweeps and projection (GAN inversion).

Interpolation works for every model with latents and is in `zoo_core.latent`.

Shapes: B events, S the event's shape, L latents, T thresholds, K candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.plugin import GenerativeModel, Rng, UsageError, evaluating, to_model
from zoo_gan.model import AdversarialModel
from zoo_gan.samplers import Truncated

__all__ = ["Projection", "project", "truncation_sweep"]

_LEARNING_RATE = 0.1
"""Adam's initial learning rate, in standard deviations of the prior; it decays linearly to 0."""


@dataclass(frozen=True)
class Projection:
    """Result of `project`: latents (B, L), their events (B, *S), mean squared errors (B,).

    Errors are on the networks' scale, on which images range from -1 to 1.
    """

    z: Tensor
    x: Tensor
    error: Tensor


def truncation_sweep(
    model: GenerativeModel, n: int, thresholds: Sequence[float], *, seed: int = 0, cond: Any = None
) -> Tensor:
    """The same n samples at each truncation threshold, (T, n, *S).

    Raises `UsageError` for no thresholds.
    """
    if not thresholds:
        raise UsageError("thresholds is empty; give at least one, e.g. (0.5, 1.0, 2.0).")
    return torch.stack(
        [model.sample(n, seed=seed, cond=cond, sampler=Truncated(t)) for t in thresholds]
    )


def project(
    model: AdversarialModel,
    x: Any,
    *,
    cond: Any = None,
    steps: int = 200,
    candidates: int = 64,
    weight: float = 1e-3,
    seed: int = 0,
) -> Projection:
    r"""Find latents whose events are closest to x (B, *S), by gradient descent (GAN inversion).

        z = argmin_z  mean_i (G(z)_i - x_i)^2 + weight |z|^2 / L

    Adam starts from the best of K `candidates` drawn from the prior. The result for an event
    depends only on that event and its index. Image2StyleGAN (Abdal et al., 2019), section 3, with
    z in place of w. Raises `UsageError` unless there are `steps` and `candidates`.

        inverted = project(model, x, steps=200)
        inverted.z, inverted.error
    """
    if steps < 1 or candidates < 1:
        raise UsageError(
            f"steps = {steps} and candidates = {candidates}; both must be at least 1."
        )
    x = model.event.check(x)
    cond = model.condition.check(cond, len(x))
    cond = None if cond is None else to_model(cond, model)
    target = model.normalize(to_model(x, model))
    with evaluating(model):
        best = _best_candidate(model, target, cond, Rng(seed, len(x)).to(model.device), candidates)
        z = _optimize(model, target, cond, best, steps, weight)
        error = _error(model.generator(z, cond), target)
        events = model.to_events(model.generate(z, cond))
    return Projection(z.cpu(), events.cpu(), error.cpu())


def _best_candidate(
    model: AdversarialModel, target: Tensor, cond: Tensor | None, rng: Rng, candidates: int
) -> Tensor:
    """The draw with the smallest error for each target, among K draws (B, L)."""
    prior = model.prior(len(target), cond)
    best, min_error = prior.mean, torch.full((len(target),), torch.inf, device=target.device)
    for k in range(candidates):
        z = prior.sample(rng, stream="project", step=k)
        error = _error(model.generator(z, cond), target)
        best = torch.where((error < min_error)[:, None], z, best)
        min_error = torch.minimum(error, min_error)
    return best


def _optimize(
    model: AdversarialModel,
    target: Tensor,
    cond: Tensor | None,
    start: Tensor,
    steps: int,
    weight: float,
) -> Tensor:
    """The best latents seen during the descent, never worse than `start`."""
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=_LEARNING_RATE)
    best, min_error = start, _error(model.generator(start, cond), target)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / steps)
        with torch.enable_grad():
            error = _error(model.generator(z, cond), target)
            loss = error.sum() + weight * z.square().mean(1).sum()
            (z.grad,) = torch.autograd.grad(loss, z)
        better = error.detach() < min_error
        best = torch.where(better[:, None], z.detach(), best)
        min_error = torch.where(better, error.detach(), min_error)
        optimizer.step()
    return best


def _error(v: Tensor, target: Tensor) -> Tensor:
    return (v - target).square().flatten(1).mean(1)
