"""Chains that end in noise alone, alpha_T = 0: schedules, samplers, bounds and losses keep on."""

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import ConfigError, UsageError
from zoo_core.rng import Rng
from zoo_diffusion import schedules
from zoo_diffusion.likelihoods import terms
from zoo_diffusion.schedules import Betas, linear_betas, log_snr, zero_snr_betas

T = 50
SAMPLERS = ["ancestral", "ddim", "dpmpp_2m", "heun", "ode"]


class Exact(torch.nn.Module):
    """The v of data N(m, d^2) on a chain: its flow is x_t = alpha m + r(t) z."""

    m, d = 0.3, 0.5

    def __init__(self, schedule, prediction):
        super().__init__()
        self.schedule, self.prediction = schedule, prediction

    def forward(self, x, time, label=None):
        t = (time.double() + 1) / T
        a, s = (v[:, None] for v in (self.schedule.alpha(t), self.schedule.sigma(t)))
        x0 = self.m + a * self.d**2 / ((a * self.d) ** 2 + s**2) * (x - a * self.m)
        return {"x0": x0, "v": (a * x - x0) / s}[self.prediction].to(x.dtype)


def chain(prediction="v", **options):
    torch.manual_seed(0)
    options = {"shape": (2,), "timesteps": T, "beta_last": 0.2, "zero_snr": True} | options
    return zoo.create("ddpm", prediction=prediction, **options).eval()


def exact(prediction="v"):
    model = chain(prediction)
    model.network = Exact(model.schedule, prediction)
    return model


def test_first_alpha_stays_and_the_last_is_zero():
    plain = linear_betas(T, 1e-4, 0.2)
    t = torch.arange(T + 1).double() / T
    before, after = Betas(plain).alpha(t), Betas(zero_snr_betas(plain)).alpha(t)
    assert after[0] == 1 and after[1] == before[1] and after[-1] == 0
    assert (after.diff() < 0).all()


def test_time_and_log_snr_are_inverse_up_to_the_last_step():
    schedule = Betas(zero_snr_betas(linear_betas(T, 1e-4, 0.2)))
    ends = torch.tensor([1 / T, 1 - 1 / T, 1.0], dtype=torch.float64)
    t = torch.cat((torch.linspace(0.01, 0.999, 400, dtype=torch.float64), ends))
    assert log_snr(schedule, torch.ones(1)) == -torch.inf
    assert torch.allclose(schedules.time_at(schedule, log_snr(schedule, t)), t, atol=1e-9)
    assert (log_snr(schedule, t.sort().values).diff() < 0).all()


def test_alpha_is_differentiable_in_time_before_and_in_the_last_step():
    schedule = Betas(zero_snr_betas(linear_betas(T, 1e-4, 0.2)))
    t = torch.tensor([0.3, 1 - 1 / T, 0.995], dtype=torch.float64, requires_grad=True)
    schedule.alpha(t).sum().backward()
    assert (t.grad < 0).all()


@pytest.mark.parametrize("prediction", ["v", "x0"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_the_data(sampler, prediction):
    # a chain of 50 steps with the small variance has a standard deviation 8 % too small
    n, bias = (4000, 0.1) if sampler == "ancestral" else (1000, 0.03)
    x = exact(prediction).sample(n, seed=1, sampler=sampler, **_steps(sampler)).flatten()
    # five standard errors of the mean and of the standard deviation, and the chain's own error
    assert abs(float(x.mean()) - Exact.m) < 5 * Exact.d / (2 * n) ** 0.5 + 0.01
    assert abs(float(x.std()) / Exact.d - 1) < 5 / (4 * n) ** 0.5 + bias


@pytest.mark.parametrize("spacing", ["uniform", "quadratic", "karras"])
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "heun"])
def test_solvers_of_the_flow_reach_one_end(sampler, spacing):
    ode = exact().sample(8, seed=2, sampler="ode", rtol=1e-7, atol=1e-7)
    x = exact().sample(8, seed=2, sampler=sampler, steps=400, spacing=spacing)
    assert (x - ode).abs().max() < 0.02


def _steps(sampler):
    return {} if sampler == "ode" else {"steps": T}


@pytest.mark.parametrize("levels", [None, 16])
@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_bound_is_finite_and_its_estimate_is_that_of_all_steps(prediction, levels):
    model = chain(prediction, levels=levels)
    x = torch.randn(64, 2) if levels is None else torch.randint(levels, (64, 2))
    whole = model.log_likelihood(x, method="vlb", times=0)
    part = model.log_likelihood(x, method="vlb", times=16)
    assert whole.nats.isfinite().all() and part.std_err.isfinite().all()
    gap = float((whole.nats - part.nats).mean().abs())
    assert gap < 5 * float((whole.nats - part.nats).std()) / 8
    ode = model.log_likelihood(x[:4], method="ode")
    assert ode.nats.isfinite().all()


def test_prior_is_free_where_nothing_of_the_data_is_left():
    model = chain()
    assert (terms.prior_kl(model.schedule, torch.randn(5, 2)) == 0).all()


@pytest.mark.parametrize("loss", ["simple", "vlb"])
def test_losses_and_their_gradients_are_finite(loss):
    model = chain().train()
    player = model.players(loss=loss)["model"]
    for step in range(8):
        total = player.loss((torch.randn(64, 2), None), Rng(0, 64), step).total
        total.backward()
        assert total.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_noise_is_no_prediction_where_alpha_is_zero():
    with pytest.raises(ConfigError, match="zero_snr: prediction 'epsilon'"):
        chain("epsilon")


class Line:
    """alpha = 1 - t, sigma = t: continuous time down to alpha = 0."""

    def alpha(self, t):
        return 1 - t

    def sigma(self, t):
        return t


def test_continuous_bound_takes_steps_where_the_log_snr_has_no_end():
    model = zoo.create("vp_sde", shape=(2,)).eval()
    model.schedule, model.denoise = Line(), lambda x, t, cond=None: 0.1 * x
    x = torch.randn(8, 2)
    with pytest.raises(UsageError, match="alpha is 0 at time 1"):
        model.log_likelihood(x, method="vlb")
    assert model.log_likelihood(x, method="vlb", steps=20).nats.isfinite().all()
