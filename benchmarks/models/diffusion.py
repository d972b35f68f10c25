"""Fifty DDIM steps of the 32x32 U-Net (64, 128, 128) beside diffusers, with equal weights.

The peer's loop is that of its DDIMPipeline: its UNet2DModel and its DDIMScheduler. Both start from
the same noise, and what is compared is x after the last step. At its best the peer is compiled,
with channels last. Ours in bfloat16 beside theirs in float32 is a row of its own, labelled so.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

import zoo_core as zoo

from . import Bench, Build, Call, Goal

__all__ = ["BENCHES", "GOALS", "PACKAGES"]

PACKAGES = ("diffusers",)
_STEPS, _CHANNELS = 50, (64, 128, 128)


@cache
def _model() -> Any:
    """Random weights; small outputs, for an untrained flow magnifies rounding."""
    torch.manual_seed(0)
    network = {"type": "unet", "channels": _CHANNELS, "down": ("plain", "attention", "plain")}
    model = zoo.create("ddpm", shape=(3, 32, 32), levels=256, network=network)
    torch.nn.init.normal_(model.network.conv_out.weight, std=0.01)
    return model.eval()


def _start() -> Tensor:
    from zoo_diffusion.walk import start

    return start(_model(), zoo.Rng(0, 1))


def _ours(dtype: torch.dtype) -> Build:
    def build() -> Call:
        from copy import deepcopy

        from zoo_diffusion.samplers import DDIM
        from zoo_diffusion.walk import Options, states

        model = deepcopy(_model()).to(dtype)
        sampler = DDIM(steps=_STEPS, spacing="leading")

        def call() -> Tensor:
            with torch.no_grad():
                *_, x = states(model, zoo.Rng(0, 1), None, sampler.plan(model), Options())
            return x

        return call

    return build


def _diffusers(dtype: torch.dtype, *, best: bool = False) -> Build:
    def build() -> Call:
        import diffusers

        net: Any = diffusers.UNet2DModel(
            sample_size=32, block_out_channels=_CHANNELS, layers_per_block=2, norm_num_groups=32,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), norm_eps=1e-6,
            attention_head_dim=None, flip_sin_to_cos=False, freq_shift=1,
        )  # fmt: skip
        net.load_state_dict(_model().network.state_dict())
        net = net.eval().to(dtype)
        if best:
            net = torch.compile(net.to(memory_format=torch.channels_last), dynamic=False)
        scheduler = diffusers.DDIMScheduler()
        scheduler.set_timesteps(_STEPS)
        begin = _start().to(dtype)

        def call() -> Tensor:
            x = begin
            with torch.no_grad():
                for t in scheduler.timesteps:
                    x = scheduler.step(net(x, t).sample, t, x).prev_sample
            return x.float()

        return call

    return build


_FP32, _BF16 = torch.float32, torch.bfloat16
_CASE = "ddim 50 steps 1x3x32x32"
BENCHES = (
    Bench(
        f"{_CASE} fp32",
        {"ours": _ours(_FP32), "diffusers": _diffusers(_FP32),
         "diffusers compiled": _diffusers(_FP32, best=True)},
        equal={"diffusers": 1e-4},
    ),
    Bench(
        f"{_CASE} bf16",
        {"ours": _ours(_BF16), "diffusers": _diffusers(_BF16),
         "diffusers compiled": _diffusers(_BF16, best=True)},
        equal={"diffusers": 5e-2},
    ),
    Bench(
        f"{_CASE} ours bf16, theirs fp32",
        {"ours": _ours(_BF16), "diffusers": _diffusers(_FP32),
         "diffusers compiled": _diffusers(_FP32, best=True)},
        equal={"diffusers": 2e-2},
    ),
)  # fmt: skip
GOALS = (
    Goal("diffusion", f"{_CASE} fp32", "diffusers", 1.15),
    Goal("diffusion", f"{_CASE} bf16", "diffusers", 1.15, best=1),
    Goal("diffusion", f"{_CASE} ours bf16, theirs fp32", "diffusers", 1.5),
)
