"""Sampling by a generator beside the same layers called in plain PyTorch, without the zoo.

The peer is DCGAN's tutorial network on latents that are drawn beforehand; at its best it has its
weights in channels last and is compiled. Ours draws its latents, and gives events.
"""

from copy import deepcopy
from functools import cache

import torch
from torch import Tensor, nn

import zoo_core as zoo

from . import Bench, Build, Call, Goal, device

PACKAGES = ()

_ROWS, _SEED = 64, 0
_BF16_DISTANCE = 0.08
"""Of the largest value, over all pixels: batch normalization amplifies the rounding of weights."""


@cache
def _fresh() -> zoo.GenerativeModel:
    """The tutorial's generator, with statistics as after some training."""
    torch.manual_seed(0)
    model = zoo.create("dcgan", critic=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(0.05)
    return model.eval()


def _model() -> zoo.GenerativeModel:
    return _fresh().to(device())


def _latents() -> Tensor:
    return zoo.Rng(_SEED, _ROWS).to(device()).normal((100,), stream="z")


def _plain(*, best: bool) -> Build:
    def build() -> Call:
        net, z = deepcopy(_model().generator.main), _latents()[:, :, None, None]
        layout = torch.channels_last if best else torch.contiguous_format
        net = net.to(memory_format=layout)
        if best:
            net = torch.compile(net, dynamic=False)

        def call() -> Tensor:
            with torch.inference_mode():
                return net(z)

        return call

    return build


def _ours(dtype: torch.dtype) -> Build:
    def build() -> Call:
        model = deepcopy(_model()).to(dtype)
        return lambda: model.sample(_ROWS, seed=_SEED).float()

    return build


_PLAIN = {"torch": _plain(best=False), "torch compiled": _plain(best=True)}
_FULL, _HALF = f"sample dcgan {_ROWS}x3x64x64", f"sample dcgan bf16 {_ROWS}x3x64x64"

BENCHES = (
    Bench(_FULL, {"ours": _ours(torch.float32), **_PLAIN}, equal={"torch": 1e-5}),
    Bench(_HALF, {"ours": _ours(torch.bfloat16), **_PLAIN}, equal={"torch": _BF16_DISTANCE}),
)
GOALS = (Goal("gan", _FULL, "torch", 1), Goal("gan", _HALF, "torch", 3))
