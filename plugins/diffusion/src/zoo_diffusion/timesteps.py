"""At which times a model is defined, and how times are drawn for training and for bounds."""

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Rng

__all__ = ["ContinuousTime", "DiscreteTime", "stratified"]


@runtime_checkable
class DiscreteTime(Denoiser, Protocol):
    """A chain of T steps t = i / T; p(x_0 | x_{1/T}) is the last one's normal, discretized."""

    timesteps: int
    variance: Literal["small", "large"]


@runtime_checkable
class ContinuousTime(Denoiser, Protocol):
    """A model of every t in [start, 1]."""

    start: float


def stratified(rng: Rng, *, stream: str, step: int = 0) -> Tensor:
    """One u in [0, 1) a row, (B,) float64: (u_0 + i / B) mod 1, uniform and evenly spread.

    The low-discrepancy sampler of Kingma et al., 2021, app. I.1: a batch's mean varies less.
    """
    first = rng.uniform(stream=stream, step=step).double()[:1]
    spread = torch.arange(len(rng), device=first.device, dtype=torch.float64) / max(1, len(rng))
    return (first + spread) % 1
