"""Variational diffusion (Kingma et al., 2021): a learned schedule, trained on its own bound.

https://arxiv.org/abs/2107.00630. With gamma(t) = -log SNR(t), alpha^2 = sigmoid(-gamma) and
sigma^2 = sigmoid(gamma), the bound in continuous time is (eqs. 11, 17)

    -log p(x) <= KL(q(z_1|x) || N(0, 1)) + E_q(z_0|x)[-log p(x|z_0)]
               + 1/2 E_{t, eps}[gamma'(t) |eps - eps_hat(z_t; gamma(t))|^2]

and p(x|z_0) is proportional to q(z_0|x). The integral depends on gamma only through its ends, so
the ends are given and the curve between them is learned to reduce the variance of the estimate
(app. I.2). The network sees gamma and Fourier features of z_t (app. C), which separate neighboring
quantization levels at low noise.

Shapes: B batch, S the event's shape, C channels, K levels.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo_core.plugin import (
    Batch,
    ClassCounts,
    Condition,
    ConfigError,
    Loss,
    Range,
    Rng,
)
from zoo_diffusion.losses import stratified
from zoo_diffusion.model import DiffusionModel
from zoo_diffusion.networks import (
    DropLabels,
    MLPConfig,
    NetworkConfig,
    apply_network,
    build_network,
    drop_condition,
    make_event,
)
from zoo_diffusion.parameterization import (
    ContinuousTime,
    append_dims,
    convert,
)
from zoo_diffusion.schedules import LogSNR

__all__ = ["VDM", "LearnedLogSNR", "LearnsSchedule", "VDMConfig", "VDMLoss"]

_TABLE, _NEWTON = 513, 5
"""Size of the table, between whose entries gamma is nearly linear, and Newton steps after it."""


@dataclass(frozen=True)
class VDMConfig:
    """The event, the network, and gamma at times 0 and 1.

    - `schedule`: gamma is learned, by a network of `schedule_hidden` units, or linear in t.
    - `fourier`: exponents n of the Fourier features sin(2^n pi z), cos(2^n pi z) of z_t.
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: ClassCounts = None
    network: NetworkConfig = MLPConfig()
    prediction: Literal["epsilon", "v", "x0"] = "v"
    gamma_min: Annotated[float, Range(-30, 30)] = -13.3
    gamma_max: Annotated[float, Range(-30, 30)] = 5.0
    schedule: Literal["learned", "linear"] = "learned"
    schedule_hidden: Annotated[int, Range(1, 65536)] = 256
    fourier: Annotated[tuple[int, ...], Range(-8, 16)] = ()

    def __post_init__(self) -> None:
        if not self.gamma_min < self.gamma_max:
            raise ConfigError(
                f"gamma_min = {self.gamma_min} and gamma_max = {self.gamma_max}; the noise must "
                "grow, so gamma_min must be less than gamma_max."
            )


class LearnedLogSNR(nn.Module):
    """A monotone gamma: g(t) = w t + sum_j v_j sigmoid(a_j t + b_j), w, a_j, v_j > 0 (app. H).

    g is shifted and scaled to gamma_min at t = 0 and gamma_max at t = 1.
    """

    def __init__(self, gamma_min: float, gamma_max: float, hidden: int) -> None:
        super().__init__()
        self.gamma_min, self.gamma_max = gamma_min, gamma_max
        self.w = nn.Parameter(torch.zeros(1))
        self.a = nn.Parameter(torch.full((hidden,), math.log(8.0)))
        self.b = nn.Parameter(
            -8.0 * torch.linspace(0, 1, hidden, dtype=torch.float64).to(torch.get_default_dtype())
        )
        self.v = nn.Parameter(torch.full((hidden,), -math.log(hidden) - 2.0))

    def alpha(self, t: Tensor) -> Tensor:
        return (-self.gamma(t)).sigmoid().sqrt().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return self.gamma(t).sigmoid().sqrt().to(t.dtype)

    def gamma(self, t: Tensor) -> Tensor:
        """-log SNR, float64."""
        return self.gamma_and_slope(t)[0]

    def gamma_and_slope(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """gamma(t) and gamma'(t), float64."""
        ends = self._raw(torch.linspace(0, 1, 2, device=t.device, dtype=torch.float64))[0]
        g, slope = self._raw(t.double())
        scale = (self.gamma_max - self.gamma_min) / (ends[1] - ends[0])
        return self.gamma_min + scale * (g - ends[0]), scale * slope

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t at a given log-SNR, float64: from a table, then by Newton's method."""
        with torch.no_grad():
            target = -log_snr.double()
            table = torch.linspace(0, 1, _TABLE, device=target.device, dtype=torch.float64)
            index = torch.searchsorted(self.gamma(table), target).clamp(1, _TABLE - 1)
            low = (index - 1) / (_TABLE - 1)
            t = low + 0.5 / (_TABLE - 1)
            for _ in range(_NEWTON):
                gamma, slope = self.gamma_and_slope(t)
                t = (t - (gamma - target) / slope).clamp(low, low + 1 / (_TABLE - 1))
            return t

    def _raw(self, t: Tensor) -> tuple[Tensor, Tensor]:
        w, a, v, b = self.w.double().exp(), self.a.double().exp(), self.v.double().exp(), self.b
        s = (t.unsqueeze(-1) * a + b.double()).sigmoid()
        return w * t + (v * s).sum(-1), w + (v * a * s * (1 - s)).sum(-1)


class VDM(DiffusionModel):
    """A denoiser at every log-SNR in [-gamma_max, -gamma_min]."""

    def __init__(self, config: VDMConfig | None = None) -> None:
        c = config or VDMConfig()
        super().__init__(
            c, make_event(c.shape, c.levels), Condition.from_classes(c.classes, optional=True)
        )
        self.prediction = c.prediction
        self.t_min = 0.0
        self.schedule: LearnedLogSNR | LogSNR = (
            LearnedLogSNR(c.gamma_min, c.gamma_max, c.schedule_hidden)
            if c.schedule == "learned"
            else LogSNR(c.gamma_min, c.gamma_max)
        )
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        self.network = build_network(
            c.network, c.shape, inputs=inputs, num_labels=self.condition.features
        )

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's output (B, *S) at x_t (B, *S), t (B,)."""
        return self.output(x_t, self.schedule.gamma(t), cond)

    def network_time(self, t: Tensor) -> Tensor:
        """The network's time input: gamma(t), mapped from [gamma_min, gamma_max] to [0, 1000]."""
        return self._scaled_gamma(self.schedule.gamma(t))

    def coding_times(self, steps: int) -> Tensor:
        """The times (steps + 1,) of the chain along which events are compressed, float64."""
        return torch.arange(steps + 1, dtype=torch.float64) / steps

    def output(self, z: Tensor, gamma: Tensor, cond: Tensor | None) -> Tensor:
        """The network's output at z (B, *S) and gamma (B,)."""
        return apply_network(self, z, self._scaled_gamma(gamma), cond)

    def _scaled_gamma(self, gamma: Tensor) -> Tensor:
        c: VDMConfig = self.config
        return 1000 * (gamma - c.gamma_min) / (c.gamma_max - c.gamma_min)


@runtime_checkable
class LearnsSchedule(ContinuousTime, Protocol):
    """A model whose network takes gamma, so that `VDMLoss` can train its schedule."""

    def output(self, z: Tensor, gamma: Tensor, cond: Tensor | None) -> Tensor:
        """The network's output at z (B, *S) and gamma (B,)."""
        ...


@dataclass(frozen=True)
class VDMLoss:
    """The bound in continuous time, in nats per value.

    The parameters of the schedule minimize the square of the same estimate: their gradient at each
    example is multiplied by twice that example's loss in the backward pass. Labels are dropped
    with probability `p_uncond`, for classifier-free guidance; of several, all at once or each by
    itself (`drop_labels`).
    """

    p_uncond: Annotated[float, Range(0, 1)] = 0.1
    drop_labels: DropLabels = "together"

    def __call__(self, model: VDM, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = model.event.to_network(batch[0], model.dtype), batch[1]
        cond = drop_condition(
            model.condition, cond, self.p_uncond, rng, step, labels=self.drop_labels
        )
        gamma, slope = self._gamma_and_slope(model, stratified(rng, stream="t", step=step))
        factors: list[Tensor] = []
        if gamma.requires_grad:
            gamma = _scale_gradient(gamma, factors)
            slope = _scale_gradient(slope, factors)
        eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
        alpha, sigma = (append_dims(g.sigmoid().sqrt(), x) for g in (-gamma, gamma))
        z = alpha * x + sigma * eps
        m = model.output(z, gamma, cond)
        eps_hat = convert(m, z, alpha, sigma, source=model.prediction, target="epsilon")
        each = 0.5 * slope.to(x.dtype) * (eps - eps_hat).square().flatten(1).mean(1)
        factors.append(2 * each.detach())
        total = each.mean()
        return Loss(total, {"diffusion": total.detach() * model.event.dims})

    def _gamma_and_slope(self, model: VDM, t: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(model.schedule, LearnedLogSNR):
            return model.schedule.gamma_and_slope(t)
        c = model.config
        return model.schedule.gamma(t), torch.full_like(t, c.gamma_max - c.gamma_min)


def _scale_gradient(value: Tensor, factors: list[Tensor]) -> Tensor:
    """`value` (B,), whose gradient is multiplied by factors[-1] as of the backward pass."""
    value = value.clone()
    value.register_hook(lambda g: g * factors[-1].to(g.dtype))
    return value
