"""Laws of the penalties: their values for known critics, and double backward through networks."""

import math

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_gan.penalties import gradient_penalty, input_gradients, r1, r2

B = 5


def events(*shape):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(B, *shape, generator=generator, dtype=torch.float64)


def linear(slope):
    return lambda x: (x.flatten(1) * slope).sum(1)


@pytest.mark.parametrize("shape", [(2,), (1, 3, 4)])
def test_gradient_penalty_is_zero_for_a_critic_of_unit_gradient(shape):
    size = math.prod(shape)
    direction = torch.ones(size, dtype=torch.float64) / math.sqrt(size)
    t = torch.rand(B, dtype=torch.float64)
    penalty = gradient_penalty(linear(direction), events(*shape), -events(*shape), t)
    assert float(penalty) == pytest.approx(0.0, abs=1e-20)
    steeper = gradient_penalty(linear(3 * direction), events(*shape), -events(*shape), t)
    assert float(steeper) == pytest.approx(4.0, abs=1e-9)


def test_gradient_penalty_is_evaluated_between_the_pairs():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.square().sum(1) / 2  # |grad D(u)| = |u|

    real, fake = events(2), events(2).flip(0)
    t = torch.linspace(0, 1, B, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, t)
    u = t[:, None] * real + (1 - t[:, None]) * fake
    assert torch.allclose(seen[0], u)
    assert float(penalty) == pytest.approx(float((u.norm(dim=1) - 1).square().mean()), abs=1e-9)


def test_gradient_penalty_of_a_flat_critic_has_a_finite_gradient():
    scale = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(linear(scale), events(2), events(2), torch.rand(B))
    (slope,) = torch.autograd.grad(penalty, scale)
    assert float(penalty) == pytest.approx(1.0, abs=1e-5) and bool(slope.isfinite().all())


@pytest.mark.parametrize("penalty", [r1, r2])
def test_r1_and_r2_of_a_quadratic_critic_equal_the_closed_form(penalty):
    """D(x) = x' A x / 2 has grad A x: 1/2 E |A x|^2, and its gradient by A is E (A x) x'."""
    a = torch.randn(3, 3, dtype=torch.float64)
    a = (a + a.T).requires_grad_()
    x = events(3).requires_grad_()
    value = penalty(torch.einsum("bi,ij,bj->b", x, a, x) / 2, x)
    mean = (x @ a).square().sum(1).mean() / 2
    assert float(value) == pytest.approx(float(mean), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, a)
    expected = torch.einsum("bi,bj->ij", x @ a, x).detach() / B
    assert torch.allclose(gradient + gradient.T, expected + expected.T)


def test_input_gradients_are_those_of_each_score_alone():
    x = events(4).requires_grad_()
    together = input_gradients(x.pow(3).sum(1), x)
    assert torch.allclose(together, 3 * x.square())


IMAGES = {"shape": (1, 4, 4), "latent": 2}
FOURIER = {"fourier_features": 3, "frequency": 0.2}
NETWORKS = {
    "wgan_gp": {**IMAGES, "width": 2, "downsamples": 1},
    "wgan_gp_vectors": {"shape": (3,), "width": 4, "layers": 2, "latent": 2, **FOURIER},
    "r3gan": {**IMAGES, "widths": (2, 2), "group": 2, "patch": 1, "classes": 2},
    "r3gan_vectors": {"shape": (3,), "widths": (4, 2), "latent": 2, **FOURIER},
}


def network(name):
    torch.manual_seed(0)
    model = zoo.create(name.removesuffix("_vectors"), **NETWORKS[name]).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)  # far from zero at initialization
    cond = None if model.condition.kind == "none" else torch.arange(B) % 2
    return model, events(*model.event.shape), cond


@pytest.mark.parametrize("name", NETWORKS)
def test_double_backward_through_every_discriminator_matches_finite_differences(name):
    model, x, cond = network(name)
    weights = list(model.discriminator.parameters())

    def penalty():
        y = x.clone().requires_grad_()
        return r1(model.discriminator(y, cond), y)

    gradients = torch.autograd.grad(penalty(), weights, allow_unused=True)
    step = 1e-6
    for p, g in zip(weights, gradients, strict=True):
        direction = torch.randn_like(p)
        with torch.no_grad():
            p.add_(step * direction)
        above = float(penalty())
        with torch.no_grad():
            p.sub_(2 * step * direction)
        below = float(penalty())
        with torch.no_grad():
            p.add_(step * direction)
        slope = 0.0 if g is None else float((g * direction).sum())
        assert slope == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_score_does_not_depend_on_the_rest_of_the_batch(name):
    model, x, cond = network(name)
    whole = model.discriminator(x, cond)
    conds = [None] * B if cond is None else cond.split(1)
    alone = [model.discriminator(*pair) for pair in zip(x.split(1), conds, strict=True)]
    assert torch.allclose(whole, torch.cat(alone))
