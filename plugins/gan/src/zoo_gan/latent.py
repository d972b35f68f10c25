"""Tools for the latent space of generators: truncation sweeps, and images projected to latents.

Interpolation serves every model with latents, and is in `zoo_core.latent`.

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

_RATE = 0.1
"""Of Adam at first, in standard deviations of the prior; it falls to 0."""


@dataclass(frozen=True)
class Projection:
    """Latents (B, L), what G makes of them (B, *S), and its mean squared distances (B,).

    Distances are on the networks' scale, on which images range from -1 to 1.
    """

    z: Tensor
    x: Tensor
    error: Tensor


def truncation_sweep(
    model: GenerativeModel, n: int, thresholds: Sequence[float], *, seed: int = 0, cond: Any = None
) -> Tensor:
    """The same n samples at each threshold of truncation, (T, n, *S): a row a threshold."""
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
    r"""The latents whose images come nearest to events x (B, *S), by descent from good draws.

        z = argmin_z  mean_i (G(z)_i - x_i)^2 + weight |z|^2 / L

    The descent (Adam) starts at the best of K `candidates` from the prior; a row's result depends
    on its own event and number alone. Image2StyleGAN (Abdal et al., 2019), section 3, in z.
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
        best = _best_draw(model, target, cond, Rng(seed, len(x)).to(model.device), candidates)
        z = _descend(model, target, cond, best, steps, weight)
        error = _distance(model.generator(z, cond), target)
        events = model.to_events(model.generate(z, cond))
    return Projection(z.cpu(), events.cpu(), error.cpu())


def _best_draw(
    model: AdversarialModel, target: Tensor, cond: Tensor | None, rng: Rng, candidates: int
) -> Tensor:
    """Of K draws (B, L) the one nearest to each target."""
    prior = model.prior(len(target), cond)
    best, least = prior.mean, torch.full((len(target),), torch.inf, device=target.device)
    for k in range(candidates):
        z = prior.sample(rng, stream="project", step=k)
        error = _distance(model.generator(z, cond), target)
        best = torch.where((error < least)[:, None], z, best)
        least = torch.minimum(error, least)
    return best


def _descend(
    model: AdversarialModel,
    target: Tensor,
    cond: Tensor | None,
    start: Tensor,
    steps: int,
    weight: float,
) -> Tensor:
    """The best latents on the way, so that no row ends worse than it began."""
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=_RATE)
    best, least = start, _distance(model.generator(start, cond), target)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / steps)
        with torch.enable_grad():
            error = _distance(model.generator(z, cond), target)
            loss = error.sum() + weight * z.square().mean(1).sum()
            (z.grad,) = torch.autograd.grad(loss, z)
        better = error.detach() < least
        best = torch.where(better[:, None], z.detach(), best)
        least = torch.where(better, error.detach(), least)
        optimizer.step()
    return best


def _distance(v: Tensor, target: Tensor) -> Tensor:
    return (v - target).square().flatten(1).mean(1)
