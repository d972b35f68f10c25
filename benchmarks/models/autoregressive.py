"""Autoregressive models: sampling 28 x 28 images, and a training step of a masked convolution.

Sampling draws 16 binary images for the same uniforms: by the kernel where there is one, by the
cache in plain PyTorch, and by a full forward pass for each pixel, as pytorch-generative and pythae
do it, which is timed on some pixels and scaled to all. A training step is forward and backward of
a convolution of 64 to 64 features; its peer is a dense one whose weight is multiplied by a mask,
image and weight channels-last.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import Bench, Build, Call, Goal, compiled, device

__all__ = ["BENCHES", "GOALS", "PACKAGES"]

PACKAGES = ()
BATCH, SIDE, TIMED_PIXELS, FEATURES = 16, 28, 6, 64
MODELS: dict[str, dict[str, Any]] = {
    "gated_pixelcnn": {"hidden": 32, "layers": 8},
    "made": {},
    "pixelcnn": {"hidden": 16, "layers": 8},
    "multiscale_pixelcnn": {},
    "pixelcnn_pp": {"hidden": 16, "blocks": (1, 1, 1)},
    "row_lstm": {"layers": 3},
    "diagonal_bilstm": {"layers": 2},
}
UNROLLED = ("diagonal_bilstm",)  # into 220 steps a pass, which takes minutes to compile


def _model(arch: str) -> Any:
    from zoo_core import create

    torch.manual_seed(0)
    return create(arch, shape=(1, SIDE, SIDE), levels=2, **MODELS[arch]).eval().to(device())


def _sampler(arch: str, **options: Any) -> Build:
    def build() -> Call:
        from zoo_autoregressive.samplers import Sequential
        from zoo_core import Rng

        model, rng = _model(arch), Rng(0, BATCH).to(device())
        return torch.no_grad()(lambda: Sequential()(model, rng, None, **options))

    return build


def _full_passes(arch: str) -> Build:
    def build() -> Call:
        from zoo_autoregressive.samplers import draw
        from zoo_core import Rng

        model = _model(arch)
        u = Rng(0, BATCH).to(device()).uniform((SIDE * SIDE,), stream="value")

        def sample() -> Tensor:
            x = torch.zeros((BATCH, 1, SIDE, SIDE), dtype=torch.long, device=device())
            for i in range(TIMED_PIXELS):
                x.view(BATCH, -1)[:, i] = draw(model.logits(x).flatten(1, 3)[:, i], u[:, i])
            return x.view(BATCH, -1)[:, :TIMED_PIXELS]

        return torch.no_grad()(sample)

    return build


def _sampling(arch: str) -> Bench:
    cached, full = _sampler(arch, trace=lambda i, x: None), _full_passes(arch)
    kernel = {"kernel": _sampler(arch)} if arch == "gated_pixelcnn" else {}
    best = {} if arch in UNROLLED else {"full compiled": compiled(full)}
    return Bench(
        f"sample {arch} {BATCH}x1x{SIDE}x{SIDE}",
        {**kernel, "cached": cached, "full": full, **best},
        equal={"cached": 0.0} if kernel else {},
        scale=dict.fromkeys(("full", "full compiled"), SIDE * SIDE / TIMED_PIXELS),
    )


def _images() -> Tensor:
    x = torch.randn(BATCH, FEATURES, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return x.to(device(), memory_format=torch.channels_last)


def _weights(k: int) -> tuple[Tensor, Tensor]:
    """Those of the rows up to the own one, and which of them are alive."""
    n, generator = k // 2 + 1, torch.Generator().manual_seed(0)
    alive = torch.ones(FEATURES, FEATURES, n, k)
    alive[:, :, -1, n:] = 0
    return torch.randn(alive.shape, generator=generator) / (FEATURES * n * k) ** 0.5, alive


def _raster(k: int) -> Build:
    def build() -> Call:
        from zoo_autoregressive.incremental_decoding import FullPass, RasterConv

        everything = torch.ones(FEATURES, FEATURES, dtype=torch.bool)
        conv = RasterConv(FEATURES, FEATURES, k // 2 + 1, k, left=k // 2, mask=everything)
        with torch.no_grad():
            conv.weight.copy_(_weights(k)[0])
            nn.init.zeros_(conv.bias)
        conv.to(device(), memory_format=torch.channels_last)
        return _step(lambda x: FullPass(SIDE, SIDE, None).conv(conv, x), conv)

    return build


def _dense(k: int) -> Build:
    def build() -> Call:
        conv = nn.Conv2d(FEATURES, FEATURES, k, padding=k // 2)
        mask = torch.zeros_like(conv.weight)
        weight, mask[:, :, : k // 2 + 1] = _weights(k)
        with torch.no_grad():
            conv.weight[:, :, : k // 2 + 1] = weight
            nn.init.zeros_(conv.bias)
        conv.to(device(), memory_format=torch.channels_last)
        mask = mask.to(device(), memory_format=torch.channels_last)
        return _step(lambda x: F.conv2d(x, conv.weight * mask, conv.bias, padding=k // 2), conv)

    return build


def _step(forward: Any, conv: nn.Conv2d) -> Call:
    x = _images().requires_grad_()

    def step() -> Tensor:
        x.grad = None
        conv.zero_grad()
        loss = forward(x).square().mean()
        loss.backward()
        assert x.grad is not None
        return x.grad

    return step


def _training(k: int) -> Bench:
    dense = _dense(k)
    return Bench(
        f"train {k}x{k} {BATCH}x{FEATURES}x{SIDE}x{SIDE}",
        {"raster": _raster(k), "dense": dense, "dense compiled": compiled(dense)},
        equal={"dense": 1e-4},
    )


BENCHES = (*map(_sampling, MODELS), *map(_training, (3, 5, 7)))
GOALS = (
    Goal("autoregressive", "sample gated_pixelcnn 16x1x28x28", "full", 1000),
    Goal("autoregressive", "sample gated_pixelcnn 16x1x28x28", "cached", 3, best=0),
    *(
        Goal(
            "autoregressive",
            f"sample {a} 16x1x28x28",
            "full",
            5,
            best=0 if a in UNROLLED else None,
        )
        for a in list(MODELS)[1:]
    ),
    *(
        Goal("autoregressive", f"train {k}x{k} 16x64x28x28", "dense", times)
        for k, times in ((3, 1), (5, 1.2), (7, 1.2))
    ),
)
