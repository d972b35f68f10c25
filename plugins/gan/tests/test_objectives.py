"""Laws of the objectives: losses and gradients in closed form, and the optimal discriminator."""

import math

import pytest
import torch
from torch.nn import functional as F

from zoo_gan.layers import mlp
from zoo_gan.objectives import HINGE, NON_SATURATING, RELATIVISTIC, WASSERSTEIN

R = [2.0, -0.5, 0.25]
FAKE = [-1.5, 0.75, -0.25]


def scores():
    real = torch.tensor(R, dtype=torch.float64, requires_grad=True)
    fake = torch.tensor(FAKE, dtype=torch.float64, requires_grad=True)
    return real, fake


def softplus(v):
    return math.log1p(math.exp(v))


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


PAIRS = list(zip(R, FAKE, strict=True))
CASES = {
    "non_saturating": (
        NON_SATURATING,
        mean(softplus(-r) for r in R) + mean(softplus(f) for f in FAKE),
        ([-sigmoid(-r) for r in R], [sigmoid(f) for f in FAKE]),
        mean(softplus(-f) for f in FAKE),
        [-sigmoid(-f) for f in FAKE],
    ),
    "hinge": (
        HINGE,
        mean(max(0, 1 - r) for r in R) + mean(max(0, 1 + f) for f in FAKE),
        ([-1.0 * (r < 1) for r in R], [1.0 * (f > -1) for f in FAKE]),
        -mean(FAKE),
        [-1.0] * 3,
    ),
    "wasserstein": (
        WASSERSTEIN,
        mean(FAKE) - mean(R),
        ([-1.0] * 3, [1.0] * 3),
        -mean(FAKE),
        [-1.0] * 3,
    ),
    "relativistic": (
        RELATIVISTIC,
        mean(softplus(f - r) for r, f in PAIRS),
        ([-sigmoid(f - r) for r, f in PAIRS], [sigmoid(f - r) for r, f in PAIRS]),
        mean(softplus(r - f) for r, f in PAIRS),
        [-sigmoid(r - f) for r, f in PAIRS],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_discriminator_loss_and_gradients_equal_the_closed_form(name):
    objective, value, gradients, _, _ = CASES[name]
    real, fake = scores()
    loss = objective.discriminator(real, fake)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(value, abs=1e-12)
    assert (3 * real.grad).tolist() == pytest.approx(gradients[0], abs=1e-12)
    assert (3 * fake.grad).tolist() == pytest.approx(gradients[1], abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_generator_loss_and_gradients_equal_the_closed_form(name):
    objective, _, _, value, gradients = CASES[name]
    real, fake = scores()
    loss = objective.generator(real, fake)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(value, abs=1e-12)
    assert (3 * fake.grad).tolist() == pytest.approx(gradients, abs=1e-12)


def densities(n=131):
    """Log-densities of data and samples, two normals, on a grid of spacing 0.1 covering both."""
    x = torch.linspace(-6, 7, n, dtype=torch.float64)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(x)
    q = torch.distributions.Normal(1.0, 1.5).log_prob(x)
    return x, p, q


def expected(objective, d, p, q):
    """Expectation of D's loss under p and q, from D's values d on a grid."""
    one = torch.zeros(1, dtype=torch.float64)
    per_real = torch.stack([objective.discriminator(v, one) for v in d.split(1)])
    per_fake = torch.stack([objective.discriminator(one, v) for v in d.split(1)])
    return 0.1 * (p.exp() * per_real + q.exp() * per_fake).sum()


def test_non_saturating_loss_is_minimal_at_the_log_ratio_of_the_densities():
    """D*(x) = log p(x) - log q(x) (Goodfellow et al., 2014, proposition 1)."""
    _, p, q = densities()
    best = (p - q).requires_grad_()
    (gradient,) = torch.autograd.grad(expected(NON_SATURATING, best, p, q), best)
    assert float(gradient.abs().max()) < 1e-9
    for bump in (0.3, -0.3):
        moved = expected(NON_SATURATING, best + bump * torch.cos(best.detach()), p, q)
        assert float(moved - expected(NON_SATURATING, best, p, q)) > 1e-3


def test_hinge_loss_is_minimal_at_the_sign_of_the_log_ratio():
    _, p, q = densities()
    best = (p - q).sign()
    minimum = expected(HINGE, best, p, q)
    for other in (0.9 * best, 1.1 * best, p - q, -best):
        assert float(expected(HINGE, other, p, q)) > float(minimum)


def test_relativistic_loss_is_stationary_at_the_log_ratio_up_to_a_constant():
    """E over pairs of softplus(D(x') - D(x)): shifting D changes nothing, else D* = log p / q."""
    _, p, q = densities()
    best = (p - q).requires_grad_()

    def loss(d):
        w = p.exp()[:, None] * q.exp() * 0.1**2
        return (w * F.softplus(d - d[:, None])).sum()

    (gradient,) = torch.autograd.grad(loss(best), best)
    assert float(gradient.abs().max()) < 1e-4  # the mass of p and q outside the grid
    assert float(loss(best + 3.0) - loss(best)) == pytest.approx(0.0, abs=1e-12)
    assert float(loss(1.2 * best) - loss(best)) > 0


def test_a_trained_discriminator_finds_the_log_ratio_of_two_densities():
    """A network that descends the expected loss, integrated over a grid."""
    torch.manual_seed(0)
    x, p, q = densities()
    widths = (1, 24, 24, 1)
    net = mlp(widths, last=False).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(400):
        d = net(x[:, None]).squeeze(1)
        loss = (p.exp() * F.softplus(-d) + q.exp() * F.softplus(d)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seen = (x > -2) & (x < 3)
    gap = (net(x[:, None]).squeeze(1) - (p - q)).detach()[seen]
    assert float(gap.abs().max()) < 0.1
