"""A variance between the small and the large one, which the network learns."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

import zoo_core as zoo
from zoo_core.errors import UsageError
from zoo_diffusion.likelihoods import terms

OPTIONS = {"shape": (1, 4, 4), "levels": 4, "timesteps": 12, "beta_last": 0.4}
NETWORK = {"type": "mlp", "hidden": 8, "layers": 1}


def model(variance="learned"):
    torch.manual_seed(1)
    made = zoo.create("ddpm", **OPTIONS, variance=variance, network=NETWORK)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return made


def test_step_kl_is_that_of_the_two_normals():
    learned, i = model(), torch.arange(2, 13)
    x, x_hat, v = (torch.randn(11, 1, 4, 4) for _ in range(3))
    c, small, large = (a.view(-1, 1, 1, 1) for a in terms.posterior_coefficients(learned, i))
    std = (0.5 * (v.double() * large.log() + (1 - v.double()) * small.log())).exp()
    want = kl_divergence(Normal(c * x, small.sqrt()), Normal(c * x_hat, std)).flatten(1).sum(1)
    torch.testing.assert_close(terms.step_kl(learned, i, x, x_hat, v), want, rtol=1e-5, atol=0)
    for variance, ends in (("small", torch.zeros_like(x)), ("large", torch.ones_like(x))):
        fixed = terms.step_kl(model(variance), i, x, x_hat)
        torch.testing.assert_close(
            terms.step_kl(learned, i, x, x_hat, ends), fixed, rtol=1e-5, atol=0
        )


def test_the_bound_trains_mean_and_variance():
    made, x = model(), torch.randint(4, (16, 1, 4, 4))
    made.players("vlb")["model"].loss((x, None), zoo.Rng(0, 16), 0).total.backward()
    mean, weight = made.network.last.weight.grad.chunk(2)
    assert mean.abs().min() > 0 and weight.abs().min() > 0
    assert made.log_likelihood(x).kind.name == "elbo"


@pytest.mark.parametrize(("variance", "end"), [("small", -1.0), ("large", 1.0)])
def test_ancestral_steps_at_an_end_of_the_range_are_those_of_the_fixed_variance(variance, end):
    made, fixed = model(), model(variance)
    mean = made.network.last.weight.shape[0] // 2
    with torch.no_grad():
        made.network.last.weight[mean:], made.network.last.bias[mean:] = 0, end
        for (name, own), their in zip(
            made.network.named_parameters(), fixed.network.parameters(), strict=True
        ):
            their.copy_(own[:mean] if name.startswith("last") else own)
    want, have = (m.sample(4, seed=3, sampler="ancestral", steps=6) for m in (fixed, made))
    assert torch.equal(have, want)
    other = made.sample(4, seed=3, sampler="ancestral", steps=6, variance="large")
    assert torch.equal(other, have) == (variance == "large")


def test_the_simple_loss_says_that_it_trains_no_variance():
    made, batch = model(), (torch.zeros(2, 1, 4, 4).long(), None)
    assert made.sample(3, steps=4).shape == (3, 1, 4, 4)
    with pytest.raises(UsageError, match="does not train a learned variance"):
        made.players("simple")["model"].loss(batch, zoo.Rng(0, 2), 0)
