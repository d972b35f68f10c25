"""A sampler and a likelihood, on models of other authors."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_addons.heun import Heun
from zoo_addons.jackknife import Jackknife, jackknife
from zoo_core.catalog.registry import current
from zoo_core.nn.distributions import Bernoulli, Normal
from zoo_core.testing import conformance

test_sampler_plugin = conformance("addons_sampler")
test_likelihood_plugin = conformance("addons_likelihood")


@dataclass(frozen=True)
class NoConfig:
    pass


class Cosine:
    def alpha(self, t):
        return torch.cos(math.pi / 2 * t)

    def sigma(self, t):
        return torch.sin(math.pi / 2 * t)


class NormalDiffusion(zoo.GenerativeModel):
    """The exact denoiser of data N(1, 0.5^2)."""

    def __init__(self):
        super().__init__(NoConfig(), zoo.Event((2,)))
        self.schedule = Cosine()

    def denoise(self, x_t, t, cond=None):
        alpha, sigma = self.schedule.alpha(t)[:, None], self.schedule.sigma(t)[:, None]
        gain = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
        return 1 + gain * (x_t - alpha)


class CoinVAE(zoo.GenerativeModel):
    """z ~ N(0, 1), P(x=1|z) = sigmoid(2 z + 1), and a q that is not the posterior."""

    def __init__(self):
        super().__init__(NoConfig(), zoo.Event((1,), levels=2))

    def prior(self, batch, cond=None):
        return Normal(torch.zeros(batch, 1), torch.zeros(batch, 1))

    def encode(self, x, cond=None):
        return Normal(x.float() - 0.5, torch.full(x.shape, -0.2))

    def decode(self, z, cond=None):
        return Bernoulli(2 * z + 1)


def exact_log_p():
    """log p(x = 1) by quadrature over z."""
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    log_joint = torch.nn.functional.logsigmoid(2 * z + 1) - z.square() / 2
    return float(torch.logsumexp(log_joint, 0)) + math.log(1e-3) - math.log(2 * math.pi) / 2


def test_the_plugins_declare_a_sampler_and_a_likelihood_and_nothing_else():
    registry = current()
    kinds = ("sampler", "likelihood", "model", "loss")
    names = {"addons_sampler": ["heun_ode"], "addons_likelihood": ["jackknife"]}
    for kind, plugin in itertools.product(kinds, names):
        declared = [e.spec.name for e in registry.by_kind[kind] if e.plugin.name == plugin]
        assert declared == (names[plugin] if plugin.endswith(kind) else [])


def test_heun_samples_the_distribution_of_an_exact_denoiser():
    drawn = NormalDiffusion().sample(8000, sampler=Heun(steps=30), seed=1)
    assert drawn.mean(0).tolist() == pytest.approx([1.0, 1.0], abs=0.05)
    assert drawn.std(0).tolist() == pytest.approx([0.5, 0.5], abs=0.03)


def test_heun_is_of_second_order():
    """Against the exact flow: y = 1 + (y_1 - 1) sqrt((1/4 + s^2) / (1/4 + s_1^2))."""
    model = NormalDiffusion().double()
    schedule, t = model.schedule, torch.tensor(0.9, dtype=torch.float64)
    s = float(schedule.sigma(t) / schedule.alpha(t))
    start = s * zoo.Rng(0, 64).normal((2,), stream="start")
    exact = 1 + (start - 1) * math.sqrt(0.25 / (0.25 + s**2))
    errors = [
        float((model.sample(64, sampler=Heun(steps=n, t_max=0.9)) - exact).abs().mean())
        for n in (64, 128, 256)
    ]
    assert errors[0] / errors[1] > 3 and errors[1] / errors[2] > 3, errors


def test_heun_works_by_name_for_models_with_its_capability():
    with pytest.raises(zoo.ZooError, match="needs Denoiser"):
        CoinVAE().sample(1, sampler="heun_ode")
    few, many = (NormalDiffusion().sample(n, sampler="heun_ode", steps=5) for n in (3, 9))
    torch.testing.assert_close(few, many[:3])


def test_jackknife_is_less_biased_than_importance_weighting():
    model, x = CoinVAE(), torch.ones(1, 1, dtype=torch.long).expand(20_000, 1)
    truth = exact_log_p()
    iwae = model.log_likelihood(x, method="iwae", k=4).nats
    ours = model.log_likelihood(x, method="jackknife", k=4).nats
    error = float(ours.std()) / len(x) ** 0.5
    assert float(iwae.mean()) < truth - 5 * float(iwae.std()) / len(x) ** 0.5
    assert abs(float(ours.mean()) - truth) < 0.3 * (truth - float(iwae.mean())) + 4 * error


def test_jackknife_of_equal_weights_is_their_log_mean():
    value, error = jackknife(torch.full((8, 3), -2.0, dtype=torch.float64))
    torch.testing.assert_close(value, torch.full((3,), -2.0, dtype=torch.float64))
    assert bool((error < 1e-9).all())


def test_jackknife_is_called_an_estimate():
    scored = CoinVAE().log_likelihood(torch.ones(2, 1, dtype=torch.long), method=Jackknife(k=8))
    assert (scored.kind.sign, str(scored.kind)) == ("~", "jackknife(k=8)")
    assert bool((scored.std_err > 0).all())
