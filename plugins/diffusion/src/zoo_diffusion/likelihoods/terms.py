"""The variational lower bound (VLB) of a diffusion model, term by term.

In T steps (Ho et al., 2020, eq. 5; Kingma et al., 2021, eqs. 11-15), with s the time before t,

    log p(x) >= -L_T - sum_{t > 1} L_t - L_0
    L_T = KL(q(z_1|x) || p(z_1))              p(z_1) = N(0, alpha_1^2 + sigma_1^2)
    L_t = KL(q(z_s|z_t, x) || p(z_s|z_t))     small variance: 1/2 (SNR(s) - SNR(t)) |x - x_hat|^2
    L_0 = -log p(x|z_0)                       the decoder, over the data's quantization levels

and as T grows, the sum of the L_t becomes 1/2 int |eps - eps_hat|^2 d gamma.

Shapes: B batch, S the event's shape, K levels; terms are in nats, (B,).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.plugin import Denoiser, Event, Schedule, UsageError, rescale_levels
from zoo_diffusion.parameterization import DiscreteTime, LearnsVariance, append_dims, at_time
from zoo_diffusion.schedules import log_snr, time_at

__all__ = [
    "add_noise",
    "bin_width",
    "decoder_log_likelihood",
    "decoder_std",
    "decoder_time",
    "decoder_variance",
    "denoised",
    "discretized_gaussian_log_likelihood",
    "gaussian_log_likelihood",
    "log_snr_range",
    "posterior_coefficients",
    "prior_kl",
    "quantization_levels",
    "sample_steps",
    "squared_noise_error",
    "step_kl",
    "sum_except_batch",
]

_STDS_TO_BIN_EDGE = 3.5
"""Half the distance of two levels in standard deviations of the decoder's noise: the level is then
certain (to 5e-4), and less noise would only add cost. With 256 levels: gamma = -13.6."""


def sum_except_batch(x: Tensor) -> Tensor:
    """(B, *S) -> (B,), float64."""
    return x.double().flatten(1).sum(1)


def add_noise(model: Denoiser, x: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z_t = alpha_t x + sigma_t eps (B, *S) for t (B,), with alpha_t and sigma_t."""
    alpha, sigma = at_time(model.schedule, t, x)
    return alpha * x + sigma * eps, alpha, sigma


def prior_kl(schedule: Schedule, x: Tensor) -> Tensor:
    """L_T of x (B, *S) in the network's range, (B,)."""
    one = torch.ones(1, device=x.device, dtype=torch.float64)
    alpha, sigma = schedule.alpha(one), schedule.sigma(one)
    var = alpha.square() + sigma.square()
    ratio = sigma.square() / var
    kl = 0.5 * ((alpha * x.double()).square() / var + ratio - 1 - ratio.log())
    return kl.flatten(1).sum(1)


def denoised(
    model: DiscreteTime, z: Tensor, t: Tensor, cond: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """x_hat at z (B, *S), t (B,), and the weight of the large log-variance of a learned one."""
    if model.variance == "learned" and isinstance(model, LearnsVariance):
        return model.denoise_and_weigh(z, t, cond)
    return model.denoise(z, t, cond), None


def step_kl(
    model: DiscreteTime, i: Tensor, x: Tensor, x_hat: Tensor, v: Tensor | None = None
) -> Tensor:
    """L_t (B,) of steps i (B,) in 2..T, for x and the denoised x_hat (B, *S).

    `v` (B, *S) weighs the log of the large variance against that of the small one, if it is
    learned.
    """
    c, q_var, large = posterior_coefficients(model, i)
    if v is not None:
        return _learned_kl(append_dims(c, x), append_dims(q_var, x), large, x - x_hat, v)
    p_var = q_var if model.variance == "small" else large
    error = sum_except_batch((x - x_hat).square())
    D = x[0].numel()
    return 0.5 * (D * (q_var / p_var - 1 - (q_var / p_var).log()) + c.square() * error / p_var)


def _learned_kl(c: Tensor, q_var: Tensor, large: Tensor, error: Tensor, v: Tensor) -> Tensor:
    """The KL divergence of each value to log p_var = v log large + (1 - v) log q_var, summed."""
    log_ratio = -v.double() * (append_dims(large, v).double() / q_var.double()).log()
    p_var = q_var.double() * (-log_ratio).exp()
    kl = log_ratio.exp() - 1 - log_ratio + c.double().square() * error.double().square() / p_var
    return 0.5 * sum_except_batch(kl)


def posterior_coefficients(model: DiscreteTime, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The weight of x in the mean of q(z_s|z_t, x), the small and large variance; float64 (B,)."""
    t, s = i.double() / model.timesteps, (i.double() - 1) / model.timesteps
    a_t, s_t = model.schedule.alpha(t), model.schedule.sigma(t)
    a_s, s_s = model.schedule.alpha(s), model.schedule.sigma(s)
    beta = s_t.square() - (a_t / a_s * s_s).square()  # s_t^2 (1 - SNR(t) / SNR(s))
    small = beta * s_s.square() / s_t.square()
    return a_s * beta / s_t.square(), small, beta


def sample_steps(model: DiscreteTime, u: Tensor, *, first: int) -> tuple[Tensor, Tensor]:
    """Steps i >= `first`, int64 (B,), by importance sampling from u (B,) in [0, 1), and 1 / p(i).

    p(i) is proportional to the step's fall in log-SNR, because L_t is about half that times
    |eps - eps_hat|^2. A uniform p would hardly ever draw the few early steps that cost most.
    A last step to alpha = 0 has an infinite fall but a finite L_t: it is drawn as often as the
    step with the largest finite fall.
    """
    t = torch.arange(1, model.timesteps + 1, dtype=torch.float64) / model.timesteps
    falls = -log_snr(model.schedule, t).diff()  # of steps 2..T
    finite = falls[falls.isfinite()]
    falls = falls.clamp(max=float(finite.max()) if len(finite) else 1.0)
    p = torch.cat((falls[:1], falls)) if first == 1 else falls
    p = (p / p.sum()).to(u.device)
    index = torch.searchsorted(p.cumsum(0), u, right=True).clamp(max=len(p) - 1)
    return index + first, 1 / p[index]


def decoder_variance(model: DiscreteTime) -> Tensor:
    """The variance of p(x | z_{1/T}), (1,): that of step 2 (Nichol & Dhariwal, 2021)."""
    one = torch.ones(1, dtype=torch.float64)
    if model.timesteps == 1:
        return model.schedule.sigma(one).square()
    return posterior_coefficients(model, 2 * one)[1]


def decoder_std(model: DiscreteTime, like: Tensor, v: Tensor | None) -> Tensor:
    """The standard deviation of p(x | z_{1/T}), on the device of `like`.

    A learned one lies between that and the large one, of the first step, by v (B, *S).
    """
    small = decoder_variance(model).to(like.device)
    if v is None:
        return small.sqrt()
    large = model.schedule.sigma(torch.full_like(small, 1 / model.timesteps)).square()
    return (0.5 * (v.double() * large.log() + (1 - v.double()) * small.log())).exp()


def gaussian_log_likelihood(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(x; mean, std^2) of reals (B, *S), summed: (B,)."""
    z = (x.double() - mean.double()) / std
    return sum_except_batch(-0.5 * z.square() - std.log() - 0.5 * math.log(2 * math.pi))


def discretized_gaussian_log_likelihood(
    event: Event, x: Tensor, mean: Tensor, std: Tensor
) -> Tensor:
    """log P(x) of integers x (B, *S) under N(mean, std^2) on [-1, 1] with one bin a level: (B,).

    The first and the last bin extend to infinity, so that the probabilities sum to one.
    """
    assert event.levels is not None
    center, half = x.double() * bin_width(event) - 1, bin_width(event) / 2
    low = (center - half - mean.double()) / std
    high = (center + half - mean.double()) / std
    low = low.masked_fill(x == 0, -math.inf)
    high = high.masked_fill(x == event.levels - 1, math.inf)
    flip = low + high > 0  # log_ndtr is accurate in the lower tail
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    upper, lower = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return sum_except_batch(upper + torch.log(-torch.expm1(lower - upper)))


def decoder_log_likelihood(
    event: Event, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """log p(x|z) (B,), where p(x|z) is proportional to q(z|x) over the levels of each value."""
    gap = (z / alpha).double().unsqueeze(-1) - quantization_levels(event, z.double())
    noise = (sigma / alpha).double().unsqueeze(-1)
    log_p = F.log_softmax(-0.5 * (gap / noise).square(), -1)
    return sum_except_batch(log_p.gather(-1, x.unsqueeze(-1)).squeeze(-1))


def decoder_time(schedule: Schedule, event: Event, t_min: float) -> float:
    """The time at which data are decoded: `t_min`, or later if the noise still separates levels.

    Every time gives a valid bound. Reals are decoded at `t_min`.
    """
    if event.levels is None:
        return t_min
    target = 2 * math.log(_STDS_TO_BIN_EDGE * (event.levels - 1))
    return max(t_min, float(time_at(schedule, torch.tensor([target]))[0]))


def log_snr_range(schedule: Schedule, t_min: float, device: torch.device) -> Tensor:
    """The log-SNR at times t_min and 1, float64 (2,), between which times are spread evenly."""
    ends = log_snr(schedule, torch.tensor([t_min, 1.0], device=device))
    if bool(ends.isinf().any()):
        raise UsageError(
            "alpha is 0 at time 1, so the log-SNR is unbounded and times cannot be spread evenly "
            "over it.",
            hint="score with a number of steps: method 'vlb', steps=1000",
        )
    return ends


def squared_noise_error(x: Tensor, x_hat: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """|eps - eps_hat|^2 = SNR |x - x_hat|^2, (B,)."""
    return sum_except_batch(((alpha / sigma) * (x - x_hat)).square())


def bin_width(event: Event) -> float:
    """The distance 2 / (K - 1) between neighbouring quantization levels in [-1, 1]."""
    assert event.levels is not None
    return 2 / (event.levels - 1)


def quantization_levels(event: Event, like: Tensor) -> Tensor:
    """All K levels in [-1, 1], (K,), on the device and in the dtype of `like`."""
    assert event.levels is not None
    return rescale_levels(torch.arange(event.levels, device=like.device), event.levels, like.dtype)
