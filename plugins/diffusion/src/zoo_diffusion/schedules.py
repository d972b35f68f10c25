"""Noise schedules: x_t = alpha_t x_0 + sigma_t eps, t from 0 (data) to 1 (noise), in float64.

The log-SNR log(alpha^2 / sigma^2) = -gamma falls as t grows. All else follows from alpha and
sigma alone, so the functions below serve any schedule, of any plugin.

    Betas     Ho et al., 2020: alpha_t^2 = prod_i (1 - beta_i) at t = i / T, log-linear between
    VP        Song et al., 2021, eq. 33: log alpha_t = -(b_1 - b_0) t^2 / 4 - b_0 t / 2
    Karras    Karras et al., 2022, eq. 5: alpha = 1, sigma^(1/rho) linear in t
    LogSNR    Kingma et al., 2021: gamma linear in t, alpha^2 = sigmoid(-gamma)

Shapes: t of any shape; results have its dtype.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Schedule

__all__ = [
    "VP",
    "Betas",
    "Invertible",
    "Karras",
    "LogSNR",
    "cosine_betas",
    "linear_betas",
    "log_snr",
    "scaled_linear_betas",
    "time_at",
    "zero_snr_betas",
]

_HALVINGS = 50
"""Of [0, 1]: 2^-50 is as near as float64 tells times apart."""


class Betas:
    """T discrete steps; t = i / T is after step i, and step 0 is the data itself.

    Between steps log alpha is linear. Where the last beta is 1, alpha_1 = 0 and on the way there
    alpha itself is linear: log alpha has no line to minus infinity.
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
        """t where the log-SNR has a value, float64."""
        falling, wanted = self._log_alpha.to(log_snr.device), _log_alpha(log_snr)
        i = torch.searchsorted(-falling, -wanted).clamp(1, self.timesteps)
        above, below = falling[i - 1], falling[i]
        line = (wanted - above) / (below - above)
        part = torch.where(below.isinf(), -torch.expm1(wanted - above), line)
        return ((i - 1 + part) / self.timesteps).clamp(0, 1)

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha_t in float64."""
        table = self._log_alpha.to(t.device)
        at = (t.double() * self.timesteps).clamp(0, self.timesteps)
        low = at.detach().floor().clamp(max=self.timesteps - 1).long()
        above, below, part = table[low], table[low + 1], at - low
        ends = below.isinf()
        line = part * (torch.where(ends, above, below) - above)
        return above + torch.where(ends, torch.log1p(-torch.where(ends, part, 0.0)), line)


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
        """t where the log-SNR has a value, float64: the root of a parabola."""
        c, b = -_log_alpha(log_snr), 0.5 * self.beta_min
        root = (b**2 + (self.beta_max - self.beta_min) * c).sqrt()
        return (2 * c / (b + root)).clamp(0, 1)

    def _log_alpha(self, t: Tensor) -> Tensor:
        t = t.double()
        return -0.25 * t.square() * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min


@dataclass(frozen=True)
class Karras:
    """Variance exploding: sigma from `low` to `high`, warped by `rho`."""

    low: float = 0.002
    high: float = 80.0
    rho: float = 7.0

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        low, high = self.low ** (1 / self.rho), self.high ** (1 / self.rho)
        sigma: Tensor = (low + t.double() * (high - low)).pow(self.rho)
        return sigma.to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t where the log-SNR has a value, float64."""
        low, high = self.low ** (1 / self.rho), self.high ** (1 / self.rho)
        root = (-log_snr.double() / (2 * self.rho)).exp()
        t: Tensor = ((root - low) / (high - low)).clamp(0, 1)
        return t


@dataclass(frozen=True)
class LogSNR:
    """gamma = -log SNR linear between its ends; a variance-preserving path."""

    gamma_min: float = -13.3
    gamma_max: float = 5.0

    def alpha(self, t: Tensor) -> Tensor:
        return (-self.gamma(t)).sigmoid().sqrt().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return self.gamma(t).sigmoid().sqrt().to(t.dtype)

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t where the log-SNR has a value, float64."""
        length = self.gamma_max - self.gamma_min
        return ((-log_snr.double() - self.gamma_min) / length).clamp(0, 1)

    def gamma(self, t: Tensor) -> Tensor:
        """-log SNR in float64."""
        return self.gamma_min + (self.gamma_max - self.gamma_min) * t.double()


def linear_betas(steps: int, first: float, last: float) -> Tensor:
    """Ho et al., 2020, sec. 4."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def scaled_linear_betas(steps: int, first: float, last: float) -> Tensor:
    """Linear in sqrt(beta) (Rombach et al., 2022)."""
    return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()


def cosine_betas(steps: int, most: float = 0.999, shift: float = 0.008) -> Tensor:
    """Nichol & Dhariwal, 2021, eq. 17: alpha_bar_t = cos^2((t + s) / (1 + s) pi / 2)."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    bar = torch.cos((t + shift) / (1 + shift) * math.pi / 2).square()
    return (1 - bar[1:] / bar[:-1]).clamp(max=most)


def zero_snr_betas(betas: Tensor) -> Tensor:
    """Betas with alpha_T = 0 (Lin et al., 2023, algorithm 1, https://arxiv.org/abs/2305.08891).

    alpha_t is shifted and scaled, so that its first value stays and its last becomes 0.
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
    """A schedule that knows its inverse."""

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t in [0, 1] where the log-SNR has a value, float64."""
        ...


def time_at(schedule: Schedule, wanted: Tensor) -> Tensor:
    """t in [0, 1] where the log-SNR is `wanted`, float64: the schedule's own, or by bisection."""
    if isinstance(schedule, Invertible):
        return schedule.time_at(wanted)
    low, high = torch.zeros_like(wanted).double(), torch.ones_like(wanted).double()
    with torch.no_grad():
        for _ in range(_HALVINGS):
            t = 0.5 * (low + high)
            late = log_snr(schedule, t) < wanted
            low, high = torch.where(late, low, t), torch.where(late, t, high)
    return 0.5 * (low + high)


def _log_alpha(log_snr: Tensor) -> Tensor:
    """Of a variance-preserving path: log sigmoid(log SNR) / 2, float64."""
    return 0.5 * torch.nn.functional.logsigmoid(log_snr.double())
