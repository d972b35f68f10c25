"""Consistency models: the boundary condition, the law on Gaussians, their samplers and loss."""

import math

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import ConfigError, NoLikelihoodError, UsageError
from zoo_core.rng import Rng
from zoo_core.training import TrainConfig, train
from zoo_diffusion import ConsistencyLoss, MultiStep, OneStep
from zoo_diffusion.consistency_loss import _same_dropout, level_counts, slope_of, teacher_step
from zoo_diffusion.flow_map import FlowMapModel
from zoo_diffusion.samplers.flow_maps import noise_again

STD = 0.7
MLP = {"type": "mlp", "hidden": 16, "layers": 1}


class Exact(torch.nn.Module):
    """The F of the consistency function of N(0, STD^2): f(x; s) keeps x / sqrt(STD^2 + s^2)."""

    def __init__(self, config):
        super().__init__()
        self.c, self.gain = config, torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, inputs, time, label=None):
        c, s = self.c, (4 * time.double() / self.c.time_scale).exp()[:, None]
        x = inputs.double() * (s**2 + c.sigma_data**2).sqrt()
        f = x * ((STD**2 + c.sigma_min**2) / (STD**2 + s**2)).sqrt()
        beyond = s - c.sigma_min
        c_skip = c.sigma_data**2 / (beyond**2 + c.sigma_data**2)
        c_out = beyond * c.sigma_data / (s**2 + c.sigma_data**2).sqrt()
        return self.gain * (f - c_skip * x) / c_out.clamp(min=1e-9)


def exact():
    model = zoo.create("consistency", shape=(2,), sigma_data=0.5)
    model.network = Exact(model.config)
    return model.double()


def perturbed(**options):
    torch.manual_seed(0)
    model = zoo.create("consistency", network=MLP, **options)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


def exact_edm():
    """The denoiser of N(0, STD^2): EDM's c_skip alone."""
    model = zoo.create("edm", shape=(2,), sigma_data=STD, network=MLP).double()
    torch.nn.init.zeros_(model.network.last.bias)
    return model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return str(exact_edm().save(tmp_path_factory.mktemp("teacher") / "edm"))


def data(n=256, seed=0):
    return STD * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_the_least_noise_an_event_is_mapped_to_itself_by_any_network(dtype):
    model = perturbed(shape=(1, 4, 4), classes=3).to(dtype)
    x = torch.randn(8, 1, 4, 4, dtype=dtype)
    cond, none = torch.arange(8) % 3, torch.zeros(8, dtype=torch.float64)
    least = torch.full((8, 1, 1, 1), model.config.sigma_min, dtype=dtype)
    assert torch.equal(model.consistency(x, least, cond), x)
    torch.testing.assert_close(model.to_data(x, none, cond), x, rtol=0, atol=1e-9)
    assert not torch.allclose(model.to_data(x, none + 0.5, cond), x, atol=0.1)


@torch.no_grad()
def test_the_exact_function_draws_the_gaussian_in_one_call_and_in_several():
    model = exact()
    for sampler in (OneStep(), MultiStep(steps=2), MultiStep(steps=3, times=(0.8, 0.3))):
        x = model.sample(4096, sampler=sampler)
        assert torch.allclose(x.mean(0), torch.zeros(2, dtype=x.dtype), atol=0.05)
        assert torch.allclose(x.std(0), torch.full((2,), STD, dtype=x.dtype), rtol=0.04)


def test_the_exact_function_is_a_fixed_point_of_the_loss_with_a_teacher(teacher):
    """Its loss and gradient are the solver's error alone, which falls with its order."""
    model, errors = exact(), []
    for N in (40, 80):
        loss = ConsistencyLoss(
            teacher=teacher,
            last_levels=N,
            double_every=0,
            noise="uniform",
            distance="squared",
            weighted=False,
        )
        value = loss(model, (data(), None), Rng(0, 256), 0).total
        (slope,) = torch.autograd.grad(value, model.network.parameters())
        errors.append((float(value.detach()), float(slope.abs())))
    assert errors[0][0] < 1e-5 and errors[0][1] < 1e-3
    assert math.log2(errors[0][0] / errors[1][0]) > 5  # the square of a third order error
    model.network.gain.data.fill_(1.1)
    off = loss(model, (data(), None), Rng(0, 256), 0).total.detach()
    assert float(off) > 3 * errors[1][0]


def test_without_a_teacher_the_expected_gradient_falls_with_the_distance_of_the_levels():
    """It is that of Euler's method along the data's own flow."""
    slopes = []
    for N in (10, 40):
        model = exact()
        loss = ConsistencyLoss(
            last_levels=N, double_every=0, noise="uniform", distance="squared", weighted=False
        )
        value = loss(model, (data(65536), None), Rng(0, 65536), 0).total
        (slope,) = torch.autograd.grad(value, model.network.parameters())
        slopes.append(float(slope.abs()))
    assert slopes[1] < slopes[0] / 4


@torch.no_grad()
@pytest.mark.parametrize("path", ["linear", "variance_preserving"])
def test_a_teacher_of_any_schedule_has_the_same_flow(path):
    edm = exact_edm()
    flow = zoo.create("flow_matching", shape=(2,), path=path, prediction="x0").double()

    def predict(x_t, t, cond=None):
        a, s = flow.schedule.alpha(t)[:, None], flow.schedule.sigma(t)[:, None]
        return a * STD**2 / ((a * STD) ** 2 + s**2) * x_t

    flow.predict = predict
    x, high, low = data(8).double() * 3, torch.full((8, 1), 2.0), torch.full((8, 1), 1.5)
    steps = [teacher_step(slope_of(m), x, high.double(), low.double(), None) for m in (edm, flow)]
    torch.testing.assert_close(*steps, rtol=0, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("levels", [None, 5])
def test_several_steps_with_a_single_time_are_one_step(levels):
    model = perturbed(shape=(1, 4, 4), levels=levels)
    assert torch.equal(model.sample(6, sampler="onestep"), model.sample(6, sampler=MultiStep(1)))
    assert not torch.equal(model.sample(6), model.sample(6, sampler="multistep"))


def test_steps_are_the_equation_with_new_noise():
    model, rng = perturbed(shape=(3,)), Rng(5, 4)
    times = torch.tensor([1.0, 0.6], dtype=torch.float64)
    sigma = model.schedule.sigma(times)
    with torch.no_grad():
        x_1 = model.schedule.sigma_max * rng.normal((3,), stream="x_1")
        x_0 = model.to_data(x_1, times[:1].expand(4))
        noise = math.sqrt(float(sigma[1]) ** 2 - model.config.sigma_min**2)
        x_s = x_0 + noise * rng.normal((3,), stream="step", step=0)
        want = model.to_data(x_s, times[1:].expand(4))
        have = MultiStep(steps=2, times=(0.6,))(model, rng, None)
    torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)
    assert len(noise_again(model, times)) == 2


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch():
    model = perturbed(shape=(1, 4, 4), classes=3)
    cond = torch.arange(8) % 3
    for sampler in ("onestep", "multistep"):
        whole = model.sample(8, sampler=sampler, cond=cond)
        part = model.sample(3, first_row=5, sampler=sampler, cond=cond[5:])
        torch.testing.assert_close(part, whole[5:], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_generator_gives_what_one_step_draws():
    model, rng = perturbed(shape=(1, 4, 4), levels=5), Rng(0, 8)
    assert isinstance(model, FlowMapModel)
    z = rng.normal((1, 4, 4), stream="x_1")
    events = model.generate(z).round().clamp(0, 4).long()
    assert torch.equal(events, OneStep()(model, rng, None))


def test_the_number_of_levels_doubles_up_to_the_last():
    counts = [level_counts(10, 1280, 100, step) for step in (0, 99, 100, 250, 699, 700, 10**9)]
    assert counts == [10, 10, 20, 40, 640, 1280, 1280]
    assert level_counts(10, 18, 0, 0) == 18


@pytest.mark.parametrize("noise", ["log_normal", "uniform"])
def test_neighbouring_levels_are_drawn_as_stated(noise):
    model, N = perturbed(shape=(2,)), 50
    loss = ConsistencyLoss(last_levels=N, double_every=0, noise=noise)
    low, high = loss._levels(model, Rng(0, 4000), 0)
    t_low, t_high = (model.schedule.time_at(-2 * s.log()) for s in (low, high))
    torch.testing.assert_close(t_high - t_low, torch.full((4000,), 1 / N).double())
    if noise == "uniform":
        assert abs(float(t_high.mean()) - 0.5 - 0.5 / N) < 0.01
    else:
        assert abs(float(high.log().median()) + 1.1) < 0.25


def test_the_average_of_the_weights_is_the_target_where_it_is_kept():
    model, batch = perturbed(shape=(2,)).train(), (data(64), None)
    loss = ConsistencyLoss(target="average", last_levels=20, double_every=0)
    with pytest.raises(UsageError, match="none is kept"):
        loss(model, batch, Rng(0, 64), 0)
    own = {k: p.detach().clone() for k, p in model.named_parameters()}
    student = ConsistencyLoss(last_levels=20, double_every=0)(model, batch, Rng(0, 64), 0)
    model.averages = own
    assert torch.equal(loss(model, batch, Rng(0, 64), 0).total, student.total)
    model.averages = {k: 1.5 * v for k, v in own.items()}
    assert not torch.equal(loss(model, batch, Rng(0, 64), 0).total, student.total)


def test_a_training_keeps_the_average_and_resumes_with_the_same_bits(tmp_path):
    weights = []
    for folder, stops in (("whole", (12,)), ("parts", (6, 12))):
        model = perturbed(shape=(2,))
        for steps in stops:
            config = TrainConfig(steps=steps, batch_size=16, ema=0.9, checkpoint_every=6)
            loss = ConsistencyLoss(target="average", first_levels=4, double_every=4)
            out, again = tmp_path / folder, steps != stops[0]
            train(model, "moons", config, loss=loss, out=out, resume=again)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert model.averages is None
    assert torch.equal(*weights)


def test_a_training_starts_from_its_teacher(teacher):
    model = zoo.create("consistency", shape=(2,), network=MLP).double()
    for p in model.parameters():
        torch.nn.init.normal_(p)
    ConsistencyLoss(teacher=teacher, from_teacher=True).initialize(model)
    for own, theirs in zip(model.parameters(), zoo.load(teacher).parameters(), strict=True):
        assert torch.equal(own, theirs)
    wider = zoo.create("consistency", shape=(2,), network=MLP | {"hidden": 8})
    with pytest.raises(ConfigError, match="is not that of this model"):
        ConsistencyLoss(teacher=teacher, from_teacher=True).initialize(wider)


def test_both_sides_drop_the_same_units():
    network = {"type": "unet", "channels": [8], "down": ["plain"], "layers": 1, "groups": 4}
    torch.manual_seed(0)
    model = zoo.create("consistency", shape=(1, 4, 4), network=network | {"dropout": 0.5}).train()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x = torch.randn(4, 1, 4, 4)
    sigma = torch.ones(4, 1, 1, 1)
    with torch.no_grad():
        with _same_dropout(x.device):
            first = model.consistency(x, sigma)
        second, third = model.consistency(x, sigma), model.consistency(x, sigma)
    assert torch.equal(first, second) and not torch.equal(second, third)


def test_a_consistency_model_is_implicit():
    model = perturbed(shape=(2,))
    assert model.spec.density == "implicit"
    with pytest.raises(NoLikelihoodError):
        model.log_likelihood(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3, "times": (0.5,)}, "are those of 2 calls"),
        ({"steps": 3, "times": (0.2, 0.5)}, "they must fall"),
    ],
)
def test_times_that_are_no_path_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MultiStep(**options)


def test_losses_that_cannot_be_are_refused(teacher, tmp_path):
    with pytest.raises(ConfigError, match="their number grows"):
        ConsistencyLoss(first_levels=20, last_levels=10)
    with pytest.raises(ConfigError, match="there is none"):
        ConsistencyLoss(guidance_scale=2.0)
    batch = (data(8), None)
    made = str(zoo.create("maf", shape=(2,)).save(tmp_path / "vae"))
    for options, text in (
        ({"teacher": made}, "is no denoiser"),
        ({"teacher": teacher, "guidance_scale": 2.0}, "needs classes"),
    ):
        with pytest.raises(UsageError, match=text):
            ConsistencyLoss(**options)(perturbed(shape=(2,)), batch, Rng(0, 8), 0)
    with pytest.raises(UsageError, match="the model of"):
        ConsistencyLoss(teacher=teacher)(
            perturbed(shape=(3,)), (torch.zeros(8, 3), None), Rng(0, 8), 0
        )
