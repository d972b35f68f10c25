"""The laws of variational autoencoders: bounds in order, exact KL, gradients, normalization."""

import math
from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_core.likelihoods.ais import AIS
from zoo_core.likelihoods.elbo import ELBO, ELBOLoss, divergence, elbo
from zoo_core.likelihoods.iwae import IWAE, IWAELoss, LogMeanExp, iwae, log_weight, log_weights
from zoo_core.likelihoods.posterior import draw
from zoo_core.nn.distributions import Normal, Product, kl, kl_by_unit
from zoo_vae import HVAE, VAE, HVAEConfig, ImportanceWeightedAutoencoder, IWAEConfig, VAEConfig
from zoo_vae.hierarchical_latents import HierarchicalLatents
from zoo_vae.networks import LikelihoodHead

TINY = {
    "vae": lambda **o: VAE(VAEConfig(hidden=(6,), latent=3, **o)),
    "conv_vae": lambda **o: VAE(VAEConfig(hidden=(6,), latent=3, channels=(4,), **o)),
    "iwae": lambda **o: ImportanceWeightedAutoencoder(
        IWAEConfig(latent=(3, 2), hidden=(6, 4), **o)
    ),
    "hvae": lambda **o: HVAE(
        HVAEConfig(channels=(4, 4), blocks=(1, 2), latent=(1, 2), **{"shape": (1, 4, 4), **o})
    ),
    "strided_hvae": lambda **o: HVAE(  # its coarsest resolution is a single position
        HVAEConfig(
            channels=(4, 3),
            blocks=(0, 2),
            latent=(1, 2),
            strides=(2, 2),
            **{"shape": (1, 4, 4), **o},
        )
    ),
}
EVENTS = {
    "binary": {"shape": (1, 4, 4)},
    "classes": {"shape": (1, 4, 4), "classes": 3},
    "categorical": {"shape": (2, 4, 4), "levels": 5, "likelihood": "categorical"},
    "logistic": {"shape": (3, 4, 4), "levels": 9, "likelihood": "logistic"},
}


@pytest.fixture(params=TINY)
def make(request):
    def build(event="binary"):
        torch.manual_seed(0)
        model = TINY[request.param](**EVENTS[event]).double().eval()
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.3)  # far from the small initial values
        return model

    return build


def images(model, n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(model.event.levels, (n, *model.event.shape), generator=generator)
    classes = model.condition.classes
    return x, None if classes is None else torch.arange(n) % classes


@dataclass(frozen=True)
class Config:
    width: float = 1.0


class Linear(zoo.GenerativeModel):
    """z ~ N(0, I), x | z ~ N(W z + b, s^2): log p(x) is known, and so is p(z|x).

    The columns of W are orthogonal, so p(z|x) is diagonal; the encoder is it but for its width.
    """

    s = 0.5

    def __init__(self, config):
        super().__init__(config, zoo.Event((5,)))
        q, _ = torch.linalg.qr(
            torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()
        )
        self.w = torch.nn.Parameter(q * torch.tensor([2.0, 0.7]))
        self.b = torch.nn.Parameter(torch.linspace(-1, 1, 5).double())

    def prior(self, batch, cond=None):
        return Normal.standard(batch, 2, like=self.w)

    def decode(self, z, cond=None):
        mean = z @ self.w.T + self.b
        return Normal(mean, torch.full_like(mean, math.log(self.s)))

    def encode(self, x, cond=None):
        precision = 1 + self.w.square().sum(0) / self.s**2
        mean = (x - self.b) @ self.w / self.s**2 / precision
        return Normal(mean, (math.log(self.config.width) - precision.log() / 2).expand_as(mean))

    def exact(self, x):
        cov = self.w @ self.w.T + self.s**2 * torch.eye(5, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.b, cov).log_prob(x).detach()

    def draws(self, n):
        rng = zoo.Rng(5, n)
        z = self.prior(n).sample(rng, stream="z")
        return self.decode(z).sample(rng, stream="x").detach()


def test_bounds_rise_from_the_elbo_over_iwae_to_the_exact_value():
    model = Linear(Config(width=1.6))
    x = model.draws(1024)
    methods = (ELBO(samples=16), IWAE(k=2), IWAE(k=8), IWAE(k=64), IWAE(k=256))
    scored = [model.log_likelihood(x, method=m, batch_size=1024) for m in methods]
    means = [float(f.nats.mean()) for f in scored]
    exact = float(model.exact(x).mean())
    assert means == sorted(means) and means[-1] < exact
    assert exact - means[0] > 0.3 and exact - means[-1] < 0.02
    assert [str(f.kind) for f in scored[1:]] == [f"iwae(k={k})" for k in (2, 8, 64, 256)]


def test_gap_of_the_elbo_is_the_kl_from_the_exact_posterior():
    wide, exact = Linear(Config(width=1.6)), Linear(Config())
    x = wide.draws(32)
    scored = wide.log_likelihood(x, method=ELBO(samples=2048))
    gap = exact.exact(x) - scored.nats - kl(wide.encode(x), exact.encode(x)).detach()
    assert (gap.abs() < 5 * scored.std_err).all() and scored.std_err.max() < 0.08


def test_every_bound_is_tight_with_the_exact_posterior():
    model = Linear(Config())
    x = model.draws(32)
    rng = zoo.Rng(0, 32)
    log_w = log_weights(model, x, None, model.encode(x), rng, range(5))
    torch.testing.assert_close(log_w, model.exact(x).expand(5, -1))  # every single weight
    torch.testing.assert_close(iwae(log_w), model.exact(x))


def test_closed_form_kl_agrees_with_monte_carlo():
    generator, n = torch.Generator().manual_seed(0), 100_000
    q, p = (Normal(*torch.randn(2, 1, 3, generator=generator).double() / 2) for _ in range(2))
    many = Normal(q.mean.expand(n, 3), q.log_std)
    z = many.sample(zoo.Rng(1, n), stream="z")
    ratio = many.log_prob(z) - p.log_prob(z)
    assert abs(float(ratio.mean() - kl(q, p))) < 5 * float(ratio.std()) / n**0.5
    torch.testing.assert_close(kl_by_unit(q, p).sum(1), kl(q, p))
    both = Product((q, p)), Product((p, p))
    torch.testing.assert_close(divergence(*both, torch.zeros(1, 6)), kl(q, p))


@pytest.mark.parametrize("loss", [ELBOLoss(beta=2.0), IWAELoss(k=3)], ids=["elbo", "iwae"])
def test_reparameterized_gradients_agree_with_finite_differences(make, loss):
    model = make("categorical")
    batch, rng = images(model, 4), zoo.Rng(0, 4)
    parameters = list(model.parameters())
    ways = [torch.randn(p.shape, generator=torch.Generator().manual_seed(3)) for p in parameters]
    grads = torch.autograd.grad(loss(model, batch, rng, 0).total, parameters)
    slope = sum(float((g * w).sum()) for g, w in zip(grads, ways, strict=True))

    def moved(h):
        with torch.no_grad():
            for p, w in zip(parameters, ways, strict=True):
                p.add_(h * w)
            total = float(loss(model, batch, rng, 0).total)
            for p, w in zip(parameters, ways, strict=True):
                p.sub_(h * w)
        return total

    assert (moved(1e-6) - moved(-1e-6)) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_iwae_gradient_weighs_the_draws_by_their_normalized_weights(make):
    model = make()
    (x, cond), rng = images(model, 4), zoo.Rng(0, 4)
    parameters = list(model.parameters())
    log_w = log_weights(model, x, cond, model.encode(x, cond), rng, range(3))
    weighed = -(log_w.detach().softmax(0) * log_w).sum(0).mean()
    want = torch.autograd.grad(weighed, parameters, retain_graph=True)
    have = torch.autograd.grad(IWAELoss(k=3)(model, (x, cond), rng, 0).total, parameters)
    torch.testing.assert_close(have, want)


@pytest.mark.parametrize(
    ("likelihood", "levels"),
    [
        ("bernoulli", 2),
        ("categorical", 2),
        ("categorical", 17),
        ("logistic", 2),
        ("logistic", 256),
    ],
)
def test_decoders_are_normalized_over_all_levels_and_their_means_are_sums(likelihood, levels):
    head = LikelihoodHead(zoo.Event((1, 1, 1), levels=levels), likelihood)
    h = (
        3
        * torch.randn(50, head.features, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    )
    p = head(h)
    every = torch.arange(levels).view(-1, 1, 1, 1, 1)
    mass = torch.stack([p.log_prob(k.expand(50, 1, 1, 1)) for k in every]).exp()
    torch.testing.assert_close(mass.sum(0), torch.ones(50, dtype=torch.float64))
    mean = (mass * torch.arange(levels)[:, None]).sum(0)
    torch.testing.assert_close(p.mean.flatten(), mean)


def test_draws_of_a_discretized_logistic_fall_into_levels_as_often_as_it_says():
    head = LikelihoodHead(zoo.Event((1, 1, 1), levels=7), "logistic")
    n, h = 20_000, torch.tensor([0.4, 1.2]).view(1, 2, 1, 1)
    drawn = head(h.expand(n, -1, -1, -1)).sample(zoo.Rng(0, n), stream="x")
    every = torch.arange(7).view(-1, 1, 1, 1)
    p = head(h.expand(7, -1, -1, -1)).log_prob(every).exp()
    share = torch.bincount(drawn.flatten(), minlength=7) / n
    assert float((share - p).abs().sum()) / 2 < 0.015


@pytest.mark.parametrize("event", EVENTS)
def test_latents_are_scored_as_they_are_drawn(make, event):
    """A draw in one pass agrees with the distributions evaluated one after another."""
    model = make(event)
    x, cond = images(model, 3)
    rng, q = zoo.Rng(4, 3), model.encode(x, cond)
    drawn = draw(model, q, cond, rng)
    torch.testing.assert_close(q.sample(rng, stream="z"), drawn.z)
    apart = {"q": q, "prior": model.prior(3, cond), "p": model.decode(drawn.z, cond)}
    torch.testing.assert_close(log_weight(x, **drawn._asdict()), log_weight(x, drawn.z, **apart))
    together = log_weights(model, x, cond, q, rng, range(2))
    torch.testing.assert_close(together[0], log_weight(x, **drawn._asdict()))


def test_divergence_of_groups_is_that_of_their_densities_on_average(make):
    model, n = make(), 2000
    x = images(model, 1)[0].expand(n, -1, -1, -1)
    q, prior = model.encode(x), model.prior(n)
    d = draw(model, q, None, zoo.Rng(4, n))
    gap = divergence(d.q, d.prior, d.z) - (q.log_prob(d.z) - prior.log_prob(d.z))
    gap = gap.detach()
    assert abs(float(gap.mean())) <= 5 * float(gap.std()) / n**0.5 + 1e-9


def test_elbo_stays_below_iwae_and_ais_agrees_with_draws_of_the_prior(make):
    model, n = make("classes"), 4096
    x, cond = images(model, 3)
    bound = model.log_likelihood(x, cond=cond, method=ELBO(samples=64))
    tight = model.log_likelihood(x, cond=cond, method=IWAE(k=256))
    assert (bound.nats < tight.nats + 5 * (tight.std_err + bound.std_err)).all()
    ais = model.log_likelihood(x, cond=cond, method=AIS(steps=15, chains=8, leapfrog=3))
    for i in range(3):
        many = cond[i : i + 1].expand(n)
        z = model.prior(n, many).sample(zoo.Rng(7, n), stream="z")
        total = LogMeanExp()
        total.add(model.decode(z, many).log_prob(x[i].expand(n, -1, -1, -1)).detach()[:, None])
        nats, error = total.value()
        slack = 5 * float(error + ais.std_err[i]) + 0.05
        assert abs(float(ais.nats[i] - nats)) < slack
    assert {s.kind.relation for s in (bound, tight, ais)} == {"lower"}


def test_iwae_does_not_depend_on_how_draws_are_chunked(make):
    model = make("categorical")
    x, _ = images(model, 3)
    whole, parts = (model.log_likelihood(x, method=IWAE(k=20, chunk=c)) for c in (20, 3))
    torch.testing.assert_close(whole.nats, parts.nats)
    torch.testing.assert_close(whole.std_err, parts.std_err)


def test_beta_warmup_and_free_bits_change_the_total_but_not_the_bound(make):
    model = make()
    batch, rng = images(model, 8), zoo.Rng(0, 8)
    plain = ELBOLoss()(model, batch, rng, 0)
    nats, spent = plain.terms["nats"], plain.terms["kl"]
    torch.testing.assert_close(plain.total.detach(), nats)
    totals = {
        ELBOLoss(beta=4.0): nats + 3 * spent,
        ELBOLoss(beta=4.0, warmup=3): nats,
        ELBOLoss(beta=0.0): nats - spent,
    }
    for loss, total in totals.items():
        actual = loss(model, batch, rng, 0)
        torch.testing.assert_close(actual.total.detach(), total)
        torch.testing.assert_close(actual.terms["nats"], nats)
    free = ELBOLoss(free_bits=1e3)(model, batch, rng, 0)
    assert free.total > plain.total and torch.equal(free.terms["nats"], nats)
    d = draw(model, model.encode(*batch), batch[1], rng)
    torch.testing.assert_close(-elbo(batch[0], **d._asdict()).mean().detach(), nats)


def test_class_changes_latents_and_decoder(make):
    model = make("classes")
    x, _ = images(model, 2)
    zero, one = (torch.full((2,), c) for c in (0, 1))
    a, b = (model.encode(x, c) for c in (zero, one))
    assert (a.mean - b.mean).abs().max() > 1e-3
    z = torch.zeros_like(a.mean)
    assert (model.decode(z, zero).logits - model.decode(z, one).logits).abs().max() > 1e-3


def test_groups_keep_their_positions_in_flat_latents(make):
    model = make()
    x, cond = images(model, 3)
    q = model.encode(x, cond)
    if isinstance(q, HierarchicalLatents):
        z = q.sample(zoo.Rng(0, 3), stream="z")
        conditionals = q.given(z)
        assert [part.mean.shape[1:] for part in conditionals.factors] == list(q.shapes)
        torch.testing.assert_close(conditionals.log_prob(z), q.log_prob(z))
    assert q.mean.shape == model.prior(3, cond).mean.shape


def test_huge_standard_deviations_of_an_encoder_leave_bounds_finite_and_in_order():
    """vae.binarized_mnist returns them for inverted images: log std up to 945 (NaN, unclamped)."""
    model = zoo.create("vae", shape=(1, 4, 4), latent=2, hidden=(8,))
    with torch.no_grad():
        model.encoder.dense.layers[-1].bias.copy_(torch.tensor([3.0, -400.0, 945.0, -945.0]))
    x, _ = images(model, 6)
    bound = model.log_likelihood(x, method=ELBO(samples=64))
    tight = model.log_likelihood(x, method=IWAE(k=64))
    assert bound.nats.isfinite().all() and tight.nats.isfinite().all()
    assert (bound.nats < tight.nats + 5 * tight.std_err).all()
    assert float(tight.nats.max()) < 0


def test_the_clamp_is_far_from_learned_values():
    model = zoo.load("vae.digits")
    x = zoo.load_dataset("digits").split("test").x
    with torch.no_grad():
        log_std, raw = model.encode(x).log_std, model.encoder(x).chunk(2, 1)[1]
    assert torch.equal(log_std, raw)
    assert -4 < float(log_std.min()) and float(log_std.max()) < 1


def test_a_deep_hierarchy_starts_near_the_uniform_distribution():
    torch.manual_seed(0)
    config = HVAEConfig(
        shape=(3, 8, 8),
        levels=256,
        likelihood="logistic",
        channels=(16, 16),
        blocks=(20, 23),
        latent=(8, 8),
    )
    model = HVAE(config)
    x = torch.randint(256, (4, 3, 8, 8))
    loss = model.players()["model"].loss((x, None), zoo.plugin.Rng(0, 4), 0)
    assert float(loss.terms["nats"]) < 1.5 * model.event.dims * math.log(256)
    added = model.top_down_blocks[0].add.weight.std()
    assert float(added) == pytest.approx((1 / (3 * 8)) ** 0.5 / 43**0.5, rel=0.2)
