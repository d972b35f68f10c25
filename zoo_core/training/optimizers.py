"""The core's optimizers: torch's own, fused into one kernel where torch has one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import nn

from zoo_core.config import Range

__all__ = ["SGD", "Adam", "AdamW"]

_Rate = Annotated[float, Range(0, 10)]
_Betas = Annotated[tuple[float, float], Range(0, 0.999999)]
_Unit = Annotated[float, Range(0, 1)]

_FUSED = ("cpu", "cuda")
"""Devices for which torch has fused kernels of all three."""


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980)."""

    lr: _Rate = 1e-3
    betas: _Betas = (0.9, 0.999)
    eps: _Unit = 1e-8
    weight_decay: _Rate = 0.0

    _make: ClassVar[Callable[..., torch.optim.Optimizer]] = torch.optim.Adam

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        return self._make(
            parameters.values(),
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=_fuses(parameters),
        )


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019,
    https://arxiv.org/abs/1711.05101)."""

    _make: ClassVar[Callable[..., torch.optim.Optimizer]] = torch.optim.AdamW


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with momentum (Nesterov's, if asked for)."""

    lr: _Rate = 1e-3
    weight_decay: _Rate = 0.0
    momentum: _Unit = 0.0
    nesterov: bool = False

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters.values(),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=_fuses(parameters),
        )


def _fuses(parameters: Mapping[str, nn.Parameter]) -> bool:
    """Whether torch's fused kernels take these parameters."""
    return all(p.device.type in _FUSED and p.is_floating_point() for p in parameters.values())
