"""Likelihood numbers: their kinds, means and errors, and the bounds against exact values."""

import math
from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_core.likelihood import LogLikelihood, log_mean_exp
from zoo_core.likelihoods import ais
from zoo_core.likelihoods.ais import AIS, GeneratorAIS, temperatures
from zoo_core.likelihoods.elbo import ELBO, elbo
from zoo_core.likelihoods.iwae import IWAE, LogMeanExp, iwae
from zoo_core.nn.distributions import Bernoulli, Categorical, Normal, kl
from zoo_core.testing import forbid_torch_randomness


@dataclass(frozen=True)
class Config:
    sigma: float = 0.3


class LinearGaussian(zoo.GenerativeModel):
    """z ~ N(0, I), x | z ~ N(W z, sigma^2): log p(x) is known, and so is p(z|x)."""

    def __init__(self, config=Config()):  # noqa: B008
        super().__init__(config, zoo.Event((3,)))
        w = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
        self.w = torch.nn.Parameter(w)

    def prior(self, batch, cond=None):
        return Normal.standard(batch, 2, like=self.w)

    def generate(self, z, cond=None):
        return z @ self.w.T

    def log_p(self, x):
        cov = self.w @ self.w.T + self.config.sigma**2 * torch.eye(3)
        p = torch.distributions.MultivariateNormal(torch.zeros(3).double(), cov.double())
        return p.log_prob(x.double()).detach()


class WithDecoder(LinearGaussian):
    def decode(self, z, cond=None):
        mean = z @ self.w.T
        return Normal(mean, torch.full_like(mean, math.log(self.config.sigma)))

    def encode(self, x, cond=None):
        """The mean of the posterior, and too small a spread."""
        precision = torch.eye(2) + self.w.T @ self.w / self.config.sigma**2
        mean = x @ self.w @ precision.inverse() / self.config.sigma**2
        return Normal(mean, 0.5 * precision.inverse().diagonal().log().expand_as(mean))


@pytest.fixture
def linear():
    model = WithDecoder()
    z = zoo.Rng(9, 6)
    x = model.decode(model.prior(6).sample(z, stream="z")).sample(z, stream="x").detach()
    return model, x, model.log_p(x)


def test_elbo_is_below_iwae_which_rises_with_k_to_the_exact_value(linear):
    model, x, exact = linear
    found = {}
    for method in (ELBO(samples=100), IWAE(k=8), IWAE(k=1000)):
        scored = model.log_likelihood(x, method=method)
        assert (scored.nats < exact + 4 * scored.std_err).all(), str(scored.kind)
        found[str(scored.kind)] = scored
    means = [scored.nats.mean() for scored in found.values()]
    assert means == sorted(means) and list(found) == ["elbo", "iwae(k=8)", "iwae(k=1000)"]
    last = found["iwae(k=1000)"]
    assert ((last.nats - exact).abs() < 5 * last.std_err).all()
    assert last.std_err.max() < 0.1


def test_the_gap_of_the_elbo_is_the_divergence_from_the_posterior(linear):
    model, x, exact = linear
    scored = model.log_likelihood(x, method=ELBO(samples=400))
    precision = torch.eye(2) + model.w.T @ model.w / model.config.sigma**2
    q = model.encode(x)
    cov = torch.diag_embed((2 * q.log_std[0]).exp())
    gap = 0.5 * ((precision @ cov).trace() - 2 - torch.logdet(precision @ cov))
    assert ((exact - scored.nats - gap.double()).abs() < 5 * scored.std_err).all()


def test_ais_meets_the_exact_value_from_below_within_its_error(linear):
    model, x, exact = linear
    scored = model.log_likelihood(x, method=AIS(steps=100, chains=128, leapfrog=5))
    assert ((scored.nats - exact).abs() < 4 * scored.std_err + 0.02).all()
    pooled = scored.std_err.square().sum().sqrt() / len(x)
    assert pooled < 0.06
    assert abs(scored.nats.mean() - exact.mean()) < 3 * pooled + 0.01


def test_a_transition_of_ais_leaves_the_posterior_as_it_is():
    """Chains that start from p(z|x) keep its mean and covariance, and most moves are accepted."""
    model, chains = WithDecoder(Config(sigma=1.0)), 20_000
    x = torch.tensor([[1.0, -0.5, 0.3]])
    cov = (torch.eye(2) + model.w.T @ model.w).inverse().detach()
    mean = (x @ model.w @ cov).detach()
    rng = zoo.Rng(0, 1)
    z = rng.normal((chains, 2), stream="exact")[0] @ torch.linalg.cholesky(cov).T + mean
    path = ais._Path(model, model.decode, x, None, chains)
    state, size = path.at(z), torch.full((1,), 0.5)
    for t in range(4):
        state, accepted = ais._hmc(path, state, 1.0, size, 3, rng, t)
    assert 0.5 < accepted < 1
    assert torch.isclose(state.z, z).all(1).float().mean() < 0.05
    off = state.z - mean
    outer = off[:, :, None] * off[:, None, :]
    for have, want in ((off, torch.zeros(2)), (outer, cov)):
        assert ((have.mean(0) - want).abs() < 4 * have.std(0) / chains**0.5).all()


def test_a_short_ais_is_further_below_than_a_long_one(linear):
    model, x, exact = linear
    short, long = (
        model.log_likelihood(x, method=AIS(steps=steps, chains=8, leapfrog=4)).nats
        for steps in (2, 60)
    )
    assert short.mean() < long.mean() < exact.mean() + 0.3


def test_bdmc_brackets_the_exact_value_on_simulated_data():
    """Forward chains bound log p from below, backward ones from an exact sample from above."""
    model, gaps = WithDecoder(Config(sigma=0.3)), {}
    for steps in (10, 100):
        method, rng = AIS(steps=steps, chains=8, leapfrog=4), zoo.Rng(3, 32)
        bracket = method.bracket(model, rng)
        with torch.no_grad():
            z = model.prior(32).sample(rng, stream="simulated/z")
            exact = model.log_p(model.decode(z).sample(rng, stream="simulated/x"))
        for below in (exact - bracket.lower, bracket.upper - exact):
            assert below.mean() > -3 * below.std() / 32**0.5, steps
        gaps[steps] = bracket.gap
    assert 0 < gaps[100] < 0.5 * gaps[10]


def test_bdmc_of_a_generator_brackets_the_generator_with_noise():
    model, method = LinearGaussian(Config(sigma=0.5)), GeneratorAIS(sigma=0.5, steps=60, chains=8)
    rng = zoo.Rng(4, 32)
    bracket = method.bracket(model, rng)
    with torch.no_grad():
        z = model.prior(32).sample(rng, stream="simulated/z")
        exact = model.log_p(model.generate(z) + 0.5 * rng.normal((3,), stream="simulated/x"))
    for below in (exact - bracket.lower, bracket.upper - exact):
        assert below.mean() > -3 * below.std() / 32**0.5
    assert bracket.gap < 1.0


def test_ais_of_a_generator_scores_the_generator_with_noise():
    model, sigma = LinearGaussian(Config(sigma=0.5)), 0.5
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    scored = model.log_likelihood(x, method=GeneratorAIS(sigma=sigma, steps=100, chains=32))
    assert ((scored.nats - model.log_p(x)).abs() < 4 * scored.std_err + 0.02).all()
    assert str(scored.kind) == "ais(sigma=0.5, steps=100, chains=32)"
    assert scored.kind.sign == ">="


def test_bounds_of_a_row_do_not_depend_on_its_batch(linear):
    model, x, _ = linear
    for method in (ELBO(samples=4), IWAE(k=10), IWAE(k=10, chunk=3), AIS(steps=10, chains=4)):
        with forbid_torch_randomness():
            whole = model.log_likelihood(x, method=method)
            apart = model.log_likelihood(x, method=method, batch_size=2)
        torch.testing.assert_close(apart.nats, whole.nats, atol=1e-4, rtol=1e-5)
        other = model.log_likelihood(x, method=method, seed=1)
        assert not torch.equal(other.nats, whole.nats)


def test_iwae_in_chunks_is_iwae_at_once(linear):
    model, x, _ = linear
    whole, parts = (model.log_likelihood(x, method=IWAE(k=50, chunk=c)) for c in (50, 7))
    torch.testing.assert_close(parts.nats, whole.nats)
    torch.testing.assert_close(parts.std_err, whole.std_err)


def test_log_mean_exp_takes_the_mean_inside_and_knows_its_error():
    w = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)).double()
    total = LogMeanExp()
    for chunk in (w + 700).split(999):
        total.add(chunk)
    nats, error = total.value()
    torch.testing.assert_close(nats, w.exp().mean(0).log() + 700)
    want = w.exp().std(0) / 5000**0.5 / w.exp().mean(0)
    torch.testing.assert_close(error, want, rtol=2e-3, atol=0)
    torch.testing.assert_close(iwae(w + 700), nats)
    torch.testing.assert_close(log_mean_exp(w, 0) + 700, nats)
    single = LogMeanExp()
    single.add(w[:1])
    assert single.value()[1].isinf().all()


def test_elbo_weighs_the_divergence():
    q = Normal(torch.ones(2, 1), torch.zeros(2, 1))
    prior = Normal.standard(2, 1, like=q.mean)
    p, x = Bernoulli(torch.zeros(2, 4)), torch.ones(2, 4, dtype=torch.long)
    for beta in (0.0, 1.0, 4.0):
        found = elbo(x, q.mean, q=q, prior=prior, p=p, beta=beta)
        torch.testing.assert_close(found, torch.full((2,), -4 * math.log(2) - beta / 2))


def test_temperatures_rise_from_0_to_1_and_are_dense_at_the_ends():
    b = temperatures(50)
    assert (float(b[0]), float(b[-1]), len(b)) == (0.0, 1.0, 51)
    gaps = b.diff()
    assert (gaps > 0).all() and gaps[0] < gaps[25] / 5 and gaps[-1] < gaps[25] / 5


def test_distributions_are_those_of_torch():
    g = torch.Generator().manual_seed(0)
    mean, log_std, x = (torch.randn(4, 2, 3, generator=g) for _ in range(3))
    other = Normal(torch.randn(4, 2, 3, generator=g), torch.randn(4, 2, 3, generator=g))
    torch_q, torch_p = (
        torch.distributions.Normal(d.mean, d.log_std.exp()) for d in (Normal(mean, log_std), other)
    )
    torch.testing.assert_close(Normal(mean, log_std).log_prob(x), torch_q.log_prob(x).sum((1, 2)))
    want = torch.distributions.kl_divergence(torch_q, torch_p).sum((1, 2))
    torch.testing.assert_close(kl(Normal(mean, log_std), other), want)
    bits = (x > 0).long()
    want = torch.distributions.Bernoulli(logits=mean).log_prob(bits.float()).sum((1, 2))
    torch.testing.assert_close(Bernoulli(mean).log_prob(bits), want)
    digits = torch.randint(3, (4, 2), generator=g)
    want = torch.distributions.Categorical(logits=mean).log_prob(digits).sum(1)
    torch.testing.assert_close(Categorical(mean).log_prob(digits), want)


def test_distributions_are_drawn_by_rows_and_normals_pass_gradients():
    rng = zoo.Rng(0, 5)
    mean = torch.zeros(5, 2, requires_grad=True)
    z = Normal(mean, torch.ones(5, 2)).sample(rng, stream="z", step=3)
    torch.testing.assert_close(z, math.e * rng.normal((2,), stream="z", step=3))
    assert torch.equal(torch.autograd.grad(z.sum(), mean)[0], torch.ones(5, 2))
    for d, top in ((Bernoulli(torch.zeros(5, 2)), 1), (Categorical(torch.zeros(5, 2, 4)), 3)):
        x = d.sample(rng, stream="x")
        assert x.dtype == torch.int64 and x.shape == (5, 2) and 0 <= x.min() <= x.max() <= top
    assert Normal.standard(3, like=mean).log_prob(torch.zeros(3)).shape == (3,)


def kind(relation, detail=""):
    return zoo.LikelihoodKind("some", relation, detail)


@pytest.mark.parametrize(
    ("relation", "sign", "bits_sign"),
    [
        ("equal", "=", "="),
        ("lower", ">=", "<="),
        ("upper", "<=", ">="),
        ("estimate", "~", "~"),
        ("unrelated", "!", "!"),
    ],
)
def test_the_printed_signs_follow_the_relation_and_turn_round_for_bits(relation, sign, bits_sign):
    found = LogLikelihood(
        torch.tensor([-1.0, -3.0]),
        kind(relation, "k=3"),
        torch.zeros(2),
        zoo.Event((2, 2), levels=2),
    ).mean()
    said = f"log p {sign} -2.000 +- 1.000 nats (bits/dim {bits_sign} 0.7213) [some(k=3), n=2]"
    assert str(found) == said


def test_means_carry_the_error_of_the_mean():
    nats = torch.tensor([-1.0, -2.0, -4.0, -5.0])
    event = zoo.Event((1, 2, 4), levels=2)
    scored = LogLikelihood(nats, kind("equal"), torch.zeros(4), event)
    mean = scored.mean()
    assert (mean.nats, mean.n, mean.dims) == (-3.0, 4, 8)
    assert mean.std_err == pytest.approx(float(nats.std()) / 2)
    assert mean.bits_per_dim == pytest.approx(3 / (8 * math.log(2)))
    assert mean.bits_per_dim_std_err == pytest.approx(mean.std_err / (8 * math.log(2)))
    torch.testing.assert_close(scored.bits_per_dim(), -nats / (8 * math.log(2)))
    one = LogLikelihood(nats[:1], kind("lower"), torch.tensor([0.25]), event)
    assert math.isinf(one.mean().std_err)


def test_uniform_integers_cost_log2_of_the_levels(minis):
    model = zoo.create("mini_ar")
    for p in model.parameters():
        p.detach().zero_()
    assert model.log_likelihood(model.sample(4)).mean().bits_per_dim == pytest.approx(1.0)


def test_a_likelihood_keeps_its_rows_apart(minis):
    @dataclass(frozen=True)
    class Row:
        kind = zoo.LikelihoodKind("row", "estimate")

        def __call__(self, model, x, cond, rng):
            return rng.rows.float(), 0.5 * torch.ones(len(x))

    model = zoo.create("mini_ar")
    scored = model.log_likelihood(model.sample(7), method=Row(), batch_size=3)
    assert scored.nats.tolist() == list(range(7)) and scored.nats.dtype == torch.float64
    assert scored.std_err.tolist() == [0.5] * 7
