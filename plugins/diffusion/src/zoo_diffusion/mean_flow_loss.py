"""The loss of mean flows: the velocity that an average velocity u stands for.

Differentiating (t - s) u = int_s^t v dr along the flow gives (Geng et al., 2025, eq. 6)

    v(x_t, t) = u + (t - s) du/dt,   du/dt = v du/dx + du/dt at fixed x

whose right side V is compared with the velocity eps - x_0 of an event, as in flow matching:

    E |V - (eps - x_0)|^2,   V = u(x_t, s, t) + (t - s) sg(du/dt)

du/dt is a product of u's Jacobian with (v, 0, 1), by forward differentiation, and has no gradient.
The v in it is eps - x_0, or u(x_t, t, t), which depends on x_t alone ("improved mean flows", Geng
et al., 2025, https://arxiv.org/abs/2512.02012).

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoo_core.plugin import Batch, Loss, Range, Rng
from zoo_diffusion.flow_map import FlowMapBetween
from zoo_diffusion.parameterization import append_dims

__all__ = ["HasAverageVelocity", "MeanFlowLoss", "implied_velocity"]


@runtime_checkable
class HasAverageVelocity(FlowMapBetween, Protocol):
    """A model of the average velocity of the linear path."""

    def average_velocity(
        self, x_t: Tensor, t: Tensor, s: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        """u(x_t, s, t), (B, *S), at x_t (B, *S), t (B,), s (B,)."""
        ...


@dataclass(frozen=True)
class MeanFlowLoss:
    """The squared error of V, each event's divided by (its own + `floor`)^`power`.

    - `tangent`: the v of du/dt is the `model`'s own, or that of the `event`, eps - x_0.
    - `intervals`: the share of a batch with s < t; the rest has s = t, which is flow matching.
    - `times`: t and s are the later and the earlier of two that are uniform, or
      sigmoid(N(`t_mean`, `t_std`^2)).
    """

    tangent: Literal["model", "event"] = "model"
    intervals: Annotated[float, Range(0, 1)] = 0.5
    times: Literal["uniform", "logit_normal"] = "logit_normal"
    t_mean: Annotated[float, Range(-10, 10)] = -0.4
    t_std: Annotated[float, Range(0.01, 10)] = 1.0
    power: Annotated[float, Range(0, 2)] = 1.0
    floor: Annotated[float, Range(1e-9, 1e3)] = 0.01

    def __call__(self, model: HasAverageVelocity, batch: Batch, rng: Rng, step: int) -> Loss:
        wide = torch.promote_types(model.dtype, torch.float32)
        x, cond = model.event.to_network(batch[0], wide), batch[1]
        eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
        t, s = self._times(rng, step)
        x_t = append_dims(1 - t, x) * x + append_dims(t, x) * eps
        of_all = round(self.intervals * len(rng.whole))  # the order of a batch is random
        k = int((rng.positions < of_all).sum())
        V = self._velocities(model, x_t, eps - x, t, s, cond, k)
        square = (V - (eps - x)).square().flatten(1).sum(1)
        total = (square / (square.detach() + self.floor) ** self.power).mean()
        return Loss(total, {"velocity": square.detach().mean() / x[0].numel()})

    def _velocities(
        self,
        model: HasAverageVelocity,
        x_t: Tensor,
        v: Tensor,
        t: Tensor,
        s: Tensor,
        cond: Tensor | None,
        k: int,
    ) -> Tensor:
        """V (B, *S) of k intervals from s to t, and of moments t."""
        of, rest = (None, None) if cond is None else (cond[:k], cond[k:])
        parts = [model.average_velocity(x_t[k:], t[k:], t[k:], rest)] if k < len(t) else []
        if k:
            own = v[:k]
            if self.tangent == "model":
                with torch.no_grad():
                    own = model.average_velocity(x_t[:k], t[:k], t[:k], of)
            parts.insert(0, implied_velocity(model, x_t[:k], t[:k], s[:k], own, of))
        return torch.cat(parts)

    def _times(self, rng: Rng, step: int) -> tuple[Tensor, Tensor]:
        """t and s (B,) float64, s at most t."""
        u = rng.uniform((2,), stream="t", step=step).double()
        if self.times == "logit_normal":
            # draws are multiples of 2^-24 from 0: the middle of each cell is inside (0, 1)
            u = (self.t_mean + self.t_std * torch.special.ndtri(u + 2.0**-25)).sigmoid()
        s, t = u.sort(1).values.unbind(1)
        return t, s


def implied_velocity(
    model: HasAverageVelocity,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    v: Tensor,
    cond: Tensor | None = None,
) -> Tensor:
    """V = u + (t - s) sg(du/dt), (B, *S), with du/dt along the flow whose velocity is v."""

    def u_of(x_t: Tensor, t: Tensor) -> Tensor:
        return model.average_velocity(x_t, t, s, cond)

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward derivative
        u, du_dt = jvp(u_of, (x_t, t), (v, torch.ones_like(t)))[:2]
    V: Tensor = u + append_dims(t - s, x_t) * du_dt.detach()
    return V
