"""Training objectives: the simple loss, and the variational bound in discrete or continuous time.

    simple   E |m - m_hat|^2 of the network's output m (Ho et al., 2020, eq. 14)
    vlb      L_0 and the L_t of `likelihoods/terms.py`, with one step drawn for each example

Totals are means per value, so that learning rates do not depend on the event's size; terms are in
nats per event. Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Batch, Denoiser, Loss, Range, Rng, UsageError
from zoo_diffusion.likelihoods import terms
from zoo_diffusion.networks import DropLabels, drop_condition
from zoo_diffusion.parameterization import (
    ContinuousTime,
    DiscreteTime,
    Predictor,
    convert,
    earliest_time,
)
from zoo_diffusion.schedules import time_at

__all__ = ["ContinuousVLBLoss", "SimpleLoss", "VLBLoss", "stratified"]


@dataclass(frozen=True)
class SimpleLoss:
    """The unweighted error of the network's output at uniform times (Ho et al., 2020, eq. 14).

    Labels are dropped with probability `p_uncond`, for classifier-free guidance; of several, all
    at once or each by itself (`drop_labels`).
    """

    p_uncond: Annotated[float, Range(0, 1)] = 0.1
    drop_labels: DropLabels = "together"

    def __call__(self, model: Predictor, batch: Batch, rng: Rng, step: int) -> Loss:
        if isinstance(model, DiscreteTime) and model.variance == "learned":
            raise UsageError(
                "the simple loss does not train a learned variance.",
                hint="loss='vlb', or variance='small'",
                command="--loss vlb, or --set variance=small",
            )
        x, cond, eps = _inputs(self, model, batch, rng, step)
        t = _uniform_time(model, stratified(rng, stream="t", step=step))
        z, alpha, sigma = terms.add_noise(model, x, t, eps)
        m_hat = model.predict(z, t, cond)
        m = convert(x, z, alpha, sigma, source="x0", target=model.prediction)
        if model.prediction == "epsilon":  # as drawn, without the conversion's rounding
            m = eps
        error = (m_hat - m).square().mean()
        return Loss(error, {"simple": error.detach()})


@dataclass(frozen=True)
class VLBLoss:
    """The negative variational bound of a chain of T steps, estimated from one step an example.

    Labels are dropped with probability `p_uncond`, for classifier-free guidance; of several, all
    at once or each by itself (`drop_labels`).
    """

    p_uncond: Annotated[float, Range(0, 1)] = 0.1
    drop_labels: DropLabels = "together"

    def __call__(self, model: DiscreteTime, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond, eps = _inputs(self, model, batch, rng, step)
        T = model.timesteps
        i, weight = terms.sample_steps(model, stratified(rng, stream="t", step=step), first=1)
        z, _, _ = terms.add_noise(model, x, i.double() / T, eps)
        x_hat, v = terms.denoised(model, z, i.double() / T, cond)
        kl = terms.step_kl(model, i.clamp(min=2), x, x_hat, v)
        L_0 = _decoder_nll(model, batch[0], x, x_hat, v)
        each = weight * torch.where(i == 1, L_0, kl)
        total = each.mean() / model.event.dims
        nats = total.detach() * model.event.dims + terms.prior_kl(model.schedule, x).mean()
        return Loss(total.to(x.dtype), {"nats": nats})


@dataclass(frozen=True)
class ContinuousVLBLoss:
    """The negative variational bound in continuous time, at log-SNRs drawn uniformly.

    All log-SNRs then have the same weight. Labels are dropped with probability `p_uncond`; of
    several, all at once or each by itself (`drop_labels`).
    """

    p_uncond: Annotated[float, Range(0, 1)] = 0.1
    drop_labels: DropLabels = "together"

    def __call__(self, model: ContinuousTime, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond, eps = _inputs(self, model, batch, rng, step)
        t0 = terms.decoder_time(model.schedule, model.event, model.t_min)
        ends = terms.log_snr_range(model.schedule, t0, x.device)
        u = stratified(rng, stream="t", step=step)
        t = time_at(model.schedule, ends[0] + (ends[1] - ends[0]) * u)
        z, alpha, sigma = terms.add_noise(model, x, t, eps)
        x_hat = model.denoise(z, t, cond)
        error = terms.squared_noise_error(x, x_hat, alpha, sigma)
        total = 0.5 * float(ends[0] - ends[1]) * error.mean() / model.event.dims
        return Loss(total.to(x.dtype), {"diffusion": total.detach() * model.event.dims})


def _inputs(
    loss: SimpleLoss | VLBLoss | ContinuousVLBLoss,
    model: Denoiser,
    batch: Batch,
    rng: Rng,
    step: int,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Events in the network's range, labels with some dropped, and noise."""
    x = model.event.to_network(batch[0], torch.promote_types(model.dtype, torch.float32))
    eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
    cond = drop_condition(
        model.condition, batch[1], loss.p_uncond, rng, step, labels=loss.drop_labels
    )
    return x, cond, eps


def _uniform_time(model: Denoiser, u: Tensor) -> Tensor:
    """t (B,) from u (B,) in [0, 1): a step of the model's chain, or a time in [t_min, 1)."""
    if isinstance(model, DiscreteTime):
        T = model.timesteps
        return (1 + (u * T).long().clamp(max=T - 1)).double() / T
    t_min = earliest_time(model)
    return t_min + (1 - t_min) * u


def _decoder_nll(
    model: DiscreteTime, x: Tensor, z: Tensor, mean: Tensor, v: Tensor | None
) -> Tensor:
    """L_0 (B,) of events x, which are z in the network's range."""
    std = terms.decoder_std(model, mean, v)
    if not model.event.discrete:
        return -terms.gaussian_log_likelihood(z, mean, std)
    return -terms.discretized_gaussian_log_likelihood(model.event, x, mean, std)


def stratified(rng: Rng, *, stream: str, step: int = 0) -> Tensor:
    """u in [0, 1) for every example, (B,) float64: (u_0 + i / B) mod 1 with one draw u_0.

    Each u is uniform and the batch covers [0, 1) evenly, so that its mean varies less: the
    low-discrepancy sampler of Kingma et al., 2021, app. I.1. The batch is that
    of all processes of a training.
    """
    first = rng.whole[:1].uniform(stream=stream, step=step).double()
    return (first + rng.positions.double() / max(1, len(rng.whole))) % 1
