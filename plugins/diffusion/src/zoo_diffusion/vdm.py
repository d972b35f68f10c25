"""Variational diffusion (Kingma et al., 2021): a learned schedule, trained on its own bound.

https://arxiv.org/abs/2107.00630. With gamma(t) = -log SNR(t), alpha^2 = sigmoid(-gamma) and
sigma^2 = sigmoid(gamma), the bound in continuous time is (eqs. 11, 17)

    -log p(x) <= KL(q(z_1|x) || N(0, 1)) + E_q(z_0|x)[-log p(x|z_0)]
               + 1/2 E_{t, eps}[gamma'(t) |eps - eps_hat(z_t; gamma(t))|^2]

and p(x|z_0) is proportional to q(z_0|x). The integral depends on gamma only through its ends, so
the ends are given and the way between them is learned to make the estimate's variance small
(app. I.2). The network sees gamma and Fourier features of z_t (app. C), by which it can tell
neighbouring levels apart at low noise.

Shapes: B batch, S the event's shape, C channels, K levels.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo_core.plugin import Batch, ConfigError, GenerativeModel, Loss, Range, Rng
from zoo_diffusion.conditioning import class_condition, drop, labels
from zoo_diffusion.networks import MLPConfig, NetworkConfig, apply, build
from zoo_diffusion.parameterization import at_time, convert, per_row, to_x0
from zoo_diffusion.scale import event_of
from zoo_diffusion.schedules import LogSNR
from zoo_diffusion.timesteps import ContinuousTime, stratified

__all__ = ["VDM", "LearnedLogSNR", "LearnsSchedule", "VDMConfig", "VDMLoss"]

_TABLE, _NEWTON = 513, 5
"""Entries between which gamma is nearly straight, and steps that double the digits each."""


@dataclass(frozen=True)
class VDMConfig:
    """The event, the network, the ends of gamma, and the exponents n of sin(2^n pi z)."""

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (2,)
    levels: Annotated[int, Range(2, 65536)] | None = None
    classes: Annotated[int, Range(1, 65536)] | None = None
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
                "grow from the first to the second."
            )


class LearnedLogSNR(nn.Module):
    """gamma rising from one end to the other: g(t) = w t + sum_j v_j sigmoid(a_j t + b_j),
    w, a_j, v_j > 0 (app. H), shifted and scaled to the ends."""

    def __init__(self, low: float, high: float, hidden: int) -> None:
        super().__init__()
        self.low, self.high = low, high
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
        scale = (self.high - self.low) / (ends[1] - ends[0])
        return self.low + scale * (g - ends[0]), scale * slope

    def time_at(self, log_snr: Tensor) -> Tensor:
        """t where the log-SNR has a value, float64: from a table, then by Newton's method."""
        with torch.no_grad():
            wanted = -log_snr.double()
            table = torch.linspace(0, 1, _TABLE, device=wanted.device, dtype=torch.float64)
            at = torch.searchsorted(self.gamma(table), wanted).clamp(1, _TABLE - 1)
            low = (at - 1) / (_TABLE - 1)
            t = low + 0.5 / (_TABLE - 1)
            for _ in range(_NEWTON):
                gamma, slope = self.gamma_and_slope(t)
                t = (t - (gamma - wanted) / slope).clamp(low, low + 1 / (_TABLE - 1))
            return t

    def _raw(self, t: Tensor) -> tuple[Tensor, Tensor]:
        w, a, v, b = self.w.double().exp(), self.a.double().exp(), self.v.double().exp(), self.b
        s = (t.unsqueeze(-1) * a + b.double()).sigmoid()
        return w * t + (v * s).sum(-1), w + (v * a * s * (1 - s)).sum(-1)


class VDM(GenerativeModel):
    """A denoiser at every log-SNR between its ends."""

    def __init__(self, config: VDMConfig | None = None) -> None:
        c = config or VDMConfig()
        super().__init__(c, event_of(c.shape, c.levels), class_condition(c.classes))
        self.prediction = c.prediction
        self.start = 0.0
        self.schedule: LearnedLogSNR | LogSNR = (
            LearnedLogSNR(c.gamma_min, c.gamma_max, c.schedule_hidden)
            if c.schedule == "learned"
            else LogSNR(c.gamma_min, c.gamma_max)
        )
        inputs = c.shape[0] * (1 + 2 * len(c.fourier))
        self.network = build(c.network, c.shape, inputs=inputs, labels=labels(self.condition))

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's output (B, *S) at x_t (B, *S), t (B,)."""
        return self.output(x_t, self.schedule.gamma(t), cond)

    def network_time(self, t: Tensor) -> Tensor:
        """gamma(t), with gamma_min as 0 and gamma_max as 1000, for the network."""
        return self._steps(self.schedule.gamma(t))

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t], (B, *S)."""
        alpha, sigma = at_time(self.schedule, t, x_t)
        return to_x0(self.predict(x_t, t, cond), self.prediction, x_t, alpha, sigma)

    def output(self, z: Tensor, gamma: Tensor, cond: Tensor | None) -> Tensor:
        """The network's output at z (B, *S) and gamma (B,)."""
        return apply(self, z, self._steps(gamma), cond)

    def _steps(self, gamma: Tensor) -> Tensor:
        c: VDMConfig = self.config
        return 1000 * (gamma - c.gamma_min) / (c.gamma_max - c.gamma_min)


@runtime_checkable
class LearnsSchedule(ContinuousTime, Protocol):
    """A network of gamma whose schedule may be learned; what `VDMLoss` needs."""

    def output(self, z: Tensor, gamma: Tensor, cond: Tensor | None) -> Tensor:
        """The network's output at z (B, *S) and gamma (B,)."""
        ...


@dataclass(frozen=True)
class VDMLoss:
    """The bound in continuous time, in nats a value; labels are dropped with probability `drop`.

    The schedule's parameters minimize the square of the same estimate: their gradient at every
    example is multiplied by twice its loss on the way back.
    """

    drop: Annotated[float, Range(0, 1)] = 0.1

    def __call__(self, model: VDM, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = model.event.to_network(batch[0], model.dtype), batch[1]
        cond = drop(model, cond, self.drop, rng, step)
        gamma, slope = self._path(model, stratified(rng, stream="t", step=step))
        factors: list[Tensor] = []
        if gamma.requires_grad:
            gamma = _scaled(gamma, factors)
            slope = _scaled(slope, factors)
        eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
        alpha, sigma = (per_row(g.sigmoid().sqrt(), x) for g in (-gamma, gamma))
        z = alpha * x + sigma * eps
        m = model.output(z, gamma, cond)
        eps_hat = convert(m, z, alpha, sigma, have=model.prediction, want="epsilon")
        each = 0.5 * slope.to(x.dtype) * (eps - eps_hat).square().flatten(1).mean(1)
        factors.append(2 * each.detach())
        total = each.mean()
        return Loss(total, {"diffusion": total.detach() * model.event.dims})

    def _path(self, model: VDM, t: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(model.schedule, LearnedLogSNR):
            return model.schedule.gamma_and_slope(t)
        c = model.config
        return model.schedule.gamma(t), torch.full_like(t, c.gamma_max - c.gamma_min)


def _scaled(value: Tensor, factors: list[Tensor]) -> Tensor:
    """`value` (B,), whose gradient is multiplied by a factor that is known before the way back."""
    value = value.clone()
    value.register_hook(lambda g: g * factors[-1].to(g.dtype))  # type: ignore[no-untyped-call]
    return value
