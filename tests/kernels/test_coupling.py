"""Affine coupling and Glow's linear part: inverse, log-determinant, conventions, bad input."""

import itertools

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension, coupling

BACKENDS = ["reference"]
BACKENDS += ["triton"] if _dispatch.interpreted() else []
BACKENDS += ["cpp"] if _extension.load()[0] and not _dispatch.interpreted() else []
KINDS = list(itertools.product(coupling.reference.SCALES, coupling.reference.ORDERS))


@pytest.fixture(params=BACKENDS)
def backend(request):
    with zoo_kernels.backend(request.param):
        yield request.param


def draw(*shape, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    b, _, *space = shape
    x = torch.randn(shape, generator=generator)
    return x, torch.randn(b, 2, channels, *space, generator=generator)


@pytest.mark.parametrize(("scale", "order"), KINDS)
def test_the_inverse_undoes_the_forward(backend, scale, order):
    x, params = draw(2, 5, 7, channels=3)
    for first in (False, True):
        y, ladj = coupling.forward(x, params, scale=scale, order=order, first=first)
        back, back_ladj = coupling.inverse(y, params, scale=scale, order=order, first=first)
        torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(back_ladj, -ladj, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scale", "order"), KINDS)
def test_ladj_is_the_logarithm_of_the_slope(backend, scale, order):
    x, params = draw(2, 4, 9, channels=4)
    x.requires_grad_()
    y, ladj = coupling.forward(x, params, scale=scale, order=order)
    slope = torch.autograd.grad(y.sum(), x)[0]
    torch.testing.assert_close(slope.log().flatten(1).sum(1), ladj, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("scale", "order"), KINDS)
@pytest.mark.parametrize("is_inverse", [False, True], ids=["forward", "inverse"])
def test_gradients_of_every_kind_are_autograds(backend, scale, order, is_inverse):
    name = "inverse" if is_inverse else "forward"
    x, params = draw(2, 5, 6, channels=3)
    got = gradients(
        lambda a, p: getattr(coupling, name)(a, p, scale=scale, order=order), x, params
    )
    exact = getattr(coupling.reference, name)
    rest = (scale, order, coupling._DEFAULTS[scale], False)
    wanted = gradients(lambda a, p: exact(a, p, *rest), x.double(), params.double())
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-5, atol=2e-5)


def gradients(f, x, params):
    x, params = x.requires_grad_(), params.requires_grad_()
    y, ladj = f(x, params)
    weight = torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(y)
    return torch.autograd.grad((y * weight).sum() + 0.7 * ladj.sum(), (x, params))


def test_channels_that_pass_are_copied(backend):
    x, params = draw(2, 5, 3, channels=2)
    assert torch.equal(coupling.forward(x, params)[0][:, :3], x[:, :3])
    assert torch.equal(coupling.forward(x, params, first=True)[0][:, 2:], x[:, 2:])


def test_a_tanh_scale_is_bounded(backend):
    x, params = draw(2, 4, channels=4)
    _, ladj = coupling.forward(x, 1e4 * params, scale="tanh", constant=1.5)
    assert (ladj.abs() <= 4 * 1.5 * (1 + 1e-6)).all() and ladj.abs().max() > 0
    y, ladj = coupling.forward(x, torch.full_like(params, 1e-6), scale="tanh", constant=1.5)
    torch.testing.assert_close(ladj, torch.full((2,), 4e-6), rtol=1e-5, atol=0)


def test_pairs_of_a_slice_are_read_in_place_and_the_gradient_fits(backend):
    h = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x = torch.randn(2, 6, 5)
    params = h[:, 2:14].unflatten(1, (-1, 2)).movedim(2, 1)
    y, ladj = coupling.forward(x, params, scale="sigmoid")
    got = torch.autograd.grad(y.sum() + ladj.sum(), h)[0]
    reference = coupling.reference.forward(x, params, "sigmoid", "scale_shift", 2.0, False)
    wanted = torch.autograd.grad(reference[0].sum() + reference[1].sum(), h)[0]
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_transposed_parameters_arrives(backend):
    x, params = draw(2, 3, 4, 5, channels=2)
    for turned in (params, params.transpose(3, 4).contiguous().transpose(3, 4)):
        got = gradients(lambda a, p: coupling.forward(a, p), x.clone(), turned.detach().clone())
        wanted = gradients(
            lambda a, p: coupling.reference.forward(a, p, "exp", "scale_shift", 0.0, False),
            x.clone(), turned.detach().clone(),
        )  # fmt: skip
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4, 11])
@pytest.mark.parametrize("first", [False, True])
def test_any_share_of_the_channels_may_pass(backend, channels, first):
    x, params = draw(2, 12, 5, 8, channels=channels)
    got = coupling.forward(x, params, scale="sigmoid", first=first)
    wanted = coupling.reference.forward(x, params, "sigmoid", "scale_shift", 2.0, first)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", [(), (3, 4)], ids=["vectors", "images"])
def test_actnorm_and_convolution_in_one_have_the_jacobians_determinant(space):
    generator = torch.Generator().manual_seed(3)
    weight, scale, shift = (torch.randn(n, generator=generator).double() for n in ((4, 4), 4, 4))
    x = torch.randn(2, 4, *space, generator=generator).double()
    y, ladj = coupling.actnorm_conv(x, weight, log_scale=scale, shift=shift)
    by_hand = torch.einsum(
        "ij,bj...->bi...", weight,
        scale.exp().reshape(-1, *[1] * len(space)) * x + shift.reshape(-1, *[1] * len(space)),
    )  # fmt: skip
    torch.testing.assert_close(y, by_hand)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: coupling.actnorm_conv(v, weight, log_scale=scale, shift=shift)[0][0], x[:1]
    ).reshape(x[0].numel(), x[0].numel())
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, ladj[0])
    back, back_ladj = coupling.actnorm_conv_inverse(y, weight, log_scale=scale, shift=shift)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(back_ladj, -ladj)


def test_what_is_kept_follows_the_values_of_its_parameters():
    weight, zero, runs = 2 * torch.eye(3), torch.zeros(3), []

    def folded():
        runs.append(1)
        return coupling.fold_inverse(weight, zero, zero)

    kept = coupling.Kept()
    with torch.inference_mode():
        kept(folded, weight)
    first = kept(folded, weight)  # of no use outside that mode
    assert kept(folded, weight) is first and len(runs) == 2
    weight.data.mul_(2)  # which no version counter sees
    torch.testing.assert_close(kept(folded, weight)[0], 0.25 * torch.eye(3))
    weight.requires_grad_()
    assert kept(folded, weight)[0].requires_grad and len(runs) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": torch.zeros(3)}, "x must be floating point"),
        ({"params": torch.zeros(2, 2, 5, 3)}, "params must have shape"),
        ({"params": torch.zeros(2, 3, 2, 3)}, "params must have shape"),
        ({"params": torch.zeros(2, 2, 2, 3, dtype=torch.float64)}, "params must be"),
        ({"scale": "relu"}, "scale must be one of"),
        ({"order": "shift"}, "order must be one of"),
        ({"scale": "tanh", "constant": 0.0}, "constant must be"),
    ],
)
def test_bad_arguments_are_named(change, said):
    good = {"x": torch.zeros(2, 4, 3), "params": torch.zeros(2, 2, 2, 3)}
    x, params, *_ = (good | change).values()
    options = {k: v for k, v in change.items() if k not in good}
    for f in (coupling.forward, coupling.inverse):
        with pytest.raises(ValueError, match=said):
            f(x, params, **options)


def test_bad_arguments_of_the_linear_part_are_named():
    x, w, v = torch.zeros(2, 4), torch.eye(4), torch.zeros(4)
    with pytest.raises(ValueError, match="weight must have shape"):
        coupling.actnorm_conv(x, w[:3], log_scale=v, shift=v)
    with pytest.raises(ValueError, match="shift must have shape"):
        coupling.actnorm_conv_inverse(x, w, log_scale=v, shift=v[:2])
