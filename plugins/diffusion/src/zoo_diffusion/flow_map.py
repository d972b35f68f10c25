"""What models of a flow map share: they send noise to data in a single call of the network.

The probability flow of a schedule carries x_t to x_0. A denoiser gives its slope, and a solver
follows it in many calls; a flow map gives its end,

    X(x_t, t) = x_0

so that x = X(x_1, 1) is a draw, and the model has no density: it is `implicit`. As a generator it
takes standard normal z, x_1 = s z with s the standard deviation of x_1 (`prior_scale`).

Shapes: B batch, S the event's shape.
"""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import GenerativeModel, Generator, Normal, Schedule
from zoo_diffusion.parameterization import prior_scale

__all__ = ["FlowMap", "FlowMapBetween", "FlowMapModel"]


@runtime_checkable
class FlowMap(Generator, Protocol):
    """A model of the end of a schedule's probability flow."""

    schedule: Schedule

    def to_data(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """X(x_t, t), (B, *S) on the scale of networks, at x_t (B, *S), t (B,)."""
        ...


@runtime_checkable
class FlowMapBetween(FlowMap, Protocol):
    """A model of the flow from any time to any earlier one."""

    def to_time(self, x_t: Tensor, t: Tensor, s: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_s (B, *S) at x_t (B, *S), t (B,), s (B,) of at most t."""
        ...


class FlowMapModel(GenerativeModel, ABC):
    """A flow map as a generator of events."""

    schedule: Schedule

    @abstractmethod
    def to_data(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """X(x_t, t), (B, *S) on the scale of networks, at x_t (B, *S), t (B,)."""

    def prior(self, batch: int, cond: Tensor | None = None) -> Normal:
        """Standard normal z (B, *S)."""
        return Normal.standard(batch, *self.event.shape, like=next(self.parameters()))

    def generate(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """X(s z, 1) in the units of events, before rounding: (B, *S) -> (B, *S)."""
        one = torch.ones(len(z), dtype=torch.float64, device=z.device)
        x = self.to_data(prior_scale(self) * z, one, cond)
        levels = self.event.levels
        return x if levels is None else (x + 1) * ((levels - 1) / 2)
