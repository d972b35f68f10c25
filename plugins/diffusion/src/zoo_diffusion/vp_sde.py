"""The variance-preserving SDE (Song et al., 2021), https://arxiv.org/abs/2011.13456.

dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw with linear beta (eq. 33), in continuous time. A network
predicts the noise, eps = -sigma_t score, at time 999 t; it is trained by denoising score matching
with the weight sigma_t^2 (the simple loss, eq. 7) or with the likelihood's (Song et al., 2021b),
and scored by the probability-flow ODE (eq. 39).

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from zoo_core.plugin import GenerativeModel, Range
from zoo_diffusion.conditioning import class_condition, labels
from zoo_diffusion.networks import MLPConfig, NetworkConfig, apply, build
from zoo_diffusion.parameterization import at_time, to_x0
from zoo_diffusion.scale import event_of
from zoo_diffusion.schedules import VP

__all__ = ["VPSDE", "VPSDEConfig"]


@dataclass(frozen=True)
class VPSDEConfig:
    """The event, the network and beta's ends. Times before `start` are not asked for."""

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: Annotated[int, Range(1, 65536)] | None = None
    network: NetworkConfig = MLPConfig()
    prediction: Literal["epsilon", "v", "score"] = "epsilon"
    beta_min: Annotated[float, Range(0.0, 1000.0, open=True)] = 0.1
    beta_max: Annotated[float, Range(0.0, 1000.0, open=True)] = 20.0
    start: Annotated[float, Range(1e-9, 0.5)] = 1e-3
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()


class VPSDE(GenerativeModel):
    """A denoiser of every time in [start, 1]."""

    def __init__(self, config: VPSDEConfig | None = None) -> None:
        c = config or VPSDEConfig()
        super().__init__(c, event_of(c.shape, c.levels), class_condition(c.classes))
        self.prediction, self.start = c.prediction, c.start
        self.schedule = VP(c.beta_min, c.beta_max)
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        self.network = build(c.network, c.shape, inputs=inputs, labels=labels(self.condition))

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's output (B, *S) at x_t (B, *S), t (B,)."""
        return apply(self, x_t, self.network_time(t), cond)

    def network_time(self, t: Tensor) -> Tensor:
        """Steps from 0, for the network."""
        return 999 * t

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t], (B, *S)."""
        alpha, sigma = at_time(self.schedule, t, x_t)
        return to_x0(self.predict(x_t, t, cond), self.prediction, x_t, alpha, sigma)
