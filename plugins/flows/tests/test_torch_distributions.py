"""The laws of zuko's tests, for our transforms, and for zuko's flows if it is installed."""

import copy

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import Transform

import zoo_core as zoo
from zoo_flows.torch_distributions import (
    AffineTransform,
    FlowDistribution,
    SplineTransform,
    use_kernels,
)

BATCH = (256,)


def spline(bins=8, scale=1.0, shape=BATCH, **options):
    torch.manual_seed(0)
    params = [scale * torch.randn(*shape, n) for n in (bins, bins, bins - 1)]
    return SplineTransform(*params, **options)


def affine(scale=1.0, shape=BATCH):
    torch.manual_seed(0)
    return AffineTransform(torch.randn(shape), scale * torch.randn(shape))


TRANSFORMS = {
    "spline": spline,
    "spline_of_64_bins": lambda: spline(64),
    "spline_extreme": lambda: spline(scale=20.0),
    "affine": affine,
    "affine_extreme": lambda: affine(20.0),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_inverts_and_returns_its_log_derivative(name):
    t = TRANSFORMS[name]()
    assert isinstance(t, Transform) and t.domain.check(torch.zeros(1)) and t.bijective
    t.params = t.params.double()
    x = torch.linspace(-6, 6, 256, dtype=torch.float64).requires_grad_()
    y = t(x)
    assert y.shape == x.shape and y.requires_grad
    derivative = torch.autograd.grad(y.sum(), x)[0]
    assert bool((derivative > 0).all())  # monotone
    ladj = t.log_abs_det_jacobian(x, y)
    assert torch.allclose(derivative.log(), ladj, atol=1e-6)
    both = t.call_and_ladj(x)
    assert torch.equal(both[0], y) and torch.equal(both[1], ladj)
    again = t.inv.log_abs_det_jacobian(y, x)
    assert again.shape == ladj.shape
    if "extreme" not in name:
        assert torch.allclose(t.inv(y), x, atol=1e-4)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_extreme_parameters_stay_finite_both_ways(name):
    t = TRANSFORMS[name]()
    y = torch.linspace(-6, 6, 256)
    assert t.inv(y).isfinite().all() and t.inv.log_abs_det_jacobian(y, t.inv(y)).isfinite().all()


def test_gradients_reach_the_parameters():
    params = [torch.randn(16, n, requires_grad=True) for n in (8, 8, 7)]
    t = SplineTransform(*params)
    y, ladj = t.call_and_ladj(torch.linspace(-4, 4, 16))
    (y.square().sum() + ladj.sum()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in params)


def test_parameters_broadcast_against_events():
    t, x = spline(shape=(3,)), torch.randn(5, 2, 3)
    y, ladj = t.call_and_ladj(x)
    assert y.shape == ladj.shape == x.shape
    assert torch.allclose(y[0, 0], t(x[0, 0]), atol=1e-6)
    assert affine(shape=(3,)).call_and_ladj(x)[1].shape == x.shape


def test_transforms_compose_with_those_of_torch():
    t = TransformedDistribution(
        Normal(torch.zeros(2), 1.0), [spline(shape=(2,)), affine(shape=(2,))]
    )
    x = t.sample((100,))
    assert t.log_prob(x).shape == (100, 2) and t.log_prob(x).isfinite().all()


@pytest.mark.parametrize("options", [{}, {"classes": 3}, {"vector": 2}])
@pytest.mark.parametrize("arch", ["realnvp", "maf", "nsf_coupling"])
def test_a_flow_is_a_distribution(arch, options):
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(3,), hidden=8, **options).eval()
    cond = {"classes": torch.tensor(1), "vector": torch.zeros(2)}.get(next(iter(options), ""))
    p = FlowDistribution(model, cond)
    x = p.rsample((4, 5))
    assert x.shape == (4, 5, 3) and x.requires_grad and not p.sample((4, 5)).requires_grad
    log_p = p.log_prob(x)
    rows = None if cond is None else cond.expand(20, *cond.shape)
    assert torch.allclose(log_p.flatten(), model.log_prob(x.flatten(0, 1), rows))
    assert p.event_shape == (3,) and p.support.check(x).all()
    mixed = Independent(Normal(torch.zeros(3), 1.0), 1)
    assert (p.log_prob(x) - mixed.log_prob(x)).isfinite().all()


def test_a_flow_of_integers_is_no_distribution_of_reals():
    with pytest.raises(TypeError, match="deq_bound"):
        FlowDistribution(zoo.create("maf", shape=(3,), levels=4))


class TestInZuko:
    """Existing zuko flows, before and after `use_kernels`."""

    @pytest.fixture(autouse=True)
    def zuko(self):
        self.zuko = pytest.importorskip("zuko", reason="zuko is a peer of `make bench`")

    @pytest.mark.parametrize("scale", [1.0, 5.0])
    def test_splines_are_zukos(self, scale):
        ours, x = spline(scale=scale), torch.linspace(-6, 6, 256)
        torch.manual_seed(0)
        params = [scale * torch.randn(*BATCH, n) for n in (8, 8, 7)]
        theirs = self.zuko.transforms.MonotonicRQSTransform(*(p.double() for p in params))
        y, ladj = ours.call_and_ladj(x)
        want, slope = theirs.call_and_ladj(x.double())
        assert torch.allclose(y.double(), want, atol=1e-4)
        assert torch.allclose(ladj.double(), slope, atol=1e-3)
        assert torch.allclose(theirs(ours.inv(x).double()), x.double(), atol=5e-3)

    @pytest.mark.parametrize("flow", ["NSF", "MAF"])
    @pytest.mark.parametrize("context", [0, 4])
    def test_a_flow_keeps_its_values_and_parameters(self, flow, context):
        torch.manual_seed(0)
        theirs = getattr(self.zuko.flows, flow)(3, context, transforms=2)
        ours = use_kernels(copy.deepcopy(theirs))
        x = torch.randn(64, 3)
        c = torch.randn(64, 4) if context else None
        assert torch.allclose(ours(c).log_prob(x), theirs(c).log_prob(x), atol=1e-4)
        assert set(ours.state_dict()) == set(theirs.state_dict())
        grads = []
        for f in (ours, theirs):
            (-f(c).log_prob(x).mean()).backward()
            grads.append([p.grad for p in f.parameters()])
        for a, b in zip(*grads, strict=True):
            assert torch.allclose(a, b, atol=1e-4)

    @pytest.mark.parametrize("flow", ["NSF", "MAF"])
    def test_a_flow_obeys_the_laws_of_zukos_tests(self, flow):
        torch.manual_seed(0)
        f = use_kernels(getattr(self.zuko.flows, flow)(3, 4))
        c = torch.randn(4)
        x = f(c).rsample((32,))
        assert x.shape == (32, 3) and x.requires_grad
        assert f(c).log_prob(x).shape == (32,)
        t = f(c).transform
        z = t(x)
        assert torch.allclose(t.inv(z), x, atol=1e-4)
        ladj = t.log_abs_det_jacobian(x, z)
        jacobian = torch.autograd.functional.jacobian(t, x[0].detach())
        assert torch.allclose(torch.linalg.slogdet(jacobian).logabsdet, ladj[0], atol=1e-4)
        again = copy.deepcopy(f)
        assert torch.allclose(again(c).log_prob(x), f(c).log_prob(x))

    def test_a_flow_without_such_layers_is_refused(self):
        with pytest.raises(TypeError, match="no layer"):
            use_kernels(self.zuko.flows.NAF(3))
