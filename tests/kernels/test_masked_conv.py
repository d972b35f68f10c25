"""The mask by gradient, the live-tap paths, second derivatives, bad input."""

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension, masked_conv
from zoo_kernels.masked_conv import reference

BACKENDS = ["reference"] + ["cpp"] * _extension.load()[0]
BACKENDS = ["triton"] if _dispatch.interpreted() else BACKENDS
C, H, W = 6, 6, 7
if _dispatch.interpreted():
    pytestmark = pytest.mark.slow  # the laws cover the fast tier


@pytest.fixture(params=BACKENDS)
def backend(request):
    with zoo_kernels.backend(request.param):
        yield request.param


def inputs(k, groups=1, gated=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = 2 * C if gated else C
    x = torch.randn(1, C, H, W, generator=generator, requires_grad=True)
    return x, torch.randn(outputs, C, k, k, generator=generator)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("kind", "k"), [("A", 3), ("B", 3), ("A", 7), ("B", 7)])
def test_an_output_sees_earlier_pixels_and_groups_only(backend, kind, k, groups, gated):
    """By gradient: raster order first, then the channel group; type B sees its own group too."""
    x, w = inputs(k, groups, gated)
    y = masked_conv.masked_conv(x, w, kind=kind, groups=groups, gated=gated)
    row, col, p = 3, 3, k // 2
    for out in range(C):
        (grad,) = torch.autograd.grad(y[0, out, row, col], x, retain_graph=True)
        seen = grad[0] != 0
        group_in = torch.arange(C) // (C // groups)
        mine = out // (C // groups)
        centre = group_in < mine if kind == "A" else group_in <= mine
        wanted = torch.zeros(C, H, W, dtype=torch.bool)
        wanted[:, row - p : row, max(col - p, 0) : col + p + 1] = True
        wanted[:, row, max(col - p, 0) : col] = True
        wanted[:, row, col] = centre
        assert torch.equal(seen, wanted)


def test_dead_weights_have_no_gradient_and_no_influence(backend):
    x, w = inputs(5, groups=3)
    alive = reference.mask(w, "A", 3, False)
    poisoned = torch.where(alive, w, float("nan")).requires_grad_()
    y = masked_conv.masked_conv(x, poisoned, kind="A", groups=3)
    (grad,) = torch.autograd.grad(y.sum(), poisoned)
    assert y.isfinite().all() and (grad[~alive] == 0).all() and (grad[alive] != 0).all()


def test_residual_and_condition_are_added_where_they_belong(backend):
    x, w = inputs(3, gated=True)
    plain = masked_conv.masked_conv(x, w, gated=True)
    residual = torch.ones_like(plain)
    assert torch.allclose(
        masked_conv.masked_conv(x, w, gated=True, residual=residual), plain + 1, atol=1e-6
    )
    bias = torch.linspace(-1, 1, 2 * C)
    by_bias = masked_conv.masked_conv(x, w, bias, gated=True)
    by_cond = masked_conv.masked_conv(x, w, gated=True, cond=bias[None, :, None, None])
    assert torch.allclose(by_bias, by_cond, atol=1e-6)


def test_extreme_activations_saturate(backend):
    x, w = inputs(3, gated=True)
    y = masked_conv.masked_conv(x * 1e4, w, gated=True, residual=None)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all() and y.abs().max() <= 1 and grad.isfinite().all()


def test_the_first_derivative_passes_gradcheck():
    x, w = inputs(3, gated=True)
    x, w = x[:, :, :2, :3].detach().double().requires_grad_(), w.double().requires_grad_()
    cond = torch.randn(1, 2 * C, 1, 1, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2 * C, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *a: masked_conv.masked_conv(*a[:3], gated=True, cond=a[3]), (x, w, bias, cond)
    )


@pytest.mark.skipif(not _extension.load()[0], reason="no compiled kernels")
def test_a_training_step_compiles_and_agrees():
    x, w = inputs(5, gated=True)
    w.requires_grad_()

    def loss(x, w):
        return masked_conv.masked_conv(x, w, gated=True).square().mean()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    eager = torch.autograd.grad(loss(x, w), (x, w))
    for a, b in zip(torch.autograd.grad(compiled(x, w), (x, w)), eager, strict=True):
        assert torch.equal(a, b)


X, WEIGHT = torch.zeros(2, 4, 5, 5), torch.zeros(8, 4, 3, 3)
BAD = {
    "kind": ["C", None],
    "x": [X[0], X.long()],
    "w": [WEIGHT[..., :2], torch.zeros(8, 3, 3, 3), torch.zeros(8, 4, 2, 2), WEIGHT.double()],
    "groups": [0, 3],
    "bias": [torch.zeros(4), torch.zeros(8).double()],
    "cond": [torch.zeros(2, 8), torch.zeros(2, 4, 5, 5), torch.zeros(1, 8, 1, 1)],
    "residual": [torch.zeros(2, 8, 5, 5)],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
def test_a_wrong_argument_is_named(name, value):
    good = {"x": X, "w": WEIGHT, "gated": True}
    with pytest.raises(ValueError, match=f"^{name} must"):
        masked_conv.masked_conv(**(good | {name: value}))
