"""Flow matching (Lipman et al., 2023; Liu et al., 2023), https://arxiv.org/abs/2210.02747.

A network learns the velocity of the path from data x_0 to noise eps,

    x_t = alpha_t x_0 + sigma_t eps,   dx_t/dt = E[alpha'_t x_0 + sigma'_t eps | x_t]

    linear                alpha = 1 - t, sigma = t         dx_t/dt = E[eps - x_0 | x_t]
    variance_preserving   alpha = cos, sigma = sin of pi t / 2    pi / 2 E[alpha eps - sigma x_0]

(rectified flow and the interpolants of Albergo & Vanden-Eijnden, 2023). The flow is the
probability flow of that schedule, so that samplers and the likelihood of diffusion models serve,
and their time runs likewise from 0 (data) to 1 (noise). Many papers count the other way.

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from zoo_core.plugin import ClassCounts, Condition, ConfigError, Range
from zoo_diffusion.model import DiffusionModel
from zoo_diffusion.networks import (
    MLPConfig,
    NetworkConfig,
    apply_network,
    build_network,
    make_event,
)
from zoo_diffusion.parameterization import Prediction, at_time, convert
from zoo_diffusion.schedules import Linear, Trigonometric

__all__ = ["FlowMatching", "FlowMatchingConfig"]

_PATHS: dict[str, type[Linear] | type[Trigonometric]] = {
    "linear": Linear,
    "variance_preserving": Trigonometric,
}


@dataclass(frozen=True)
class FlowMatchingConfig:
    """The event, the network, the path and what the network predicts.

    - `prediction`: the velocity as eps - x_0, of a variance-preserving path alpha eps - sigma x_0;
      or x_0, or eps.
    - `t_last`: the fraction of the path at time 1. Below 1 some data remain in the noise, which
      eps needs, because at alpha = 0 it does not determine x_0.
    - `t_min`: the earliest time at which the network is evaluated.
    - `time_scale`, `data_at_one`: the network's time is `time_scale` t, or `time_scale` (1 - t)
      for networks whose time 1 is the data.
    - `fourier`: exponents n of the Fourier features sin(2^n pi x), cos(2^n pi x) of x_t.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    network: NetworkConfig = MLPConfig()
    path: Literal["linear", "variance_preserving"] = "linear"
    prediction: Literal["velocity", "x0", "epsilon"] = "velocity"
    t_last: Annotated[float, Range(0.5, 1.0)] = 1.0
    t_min: Annotated[float, Range(1e-9, 0.5)] = 1e-3
    time_scale: Annotated[float, Range(0.0, 1e6, open=True)] = 1000.0
    data_at_one: bool = False
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()

    def __post_init__(self) -> None:
        if self.prediction == "epsilon" and self.t_last == 1:
            raise ConfigError(
                "prediction 'epsilon' with t_last = 1: at alpha = 0 it does not determine x_0.",
                hint="t_last=0.999, or prediction='velocity' or 'x0'",
            )


class FlowMatching(DiffusionModel):
    """The flow from noise at t = 1 to data at t = 0."""

    schedule: Linear | Trigonometric

    def __init__(self, config: FlowMatchingConfig | None = None) -> None:
        c = config or FlowMatchingConfig()
        super().__init__(
            c, make_event(c.shape, c.levels), Condition.from_classes(c.classes, optional=True)
        )
        self.schedule, self.t_min = _PATHS[c.path](c.t_last), c.t_min
        self.prediction: Prediction = (
            self.schedule.velocity if c.prediction == "velocity" else c.prediction
        )
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        self.network = build_network(
            c.network, c.shape, inputs=inputs, num_labels=self.condition.features
        )

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's output (B, *S) at x_t (B, *S), t (B,)."""
        return apply_network(self, x_t, self.network_time(t), cond)

    def network_time(self, t: Tensor) -> Tensor:
        """The network's time input for t (B,)."""
        t = self.config.t_last * t
        scaled: Tensor = self.config.time_scale * (1 - t if self.config.data_at_one else t)
        return scaled

    def velocity(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """dx_t/dt, (B, *S), at x_t (B, *S), t (B,) in (0, 1]."""
        alpha, sigma = at_time(self.schedule, t, x_t)
        m, target = self.predict(x_t, t, cond), self.schedule.velocity
        unit = convert(m, x_t, alpha, sigma, source=self.prediction, target=target)
        return self.schedule.rate * unit
