"""Rational-quadratic splines: inverse, log-determinant, tails, layouts, extremes, bad input."""

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension, _tuning, spline

BACKENDS = ["reference"]
BACKENDS += ["triton"] if _dispatch.interpreted() else []
BACKENDS += ["cpp"] if _extension.load()[0] and not _dispatch.interpreted() else []


@pytest.fixture(params=BACKENDS)
def backend(request):
    with zoo_kernels.backend(request.param):
        yield request.param


def draw(*shape, bins=4, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = 1.7 * torch.randn(shape, generator=generator)
    return x, scale * torch.randn((*shape, 3 * bins - 1), generator=generator)


def test_the_inverse_undoes_the_forward(backend):
    x, params = draw(3, 50)
    y, ladj = spline.forward(x, params)
    back, back_ladj = spline.inverse(y, params)
    torch.testing.assert_close(back, x, rtol=0, atol=3e-5)
    torch.testing.assert_close(back_ladj, -ladj, rtol=0, atol=3e-4)


def test_ladj_is_the_logarithm_of_the_slope(backend):
    x, params = draw(2, 31)
    x.requires_grad_()
    y, ladj = spline.forward(x, params)
    slope = torch.autograd.grad(y.sum(), x)[0]
    torch.testing.assert_close(slope.log().sum(1), ladj, rtol=1e-5, atol=1e-4)


def test_outside_the_bounds_it_is_the_identity(backend):
    x = torch.tensor([[-1e30, -3.01, 3.01, 77.0, float("inf")]])
    params = draw(1, 5)[1]
    for f in (spline.forward, spline.inverse):
        y, ladj = f(x, params)
        assert torch.equal(y, x) and ladj.item() == 0.0


def test_knots_and_bounds_are_met(backend):
    edges = torch.tensor([[-3.0, 3.0]])
    y, _ = spline.forward(edges, draw(1, 2)[1])
    torch.testing.assert_close(y, edges, rtol=0, atol=1e-6)


def test_equal_parameters_of_unit_derivative_give_the_identity(backend):
    x, params = draw(2, 20)
    params = torch.zeros_like(params)
    params[..., 8:] = torch.log(torch.expm1(torch.tensor(1 - 1e-3)))
    y, ladj = spline.forward(x, params)
    torch.testing.assert_close(y, x, rtol=0, atol=2e-6)
    torch.testing.assert_close(ladj, torch.zeros(2), rtol=0, atol=2e-5)


@pytest.mark.parametrize("f", [spline.forward, spline.inverse], ids=["forward", "inverse"])
def test_extreme_parameters_stay_finite(backend, f):
    x, params = draw(2, 64, scale=20.0)
    x.requires_grad_()
    params.requires_grad_()
    y, ladj = f(x, params)
    (y.sum() + ladj.sum()).backward()
    for t in (y, ladj, x.grad, params.grad):
        assert t.isfinite().all()
    assert (y.detach().abs() <= x.detach().abs().clamp(min=3.0)).all()


def test_a_convolutions_layout_is_read_in_place_and_gives_equal_bits(backend):
    x, flat = draw(2, 3, 4, 5)
    planes = flat.movedim(-1, 2).contiguous().movedim(2, -1)  # k before H, W in memory
    assert spline.collapsed(planes).data_ptr() == planes.data_ptr()
    a, b = spline.forward(x, flat), spline.forward(x, planes)
    if backend == "reference":
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    else:
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    planes.requires_grad_()
    y, ladj = spline.forward(x, planes)
    assert torch.autograd.grad(y.sum() + ladj.sum(), planes)[0].stride() == planes.stride()


def test_the_gradient_of_transposed_parameters_arrives(backend):
    x, params = draw(2, 3, 4, 5)
    turned = params.transpose(2, 3).contiguous().transpose(2, 3).requires_grad_()
    y, ladj = spline.forward(x, turned)
    y0, ladj0 = spline.forward(x, params.requires_grad_())
    got = torch.autograd.grad(y.sum() + ladj.sum(), turned)[0]
    wanted = torch.autograd.grad(y0.sum() + ladj0.sum(), params)[0]
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def test_only_the_inputs_are_saved(backend):
    x, params = draw(4, 100, bins=8)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t.nbytes) or t, lambda t: t
    ):
        spline.forward(x, params.requires_grad_())
    assert sum(saved) == x.nbytes + params.nbytes


def test_the_order_of_a_long_rows_sum_is_fixed(backend, monkeypatch):
    if backend == "triton":
        blocks_of_32 = {"BLOCK": 32, "num_warps": 4}
        monkeypatch.setitem(_tuning._tried, "spline.values", blocks_of_32)
    x, params = draw(2, 90, bins=2)
    whole = spline.forward(x, params)[1]
    exact = spline.forward(x.double(), params.double())[1] if backend == "reference" else whole
    torch.testing.assert_close(whole.double(), exact.double(), rtol=1e-5, atol=1e-4)
    with zoo_kernels.backend("reference"):
        wanted = spline.forward(x.double(), params.double())[1]
    torch.testing.assert_close(whole.double(), wanted, rtol=1e-5, atol=1e-4)
    alone = spline.forward(x[1:], params[1:])[1]
    assert backend == "reference" or torch.equal(alone, whole[1:])


def test_the_stated_backward_is_autograds_in_float64():
    x, params = (t.double().requires_grad_() for t in draw(2, 23, scale=2.0))
    for name in ("forward", "inverse"):
        y, ladj = getattr(spline.reference, name)(x, params, -3.0, 3.0, 1e-3, 1e-3, 1e-3)
        gy, gl = torch.linspace(-1, 2, y.numel()).reshape(y.shape).double(), ladj.detach() + 1
        wanted = torch.autograd.grad((y, ladj), (x, params), (gy, gl))
        args = (gy, gl, -3.0, 3.0, 1e-3, 1e-3, 1e-3, name == "inverse")
        got = spline.reference.backward(x.detach(), params.detach(), *args)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"params": torch.zeros(2, 3, 10)}, "params must have shape"),
        ({"params": torch.zeros(2, 3, 2)}, "params must have shape"),
        ({"params": torch.zeros(2, 3, 3 * 129 - 1)}, "params must have shape"),
        ({"params": torch.zeros(2, 4, 11)}, "params must have shape"),
        ({"params": torch.zeros(2, 3, 11, dtype=torch.float64)}, "params must be"),
        ({"x": torch.zeros(2, 3, dtype=torch.int64)}, "x must be floating point"),
        ({"left": 1.0, "right": 1.0}, "left must be less than right"),
        ({"right": float("inf")}, "left must be less than right"),
        ({"min_width": 0.25}, "min_width must be in"),
        ({"min_height": 0.0}, "min_height must be in"),
        ({"min_derivative": -1.0}, "min_derivative must be positive"),
    ],
)
def test_bad_arguments_are_named(change, said):
    good = {"x": torch.zeros(2, 3), "params": torch.zeros(2, 3, 11)}
    x, params, *_ = (good | change).values()
    options = {k: v for k, v in change.items() if k not in good}
    for f in (spline.forward, spline.inverse):
        with pytest.raises(ValueError, match=said):
            f(x, params, **options)
