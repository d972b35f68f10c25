"""The variational bound of a diffusion model, term by term, and the losses that minimize it.

In T steps (Ho et al., 2020, eq. 5; Kingma et al., 2021, eqs. 11-15), s the time before t,

    log p(x) >= -L_T - sum_{t > 1} L_t - L_0
    L_T = KL(q(z_1|x) || p(z_1))              p(z_1) = N(0, alpha_1^2 + sigma_1^2)
    L_t = KL(q(z_s|z_t, x) || p(z_s|z_t))     small variance: 1/2 (SNR(s) - SNR(t)) |x - x_hat|^2
    L_0 = -log p(x|z_0)                       the decoder, at the data's own levels

and as T grows the sum of the L_t becomes 1/2 int |eps - eps_hat|^2 d gamma.

Shapes: B batch, S the event's shape, K levels; nats are (B,).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.plugin import Denoiser, Event, Schedule, UsageError
from zoo_diffusion.parameterization import at_time, per_row
from zoo_diffusion.scale import grid, spacing
from zoo_diffusion.schedules import log_snr, time_at
from zoo_diffusion.timesteps import DiscreteTime

__all__ = [
    "decoder_time",
    "discretized_gaussian",
    "draw_steps",
    "gaussian",
    "level_decoder",
    "prior_kl",
    "step_kl",
    "steps_weights",
]

_DEVIATIONS = 3.5
"""Half the distance of two levels, in standard deviations of the decoder's noise: the level is
then known (error 5e-4), and finer noise would only be paid for. 256 levels: gamma = -13.6."""


def sum_rows(x: Tensor) -> Tensor:
    """(B, *S) -> (B,), float64."""
    return x.double().flatten(1).sum(1)


def prior_kl(schedule: Schedule, x: Tensor) -> Tensor:
    """L_T of x (B, *S) in the network's range: (B,)."""
    one = torch.ones(1, device=x.device, dtype=torch.float64)
    alpha, sigma = schedule.alpha(one), schedule.sigma(one)
    var = alpha.square() + sigma.square()
    ratio = sigma.square() / var
    kl = 0.5 * ((alpha * x.double()).square() / var + ratio - 1 - ratio.log())
    return kl.flatten(1).sum(1)


def step_kl(model: DiscreteTime, i: Tensor, x: Tensor, x_hat: Tensor) -> Tensor:
    """L_t of steps i (B,) in 2..T, where x_hat (B, *S) is the denoised z_t: (B,)."""
    c, q_var, p_var = steps_weights(model, i)
    gap = sum_rows((x - x_hat).square())
    D = x[0].numel()
    return 0.5 * (D * (q_var / p_var - 1 - (q_var / p_var).log()) + c.square() * gap / p_var)


def steps_weights(model: DiscreteTime, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of q(z_s|z_t, x): the weight of x in its mean, its variance, and p's; float64 (B,)."""
    t, s = i.double() / model.timesteps, (i.double() - 1) / model.timesteps
    a_t, s_t = model.schedule.alpha(t), model.schedule.sigma(t)
    a_s, s_s = model.schedule.alpha(s), model.schedule.sigma(s)
    beta = s_t.square() - (a_t / a_s * s_s).square()  # s_t^2 (1 - SNR(t) / SNR(s))
    small = beta * s_s.square() / s_t.square()
    return a_s * beta / s_t.square(), small, small if model.variance == "small" else beta


def draw_steps(model: DiscreteTime, u: Tensor, *, first: int) -> tuple[Tensor, Tensor]:
    """Steps i >= first, (B,) int64, of u in [0, 1), and 1 / p(i).

    p(i) is in proportion to the step's share of the log-SNR, for L_t is about half that times
    |eps - eps_hat|^2: even in i, the few early steps that cost most would hardly ever be drawn.
    The share of a last step to alpha = 0 is infinite and its L_t is not: it is drawn as often as
    the one with the largest share.
    """
    t = torch.arange(1, model.timesteps + 1, dtype=torch.float64) / model.timesteps
    gaps = -log_snr(model.schedule, t).diff()  # of steps 2..T
    finite = gaps[gaps.isfinite()]
    gaps = gaps.clamp(max=float(finite.max()) if len(finite) else 1.0)
    p = torch.cat((gaps[:1], gaps)) if first == 1 else gaps
    p = (p / p.sum()).to(u.device)
    at = torch.searchsorted(p.cumsum(0), u, right=True).clamp(max=len(p) - 1)
    return at + first, 1 / p[at]


def last_variance(model: DiscreteTime) -> Tensor:
    """Of p(x | z_{1/T}), (1,): the posterior's of the step before, as by Nichol & Dhariwal."""
    one = torch.ones(1, dtype=torch.float64)
    if model.timesteps == 1:
        return model.schedule.sigma(one).square()
    return steps_weights(model, 2 * one)[1]


def gaussian(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log N(x; mean, deviation^2) of reals, summed: (B,)."""
    z = (x.double() - mean.double()) / deviation
    return sum_rows(-0.5 * z.square() - deviation.log() - 0.5 * math.log(2 * math.pi))


def discretized_gaussian(event: Event, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log P(x) of integers x (B, *S) under N(mean, deviation^2) on [-1, 1], a bin a level: (B,).

    The first and the last bin reach to infinity, so the levels' probabilities add up to one.
    """
    assert event.levels is not None
    centre, half = x.double() * spacing(event) - 1, spacing(event) / 2
    low = (centre - half - mean.double()) / deviation
    high = (centre + half - mean.double()) / deviation
    low = low.masked_fill(x == 0, -math.inf)
    high = high.masked_fill(x == event.levels - 1, math.inf)
    flip = low + high > 0  # the smaller tails are the accurate ones
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    upper, lower = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return sum_rows(upper + torch.log(-torch.expm1(lower - upper)))


def level_decoder(event: Event, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """log p(x|z) with p(x|z) proportional to q(z|x) over the levels of every value: (B,)."""
    gap = (z / alpha).double().unsqueeze(-1) - grid(event, z.double())
    noise = (sigma / alpha).double().unsqueeze(-1)
    log_p = F.log_softmax(-0.5 * (gap / noise).square(), -1)
    return sum_rows(log_p.gather(-1, x.unsqueeze(-1)).squeeze(-1))


def decoder_time(schedule: Schedule, event: Event, start: float) -> float:
    """The time at which data are decoded: where noise of the levels' width tells them apart.

    Any time gives a bound; reals are decoded at `start`.
    """
    if event.levels is None:
        return start
    wanted = 2 * math.log(_DEVIATIONS * (event.levels - 1))
    return max(start, float(time_at(schedule, torch.tensor([wanted]))[0]))


def log_snr_ends(schedule: Schedule, start: float, device: torch.device) -> Tensor:
    """The log-SNR at the times `start` and 1, float64 (2,), for times that are even in it."""
    ends = log_snr(schedule, torch.tensor([start, 1.0], device=device))
    if bool(ends.isinf().any()):
        raise UsageError(
            "alpha is 0 at time 1: the log-SNR has no end, and no times are even in it.",
            hint="score with a number of steps: method 'vlb', steps=1000",
        )
    return ends


def noisy(model: Denoiser, x: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z_t (B, *S) of x and noise, with alpha_t and sigma_t."""
    alpha, sigma = at_time(model.schedule, t, x)
    return alpha * x + sigma * eps, alpha, sigma


def squared_noise_error(x: Tensor, x_hat: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """|eps - eps_hat|^2 = SNR |x - x_hat|^2, (B,)."""
    return sum_rows(((alpha / sigma) * (x - x_hat)).square())


__all__ += ["last_variance", "log_snr_ends", "noisy", "per_row", "squared_noise_error", "sum_rows"]
