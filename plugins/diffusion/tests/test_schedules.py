"""Schedules fall in log-SNR, know their inverse, and agree with their papers."""

import math

import pytest
import torch

from zoo_diffusion.schedules import (
    VP,
    Betas,
    Karras,
    LogSNR,
    cosine_betas,
    linear_betas,
    log_snr,
    scaled_linear_betas,
    time_at,
)
from zoo_diffusion.vdm import LearnedLogSNR

T = torch.linspace(0.001, 1, 200, dtype=torch.float64)


def learned():
    torch.manual_seed(0)
    schedule = LearnedLogSNR(-8.0, 5.0, 16)
    with torch.no_grad():
        for p in schedule.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return schedule


class Plain:
    """alpha and sigma alone, as another plugin may have them."""

    def alpha(self, t):
        return torch.cos(0.5 * math.pi * t)

    def sigma(self, t):
        return torch.sin(0.5 * math.pi * t)


SCHEDULES = {
    "linear": Betas(linear_betas(1000, 1e-4, 0.02)),
    "scaled_linear": Betas(scaled_linear_betas(100, 1e-3, 0.1)),
    "cosine": Betas(cosine_betas(50)),
    "vp": VP(),
    "karras": Karras(),
    "log_snr": LogSNR(),
    "learned": learned(),
    "plain": Plain(),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_log_snr_falls_and_its_inverse_finds_the_time(name):
    schedule = SCHEDULES[name]
    falling = log_snr(schedule, T[:-1])
    assert (falling.diff() < 0).all()
    assert torch.allclose(time_at(schedule, falling), T[:-1], atol=1e-9)


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n != "karras"])
def test_variance_is_preserved(name):
    a, s = SCHEDULES[name].alpha(T), SCHEDULES[name].sigma(T)
    assert torch.allclose(a.square() + s.square(), torch.ones_like(T), atol=1e-12)


def test_discrete_schedule_is_the_product_of_its_betas():
    betas = linear_betas(1000, 1e-4, 0.02)
    i = torch.arange(1, 1001, dtype=torch.float64)
    assert torch.allclose(SCHEDULES["linear"].alpha(i / 1000) ** 2, (1 - betas).cumprod(0))
    assert SCHEDULES["linear"].sigma(torch.zeros(1)) == 0


def test_karras_steps_are_those_of_the_paper():
    i = torch.arange(18, dtype=torch.float64)
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    want = (high + i / 17 * (low - high)) ** 7
    assert torch.allclose(Karras().sigma(1 - i / 17), want, rtol=1e-12)


def test_learned_schedule_keeps_its_ends_and_knows_its_slope():
    schedule = SCHEDULES["learned"]
    ends = schedule.gamma(torch.tensor([0.0, 1.0]))
    assert torch.allclose(ends, torch.tensor([-8.0, 5.0], dtype=torch.float64))
    t = T.clone().requires_grad_()
    gamma, slope = schedule.gamma_and_slope(t)
    (want,) = torch.autograd.grad(gamma.sum(), t)
    assert torch.allclose(slope, want) and (slope > 0).all()
