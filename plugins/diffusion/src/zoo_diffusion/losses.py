"""Training objectives: the simple loss, and the bound itself in discrete or continuous time.

    simple   E |m - m_hat|^2 of whatever the network predicts (Ho et al., 2020, eq. 14)
    vlb      L_0 and the L_t of `vlb.py`, one step drawn for each example

Totals are a value's mean, so that learning rates do not depend on the event's size; terms are
nats an event. Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_core.plugin import Batch, Loss, Range, Rng
from zoo_diffusion import vlb
from zoo_diffusion.conditioning import drop
from zoo_diffusion.parameterization import convert
from zoo_diffusion.schedules import time_at
from zoo_diffusion.timesteps import DiscreteTime, stratified

__all__ = ["ContinuousVLBLoss", "Simple", "VLBLoss"]


@dataclass(frozen=True)
class Simple:
    """The unweighted error of the network's own output, at uniform times."""

    drop: Annotated[float, Range(0, 1)] = 0.1

    def __call__(self, model: Any, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond, eps = _inputs(model, batch, rng, step, self.drop)
        u = stratified(rng, stream="t", step=step)
        z, alpha, sigma = vlb.noisy(model, x, _uniform_time(model, u), eps)
        m = model.predict(z, _uniform_time(model, u), cond)
        want = convert(x, z, alpha, sigma, have="x0", want=model.prediction)
        if model.prediction == "epsilon":
            want = eps
        error = (m - want).square().mean()
        return Loss(error, {"simple": error.detach()})


@dataclass(frozen=True)
class VLBLoss:
    """Minus the bound of a chain of T steps, one step of each example."""

    drop: Annotated[float, Range(0, 1)] = 0.1

    def __call__(self, model: Any, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond, eps = _inputs(model, batch, rng, step, self.drop)
        T = model.timesteps
        i, weight = vlb.draw_steps(model, stratified(rng, stream="t", step=step), first=1)
        z, _, _ = vlb.noisy(model, x, i.double() / T, eps)
        x_hat = model.denoise(z, i.double() / T, cond)
        kl = vlb.step_kl(model, i.clamp(min=2), x, x_hat)
        first = _decoded(model, batch[0], x, x_hat)
        each = weight * torch.where(i == 1, first, kl)
        total = each.mean() / model.event.dims
        nats = total.detach() * model.event.dims + vlb.prior_kl(model.schedule, x).mean()
        return Loss(total.to(x.dtype), {"nats": nats})


@dataclass(frozen=True)
class ContinuousVLBLoss:
    """The bound of continuous time at log-SNRs drawn uniformly, so that every one counts alike."""

    drop: Annotated[float, Range(0, 1)] = 0.1

    def __call__(self, model: Any, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond, eps = _inputs(model, batch, rng, step, self.drop)
        t0 = vlb.decoder_time(model.schedule, model.event, model.start)
        ends = vlb.log_snr_ends(model.schedule, t0, x.device)
        u = stratified(rng, stream="t", step=step)
        t = time_at(model.schedule, ends[0] + (ends[1] - ends[0]) * u)
        z, alpha, sigma = vlb.noisy(model, x, t, eps)
        x_hat = model.denoise(z, t, cond)
        error = vlb.squared_noise_error(x, x_hat, alpha, sigma)
        total = 0.5 * float(ends[0] - ends[1]) * error.mean() / model.event.dims
        return Loss(total.to(x.dtype), {"diffusion": total.detach() * model.event.dims})


def _inputs(
    model: Any, batch: Batch, rng: Rng, step: int, share: float
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Events in the network's range, labels with some dropped, and noise."""
    x = model.event.to_network(batch[0], torch.float32)
    eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
    return x, drop(model, batch[1], share, rng, step), eps


def _uniform_time(model: Any, u: Tensor) -> Tensor:
    """t (B,) of u in [0, 1): one of the model's steps, or between its start and 1."""
    if isinstance(model, DiscreteTime):
        T = model.timesteps
        return (1 + (u * T).long().clamp(max=T - 1)).double() / T
    return model.start + (1 - model.start) * u  # type: ignore[no-any-return]


def _decoded(model: Any, x: Tensor, z: Tensor, mean: Tensor) -> Tensor:
    deviation = vlb.last_variance(model).sqrt().to(mean.device)
    if not model.event.discrete:
        return -vlb.gaussian(z, mean, deviation)
    return -vlb.discretized_gaussian(model.event, x, mean, deviation)
