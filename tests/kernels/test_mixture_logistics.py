"""Discretized mixture of logistics: normalised, exact at the edges, PixelCNN++'s, bad input."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

import zoo_kernels
from zoo_kernels import _dispatch, _extension, mixture_logistics

BACKENDS = ["reference"]
BACKENDS += ["triton"] if _dispatch.interpreted() else []
BACKENDS += ["cpp"] if _extension.load()[0] and not _dispatch.interpreted() else []


@pytest.fixture(params=BACKENDS)
def backend(request):
    with zoo_kernels.backend(request.param):
        yield request.param


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("levels", [2, 5] if _dispatch.interpreted() else [2, 5, 256, 1000])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_probabilities_of_all_levels_add_up_to_one(backend, levels, scale):
    params = (scale * randn(1, 9)).expand(levels, 9)
    x = torch.arange(levels)[:, None]
    total = mixture_logistics.log_prob(x, params, levels=levels).double().exp().sum()
    assert abs(total - 1) < 1e-6


def test_colours_add_up_to_one(backend):
    x = torch.tensor(list(itertools.product(range(3), repeat=3)))
    params = randn(1, 20, seed=1).expand(27, 20)
    total = mixture_logistics.log_prob(x, params, levels=3).double().exp().sum()
    assert abs(total - 1) < 1e-6


@pytest.mark.parametrize("log_scale", [-30.0, -7.0, 0.0, 40.0])
def test_extremes_of_scale_stay_exact(backend, log_scale):
    """However narrow or wide, an edge takes all the mass beyond it, and nothing is -inf."""
    params = torch.tensor([[0.0, 0.2, log_scale]]).expand(3, 3)
    log_p = mixture_logistics.log_prob(torch.tensor([[0], [100], [255]]), params, levels=256)
    exact = mixture_logistics.reference.log_prob(
        torch.tensor([[0], [100], [255]]), params.double(), 256
    )
    assert log_p.isfinite().all()
    torch.testing.assert_close(log_p.double(), exact, rtol=2e-6, atol=2e-6)
    if log_scale == 40.0:
        torch.testing.assert_close(log_p[[0, 2]], torch.full((2,), 0.5).log(), rtol=1e-6, atol=0)


def naive(x, params, m):
    """PixelCNN++'s formula as published: a difference of sigmoids, in float64."""
    v = x.double() / 127.5 - 1
    logits, rest = params[:, :m], params[:, m:].unflatten(1, (3, 3, m))
    c = torch.tanh(rest[:, :, 2])
    means = [rest[:, 0, 0], rest[:, 1, 0] + c[:, 0] * v[:, :1],
             rest[:, 2, 0] + c[:, 1] * v[:, :1] + c[:, 2] * v[:, 1:2]]  # fmt: skip
    total = F.log_softmax(logits, 1)
    for i, mean in enumerate(means):
        per = torch.exp(-rest[:, i, 1].clamp(min=-7))
        value = v[:, i : i + 1]
        upper = torch.sigmoid(per * (value - mean + 1 / 255))
        lower = torch.sigmoid(per * (value - mean - 1 / 255))
        upper = torch.where(value > 0.999, 1.0, upper)
        total = total + torch.log(upper - torch.where(value < -0.999, 0.0, lower))
    return total.logsumexp(1).flatten(1).sum(1)


def test_a_scale_beyond_all_numbers_leaves_masses_and_gradients_finite():
    """At log scale 1000 the width of a level underflows; its mass is e^-1000 times a number."""
    log_scale = torch.full((1, 1), 1000.0, dtype=torch.float64, requires_grad=True)
    levels = torch.linspace(-1, 1, 5, dtype=torch.float64)[None]
    masses = mixture_logistics.reference.log_mass(levels, torch.zeros(1, 1), log_scale, 5)
    assert torch.allclose(masses.exp().sum(), torch.ones((), dtype=torch.float64))
    assert torch.allclose(masses[0, 1:4], torch.full((3,), -1000 - 3 * math.log(2)).double())
    (grad,) = torch.autograd.grad(masses.sum(), log_scale)
    assert torch.allclose(grad, torch.full((1, 1), -3.0, dtype=torch.float64))


def test_it_is_pixelcnn_plus_pluss_likelihood(backend):
    x = torch.randint(256, (2, 3, 4, 5), generator=torch.Generator().manual_seed(2))
    x[0, :, 0, :2] = torch.tensor([0, 255])
    params = 0.7 * randn(2, 30, 4, 5, seed=3)
    got = mixture_logistics.log_prob(x, params, levels=256)
    torch.testing.assert_close(got.double(), naive(x, params.double(), 3), rtol=1e-5, atol=1e-4)


def test_the_stated_backward_is_autograds_in_float64():
    x = torch.randint(256, (2, 3, 4), generator=torch.Generator().manual_seed(2))
    params = (2 * randn(2, 20, 4, seed=4)).double().requires_grad_()
    g = torch.tensor([0.5, -2.0]).double()
    out = mixture_logistics.reference.log_prob(x, params, 256)
    wanted = torch.autograd.grad(out, params, g)[0]
    got = mixture_logistics.reference.backward(x, params.detach(), g, 256)
    torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-9)


def test_channels_last_parameters_are_read_in_place_and_their_gradient_alike(backend):
    x = torch.randint(16, (2, 3, 3, 4), generator=torch.Generator().manual_seed(5))
    plain = randn(2, 20, 3, 4, seed=6)
    last = plain.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert mixture_logistics.collapsed(last).data_ptr() == last.data_ptr()
    a = mixture_logistics.log_prob(x, plain, levels=16)
    b = mixture_logistics.log_prob(x, last, levels=16)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-5)
    assert backend == "reference" or torch.equal(a, b)
    assert torch.autograd.grad(b.sum(), last)[0].stride() == last.stride()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"levels": 1}, "levels must be an integer"),
        ({"levels": 2.0}, "levels must be an integer"),
        ({"x": torch.zeros(2, 2, 5)}, r"x must have shape \(B, 1 or 3"),
        ({"x": torch.full((2, 1, 5), 8)}, r"x must lie in \[0, 8\)"),
        ({"x": torch.full((2, 1, 5), 0.5)}, "whole levels"),
        ({"x": torch.full((2, 1, 5), float("nan"))}, "x must lie in"),
        ({"params": torch.zeros(2, 7, 5)}, "params must have shape"),
        ({"params": torch.zeros(2, 6, 4)}, "params must have shape"),
        ({"params": torch.zeros(2, 195, 5)}, "params must have shape"),
        ({"params": torch.zeros(2, 6, 5, dtype=torch.int64)}, "params must be floating point"),
    ],
)
def test_bad_arguments_are_named(change, said):
    good = {"x": torch.zeros(2, 1, 5), "params": torch.zeros(2, 6, 5), "levels": 8}
    with pytest.raises(ValueError, match=said):
        mixture_logistics.log_prob(**(good | change))
