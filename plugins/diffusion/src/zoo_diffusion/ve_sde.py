"""The variance-exploding SDE (Song et al., 2021), the model of NCSN++ checkpoints.

x_t = x_0 + sigma_t eps with sigma_t geometric from sigma_min to sigma_max (eq. 30,
https://arxiv.org/abs/2011.13456). The network gives the score of images in [0, 1]; y = 2 x - 1 has
twice the noise and half the score: score_y(y; sigma) = F(x; sigma / 2) / 2.

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import Range
from zoo_diffusion.model import DiffusionModel
from zoo_diffusion.networks import MLPConfig, NetworkConfig, build_network, make_event
from zoo_diffusion.parameterization import Prediction
from zoo_diffusion.schedules import Geometric

__all__ = ["VESDE", "VESDEConfig"]


@dataclass(frozen=True)
class VESDEConfig:
    """The event, the network, and sigma at times 0 and 1 for data in [0, 1]."""

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    network: NetworkConfig = MLPConfig()
    sigma_min: Annotated[float, Range(0.0, 1.0, open=True)] = 0.01
    sigma_max: Annotated[float, Range(1.0, 1e6)] = 50.0


class VESDE(DiffusionModel):
    """A score at every noise level."""

    def __init__(self, config: VESDEConfig | None = None) -> None:
        c = config or VESDEConfig()
        super().__init__(c, make_event(c.shape, c.levels))
        self.prediction: Prediction = "score"
        self.t_min = 0.0
        self.schedule = Geometric(2 * c.sigma_min, 2 * c.sigma_max)
        self.network = build_network(c.network, c.shape)

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The score (B, *S) at x_t (B, *S) in [-1, 1] and t (B,)."""
        sigma = 0.5 * self.schedule.sigma(t.double())
        time = sigma.to(torch.promote_types(self.dtype, torch.float32))
        F_x: Tensor = self.network((0.5 * (x_t + 1)).to(self.dtype), time)
        return 0.5 * F_x.to(x_t.dtype)
