"""EDM (Karras et al., 2022): one preconditioned denoiser, https://arxiv.org/abs/2206.00364.

D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), with the coefficients of `preconditioning`, is
trained on lambda(sigma) |D - x|^2 with lambda = 1 / c_out^2 and log sigma normal. The network
takes `time_scale` c_noise: 1000 by default, because most embeddings expect times of that size.

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Batch, ClassCounts, Condition, Loss, Range, Rng
from zoo_diffusion.model import DiffusionModel
from zoo_diffusion.networks import (
    DropLabels,
    MLPConfig,
    NetworkConfig,
    build_network,
    drop_condition,
    make_event,
    network_label,
)
from zoo_diffusion.parameterization import ContinuousTime, Prediction, append_dims, at_time
from zoo_diffusion.preconditioning import (
    PRECONDITIONINGS,
    Preconditioning,
    loss_weight,
    preconditioned,
)
from zoo_diffusion.schedules import Karras

__all__ = ["EDM", "EDMConfig", "EDMLoss", "Preconditioned"]


@dataclass(frozen=True)
class EDMConfig:
    """The event, the network, and the range of sigma.

    - `sigma_data`: s_d, the standard deviation of the data in the network's range.
    - `preconditioning`: EDM's coefficients, or those of Song et al., 2021: `vp` and `ve`.
    - `time_scale`: the network's time is `time_scale` c_noise; a `song_unet` takes c_noise itself,
      with 1.
    - `fourier`: exponents n of the Fourier features sin(2^n pi x), cos(2^n pi x) of x_t.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    network: NetworkConfig = MLPConfig()
    sigma_min: Annotated[float, Range(0.0, 1.0, open=True)] = 0.002
    sigma_max: Annotated[float, Range(1.0, 1e5)] = 80.0
    sigma_data: Annotated[float, Range(0.0, 100.0, open=True)] = 0.5
    rho: Annotated[float, Range(1.0, 100.0)] = 7.0
    preconditioning: Preconditioning = "edm"
    time_scale: Annotated[float, Range(0.0, 1e6, open=True)] = 1000.0
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()


class EDM(DiffusionModel):
    """A denoiser at every sigma in [sigma_min, sigma_max]; sigma^(1/rho) is linear in t."""

    def __init__(self, config: EDMConfig | None = None) -> None:
        c = config or EDMConfig()
        super().__init__(
            c, make_event(c.shape, c.levels), Condition.from_classes(c.classes, optional=True)
        )
        self.prediction: Prediction = "x0"
        self.t_min = 0.0
        self.schedule = Karras(c.sigma_min, c.sigma_max, c.rho)
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        self.network = build_network(
            c.network, c.shape, inputs=inputs, num_labels=self.condition.features
        )

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """D(x_t; sigma_t), (B, *S)."""
        return self.denoise_at(x_t, at_time(self.schedule, t, x_t)[1], cond)

    predict = denoise

    def denoise_at(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """D(x; sigma) at sigma (B, 1, ..., 1)."""
        coefficients = PRECONDITIONINGS[self.config.preconditioning]
        return preconditioned(
            self.network,
            x,
            coefficients(sigma, self.config.sigma_data),
            network_label(self.condition, cond, x),
            time_scale=self.config.time_scale,
            fourier=self.config.fourier,
            dtype=self.dtype,
        )


@runtime_checkable
class Preconditioned(ContinuousTime, Protocol):
    """A denoiser at any sigma, which `EDMLoss` trains."""

    config: EDMConfig

    def denoise_at(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """D(x; sigma) at sigma (B, 1, ..., 1)."""
        ...


@dataclass(frozen=True)
class EDMLoss:
    """lambda(sigma) |D - x|^2 with log sigma ~ N(p_mean, p_std^2) (table 1).

    Labels are dropped with probability `p_uncond`, for classifier-free guidance; of several, all
    at once or each by itself (`drop_labels`).
    """

    p_mean: Annotated[float, Range(-10, 10)] = -1.2
    p_std: Annotated[float, Range(0.01, 10)] = 1.2
    p_uncond: Annotated[float, Range(0, 1)] = 0.1
    drop_labels: DropLabels = "together"

    def __call__(self, model: Preconditioned, batch: Batch, rng: Rng, step: int) -> Loss:
        x = model.event.to_network(batch[0], torch.promote_types(model.dtype, torch.float32))
        cond = drop_condition(
            model.condition, batch[1], self.p_uncond, rng, step, labels=self.drop_labels
        )
        log_sigma = self.p_mean + self.p_std * rng.normal(stream="sigma", step=step)
        sigma = append_dims(log_sigma.exp(), x)
        eps = rng.normal(x.shape[1:], stream="eps", step=step)
        c = model.config
        weight = loss_weight(c.preconditioning, sigma, c.sigma_data)
        error = (weight * (model.denoise_at(x + sigma * eps, sigma, cond) - x).square()).mean()
        return Loss(error, {"edm": error.detach()})
