"""Mean flow (Geng et al., 2025): the average velocity of a flow, from any time to any earlier one.

https://arxiv.org/abs/2505.13447. Along the flow dx_t/dt = v(x_t, t) of the linear path,

    u(x_t, s, t) = 1 / (t - s) int_s^t v(x_r, r) dr,    x_s = x_t - (t - s) u(x_t, s, t)

so that one call, s = 0 and t = 1, goes from noise to data. u(x_t, t, t) = v(x_t, t) is the
velocity of flow matching. Time runs from 0 (data) to 1 (noise). The network takes t as its time,
and t - s as further channels, the same at every place of an event.

Shapes: B batch, S the event's shape, C channels.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import ClassCounts, Condition, Range
from zoo_diffusion.flow_map import FlowMapModel
from zoo_diffusion.networks import (
    MLPConfig,
    NetworkConfig,
    build_network,
    fourier_features,
    make_event,
)
from zoo_diffusion.networks.labels import network_label
from zoo_diffusion.parameterization import append_dims
from zoo_diffusion.schedules import Linear

__all__ = ["MeanFlow", "MeanFlowConfig"]

_INTERVAL = (-1, 0, 1)
"""Exponents n of the features sin(2^n pi (t - s)), cos(2^n pi (t - s)) beside t - s itself."""
_CHANNELS = 1 + 2 * len(_INTERVAL)


@dataclass(frozen=True)
class MeanFlowConfig:
    """The event and the network.

    - `time_scale`: the network's time is `time_scale` t.
    - `fourier`: exponents n of the Fourier features sin(2^n pi x), cos(2^n pi x) of x_t.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    network: NetworkConfig = MLPConfig()
    time_scale: Annotated[float, Range(0.0, 1e6, open=True)] = 1000.0
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()


class MeanFlow(FlowMapModel):
    """The average velocity from every time t to every s of at most t."""

    schedule: Linear

    def __init__(self, config: MeanFlowConfig | None = None) -> None:
        c = config or MeanFlowConfig()
        super().__init__(c, make_event(c.shape, c.levels), Condition.from_classes(c.classes))
        self.schedule = Linear()
        inputs = c.shape[0] * (1 + 2 * len(c.fourier)) + _CHANNELS
        self.network = build_network(
            c.network, c.shape, inputs=inputs, num_labels=self.condition.features
        )

    def average_velocity(
        self, x_t: Tensor, t: Tensor, s: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        """u(x_t, s, t), (B, *S), at x_t (B, *S), t (B,), s (B,)."""
        interval = append_dims(t - s, x_t).expand(len(x_t), 1, *x_t.shape[2:])
        features = (
            fourier_features(x_t, self.config.fourier),
            fourier_features(interval, _INTERVAL),
        )
        wide = torch.promote_types(self.dtype, torch.float32)
        time = (self.config.time_scale * t).to(wide)
        u: Tensor = self.network(
            torch.cat(features, 1).to(self.dtype), time, network_label(self.condition, cond, x_t)
        )
        return u.to(x_t.dtype)

    def to_time(self, x_t: Tensor, t: Tensor, s: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_s (B, *S) at x_t (B, *S), t (B,), s (B,) of at most t."""
        return x_t - append_dims(t - s, x_t) * self.average_velocity(x_t, t, s, cond)

    def to_data(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_0 (B, *S) at x_t (B, *S), t (B,)."""
        return self.to_time(x_t, t, torch.zeros_like(t), cond)
