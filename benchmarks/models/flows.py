"""Flows: a spline coupling layer and a flow of four, 784 features and 256 rows; Glow's inverse.

Conditioners are residual networks of the same size everywhere (256 hidden units, two blocks) but
in zuko, whose masked network has three hidden layers. Parameters are random, so that no spline is
the identity. A train step is the loss, its gradients and Adam's update.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from models import Bench, Build, Call, Goal, compiled, device

__all__ = ["BENCHES", "GOALS", "PACKAGES"]

PACKAGES = ("nflows", "zuko", "normflows")
ROWS, FEATURES, HIDDEN, BLOCKS, BINS, BOUND, LAYERS = 256, 784, 256, 2, 8, 3.0, 4
Density = Callable[[Tensor], Tensor]
Flow = tuple[nn.Module, Density, Callable[[int], Tensor]]
"""Parameters, log p(x) of rows, and a number of samples."""


def _points() -> Tensor:
    x = torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))
    return x.to(device())


def _scattered(module: nn.Module) -> None:
    """Random parameters, on the device."""
    module.to(device())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            if p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=generator) / p.shape[1] ** 0.5)


def _base() -> Distribution:
    zeros = torch.zeros(FEATURES, device=device())
    return Independent(Normal(zeros, zeros + 1), 1)


def _density(flow: nn.Module) -> Density:
    def log_prob(x: Tensor) -> Tensor:
        z, ladj = flow(x)
        found: Tensor = _base().log_prob(z) + ladj
        return found

    return log_prob


def _ours(layers: int) -> Flow:
    from zoo_core.plugin import ResidualMLP
    from zoo_flows.bijections import Chain, Flip
    from zoo_flows.couplings import SplineCoupling, flat_spline

    half = FEATURES // 2
    width = half * (3 * BINS - 1)

    def layer() -> list[Any]:
        net = ResidualMLP(
            half, width, hidden=HIDDEN, blocks=BLOCKS, initial=flat_spline(half, BINS)
        )
        return [SplineCoupling(net, half, bound=BOUND), Flip()]

    flow = Chain([part for _ in range(layers) for part in layer()])
    return flow, _density(flow), lambda n: flow.inverse(_base().sample((n,)))[0]


def _nflows(layers: int) -> Flow:
    """With torch's normal for a base: nflows.flows imports matplotlib."""
    from nflows.nn.nets import ResidualNet
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.coupling import PiecewiseRationalQuadraticCouplingTransform
    from nflows.utils.torchutils import create_alternating_binary_mask

    def net(n: int, m: int) -> nn.Module:
        made: nn.Module = ResidualNet(n, m, hidden_features=HIDDEN, num_blocks=BLOCKS)
        return made

    couplings = [
        PiecewiseRationalQuadraticCouplingTransform(
            create_alternating_binary_mask(FEATURES, even=i % 2 == 0), net, num_bins=BINS,
            tails="linear", tail_bound=BOUND,
        )
        for i in range(layers)
    ]  # fmt: skip
    flow = CompositeTransform(couplings)
    return flow, _density(flow), lambda n: flow.inverse(_base().sample((n,)))[0]


def _normflows(layers: int) -> Flow:
    import normflows as nf

    couplings = [
        nf.flows.CoupledRationalQuadraticSpline(
            FEATURES, BLOCKS, HIDDEN, num_bins=BINS, tail_bound=BOUND, reverse_mask=i % 2 == 1
        )
        for i in range(layers)
    ]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(FEATURES, trainable=False), couplings)
    return flow, flow.log_prob, lambda n: flow.sample(n)[0]


def _zuko(layers: int) -> Flow:
    import zuko

    flow = zuko.flows.NSF(
        FEATURES, bins=BINS, transforms=layers, passes=2, hidden_features=(HIDDEN,) * 3
    )
    return flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,))


def _zuko_with_ours(layers: int) -> Flow:
    from zoo_flows.torch_distributions import use_kernels

    flow, _, _ = _zuko(layers)
    use_kernels(flow)
    return flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,))


def _log_prob(make: Callable[[int], Flow], layers: int) -> Build:
    def build() -> Call:
        module, log_prob, _ = make(layers)
        _scattered(module)
        x = _points()
        return torch.no_grad()(lambda: log_prob(x))

    return build


def _sample(make: Callable[[int], Flow], layers: int) -> Build:
    def build() -> Call:
        module, _, sample = make(layers)
        _scattered(module)
        return torch.no_grad()(lambda: sample(ROWS))

    return build


def _step(make: Callable[[int], Flow], layers: int) -> Build:
    def build() -> Call:
        module, log_prob, _ = make(layers)
        _scattered(module)
        x, optimizer = _points(), torch.optim.Adam(module.parameters(), 1e-6)

        def step() -> Tensor:
            optimizer.zero_grad()
            loss = -log_prob(x).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.detach()

        return step

    return build


MAKERS = {"ours": _ours, "nflows": _nflows, "zuko": _zuko, "normflows": _normflows,
          "zuko with ours": _zuko_with_ours}  # fmt: skip
PEERS = ("nflows", "zuko", "normflows")


def _contestants(of: Callable[[Callable[[int], Flow], int], Build], layers: int) -> dict[str, Any]:
    found = {name: of(make, layers) for name, make in MAKERS.items()}
    return found | {f"{name} compiled": compiled(found[name]) for name in PEERS}


def _glow_ours() -> Call:
    from zoo_flows.glow import Glow, GlowConfig

    model = Glow(GlowConfig(shape=(3, 32, 32), scales=1, steps=8, hidden=HIDDEN // 8)).eval()
    _scattered(model)
    z = 0.1 * torch.randn(16, 3 * 32 * 32, generator=torch.Generator().manual_seed(0))
    z = z.to(device())
    return torch.no_grad()(lambda: model.inverse_and_ladj(z))


def _glow_normflows() -> Call:
    import normflows as nf

    blocks = [nf.flows.GlowBlock(12, HIDDEN // 8, split_mode="channel") for _ in range(8)]
    flow = nn.Sequential(*blocks)
    z = 0.1 * torch.randn(16, 12, 16, 16, generator=torch.Generator().manual_seed(0))
    z = z.to(device())
    flow.to(device())
    for block in blocks:
        block(z)  # actnorm starts from its first batch
    _scattered(flow)

    def inverse() -> tuple[Tensor, Tensor]:
        x, total = z, torch.zeros(len(z), device=z.device)
        for block in blocks:
            x, ladj = block(x)  # their forward is from z to x
            total = total + ladj
        return x, total

    return torch.no_grad()(inverse)


def _linear_ours() -> Call:
    from zoo_flows.bijections import Chain, LinearStep

    steps, y = Chain(LinearStep(48) for _ in range(8)).to(device()), _codes()
    return torch.no_grad()(lambda: steps.inverse(y))


def _linear_normflows() -> Call:
    import normflows as nf

    y = _codes()
    parts = [
        part.to(device())
        for _ in range(8)
        for part in (nf.flows.Invertible1x1Conv(48, use_lu=True), nf.flows.ActNorm(48))
    ]

    def inverse() -> tuple[Tensor, Tensor]:
        x, total = y, torch.zeros(len(y), device=y.device)
        for part in parts:
            x, ladj = part(x)
            total = total + ladj
        return x, total

    return torch.no_grad()(inverse)


def _codes() -> Tensor:
    return torch.randn(16, 48, 8, 8, generator=torch.Generator().manual_seed(0)).to(device())


def _rows(name: str, layers: int) -> tuple[Bench, ...]:
    return (
        Bench(f"{name} log_prob", _contestants(_log_prob, layers)),
        Bench(f"{name} sample", _contestants(_sample, layers)),
        Bench(f"{name} train step", _contestants(_step, layers), memory=True),
    )


ONE, FOUR = "spline layer 256x784", "4 spline layers 256x784"
GLOW, LINEAR = "glow inverse 16x3x32x32 K=8", "glow inverse 16x48x8x8 K=8, linear part"
BENCHES = (
    *_rows(ONE, 1),
    *_rows(FOUR, LAYERS),
    Bench(
        GLOW,
        {"ours": _glow_ours, "normflows": _glow_normflows,
         "normflows compiled": compiled(_glow_normflows)},
    ),
    Bench(
        LINEAR,
        {"ours": _linear_ours, "normflows": _linear_normflows,
         "normflows compiled": compiled(_linear_normflows)},
    ),
)  # fmt: skip
GOALS = (
    *(
        Goal("flows", f"{name} {what}", peer, 3 if what != "train step" else 2, best=best)
        for name in (ONE, FOUR)
        for what, best in (("log_prob", 1.5), ("sample", 1.5), ("train step", 0.0))
        for peer in PEERS
    ),
    *(Goal("flows", f"{name} train step", "nflows", 2, memory=True) for name in (ONE, FOUR)),
    Goal("flows", GLOW, "normflows", 5),
    Goal("flows", LINEAR, "normflows", 5),
)
