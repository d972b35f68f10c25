"""`log_likelihood(method="vlb")`: the variational bound over all steps, or an estimate of it.

Every time has its own noise, and the times of an estimate are spread evenly from one random shift
for each event. The standard error is that of systematic sampling: neighboring times have nearly
the same mean, so half their squared differences estimate the variance (Wolter, 2007, sec. 8.2).

Shapes: B batch, S the event's shape, N times.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import UNKNOWN, Denoiser, LikelihoodKind, LikelihoodResult, Range, Rng
from zoo_diffusion.likelihoods import terms
from zoo_diffusion.parameterization import ContinuousTime, DiscreteTime
from zoo_diffusion.schedules import log_snr, time_at

__all__ = ["VLB", "ContinuousVLB"]


@dataclass(frozen=True)
class VLB:
    """The bound of a chain of T steps, with the terms `L_T`, `L_t` (summed) and `L_0` in nats.

    `times` steps are drawn for each event; 0 means all. L_T and L_0 are always computed.
    `clip_denoised` clips x_hat to the range of integers, as published numbers do.
    """

    times: Annotated[int, Range(0, 1 << 20)] = 64
    clip_denoised: bool = True

    @property
    def kind(self) -> LikelihoodKind:
        """A lower bound of log p, with the options that tell it from others."""
        return LikelihoodKind("elbo", "lower", f"vlb, {_count(self.times)}")

    def __call__(
        self, model: DiscreteTime, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> LikelihoodResult:
        z = model.event.to_network(x, torch.float32)
        inner = model.timesteps - 1
        each = [
            weight * self._step(model, z, cond, rng, i, j)
            for j, (i, weight) in enumerate(self._steps(model, rng, inner))
        ]
        total, error = _mean_and_error(each, like=z)
        parts = {
            "L_T": -terms.prior_kl(model.schedule, z),
            "L_t": -total,
            "L_0": self._decode(model, x, z, cond, rng),
        }
        evaluations = torch.full((len(x),), len(each) + 1)
        return LikelihoodResult(_sum(parts), error, parts, evaluations)

    def _steps(
        self, model: DiscreteTime, rng: Rng, inner: int
    ) -> list[tuple[Tensor, float | Tensor]]:
        """Steps in 2..T (B,) with their weights: all, or `times` of them by importance."""
        n = self.times
        if n == 0 or n >= inner:
            steps = range(2, inner + 2)
            return [(torch.full((len(rng),), i, device=rng.device), float(inner)) for i in steps]
        u = rng.uniform(stream="vlb/times").double()
        return [terms.sample_steps(model, (u + j) / n, first=2) for j in range(n)]

    def _step(
        self, model: DiscreteTime, x: Tensor, cond: Tensor | None, rng: Rng, i: Tensor, j: int
    ) -> Tensor:
        return terms.step_kl(model, i, x, *self._denoised(model, x, cond, rng, i, j + 1))

    def _decode(
        self, model: DiscreteTime, x: Tensor, z: Tensor, cond: Tensor | None, rng: Rng
    ) -> Tensor:
        i = torch.ones(len(x), device=x.device, dtype=torch.long)
        mean, v = self._denoised(model, z, cond, rng, i, 0)
        std = terms.decoder_std(model, mean, v)
        if model.event.discrete:
            return terms.discretized_gaussian_log_likelihood(model.event, x, mean, std)
        return terms.gaussian_log_likelihood(z, mean, std)

    def _denoised(
        self, model: DiscreteTime, x: Tensor, cond: Tensor | None, rng: Rng, i: Tensor, draw: int
    ) -> tuple[Tensor, Tensor | None]:
        """x_hat at step i of x, and the weights of a learned variance."""
        eps = rng.normal(x.shape[1:], stream="vlb/eps", step=draw).to(x.dtype)
        t = i.double() / model.timesteps
        z, _, _ = terms.add_noise(model, x, t, eps)
        x_hat, v = terms.denoised(model, z, t, cond)
        return _clipped(model, x_hat, self.clip_denoised), v


@dataclass(frozen=True)
class ContinuousVLB:
    """The bound in continuous time, with the terms `prior`, `diffusion` and `decoder` in nats.

    `steps` is the number T of steps, 0 for infinitely many; more steps give a tighter bound.
    `times` of them are drawn for each event (0: all T), evenly over the log-SNR if T is infinite.
    `clip_denoised` clips x_hat to the range of integers.
    """

    steps: Annotated[int, Range(0, 1 << 20)] = 0
    times: Annotated[int, Range(0, 1 << 20)] = 64
    clip_denoised: bool = True

    @property
    def kind(self) -> LikelihoodKind:
        """A lower bound of log p, with the options that tell it from others."""
        T = str(self.steps) if self.steps else "inf"
        return LikelihoodKind("elbo", "lower", f"vlb, T={T}, {_count(self.times)}")

    def __call__(
        self, model: ContinuousTime, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> LikelihoodResult:
        z = model.event.to_network(x, torch.float32)
        t0 = terms.decoder_time(model.schedule, model.event, model.t_min)
        draw = self._finite if self.steps else self._infinite
        each, factor = draw(model, z, cond, rng, t0)
        total, error = _mean_and_error(each, like=z)
        parts = {
            "prior": -terms.prior_kl(model.schedule, z),
            "diffusion": -factor * total,
            "decoder": self._decode(model, x, z, cond, rng, t0),
        }
        evaluations = torch.full((len(x),), len(each) + int(not model.event.discrete))
        return LikelihoodResult(_sum(parts), factor * error, parts, evaluations)

    def _infinite(
        self, model: ContinuousTime, x: Tensor, cond: Tensor | None, rng: Rng, t0: float
    ) -> tuple[list[Tensor], float]:
        """1/2 |eps - eps_hat|^2 at times evenly spaced in gamma, and the length of its range."""
        ends = terms.log_snr_range(model.schedule, t0, x.device)
        u, n = rng.uniform(stream="vlb/times").double(), max(1, self.times)
        even = (u + torch.arange(n, device=u.device, dtype=u.dtype).unsqueeze(1)) / n  # (N, B)
        each = []
        for j, t in enumerate(time_at(model.schedule, ends[0] + (ends[1] - ends[0]) * even)):
            eps = rng.normal(x.shape[1:], stream="vlb/eps", step=j + 1).to(x.dtype)
            x_hat, alpha, sigma = _denoised(model, x, t, eps, cond, self.clip_denoised)
            each.append(0.5 * terms.squared_noise_error(x, x_hat, alpha, sigma))
        return each, float(ends[0] - ends[1])

    def _finite(
        self, model: ContinuousTime, x: Tensor, cond: Tensor | None, rng: Rng, t0: float
    ) -> tuple[list[Tensor], float]:
        """1/2 (SNR(s) - SNR(t)) |x - x_hat|^2 at some of T steps evenly spaced in t, and T."""
        T = self.steps
        n = min(self.times or T, T)
        u = rng.uniform(stream="vlb/times").double()
        each = []
        for j in range(n):
            i = 1 + (u * 0 + j if n == T else (u + j) / n * T).long().clamp(max=T - 1)
            s, t = (t0 + (1 - t0) * (i + k).double() / T for k in (-1, 0))
            eps = rng.normal(x.shape[1:], stream="vlb/eps", step=j + 1).to(x.dtype)
            x_hat = _denoised(model, x, t, eps, cond, self.clip_denoised)[0]
            early, late = log_snr(model.schedule, s), log_snr(model.schedule, t)
            gain = -early.exp() * torch.expm1(late - early)  # SNR(s) - SNR(t)
            each.append(0.5 * gain * terms.sum_except_batch((x - x_hat).square()))
        return each, float(T)

    def _decode(
        self,
        model: ContinuousTime,
        x: Tensor,
        z: Tensor,
        cond: Tensor | None,
        rng: Rng,
        t0: float,
    ) -> Tensor:
        t = z.new_full((len(z),), t0, dtype=torch.float64)
        eps = rng.normal(z.shape[1:], stream="vlb/eps", step=0).to(z.dtype)
        if model.event.discrete:
            return terms.decoder_log_likelihood(model.event, x, *terms.add_noise(model, z, t, eps))
        x_hat, alpha, sigma = _denoised(model, z, t, eps, cond, False)
        return terms.gaussian_log_likelihood(z, x_hat, (sigma / alpha).double())


def _denoised(
    model: Denoiser, x: Tensor, t: Tensor, eps: Tensor, cond: Tensor | None, clip: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """x_hat (B, *S) from z_t = alpha_t x + sigma_t eps, with alpha_t and sigma_t."""
    z, alpha, sigma = terms.add_noise(model, x, t, eps)
    x_hat = model.denoise(z, t, cond)
    return _clipped(model, x_hat, clip), alpha, sigma


def _clipped(model: Denoiser, x_hat: Tensor, clip: bool) -> Tensor:
    return x_hat.clamp(-1, 1) if clip and model.event.discrete else x_hat


def _mean_and_error(each: list[Tensor], *, like: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over N times and its standard error (B,), unknown from a single time."""
    if not each:
        zero = like.new_zeros(len(like), dtype=torch.float64)
        return zero, zero
    values = torch.stack(each)
    if len(each) == 1:
        return values[0], torch.full_like(values[0], UNKNOWN)
    error = (0.5 * values.diff(dim=0).square().sum(0)).sqrt() / len(each)
    return values.mean(0), error


def _sum(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum(0)


def _count(times: int) -> str:
    return f"{times} times" if times else "all times"
