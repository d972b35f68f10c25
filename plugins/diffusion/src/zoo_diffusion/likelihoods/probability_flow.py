"""The probability-flow ODE in its angle, and an adaptive Runge-Kutta method for batches.

Every schedule traces x_t = alpha x_0 + sigma eps = r u with u = cos(phi) x_0 + sin(phi) eps, where
r^2 = alpha^2 + sigma^2 and tan(phi) = sigma / alpha, and the flow (Song et al., 2021, eq. 13) is

    du / dphi = cos(phi) eps_hat - sin(phi) x_hat = (cos(phi) u - x_hat) / sin(phi)

(Salimans & Ho, 2022, app. D: v is the velocity on a circle). phi lies in (0, pi / 2) and the
velocity has the scale of the data, for variance-exploding schedules too. Along the flow

    log p(u_0) = log p(u_1) + int_{phi_0}^{phi_1} div du/dphi dphi         (eq. 39)

Shapes: B batch, S the event's shape, A events that are not finished, a subset of the batch.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_core.plugin import Denoiser, ZooError
from zoo_diffusion.parameterization import Predictor, append_dims
from zoo_diffusion.schedules import time_at

__all__ = ["ODESolution", "ProbabilityFlow", "UnfinishedError", "in_double", "solve_ode"]

_Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(y (A, *S), phi (A,), rows (A,)) -> dy/dphi (A, *S), with the batch indices `rows`."""

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
_MAX_STEPS = 10_000


class UnfinishedError(ZooError):
    """An ODE that was not solved within the maximum number of steps."""


class ProbabilityFlow:
    """The probability flow of a model, given the conditions of a batch."""

    def __init__(self, model: Denoiser, cond: Tensor | None) -> None:
        self.model, self.cond = model, cond

    def angles(self, t_min: float) -> tuple[float, float]:
        """phi at the times t_min and 1."""
        t = torch.tensor([t_min, 1.0], dtype=torch.float64, device=self.model.device)
        schedule = self.model.schedule
        phi = torch.atan2(schedule.sigma(t), schedule.alpha(t))
        return float(phi[0]), float(phi[1])

    def radius(self, t: float) -> float:
        """r at time t."""
        at = torch.tensor([t], dtype=torch.float64, device=self.model.device)
        return float(torch.hypot(self.model.schedule.alpha(at), self.model.schedule.sigma(at)))

    def denoised(self, u: Tensor, phi: Tensor, rows: Tensor) -> Tensor:
        """x_hat (A, *S) at u (A, *S), phi (A,); the network computes in its own precision."""
        schedule = self.model.schedule
        t = time_at(schedule, -2 * phi.tan().log())
        r = append_dims(torch.hypot(schedule.alpha(t), schedule.sigma(t)), u)
        dtype = torch.promote_types(self.model.dtype, torch.float32)
        x = (r * u).to(dtype)
        cond = None if self.cond is None else self.cond[rows]
        t = t if isinstance(self.model, Predictor) else t.to(dtype)
        return self.model.denoise(x, t, cond).to(u.dtype)

    def velocity(self, u: Tensor, phi: Tensor, rows: Tensor) -> Tensor:
        """du / dphi, (A, *S)."""
        x_hat = self.denoised(u, phi, rows)
        return (append_dims(phi.cos(), u) * u - x_hat) / append_dims(phi.sin(), u)


def in_double(model: Denoiser) -> Denoiser:
    """A model in double precision: a copy, unless it is in double precision itself."""
    if model.dtype == torch.float64:
        return model
    copy = deepcopy(model)
    assert isinstance(copy, nn.Module)
    copy.double()
    return copy


@dataclass(frozen=True)
class ODESolution:
    """y (B, *S) at the end, and the evaluations of the velocity for each event, int64 (B,)."""

    y: Tensor
    evaluations: Tensor


def solve_ode(
    f: _Velocity, y: Tensor, a: float, b: float, *, rtol: float, atol: float
) -> ODESolution:
    """y (B, *S) from phi = a to b by RK5(4), with a step size for each event.

    A step is accepted if the root mean square of error / (atol + rtol |y|) is at most 1. Events
    whose velocity is not finite from the start become NaN. Raises UnfinishedError if an event
    needs more than 10,000 steps.
    """
    phi = torch.full((len(y),), a, device=y.device, dtype=torch.float64)
    h = torch.full_like(phi, (b - a) / 20)
    rows = torch.arange(len(y), device=y.device)
    evaluations = torch.ones_like(rows)
    slope, y = f(y, phi, rows), y.clone()
    broken = ~slope.flatten(1).isfinite().all(1)
    y[broken], phi[broken] = math.nan, b
    for _ in range(_MAX_STEPS):
        rows = ((b - phi) * math.copysign(1, b - a) > 0).nonzero().squeeze(1)
        if not len(rows):
            return ODESolution(y, evaluations)
        left = b - phi[rows]
        step = torch.where(h[rows].abs() < left.abs(), h[rows], left)
        new, last, gap = _step(f, y[rows], slope[rows], phi[rows], step, rows)
        with torch.no_grad():  # gradients are those of the steps that were taken
            error = _relative_error(gap, y[rows], new, rtol, atol).nan_to_num(math.inf, math.inf)
        evaluations[rows] += len(_C)
        good = error <= 1
        done = rows[good]
        y[done], slope[done] = new[good], last[good]
        phi[done] = torch.where(step == left, b, phi[rows] + step)[good]
        h[rows] = step * (0.9 * error.clamp(min=1e-10).pow(-0.2)).clamp(0.2, 5.0)
    raise UnfinishedError(
        f"the probability flow of {len(rows)} events was not solved within {_MAX_STEPS} steps "
        f"(rtol = {rtol:g}, atol = {atol:g}).",
        hint="set larger tolerances; a network with jumps has no smooth flow",
    )


def _step(
    f: _Velocity, y: Tensor, slope: Tensor, phi: Tensor, h: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """y after one step of size h (A,), the slope there, and the error estimate (A, *S)."""
    wide = append_dims(h, y)
    k = [slope]
    new = y
    for c, weights in zip(_C, _A, strict=True):
        new = y + wide * sum(w * s for w, s in zip(weights, k, strict=True))
        k.append(f(new, phi + c * h, rows))
    return new, k[-1], wide * sum(w * s for w, s in zip(_E, k, strict=True))


def _relative_error(gap: Tensor, y: Tensor, new: Tensor, rtol: float, atol: float) -> Tensor:
    """The root mean square of the error in units of the tolerance, (A,)."""
    scale = atol + rtol * torch.maximum(y.abs(), new.abs())
    return (gap / scale).double().square().flatten(1).mean(1).sqrt()
