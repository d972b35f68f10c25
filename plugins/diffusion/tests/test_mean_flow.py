"""Mean flows: the identity of the average velocity, its loss and its samplers."""

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import NoLikelihoodError
from zoo_core.rng import Rng
from zoo_diffusion import FlowMapSteps, MeanFlowLoss, MultiStep, OneStep
from zoo_diffusion.mean_flow_loss import implied_velocity

STD = 0.7
MLP = {"type": "mlp", "hidden": 16, "layers": 1}
UNET = {
    "type": "unet",
    "channels": [8, 8],
    "down": ["plain", "attention"],
    "layers": 1,
    "groups": 4,
}
DIT = {"type": "dit", "hidden": 16, "layers": 1, "heads": 2}


def perturbed(std=0.3, **options):
    torch.manual_seed(0)
    model = zoo.create("mean_flow", **options)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=std)
    return model.eval()


def scale(t):
    """The standard deviation of x_t for data of N(0, STD^2), along which the flow carries x."""
    return ((1 - t) ** 2 * STD**2 + t**2).sqrt()[:, None]


def exact_average(x, t, s, cond=None):
    interval = (t - s)[:, None]
    moment = interval < 1e-9
    u = x * (1 - scale(s) / scale(t)) / torch.where(moment, 1.0, interval)
    return torch.where(moment, exact_velocity(x, t), u)


def exact_velocity(x, t):
    return x * ((t - (1 - t) * STD**2)[:, None] / scale(t) ** 2)


def exact():
    model = zoo.create("mean_flow", shape=(2,)).double()
    model.average_velocity = exact_average
    return model


def times(n=64):
    u = torch.rand(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    s, t = u.sort(1).values.unbind(1)
    return t, s


def test_the_exact_average_velocity_implies_the_exact_velocity():
    """The identity of mean flows: V has no error at all, between any two times."""
    (t, s), model = times(), exact()
    x = torch.randn(64, 2, dtype=torch.float64) * 2
    v = exact_velocity(x, t)
    torch.testing.assert_close(implied_velocity(model, x, t, s, v), v, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tangent", ["model", "event"])
def test_of_a_single_event_the_exact_average_velocity_has_zero_loss(tangent):
    """Every path then ends in it, so that eps - x_0 is the velocity itself."""
    model, event = zoo.create("mean_flow", shape=(2,)).double(), torch.tensor([0.5, -0.3])
    gain = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    model.average_velocity = lambda x, t, s, cond=None: gain * (x - event) / t[:, None]
    loss = MeanFlowLoss(tangent=tangent, power=0.0)
    batch = event.expand(256, 2), None
    value = loss(model, batch, Rng(0, 256), 0).total
    (slope,) = torch.autograd.grad(value, gain)
    assert float(value.detach()) < 1e-9 and float(slope.abs()) < 1e-4
    gain.data.fill_(1.1)
    assert float(loss(model, batch, Rng(0, 256), 0).total.detach()) > 1e-3


@pytest.mark.parametrize("tangent", ["model", "event"])
def test_the_exact_average_velocity_is_a_stationary_point_of_the_loss(tangent):
    model, n = exact(), 1 << 16
    gain = torch.nn.Parameter(torch.ones(1))
    model.average_velocity = lambda x, *more: gain * exact_average(x, *more).to(x.dtype)
    x = STD * torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = MeanFlowLoss(tangent=tangent, power=0.0, intervals=1.0, times="uniform")
    slopes = []
    for value in (1.0, 1.2):
        gain.data.fill_(value)
        total = loss(model, (x, None), Rng(0, n), 0).total
        slopes.append(float(torch.autograd.grad(total, gain)[0].abs()))
    assert slopes[0] < 0.03 < 3 * slopes[0] + 0.05 < slopes[1]


@torch.no_grad()
def test_the_exact_average_velocity_draws_the_gaussian_in_any_number_of_calls():
    model = exact()
    one = model.sample(4096, sampler=OneStep())
    assert torch.allclose(one.std(0), torch.full((2,), STD).double(), rtol=0.04)
    for sampler in (FlowMapSteps(steps=2), FlowMapSteps(steps=3, times=(0.9, 0.2))):
        torch.testing.assert_close(model.sample(4096, sampler=sampler), one)
    noisy = model.sample(4096, sampler=MultiStep(steps=2))
    assert torch.allclose(noisy.std(0), torch.full((2,), STD).double(), rtol=0.04)


@torch.no_grad()
@pytest.mark.parametrize("levels", [None, 5])
def test_all_samplers_of_a_single_call_agree(levels):
    model = perturbed(network=MLP, shape=(1, 4, 4), levels=levels)
    one = model.sample(6)
    for sampler in (MultiStep(steps=1), FlowMapSteps(steps=1)):
        torch.testing.assert_close(model.sample(6, sampler=sampler), one)
    assert not torch.equal(model.sample(6, sampler="flow_map"), one)


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch():
    model, cond = perturbed(network=MLP, shape=(1, 4, 4), classes=3), torch.arange(8) % 3
    for sampler in ("onestep", "flow_map", "multistep"):
        whole = model.sample(8, sampler=sampler, cond=cond)
        part = model.sample(3, first_row=5, sampler=sampler, cond=cond[5:])
        torch.testing.assert_close(part, whole[5:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", [MLP, UNET, DIT], ids=lambda n: n["type"])
def test_the_derivative_along_the_flow_is_that_of_finite_differences(network):
    model = perturbed(0.1, network=network, shape=(1, 4, 4), classes=3, time_scale=10.0).double()
    (t, s), cond = times(4), torch.tensor([0, 1, 2, 0])
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v, h = torch.ones_like(x) * 0.5, 1e-5
    with torch.no_grad():
        ends = [model.average_velocity(x + d * v, t + d, s, cond) for d in (-h, 0.0, h)]
    slope = (ends[2] - ends[0]) / (2 * h)
    want = ends[1] + (t - s).view(-1, 1, 1, 1) * slope
    V = implied_velocity(model, x, t, s, v, cond)
    torch.testing.assert_close(V, want, rtol=0, atol=1e-3)  # times are embedded in float32
    V.square().mean().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in grads) and any(bool(g.any()) for g in grads)


def test_without_intervals_the_loss_is_that_of_flow_matching():
    model = perturbed(network=MLP, shape=(2,))
    x = torch.randn(32, 2)
    loss = MeanFlowLoss(intervals=0.0, power=0.0, times="uniform")
    value, rng = loss(model, (x, None), Rng(0, 32), 3).total, Rng(0, 32)
    eps = rng.normal((2,), stream="eps", step=3)
    t, _ = loss._times(rng, 3)
    x_t = (1 - t[:, None]) * x + t[:, None] * eps
    v = model.average_velocity(x_t.float(), t, t)
    torch.testing.assert_close(value, (v - (eps - x)).square().sum(1).mean())


def test_a_mean_flow_is_implicit():
    model = perturbed(network=MLP, shape=(2,))
    assert model.spec.density == "implicit"
    with pytest.raises(NoLikelihoodError):
        model.log_likelihood(torch.zeros(1, 2))
