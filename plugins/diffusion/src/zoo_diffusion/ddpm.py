"""DDPM (Ho et al., 2020): a chain of T denoising steps, https://arxiv.org/abs/2006.11239.

q(x_t | x_0) = N(alpha_t x_0, sigma_t^2) with alpha_t^2 = prod_{i <= t} (1 - beta_i) is reversed by
p(x_{t-1} | x_t) = N(mu(x_t, x_hat), small or large variance) (eqs. 4, 6, 7), or a variance
between them that the network learns (Nichol & Dhariwal, 2021, eq. 15). The network predicts
the noise, v or x_0; it is trained on L_simple (eq. 14) or on the bound (eq. 5).

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
from zoo_diffusion.parameterization import at_time, to_x0
from zoo_diffusion.schedules import (
    Betas,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
    zero_snr_betas,
)

__all__ = ["DDPM", "DDPMConfig"]


@dataclass(frozen=True)
class DDPMConfig:
    """The event, the network and the betas.

    - `optional`: a class may be left out.
    - `zero_snr`: rescale the betas to zero terminal SNR (`schedules.zero_snr_betas`), so that x_T
      is pure noise. Its epsilon does not determine x_0, so the network predicts v or x0.
    - `variance`: with "learned" the network has twice the channels: its prediction, and where the
      log-variance of each value lies between the small (-1) and the large (1).
    - `fourier`: exponents n of the Fourier features sin(2^n pi x), cos(2^n pi x) of x_t.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    optional: bool = True
    network: NetworkConfig = MLPConfig()
    prediction: Literal["epsilon", "v", "x0"] = "epsilon"
    timesteps: Annotated[int, Range(1, 1 << 20)] = 1000
    betas: Literal["linear", "scaled_linear", "cosine"] = "linear"
    beta_first: Annotated[float, Range(0.0, 0.999, open=True)] = 1e-4
    beta_last: Annotated[float, Range(0.0, 0.999, open=True)] = 0.02
    zero_snr: bool = False
    variance: Literal["small", "large", "learned"] = "small"
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()

    def __post_init__(self) -> None:
        if self.zero_snr and self.prediction == "epsilon":
            raise ConfigError(
                "zero_snr: prediction 'epsilon' does not determine x_0 where alpha is 0.",
                hint="prediction='v' or 'x0', for a network that was trained with it",
            )
        if self.zero_snr and self.timesteps < 2:
            raise ConfigError(f"zero_snr needs timesteps of at least 2, not {self.timesteps}.")


class DDPM(DiffusionModel):
    """A chain of T denoising steps; log alpha is interpolated between them."""

    def __init__(self, config: DDPMConfig | None = None) -> None:
        c = config or DDPMConfig()
        condition = Condition.from_classes(c.classes, optional=c.optional)
        super().__init__(c, make_event(c.shape, c.levels), condition)
        self.prediction, self.timesteps, self.variance = c.prediction, c.timesteps, c.variance
        self.schedule = Betas(_betas(c))
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        outputs = c.shape[0] * (2 if c.variance == "learned" else 1)
        self.network = build_network(
            c.network,
            (outputs, *c.shape[1:]),
            inputs=inputs,
            num_labels=self.condition.features,
        )

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's prediction (B, *S) at x_t (B, *S), t (B,)."""
        m = apply_network(self, x_t, self.network_time(t), cond)
        return m.chunk(2, 1)[0] if self.variance == "learned" else m

    def network_time(self, t: Tensor) -> Tensor:
        """The network's time input: step i = t T as i - 1."""
        return (t.double() * self.timesteps - 1).clamp(min=0)

    def denoise_and_weigh(
        self, x_t: Tensor, t: Tensor, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """E[x_0 | x_t], and the weight v (B, *S) of the large log-variance, of a learned one."""
        m, v = apply_network(self, x_t, self.network_time(t), cond).chunk(2, 1)
        alpha, sigma = at_time(self.schedule, t, x_t)
        return to_x0(m, self.prediction, x_t, alpha, sigma), (v + 1) / 2


def _betas(c: DDPMConfig) -> Tensor:
    betas = _plain_betas(c)
    return zero_snr_betas(betas) if c.zero_snr else betas


def _plain_betas(c: DDPMConfig) -> Tensor:
    if c.betas == "cosine":
        return cosine_betas(c.timesteps)
    make = linear_betas if c.betas == "linear" else scaled_linear_betas
    return make(c.timesteps, c.beta_first, c.beta_last)
