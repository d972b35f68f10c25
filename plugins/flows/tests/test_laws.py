"""The laws of flows: inverses, Jacobians, normalization, and an exact fit of a Gaussian."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import zoo_core as zoo
from zoo_core import Rng
from zoo_flows.bijections import LinearStep
from zoo_flows.jacobi import Jacobi, solve
from zoo_kernels import coupling

SMALL = {"hidden": 12}
MODELS = {
    "realnvp_vector": ("realnvp", {"shape": (5,), "layers": 2, "blocks": 1, **SMALL}),
    "realnvp_image": ("realnvp", {"shape": (2, 4, 8), "layers": 2, "blocks": 1, **SMALL}),
    "realnvp_three_scales": (
        "realnvp",
        {"shape": (1, 8, 8), "scales": 3, "layers": 1, "blocks": 1, **SMALL},
    ),
    "glow": ("glow", {"shape": (1, 8, 4), "steps": 2, **SMALL}),
    "glow_rgb": ("glow", {"shape": (3, 4, 4), "scales": 1, "steps": 2, **SMALL}),
    "maf_vector": ("maf", {"shape": (6,), "layers": 3, "blocks": 2, **SMALL}),
    "maf_image": ("maf", {"shape": (1, 3, 4), "layers": 2, "hidden": 40}),
    "nsf_vector": ("nsf_coupling", {"shape": (5,), "steps": 2, "bins": 5, **SMALL}),
    "nsf_image": ("nsf_coupling", {"shape": (2, 4, 4), "steps": 1, "blocks": 1, **SMALL}),
}
LINE_AND_PLANE = {
    "realnvp": {"layers": 2, "blocks": 1},
    "maf": {"layers": 3},
    "nsf_coupling": {"steps": 2},
}
CONDITIONS = {"alone": {}, "classes": {"classes": 3}, "vector": {"vector": 2}}
FLOAT32 = 2e-5
"""Bound on the round-trip error of x in float32, relative to max(1, |x|)."""


def scrambled(arch, std=0.05, **options):
    """A model far from its initial parameters, with which many layers are the identity."""
    torch.manual_seed(0)
    model = zoo.create(arch, **options).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(std * torch.randn_like(p))
    return model


def continuous_events(model, n):
    shape = (n, *model.event.shape)
    generator = torch.Generator().manual_seed(1)
    if model.event.high is not None:
        return torch.rand(shape, generator=generator).to(model.dtype)
    return 2 * torch.randn(shape, generator=generator).to(model.dtype)


def conditions(model, n):
    if model.condition.classes is not None:
        return torch.arange(n) % model.condition.classes
    if model.condition.kind == "none":
        return None
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, *model.condition.shape, generator=generator).to(model.dtype)


def round_trip(model, n):
    """The relative errors of x -> z -> x, and of the sum of both log-determinants."""
    x, cond = continuous_events(model, n), conditions(model, n)
    with torch.no_grad():
        z, ladj = model.forward_and_ladj(x, cond)
        back, other = model.inverse_and_ladj(z, cond)
    gap = ((back - x).abs() / x.abs().clamp(min=1)).max()
    return float(gap), float(((ladj + other).abs() / ladj.abs().clamp(min=1)).max())


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", MODELS)
def test_inverse_undoes_forward_in_float64(name, condition):
    arch, options = MODELS[name]
    model = scrambled(arch, **options, **CONDITIONS[condition]).double()
    gap, ladj = round_trip(model, 16)
    assert gap < 1e-9 and ladj < 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_inverse_undoes_forward_in_float32(name):
    arch, options = MODELS[name]
    gap, ladj = round_trip(scrambled(arch, **options), 64)
    assert gap < FLOAT32 and ladj < FLOAT32


@pytest.mark.parametrize("preprocess", [{}, {"logit": 0.05}], ids=["plain", "logit"])
@pytest.mark.parametrize("name", MODELS)
def test_log_determinant_is_that_of_the_autograd_jacobian(name, preprocess):
    arch, options = MODELS[name]
    model = scrambled(arch, **options, preprocess=preprocess, classes=3).double()
    x, cond = continuous_events(model, 2), conditions(model, 2)
    for row in range(2):
        one = cond[row : row + 1]

        def forward(flat, one=one):
            return model.forward_and_ladj(flat.view(1, *model.event.shape), one)[0].flatten()

        jacobian = torch.func.jacrev(forward)(x[row].flatten()).detach()
        ladj = model.forward_and_ladj(x[row : row + 1], one)[1].detach()
        assert abs(float(torch.linalg.slogdet(jacobian).logabsdet - ladj)) < 1e-8


@pytest.mark.parametrize("arch", LINE_AND_PLANE)
@pytest.mark.parametrize("dims", [1, 2])
def test_density_integrates_to_one(arch, dims):
    model = scrambled(arch, 0.1, shape=(dims,), hidden=8, **LINE_AND_PLANE[arch]).double()
    n = {1: 10_001, 2: 401}[dims]
    axis = torch.linspace(-8, 8, n, dtype=torch.float64)
    x = torch.cartesian_prod(*[axis] * dims).view(-1, dims)
    with torch.no_grad():
        total = sum(model.log_prob(part).exp().sum() for part in x.split(100_000))
    assert abs(float(total) * (16 / (n - 1)) ** dims - 1) < 2e-3


@pytest.mark.parametrize("name", MODELS)
def test_samples_score_what_their_noise_says(name):
    arch, options = MODELS[name]
    model = scrambled(arch, **options, classes=3).double()
    rng, cond = Rng(3, 8), conditions(model, 8)
    with torch.no_grad():
        x = model.sample_rows(rng, cond)
        z = rng.normal((model.event.dims,), stream="z").double()
        _, ladj = model.inverse_and_ladj(z, cond)
        want = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1) - ladj
        assert torch.allclose(model.log_prob(x, cond), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", LINE_AND_PLANE)
def test_a_gaussian_is_fit_exactly(arch):
    generator = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.5, 0.0], [1.0, 0.4]], dtype=torch.float64)
    x = torch.randn(500, 2, generator=generator, dtype=torch.float64) @ root.T + 3
    best = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov(correction=0))
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(2,), hidden=8, **LINE_AND_PLANE[arch]).double().train()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=80, line_search_fn="strong_wolfe", tolerance_change=1e-8
    )

    def nll():
        optimizer.zero_grad()
        loss = -model.log_prob(x).mean()
        loss.backward()
        return loss

    optimizer.step(nll)
    gap = float(-model.log_prob(x).mean().detach() + best.log_prob(x).mean())
    assert gap < 5e-3  # at most as good as the best Gaussian up to here, or better by overfitting


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name, condition):
    arch, options = MODELS[name]
    model = scrambled(arch, **options, **CONDITIONS[condition]).train()
    x, cond = continuous_events(model, 6), conditions(model, 6)
    (-model.log_prob(x, cond).mean()).backward()
    for parameter, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), parameter
        assert p.grad.any() or p.numel() == 0, parameter


@pytest.mark.parametrize("name", MODELS)
def test_extreme_parameters_give_finite_numbers_or_a_clear_error(name):
    arch, options = MODELS[name]
    model = scrambled(arch, std=20.0, **options)
    x = 5 * continuous_events(model, 8)
    for act in (lambda: model.log_likelihood(x).nats, lambda: model.sample(8)):
        try:
            result = act()
        except zoo.NotFiniteError as error:
            assert "not finite" in str(error) and error.hint
        else:
            assert result.isfinite().all()


@pytest.mark.parametrize("bins", [2, 8, 64])
def test_a_spline_coupling_stays_finite_where_its_parameters_are_twenty_times_too_large(bins):
    model = scrambled("nsf_coupling", shape=(4,), steps=1, bins=bins, hidden=8)
    with torch.no_grad():
        for layer in model.transform.layers[1::2]:
            layer.net.last.weight.mul_(20)
            layer.net.last.bias.copy_(20 * torch.randn_like(layer.net.last.bias))
        x = 3 * torch.randn(512, 4, generator=torch.Generator().manual_seed(0))
        z, ladj = model.forward_and_ladj(x)
        back, other = model.inverse_and_ladj(z)
    assert all(t.isfinite().all() for t in (z, ladj, back, other))


def test_a_class_or_a_vector_changes_the_density():
    for arch, options in MODELS.values():
        model = scrambled(arch, **options, classes=2)
        x = continuous_events(model, 4)
        zero, one = (model.log_prob(x, torch.full((4,), c)) for c in (0, 1))
        assert torch.all((zero - one).abs() > 1e-4)


def test_maf_density_sees_no_later_value_and_every_earlier_one():
    model = scrambled("maf", shape=(5,), layers=1, hidden=40, blocks=2).double()
    x = continuous_events(model, 1)[0]
    jacobian = torch.func.jacrev(lambda v: model.forward_and_ladj(v[None])[0][0])(x)
    assert torch.all(jacobian.triu(1) == 0) and int((jacobian != 0).sum()) == 15


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
def test_jacobi_draws_what_the_steps_of_a_maf_draw_up_to_its_tolerance(tolerance):
    model = scrambled("maf", shape=(64,), layers=3, hidden=128, vector=2)
    cond = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    steps = model.sample(20, cond=cond)
    parallel = model.sample(20, cond=cond, sampler=Jacobi(tolerance))
    error = (parallel - steps).abs() / steps.abs().clamp(min=1)
    assert float(error.max()) < 30 * tolerance  # later layers magnify the errors of earlier ones


def test_jacobi_takes_far_fewer_passes_than_features_and_rows_leave():
    layer = scrambled("maf", shape=(64,), layers=1, hidden=128).transform.layers[-1]
    y = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    rows = []

    def step(x, at):
        rows.append(len(at))
        return coupling.forward(y[at], layer._affine(x, None), scale="tanh", constant=3.0)[0]

    with torch.no_grad():
        x, passes = solve(step, y, 1e-5)
        exact = layer.inverse(y)[0]
    assert torch.allclose(x, exact, atol=1e-4, rtol=1e-4)
    assert passes == len(rows) < 32 and rows == sorted(rows, reverse=True) and rows[-1] < 32


def test_maf_costs_as_many_steps_as_dimensions_and_computes_no_unit_twice():
    model = scrambled("maf", shape=(7,), layers=1, hidden=30)
    rows = []
    layer = model.transform.layers[-1]
    plain = layer.first.part
    layer.first.part = lambda x, new: rows.append((x.shape[1], new)) or plain(x, new)
    model.sample(1)
    assert [seen for seen, _ in rows] == list(range(7))
    assert [new.start for _, new in rows] == [0, *[new.stop for _, new in rows[:-1]]]
    assert rows[-1][1].stop == 30


@pytest.mark.parametrize("arch", ["realnvp", "glow", "nsf_coupling"])
def test_sides_that_cannot_be_halved_are_refused_not_padded(arch):
    with pytest.raises(zoo.ConfigError, match="never pads"):
        zoo.create(arch, shape=(1, 6, 9))


def test_shapes_and_conditions_that_make_no_sense_are_refused():
    with pytest.raises(zoo.ConfigError, match=r"\(D,\) or \(C, H, W\)"):
        zoo.create("maf", shape=(3, 3))
    with pytest.raises(zoo.ConfigError, match="set one of them"):
        zoo.create("maf", classes=2, vector=3)


@pytest.mark.parametrize("name", MODELS)
def test_networks_in_half_precision_leave_the_maps_in_single(name):
    arch, options = MODELS[name]
    model = scrambled(arch, **options).train()
    x = continuous_events(model, 32)
    model.data_dependent_init((x, None), Rng(0, 32))
    with torch.autocast("cpu", torch.bfloat16):
        half, ladj = model.forward_and_ladj(x)
        (-model.log_prob(x).mean()).backward()
    z, want = model.forward_and_ladj(x)
    assert half.dtype == ladj.dtype == torch.float32
    assert torch.allclose(half, z, atol=0.2) and torch.allclose(ladj, want, atol=0.02 * z.shape[1])


class Largest(TorchDispatchMode):
    """The maximum number of elements of any tensor made inside the block, views included."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = [t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        self.elements = max([self.elements, *made])
        return result


def test_no_row_of_a_wide_vector_gets_a_matrix_of_its_own():
    model = scrambled("nsf_coupling", shape=(64,), steps=1, **SMALL)
    x = continuous_events(model, 32)
    with Largest() as largest:
        (-model.log_prob(x).mean()).backward()
        with torch.no_grad():
            z, _ = model.forward_and_ladj(x)
            model.inverse_and_ladj(z)
    assert largest.elements < 32 * 64 * 64


def test_a_train_step_of_few_wide_rows_multiplies_no_matrices_by_each_other():
    step, x = LinearStep(96), torch.randn(4, 96, requires_grad=True)
    with FlopCounterMode(display=False) as counted:
        y, ladj = step(x)
        (y.square().sum() - ladj.sum()).backward()
    rows_by_triangles = 2 * 4 * 96 * 96 * 2
    assert counted.get_total_flops() == 3 * rows_by_triangles  # forward, and two gradients


@pytest.mark.parametrize("shape", [(2,), (3,), (64,), (6, 2, 2), (24, 2, 2)])
def test_the_triangles_are_the_matrix_that_is_kept(shape):
    torch.manual_seed(0)
    step, x = LinearStep(shape[0]).double(), torch.randn(7, *shape).double()
    with torch.no_grad():
        for p in step.parameters():
            p.add_(0.1 * torch.randn_like(p))
        kept, back = step(x), step.inverse(step(x)[0])
    W = (
        step.matrix.p
        @ (step.matrix.lower.tril(-1) + torch.eye(shape[0]))
        @ (step.matrix.upper.triu(1) + torch.diag(step.matrix.sign * step.matrix.log_s.exp()))
    )
    y = torch.einsum("ij,bj...->bi...", W, step.norm(x)[0])
    for result in (kept, step(x)):
        torch.testing.assert_close(result[0], y, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(result[1], kept[1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back[0], x, rtol=1e-9, atol=1e-9)


def test_wide_rows_agree_in_batches_of_every_size():
    model = scrambled("nsf_coupling", shape=(100,), steps=2, **SMALL)
    x = continuous_events(model, 64)
    with torch.no_grad():
        whole = [model.log_prob(x), *model.forward_and_ladj(x)]
        for size in (1, 2, 7):
            batches = [(model.log_prob(p), *model.forward_and_ladj(p)) for p in x.split(size)]
            for batched, expected in zip(
                map(torch.cat, zip(*batches, strict=True)), whole, strict=True
            ):
                torch.testing.assert_close(batched, expected, rtol=1e-5, atol=1e-4)
