"""Likelihoods of integers under flows: the bound, the preprocessing, and the units of bits/dim."""

import math

import pytest
import torch
from torch.distributions import Normal

import zoo_core as zoo
from zoo_core import NoLikelihoodError, Rng, latent
from zoo_core.errors import NoCapabilityError
from zoo_flows.likelihood import DeqBound
from zoo_flows.preprocessing import Logit, Preprocess, preprocessing

ONE = {"realnvp": {"layers": 1}, "maf": {"layers": 2}, "nsf_coupling": {"steps": 1}}
PREPROCESS = {"linear": {}, "logit": {"logit": 0.05}}


def model_of(arch="realnvp", std=0.3, **options):
    torch.manual_seed(0)
    model = zoo.create(arch, hidden=8, **options).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(std * torch.randn_like(p))
    return model


def bins(model):
    """Exact P(x) of a flow on one integer: z is monotone, so Phi(z(x + 1)) - Phi(z(x))."""
    edges = torch.arange(model.event.levels + 1, dtype=torch.float64)[:, None]
    edges = edges.clamp(1e-9, model.event.levels - 1e-9)
    with torch.no_grad():
        cdf = Normal(0.0, 1.0).cdf(model.forward_and_ladj(edges)[0][:, 0])
    return cdf.diff().abs()


@pytest.mark.parametrize("preprocess", PREPROCESS)
@pytest.mark.parametrize("arch", ONE)
def test_densities_of_a_level_integrate_to_its_probability(arch, preprocess):
    model = model_of(arch, shape=(1,), levels=256, preprocess=PREPROCESS[preprocess], **ONE[arch])
    model = model.double()
    u = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    x = (torch.arange(256)[:, None] + u).reshape(-1, 1)
    with torch.no_grad():
        p = model.log_prob(x).exp().view(256, 200).mean(1)
    assert torch.allclose(p, bins(model), atol=1e-6)


@pytest.mark.parametrize("a", [0.0, 1e-6, 0.05, 0.3])
def test_a_density_through_the_logit_integrates_to_one(a):
    """The term log (1 - 2a) is there: all of the mass lies between the ends that w in (0, 1) has.

    Some of it may lie outside [0, 1]: the bound counts it as lost.
    """
    model = model_of(shape=(1,), levels=256, layers=1, preprocess={"logit": a}).double()
    if a == 0.0:
        x = torch.linspace(-1000, 1256, 100_001, dtype=torch.float64)[:, None]
    else:
        end = a / (1 - 2 * a)
        y = torch.linspace(-30, 30, 100_001, dtype=torch.float64)
        x = 256 * (y.sigmoid() * (1 + 2 * end) - end)[:, None]
        x = x[(x[:, 0] > -256 * end) & (x[:, 0] < 256 * (1 + end))]
    with torch.no_grad():
        p = model.log_prob(x).nan_to_num(-math.inf).exp()
    assert abs(float(torch.trapezoid(p, x[:, 0])) - 1) < 1e-3


def test_the_logit_at_zero_and_one_is_finite_and_its_jacobian_is_autograds():
    v = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None].requires_grad_()
    y, ladj = Logit(0.05)(v)
    slope = torch.autograd.grad(y.sum(), v)[0][:, 0]
    assert y.isfinite().all() and torch.allclose(slope.log(), ladj)
    w = 0.05 + 0.9 * v
    assert torch.allclose(ladj[:, None], math.log(0.9) - w.log() - (1 - w).log())


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_bins_tile_the_unit_interval(levels):
    """(x + u) / K, not x / (K - 1) with noise of another width: no gap and no overlap."""
    model = model_of(shape=(3,), levels=levels, layers=1)
    x = torch.arange(levels)[:, None].expand(-1, 3)
    for step in range(8):
        u, log_q = model.dequantizer(x, Rng(0, levels), step)
        v, _ = preprocessing(model.event, Preprocess()).layers[0](x + u)
        assert torch.equal((v * levels).floor().long(), x) and not log_q.any()
    ends = torch.tensor([[0.0] * 3, [float(levels)] * 3])
    assert preprocessing(model.event, Preprocess()).layers[0](ends)[0].tolist() == [
        [0] * 3,
        [1] * 3,
    ]


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_bits_per_dim_are_those_of_the_unit_interval_plus_log2_of_the_levels(levels):
    model = model_of(shape=(2, 4, 4), levels=levels, layers=1, blocks=1, preprocess={"logit": 0.1})
    x = torch.randint(levels, (3, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    bound = model.log_likelihood(x, method=DeqBound(draws=1)).bits_per_dim()
    u = Rng(0, 3).uniform((2, 4, 4), stream="u")
    v = (x + u) / levels
    with torch.no_grad():
        y, ladj = Logit(0.1)(v)
        z, more = model.transform(y)
        log_p = Normal(0.0, 1.0).log_prob(z).sum(1) + ladj + more  # the density of v
    want = -log_p / (32 * math.log(2)) + math.log2(levels)
    assert torch.allclose(bound.float(), want, atol=1e-4)


def test_the_bound_lies_below_log_p_and_reaches_it_with_k():
    model = model_of(shape=(1,), levels=5, layers=2)
    x, log_p = torch.arange(5)[:, None], bins(model.double()).log()
    model.float()
    gaps = []
    for k in (1, 8, 64):
        bound = model.log_likelihood(x, method="deq_bound", draws=128 // k, k=k)
        slack = 4 * bound.std_err + 1e-4
        assert torch.all(bound.nats <= log_p + slack)
        gaps.append(float((log_p - bound.nats).sum()))
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.05


@pytest.mark.parametrize(
    "event", [{"shape": (1,)}, {"shape": (3,)}, {"shape": (1, 2, 2), "scales": 1}]
)
def test_a_variational_dequantizer_is_a_density_on_the_unit_cube(event):
    options = {"dequantize": "variational", "hidden": 8}
    model = model_of(std=0.1, levels=4, layers=1, blocks=1, preprocess=options, **event).double()
    x = torch.randint(4, (1, *model.event.shape), generator=torch.Generator().manual_seed(0))
    n = 4096
    with torch.no_grad():
        u, log_q = model.dequantizer(x.expand(n, *model.event.shape), Rng(0, n), 0)
    assert bool(((u > 0) & (u < 1)).all())
    volume = (-log_q).exp()  # E_q 1/q = 1
    assert abs(float(volume.mean()) - 1) < 5 * float(volume.std()) / n**0.5


def test_a_variational_dequantizer_returns_its_log_determinant():
    options = {"dequantize": "variational", "hidden": 8}
    model = model_of(shape=(3,), levels=4, layers=1, preprocess=options).double()
    x = torch.tensor([[0, 3, 1]])

    class Given:
        def __init__(self, eps):
            self.eps = eps

        def normal(self, shape, *, stream, step):
            return self.eps

    eps = torch.randn(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobian = torch.func.jacrev(lambda e: model.dequantizer(x, Given(e[None]), 0)[0][0])(eps[0])
    _, log_q = model.dequantizer(x, Given(eps), 0)
    log_p = Normal(0.0, 1.0).log_prob(eps).sum()
    assert abs(float((log_p - torch.linalg.slogdet(jacobian).logabsdet - log_q).detach())) < 1e-9


def test_a_variational_dequantizer_learns_more_than_the_uniform_one_knows():
    """The bound tightens towards log P where the flow's density varies within a level."""
    options = {"dequantize": "variational", "hidden": 16}
    model = model_of(std=0.0, shape=(1,), levels=4, layers=1, preprocess=options)
    uniform = model_of(std=0.0, shape=(1,), levels=4, layers=1)
    for flow in (model, uniform):
        flow.transform.layers[0].log_scale.data.fill_(1.5)  # a Gaussian narrower than a level
    x = torch.arange(4)[:, None]
    log_p = bins(model.double()).log().sum()
    model.float()
    optimizer = torch.optim.Adam(model.dequantizer.parameters(), 2e-2)
    batch, rows = x.repeat(16, 1), 64
    for step in range(60):
        optimizer.zero_grad()
        loss = model.players()["model"].loss((batch, None), Rng(0, rows), step)
        loss.total.backward()
        optimizer.step()
    have = model.log_likelihood(x, draws=64)
    base = uniform.log_likelihood(x, draws=64)
    error = float((have.std_err.square() + base.std_err.square()).sum().sqrt())
    assert float(base.nats.sum()) + 2 * error < float(have.nats.sum()) <= float(log_p) + 3 * error


@pytest.mark.parametrize("dequantize", ["uniform", "variational"])
@pytest.mark.parametrize("arch", ["realnvp", "glow", "maf", "nsf_coupling"])
def test_a_flow_of_integers_is_trained_scored_and_sampled(arch, dequantize):
    small = {"glow": {"steps": 1}, "nsf_coupling": {"steps": 1}}.get(arch, {"layers": 1})
    options = {"dequantize": dequantize, "logit": 0.05, "hidden": 4}
    model = model_of(arch, 0.05, shape=(1, 4, 4), levels=17, preprocess=options, **small)
    x = torch.randint(17, (6, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    model.train().players()["model"].loss((x, None), Rng(0, 6), 0).total.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    whole, batched = model.log_likelihood(x), model.log_likelihood(x, batch_size=4)
    assert whole.kind.name == "deq_bound" and whole.kind.relation == "lower"
    assert torch.allclose(whole.nats, batched.nats, atol=1e-4) and bool((whole.std_err > 0).all())
    drawn = model.sample(5, seed=1)
    assert drawn.dtype == torch.int64 and int(drawn.min()) >= 0 and int(drawn.max()) <= 16
    assert torch.equal(drawn[:2], model.sample(2, seed=1))


def test_the_default_likelihood_is_that_of_the_events():
    assert model_of(shape=(2,)).log_likelihood(torch.zeros(1, 2)).kind.name == "exact_density"
    integers = model_of(shape=(2,), levels=3)
    assert str(integers.log_likelihood(torch.zeros(1, 2).long()).kind) == "deq_bound(draws=4)"


def test_numbers_of_the_wrong_kind_are_refused():
    continuous, integers = model_of(shape=(2,)), model_of(shape=(2,), levels=3)
    with pytest.raises(NoCapabilityError, match="deq_bound is for integers"):
        continuous.log_likelihood(torch.zeros(1, 2), method="deq_bound")
    with pytest.raises(NoCapabilityError, match="deq_bound"):
        integers.log_likelihood(torch.zeros(1, 2).long(), method="exact")
    with pytest.raises(NoCapabilityError):
        integers.log_likelihood(torch.zeros(1, 2).long(), method="exact_density")
    assert not issubclass(NoCapabilityError, NoLikelihoodError)


def test_one_draw_has_no_error_to_state_and_several_have():
    model, x = model_of(shape=(2,), levels=3), torch.zeros(1, 2).long()
    assert math.isinf(model.log_likelihood(x, draws=1).std_err)
    assert 0 < model.log_likelihood(x, draws=1, k=16).std_err < 1
    assert 0 < model.log_likelihood(x, draws=2).std_err < 1


def test_continuous_events_with_the_logit_lie_in_the_unit_interval():
    model = model_of(shape=(2,), preprocess={"logit": 0.1})
    assert (model.event.low, model.event.high) == (0.0, 1.0)
    x = model.sample(64)
    assert bool(((x >= 0) & (x <= 1)).all())
    with pytest.raises(zoo.DataError):
        model.log_likelihood(torch.full((1, 2), 1.5))


@pytest.mark.parametrize("arch", ["realnvp", "glow", "maf", "nsf_coupling"])
def test_latents_of_integers_decode_to_them_and_interpolations_to_events(arch):
    model = model_of(arch, 0.05, shape=(1, 4, 4), levels=17, preprocess={"logit": 0.05})
    x = torch.randint(17, (4, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    z = latent.encode(model, x)
    assert z.shape == (4, 16) and torch.equal(model.to_event(latent.decode(model, z)), x)
    path = latent.interpolate(z[:2], z[2:], steps=5)
    events = model.to_event(latent.decode(model, path.flatten(0, 1))).view(2, 5, 1, 4, 4)
    assert torch.equal(events[:, 0], x[:2]) and torch.equal(events[:, -1], x[2:])
