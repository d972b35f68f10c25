"""The probability flow in its own angle, and an adaptive Runge-Kutta method with an error a row.

Every schedule traces x_t = alpha x_0 + sigma eps = r u with u = cos(phi) x_0 + sin(phi) eps, where
r^2 = alpha^2 + sigma^2 and tan(phi) = sigma / alpha, and the flow (Song et al., 2021, eq. 13) is

    du / dphi = cos(phi) eps_hat - sin(phi) x_hat = (cos(phi) u - x_hat) / sin(phi)

(Salimans & Ho, 2022, app. D: v is the velocity on a circle). phi lies in (0, pi / 2) and the
velocity is of the data's size, for variance-exploding schedules too. Along it

    log p(u_0) = log p(u_1) + int_{phi_0}^{phi_1} div du/dphi dphi         (eq. 39)

Shapes: B batch, S the event's shape, D values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.plugin import ZooError
from zoo_diffusion.parameterization import Predictor, per_row
from zoo_diffusion.schedules import time_at
from zoo_diffusion.timesteps import ContinuousTime, DiscreteTime

__all__ = ["Flow", "Solved", "UnfinishedError", "first_time", "solve"]

_Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(y (A, *S), phi (A,), rows (A,)) -> dy/dphi (A, *S), for A of the batch's rows."""

# Dormand & Prince, 1980, RK5(4)7M: nodes, stages, and the fifth minus the fourth order's weights.
_C = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_MOST_STEPS = 10_000


class UnfinishedError(ZooError):
    """An integration that did not come to its end."""


class Flow:
    """The flow of a model given a condition, for the rows of a batch."""

    def __init__(self, model: Any, cond: Tensor | None) -> None:
        self.model, self.cond = model, cond

    def ends(self, first: float) -> tuple[float, float]:
        """phi at the time `first` and at time 1."""
        t = torch.tensor([first, 1.0], dtype=torch.float64, device=self.model.device)
        schedule = self.model.schedule
        phi = torch.atan2(schedule.sigma(t), schedule.alpha(t))
        return float(phi[0]), float(phi[1])

    def radius(self, t: float) -> float:
        """r at a time."""
        at = torch.tensor([t], dtype=torch.float64, device=self.model.device)
        return float(torch.hypot(self.model.schedule.alpha(at), self.model.schedule.sigma(at)))

    def denoised(self, u: Tensor, phi: Tensor, rows: Tensor) -> Tensor:
        """x_hat (A, *S) of u (A, *S) at angles (A,); the network computes in its own precision."""
        schedule = self.model.schedule
        t = time_at(schedule, -2 * phi.tan().log())
        r = per_row(torch.hypot(schedule.alpha(t), schedule.sigma(t)), u)
        dtype = torch.promote_types(self.model.dtype, torch.float32)
        x = (r * u).to(dtype)
        cond = None if self.cond is None else self.cond[rows]
        t = t if isinstance(self.model, Predictor) else t.to(dtype)
        found: Tensor = self.model.denoise(x, t, cond)
        return found.to(u.dtype)

    def velocity(self, u: Tensor, phi: Tensor, rows: Tensor) -> Tensor:
        """du / dphi, (A, *S)."""
        x_hat = self.denoised(u, phi, rows)
        return (per_row(phi.cos(), u) * u - x_hat) / per_row(phi.sin(), u)


@dataclass(frozen=True)
class Solved:
    """y at the end, (B, *S), and how often each row's velocity was computed, int64 (B,)."""

    y: Tensor
    evaluations: Tensor


def first_time(model: Any) -> float:
    """The earliest time of a model: its chain's first step, or where it starts."""
    if isinstance(model, DiscreteTime):
        return 1 / model.timesteps
    return model.start if isinstance(model, ContinuousTime) else 1e-3


def solve(f: _Velocity, y: Tensor, a: float, b: float, *, rtol: float, atol: float) -> Solved:
    """y from phi = a to b by RK5(4), every row with steps of its own.

    A step is taken if the root mean square of error / (atol + rtol |y|) is at most 1.
    """
    y = y.clone()
    phi = torch.full((len(y),), a, device=y.device, dtype=torch.float64)
    h = torch.full_like(phi, (b - a) / 20)
    rows = torch.arange(len(y), device=y.device)
    counts = torch.ones_like(rows)
    slope = f(y, phi, rows)
    for _ in range(_MOST_STEPS):
        rows = ((b - phi) * math.copysign(1, b - a) > 0).nonzero().squeeze(1)
        if not len(rows):
            return Solved(y, counts)
        step = _clipped(h[rows], b - phi[rows])
        new, last, error = _step(f, y[rows], slope[rows], phi[rows], step, rows, rtol, atol)
        counts[rows] += 6
        good = error <= 1
        done = rows[good]
        y[done], slope[done] = new[good], last[good]
        phi[done] = torch.where(step == b - phi[rows], b, phi[rows] + step)[good]
        h[rows] = step * (0.9 * error.clamp(min=1e-10).pow(-0.2)).clamp(0.2, 5.0)
    raise UnfinishedError(
        f"the flow of {len(rows)} rows did not end within {_MOST_STEPS} steps "
        f"(rtol = {rtol:g}, atol = {atol:g}).",
        hint="set larger tolerances; a network with jumps has no smooth flow",
    )


def _clipped(h: Tensor, left: Tensor) -> Tensor:
    """A step that does not go past the end."""
    return torch.where(h.abs() < left.abs(), h, left)


def _step(
    f: _Velocity, y: Tensor, slope: Tensor, phi: Tensor, h: Tensor, rows: Tensor,
    rtol: float, atol: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """y after one step, the slope there, and the error of each row in units of the tolerance."""
    wide = per_row(h, y)
    k = [slope]
    new = y
    for c, weights in zip(_C, _A, strict=True):
        new = y + wide * sum(w * s for w, s in zip(weights, k, strict=True))
        k.append(f(new, phi + c * h, rows))
    gap = wide * sum(w * s for w, s in zip(_E, k, strict=True))
    scale = atol + rtol * torch.maximum(y.abs(), new.abs())
    return new, k[-1], (gap / scale).double().square().flatten(1).mean(1).sqrt()
