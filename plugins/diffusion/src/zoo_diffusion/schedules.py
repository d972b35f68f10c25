"""Noise schedules: x_t = alpha_t x_0 + sigma_t eps, t from 0 (data) to 1 (noise), in float64.

The log-SNR log(alpha^2 / sigma^2) = -gamma falls as t grows. Samplers and bounds use alpha and
sigma alone, so they take any schedule of any plugin.

    Betas     Ho et al., 2020: alpha_t^2 = prod_i (1 - beta_i) at t = i / T, log-linear between
    VP        Song et al., 2021, eq. 33: log alpha_t = -(b_1 - b_0) t^2 / 4 - b_0 t / 2
    Karras    Karras et al., 2022, eq. 5: alpha = 1, sigma^(1/rho) linear in t
    Geometric Song et al., 2021, eq. 30: alpha = 1, log sigma linear in t
    LogSNR    Kingma et al., 2021: gamma linear in t, alpha^2 = sigmoid(-gamma)
    Linear    Liu et al., 2023: alpha = 1 - t, sigma = t
    Trigonometric  Albergo & Vanden-Eijnden, 2023: alpha and sigma the cosine and sine of pi t / 2

Shapes: t has any shape; alpha and sigma have its shape and dtype.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Schedule

__all__ = [
    "VP",
    "Betas",
    "Geometric",
    "Invertible",
    "Karras",
    "Linear",
    "LogSNR",
    "Trigonometric",
    "cosine_betas",
    "linear_betas",
    "log_snr",
    "scaled_linear_betas",
    "time_at",
    "zero_snr_betas",
]

_BISECTIONS = 50
"""2^-50 is about the resolution of float64 near 1."""


class Betas:
    """T discrete steps from their betas (T,); t = i / T is the time after step i, t = 0 the data.

    Between steps log alpha is linear. If the last beta is 1, then alpha_1 = 0 and alpha itself is
    linear in the last step, because log alpha falls to minus infinity.
    """

    def __init__(self, betas: Tensor) -> None:
        log_alpha = 0.5 * torch.log1p(-betas.double()).cumsum(0)
        self.timesteps = len(betas)
        self.betas = betas.double()
        self._log_alpha = torch.cat((log_alpha.new_zeros(1), log_alpha))

    def alpha(self, t: Tensor) -> Tensor:
        return self.log_alpha(t).exp().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt().to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64."""
        table, target = self._log_alpha.to(log_snr.device), _log_alpha(log_snr)
        i = torch.searchsorted(-table, -target).clamp(1, self.timesteps)
        above, below = table[i - 1], table[i]
        linear = (target - above) / (below - above)
        fraction = torch.where(below.isinf(), -torch.expm1(target - above), linear)
        return ((i - 1 + fraction) / self.timesteps).clamp(0, 1)

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha_t in float64."""
        table = self._log_alpha.to(t.device)
        step = (t.double() * self.timesteps).clamp(0, self.timesteps)
        low = step.detach().floor().clamp(max=self.timesteps - 1).long()
        above, below, fraction = table[low], table[low + 1], step - low
        to_zero = below.isinf()
        linear = fraction * (torch.where(to_zero, above, below) - above)
        falling = torch.log1p(-torch.where(to_zero, fraction, 0.0))
        return above + torch.where(to_zero, falling, linear)


@dataclass(frozen=True)
class VP:
    """The variance-preserving SDE with linear beta(t)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def alpha(self, t: Tensor) -> Tensor:
        return self._log_alpha(t).exp().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self._log_alpha(t))).sqrt().to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64: the root of a quadratic."""
        c, b = -_log_alpha(log_snr), 0.5 * self.beta_min
        root = (b**2 + (self.beta_max - self.beta_min) * c).sqrt()
        return (2 * c / (b + root)).clamp(0, 1)

    def _log_alpha(self, t: Tensor) -> Tensor:
        t = t.double()
        return -0.25 * t.square() * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min


@dataclass(frozen=True)
class Karras:
    """Variance exploding: sigma^(1/rho) linear from sigma_min to sigma_max."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        low, high = self._warped_ends()
        sigma: Tensor = (low + t.double() * (high - low)).pow(self.rho)
        return sigma.to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64."""
        low, high = self._warped_ends()
        warped = (-log_snr.double() / (2 * self.rho)).exp()
        return ((warped - low) / (high - low)).clamp(0, 1)

    def _warped_ends(self) -> tuple[float, float]:
        return float(self.sigma_min ** (1 / self.rho)), float(self.sigma_max ** (1 / self.rho))


@dataclass(frozen=True)
class Geometric:
    """sigma_t = sigma_min (sigma_max / sigma_min)^t, alpha_t = 1."""

    sigma_min: float
    sigma_max: float

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return (self.sigma_min * (self.sigma_max / self.sigma_min) ** t.double()).to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64."""
        ratio = torch.tensor(self.sigma_max / self.sigma_min, dtype=torch.float64).log()
        low = torch.tensor(self.sigma_min, dtype=torch.float64).log()
        return ((-0.5 * log_snr.double() - low) / ratio).clamp(0, 1)


@dataclass(frozen=True)
class LogSNR:
    """Variance preserving: gamma = -log SNR linear between its ends."""

    gamma_min: float = -13.3
    gamma_max: float = 5.0

    def alpha(self, t: Tensor) -> Tensor:
        return (-self.gamma(t)).sigmoid().sqrt().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return self.gamma(t).sigmoid().sqrt().to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64."""
        length = self.gamma_max - self.gamma_min
        return ((-log_snr.double() - self.gamma_min) / length).clamp(0, 1)

    def gamma(self, t: Tensor) -> Tensor:
        """-log SNR in float64."""
        return self.gamma_min + (self.gamma_max - self.gamma_min) * t.double()


@dataclass(frozen=True)
class Linear:
    """The straight path alpha = 1 - t, sigma = t, of which time 1 is at the fraction `last`.

    Its velocity dx_t/dt is `rate` (eps - x_0), of the type `velocity`.
    """

    last: float = 1.0
    velocity: ClassVar[Literal["flow"]] = "flow"

    @property
    def rate(self) -> float:
        return self.last

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - self.last * t

    def sigma(self, t: Tensor) -> Tensor:
        return self.last * t

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64."""
        return ((-0.5 * log_snr.double()).sigmoid() / self.last).clamp(0, 1)


@dataclass(frozen=True)
class Trigonometric:
    """Alpha and sigma are the cosine and sine of pi t / 2; time 1 is at the fraction `last`.

    Its velocity dx_t/dt is `rate` (alpha eps - sigma x_0), of the type `velocity`.
    """

    last: float = 1.0
    velocity: ClassVar[Literal["v"]] = "v"

    @property
    def rate(self) -> float:
        return self.last * math.pi / 2

    def alpha(self, t: Tensor) -> Tensor:
        """The cosine as a sine of the rest, which is 0 at the end of the whole path."""
        return torch.sin(0.5 * math.pi * (1 - self.last * t.double())).to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(self.rate * t.double()).to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64."""
        return ((-0.5 * log_snr.double()).exp().atan() / self.rate).clamp(0, 1)


def linear_betas(steps: int, first: float, last: float) -> Tensor:
    """Betas (T,) linear from first to last (Ho et al., 2020, sec. 4)."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def scaled_linear_betas(steps: int, first: float, last: float) -> Tensor:
    """Betas (T,) whose square roots are linear (Rombach et al., 2022)."""
    return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()


def cosine_betas(steps: int, max_beta: float = 0.999, shift: float = 0.008) -> Tensor:
    """Betas (T,) with alpha_bar_t = cos^2((t + s) / (1 + s) pi / 2), s the shift.

    Nichol & Dhariwal, 2021, eq. 17.
    """
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    bar = torch.cos((t + shift) / (1 + shift) * math.pi / 2).square()
    return (1 - bar[1:] / bar[:-1]).clamp(max=max_beta)


def zero_snr_betas(betas: Tensor) -> Tensor:
    """Betas (T,) rescaled to zero terminal SNR, alpha_T = 0.

    alpha_t is shifted and scaled so that alpha_1 stays and alpha_T becomes 0 (Lin et al., 2023,
    algorithm 1, https://arxiv.org/abs/2305.08891).
    """
    alpha = (1 - betas.double()).cumprod(0).sqrt()
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    bar = alpha.square()
    return torch.cat((1 - bar[:1], 1 - bar[1:] / bar[:-1]))


def log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """log(alpha_t^2 / sigma_t^2), float64."""
    t = t.double()
    return 2 * (schedule.alpha(t).log() - schedule.sigma(t).log())


@runtime_checkable
class Invertible(Schedule, Protocol):
    """A schedule with an inverse of its own."""

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t in [0, 1] at a given log-SNR, float64."""
        ...


def time_at(schedule: Schedule, target: Tensor) -> Tensor:
    """t in [0, 1] at the log-SNR `target`, float64: by the schedule's inverse, or bisection."""
    if isinstance(schedule, Invertible):
        return schedule.time_at(target)
    low, high = torch.zeros_like(target).double(), torch.ones_like(target).double()
    with torch.no_grad():
        for _ in range(_BISECTIONS):
            t = 0.5 * (low + high)
            late = log_snr(schedule, t) < target
            low, high = torch.where(late, low, t), torch.where(late, t, high)
    return 0.5 * (low + high)


def _log_alpha(log_snr: Tensor) -> Tensor:
    """log alpha of a variance-preserving schedule: log sigmoid(log SNR) / 2, float64."""
    return 0.5 * torch.nn.functional.logsigmoid(log_snr.double())
