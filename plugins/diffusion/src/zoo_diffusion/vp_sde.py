"""The variance-preserving SDE (Song et al., 2021), https://arxiv.org/abs/2011.13456.

dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw with linear beta (eq. 33), in continuous time. A network
predicts the noise, eps = -sigma_t score, at time 999 t; it is trained by denoising score matching
with the weight sigma_t^2 (the simple loss, eq. 7) or with the likelihood's (Song et al., 2021b),
and scored by the variational bound or the probability-flow ODE (eq. 39).

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from zoo_core.plugin import ClassCounts, Condition, Range
from zoo_diffusion.model import DiffusionModel
from zoo_diffusion.networks import (
    MLPConfig,
    NetworkConfig,
    apply_network,
    build_network,
    make_event,
)
from zoo_diffusion.schedules import VP

__all__ = ["VPSDE", "VPSDEConfig"]


@dataclass(frozen=True)
class VPSDEConfig:
    """The event, the network, and beta at times 0 and 1.

    - `t_min`: the earliest time at which the network is evaluated.
    - `fourier`: exponents n of the Fourier features sin(2^n pi x), cos(2^n pi x) of x_t.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    network: NetworkConfig = MLPConfig()
    prediction: Literal["epsilon", "v", "score"] = "epsilon"
    beta_min: Annotated[float, Range(0.0, 1000.0, open=True)] = 0.1
    beta_max: Annotated[float, Range(0.0, 1000.0, open=True)] = 20.0
    t_min: Annotated[float, Range(1e-9, 0.5)] = 1e-3
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()


class VPSDE(DiffusionModel):
    """A denoiser at every time in [t_min, 1]."""

    def __init__(self, config: VPSDEConfig | None = None) -> None:
        c = config or VPSDEConfig()
        super().__init__(
            c, make_event(c.shape, c.levels), Condition.from_classes(c.classes, optional=True)
        )
        self.prediction, self.t_min = c.prediction, c.t_min
        self.schedule = VP(c.beta_min, c.beta_max)
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        self.network = build_network(
            c.network, c.shape, inputs=inputs, num_labels=self.condition.features
        )

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's output (B, *S) at x_t (B, *S), t (B,)."""
        return apply_network(self, x_t, self.network_time(t), cond)

    def network_time(self, t: Tensor) -> Tensor:
        """The network's time input, in [0, 999]."""
        return 999 * t
