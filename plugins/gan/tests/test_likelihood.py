"""A GAN has no likelihood and says so; with noise of a stated sigma it is another model."""

import math

import pytest
import torch

import zoo_core as zoo
from zoo_core.nn.distributions import RoundedNormal


def linear(levels=None):
    """x = w z + b in two dimensions: N(G(z), sigma^2) is N(b, w w' + sigma^2)."""
    torch.manual_seed(0)
    model = zoo.create("wgan_gp", shape=(2,), levels=levels, latent=2, width=4, layers=1)
    first, _, last = model.generator.body
    with torch.no_grad():  # a leaky rectifier and its mirror image add up to a line
        first.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
        first.bias.zero_()
        last.weight.copy_(torch.tensor([[1.0, -1, 0.5, -0.5], [0, 0, 1, -1]]) / 1.2)
        last.bias.copy_(torch.tensor([0.5, -0.25]))
    return model.eval()


def test_it_has_no_likelihood_and_names_what_can_be_asked_for():
    model = linear()
    with pytest.raises(zoo.NoLikelihoodError, match="no p\\(x\\)") as error:
        model.log_likelihood(torch.zeros(1, 2))
    assert "ais" in error.value.hint


def test_ais_of_a_linear_generator_comes_close_to_the_exact_density_of_the_noisy_model():
    model, sigma = linear(), 0.5
    x = torch.tensor([[0.5, 0.0], [1.0, -1.0], [-1.5, 0.75]])
    scored = model.log_likelihood(x, method="ais", sigma=sigma, steps=150, chains=16)
    assert (scored.kind.name, scored.kind.relation) == ("ais", "lower")
    assert "sigma=0.5" in str(scored.kind)
    w = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    exact = torch.distributions.MultivariateNormal(
        torch.tensor([0.5, -0.25]), w @ w.T + sigma**2 * torch.eye(2)
    ).log_prob(x)
    assert float((scored.nats - exact).abs().max()) < 0.1


def test_ais_needs_a_sigma():
    with pytest.raises(zoo.ConfigError, match="sigma is required"):
        linear().log_likelihood(torch.zeros(1, 2), method="ais")


def test_ais_of_integers_scores_the_rounded_noisy_model():
    """Its probabilities sum to one: they are those of round(G(z) + sigma eps), held in range."""
    torch.manual_seed(0)
    model = zoo.create("wgan_gp", shape=(2,), levels=3, latent=1, width=8, layers=1).eval()
    x = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    scored = model.log_likelihood(x, method="ais", sigma=0.4, steps=100, chains=64)
    assert "sigma=0.4" in str(scored.kind)
    assert float(scored.nats.exp().sum()) == pytest.approx(1.0, abs=0.03)
    z = torch.randn(100_000, 1)
    with torch.no_grad():
        noisy = model.generate(z) + 0.4 * torch.randn(100_000, 2)
    drawn = noisy.round().clamp(0, 2).long()
    p = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / len(z)
    assert float((scored.nats.exp() - p).abs().max()) < 0.01
    assert math.isfinite(float(scored.nats.min()))


@pytest.mark.parametrize("std", [0.05, 0.5, 20.0])
def test_probabilities_of_a_rounded_normal_sum_to_one_wherever_its_mean_is(std):
    mean = torch.tensor([-30.0, -0.5, 0.2, 1.5, 3.7, 40.0], requires_grad=True)
    rows = torch.arange(4)[:, None].expand(4, 6)
    log_p = torch.stack([RoundedNormal(mean[:, None], std, 4).log_prob(r[:, None]) for r in rows])
    assert torch.allclose(log_p.exp().sum(0), torch.ones(6), atol=1e-5)
    (slope,) = torch.autograd.grad(log_p.sum(), mean)
    assert bool(log_p.isfinite().all()) and bool(slope.isfinite().all())


def test_draws_of_a_rounded_normal_follow_its_probabilities():
    mean = torch.full((20_000, 1), 1.3)
    x = RoundedNormal(mean, 0.8, 4).sample(zoo.Rng(0, 20_000), stream="x")
    rounded = RoundedNormal(mean[:1], 0.8, 4)
    p = torch.cat([rounded.log_prob(torch.tensor([[k]])).exp() for k in range(4)]).flatten()
    assert torch.allclose(torch.bincount(x.flatten()) / 20_000, p, atol=0.015)
