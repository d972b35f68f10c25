"""Consistency models (Song et al., 2023): from any noise to the data in one call.

https://arxiv.org/abs/2303.01469. f(x; sigma) is the point at the least noise sigma_min on the
probability flow through x at sigma, so that it is the same all along a path. The form

    f(x; sigma) = c_skip x + c_out F(c_in x; c_noise),   f(x; sigma_min) = x

holds the boundary condition whatever the network F (`preconditioning`). `ConsistencyLoss` trains
it, with or without a teacher. The network takes `time_scale` c_noise.

Shapes: B batch, S the event's shape.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from zoo_core.plugin import ClassCounts, Condition, Range
from zoo_diffusion.flow_map import FlowMapModel
from zoo_diffusion.networks import (
    MLPConfig,
    NetworkConfig,
    build_network,
    make_event,
    network_label,
)
from zoo_diffusion.parameterization import at_time
from zoo_diffusion.preconditioning import from_least_noise, preconditioned
from zoo_diffusion.schedules import Karras

__all__ = ["Consistency", "ConsistencyConfig"]


@dataclass(frozen=True)
class ConsistencyConfig:
    """The event, the network, and the range of sigma; the fields are those of `EDMConfig`.

    The defaults are those of the published models of ImageNet and LSUN.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    network: NetworkConfig = MLPConfig()
    sigma_min: Annotated[float, Range(0.0, 1.0, open=True)] = 0.002
    sigma_max: Annotated[float, Range(1.0, 1e5)] = 80.0
    sigma_data: Annotated[float, Range(0.0, 100.0, open=True)] = 0.5
    rho: Annotated[float, Range(1.0, 100.0)] = 7.0
    time_scale: Annotated[float, Range(0.0, 1e6, open=True)] = 1000.0
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()


class Consistency(FlowMapModel):
    """A consistency function at every sigma in [sigma_min, sigma_max]."""

    schedule: Karras

    def __init__(self, config: ConsistencyConfig | None = None) -> None:
        c = config or ConsistencyConfig()
        super().__init__(c, make_event(c.shape, c.levels), Condition.from_classes(c.classes))
        self.schedule = Karras(c.sigma_min, c.sigma_max, c.rho)
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        self.network = build_network(
            c.network, c.shape, inputs=inputs, num_labels=self.condition.features
        )

    def to_data(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """f(x_t; sigma_t), (B, *S)."""
        return self.consistency(x_t, at_time(self.schedule, t, x_t)[1], cond)

    def consistency(
        self,
        x: Tensor,
        sigma: Tensor,
        cond: Tensor | None = None,
        network: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """f(x; sigma) at sigma (B, 1, ..., 1), by the model's network or another F."""
        c = self.config
        return preconditioned(
            network or self.network,
            x,
            from_least_noise(sigma, c.sigma_data, c.sigma_min),
            network_label(self.condition, cond, x),
            time_scale=c.time_scale,
            fourier=c.fourier,
            dtype=self.dtype,
        )
