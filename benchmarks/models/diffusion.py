"""Whole sampling loops: DDIM of a U-Net beside diffusers' pipeline, and a toy's 1,000 steps.

The pipeline has the same weights and starts from the same noise; at its best its U-Net has its
weights in channels last and is compiled. The toy's peer is the loop as one writes it, with its
noise drawn beforehand; at its best its step is compiled.
"""

from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import zoo_core as zoo
from zoo_core.workflows.precision import multiplies_bf16
from zoo_diffusion.samplers.loop import sample_prior

from . import Bench, Build, Call, Goal, device

PACKAGES = ("diffusers",)

_STEPS, _ROWS, _SEED = 50, 1, 0
_CHANNELS, _LAYERS, _HEAD = (64, 128, 128), 2, 8
_OUT = 0.01
"""Of the last convolution: an untrained flow magnifies roundings, theirs as ours."""


@cache
def _fresh() -> Any:
    torch.manual_seed(0)
    network = {"type": "unet", "channels": _CHANNELS, "down": ("plain", "attention", "plain"),
               "layers": _LAYERS, "head": _HEAD}  # fmt: skip
    model = zoo.create("ddpm", shape=(3, 32, 32), network=network)
    nn.init.normal_(model.network.conv_out.weight, std=_OUT)
    return model.eval()


def _model() -> Any:
    return _fresh().to(device())


def _pictures(x: Tensor) -> Tensor:
    """What the pipeline makes of reals."""
    return (x.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


def _ours(dtype: torch.dtype) -> Build:
    def build() -> Call:
        from copy import deepcopy

        model = deepcopy(_model()).to(dtype)
        how = {"sampler": "ddim", "steps": _STEPS, "spacing": "leading", "clipped_epsilon": False}
        return lambda: _pictures(model.sample(_ROWS, seed=_SEED, **how))

    return build


def _unet() -> Any:
    from diffusers import UNet2DModel

    net = UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, block_out_channels=_CHANNELS,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), layers_per_block=_LAYERS,
        attention_head_dim=_HEAD, norm_num_groups=32, norm_eps=1e-6, flip_sin_to_cos=False,
        freq_shift=1,
    )  # fmt: skip
    net.load_state_dict(_model().network.state_dict())
    return net.eval().to(device())


def _pipeline(dtype: torch.dtype, *, best: bool) -> Build:
    def build() -> Call:
        from diffusers import DDIMPipeline, DDIMScheduler
        from diffusers.pipelines.ddim import pipeline_ddim

        pipe = DDIMPipeline(_unet().to(dtype), DDIMScheduler(clip_sample=False))
        pipe.set_progress_bar_config(disable=True)
        if best:
            pipe.unet = torch.compile(
                pipe.unet.to(memory_format=torch.channels_last), dynamic=False
            )
        noise = sample_prior(_model(), zoo.Rng(_SEED, _ROWS).to(device())).to(dtype)

        def call() -> Tensor:
            with patch.object(pipeline_ddim, "randn_tensor", lambda *a, **k: noise):
                found = pipe(_ROWS, num_inference_steps=_STEPS, output_type="np")
            return torch.from_numpy(found.images).float()

        return call

    return build


_LENGTH = 1000


@cache
def _fresh_toy() -> Any:
    torch.manual_seed(0)
    model = zoo.create("ddpm", network={"type": "mlp", "hidden": 128, "layers": 3})
    for p in model.parameters():
        nn.init.normal_(p, std=0.05)
    return model.eval()


def _toy() -> Any:
    return _fresh_toy().to(device())


def _toy_ours(points: int) -> Build:
    def build() -> Call:
        model = _toy()
        return lambda: model.sample(points, seed=_SEED, sampler="ancestral", steps=_LENGTH)

    return build


def _toy_loop(points: int, *, best: bool) -> Build:
    """x <- mean(x, eps(x, t)) + sigma z, by the paper's algorithm 2."""

    def build() -> Call:
        model, rng = _toy(), zoo.Rng(_SEED, points).to(device())
        beta = torch.linspace(1e-4, 0.02, _LENGTH, dtype=torch.float64)
        bar = (1 - beta).cumprod(0)
        before = torch.cat((bar.new_ones(1), bar[:-1]))
        table = torch.stack((
            beta / (1 - bar).sqrt(), 1 / (1 - beta).sqrt(),
            (beta * (1 - before) / (1 - bar)).sqrt(),
        ), 1).float().to(device())  # fmt: skip
        noise = [rng.normal((2,), stream="step", step=j) for j in range(_LENGTH)]
        first = sample_prior(model, rng)

        def step(x: Tensor, t: Tensor, row: Tensor, z: Tensor) -> Tensor:
            eps = model.network(x, t)
            return row[1] * (x - row[0] * eps) + row[2] * z

        move = torch.compile(step, dynamic=False) if best else step

        @torch.no_grad()
        def call() -> Tensor:
            x = first
            for i in reversed(range(_LENGTH)):
                t = torch.full((points,), float(i), device=x.device)
                x = move(x, t, table[i], noise[_LENGTH - 1 - i])
            return x

        return call

    return build


def _without_bf16() -> str:
    """Why a row in bf16 says nothing here, if it does not."""
    found = multiplies_bf16(torch.device(device()))
    return "" if found else "this CPU has no instructions for bf16 (AVX512-BF16 or AMX)"


def _contest(dtype: torch.dtype, peer: torch.dtype) -> dict[str, Build]:
    return {"ours": _ours(dtype), "diffusers": _pipeline(peer, best=False),
            "diffusers compiled": _pipeline(peer, best=True)}  # fmt: skip


_CASE = f"{_STEPS} steps {_ROWS}x3x32x32"
_FULL, _HALF, _MIXED = (
    f"ddim {_CASE}",
    f"ddim bf16 {_CASE}",
    f"ddim ours bf16, theirs fp32 {_CASE}",
)
_TOY = f"toy ancestral {_LENGTH} steps"


def _toy_row(points: int) -> Bench:
    loops = {"loop": _toy_loop(points, best=False), "loop compiled": _toy_loop(points, best=True)}
    return Bench(f"{_TOY} {points}x2", {"ours": _toy_ours(points), **loops}, equal={"loop": 1e-4})


BENCHES = (
    Bench(_FULL, _contest(torch.float32, torch.float32), equal={"diffusers": 1e-4}),
    Bench(_HALF, _contest(torch.bfloat16, torch.bfloat16), equal={"diffusers": 2e-2},
          unless=_without_bf16),
    Bench(_MIXED, _contest(torch.bfloat16, torch.float32), equal={"diffusers": 2e-2},
          unless=_without_bf16),
    _toy_row(1),
    _toy_row(64),
)  # fmt: skip
GOALS = (
    Goal("diffusion", _FULL, "diffusers", 1.15, best=0),
    Goal("diffusion", _HALF, "diffusers", 1.15, best=1),
    Goal("diffusion", _MIXED, "diffusers", 1.5, best=0),
    Goal("diffusion", f"{_TOY} 1x2", "loop", 20, best=0),
    Goal("diffusion", f"{_TOY} 64x2", "loop", 20, best=0),
)
