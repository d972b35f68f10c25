"""The loss of flow matching: the error of the velocity at random times, with any coupling.

    E |v - v_hat(x_t, t)|^2 with v = alpha' x_0 + sigma' eps   (Lipman et al., 2023, eq. 9)

A network that predicts x_0 makes the error 1 / sigma of its own in the velocity, one that predicts
eps 1 / alpha; both factors are bounded (Li & He, 2025, https://arxiv.org/abs/2511.13720).

The noise of an event is independent of it, or that of an optimal transport between the batch's
events and noises, which makes paths cross less (Pooladian et al., 2023; Tong et al., 2024,
https://arxiv.org/abs/2302.00482). Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Batch, Loss, Range, Rng, gather_rows
from zoo_diffusion.losses import stratified
from zoo_diffusion.networks import DropLabels, drop_condition
from zoo_diffusion.optimal_transport import assignment
from zoo_diffusion.parameterization import ContinuousTime, Predictor, at_time

__all__ = ["FlowMatchingLoss", "HasVelocity", "sample_times"]


@runtime_checkable
class HasVelocity(Predictor, ContinuousTime, Protocol):
    """A model of a path's velocity."""

    def velocity(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """dx_t/dt, (B, *S), at x_t (B, *S), t (B,)."""
        ...


@dataclass(frozen=True)
class FlowMatchingLoss:
    """The mean squared error of the velocity, divided by the path's constant rate.

    - `times`: uniform, or sigmoid(N(`t_mean`, `t_std`^2)), most of them in the middle of the path
      (Esser et al., 2024, sec. 3.1). `stratified` spreads a batch's times evenly.
    - `coupling`: of events and noise, `independent` or `optimal_transport` within the batch that
      the loss is called with. It ignores classes.
    - `floor`: the least alpha or sigma that divides an error.
    - Labels are dropped with probability `p_uncond`, for classifier-free guidance; of several, all
      at once or each by itself (`drop_labels`).
    """

    times: Literal["uniform", "logit_normal"] = "uniform"
    t_mean: Annotated[float, Range(-10, 10)] = 0.0
    t_std: Annotated[float, Range(0.01, 10)] = 1.0
    stratified: bool = True
    coupling: Literal["independent", "optimal_transport"] = "independent"
    floor: Annotated[float, Range(1e-6, 1)] = 0.05
    p_uncond: Annotated[float, Range(0, 1)] = 0.1
    drop_labels: DropLabels = "together"

    def __call__(self, model: HasVelocity, batch: Batch, rng: Rng, step: int) -> Loss:
        x = model.event.to_network(batch[0], torch.promote_types(model.dtype, torch.float32))
        cond = drop_condition(
            model.condition, batch[1], self.p_uncond, rng, step, labels=self.drop_labels
        )
        eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
        if self.coupling == "optimal_transport":
            eps = _transported(x, rng, step)
        t = model.t_min + (1 - model.t_min) * sample_times(self, rng, step)
        alpha, sigma = at_time(model.schedule, t, x)
        m = model.predict(alpha * x + sigma * eps, t, cond)
        gap = m - _target(model.prediction, x, eps, alpha, sigma)
        error = (gap / self._divisor(model.prediction, alpha, sigma)).square().mean()
        return Loss(error, {"velocity": error.detach()})

    def _divisor(self, prediction: str, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What divides an error of the output to give that of the velocity, (B, 1, ..., 1)."""
        divisors = {"x0": sigma, "epsilon": alpha}
        return divisors.get(prediction, torch.ones_like(alpha)).clamp(min=self.floor)


def sample_times(loss: FlowMatchingLoss, rng: Rng, step: int) -> Tensor:
    """Times in [0, 1) for every example, (B,) float64."""
    if loss.stratified:
        u = stratified(rng, stream="t", step=step)
    else:
        u = rng.uniform(stream="t", step=step).double()
    if loss.times == "uniform":
        return u
    z: Tensor = loss.t_mean + loss.t_std * torch.special.ndtri(u)
    return z.sigmoid()


def _transported(x: Tensor, rng: Rng, step: int) -> Tensor:
    """The noises that the optimal transport of the whole batch gives events x (B, *S)."""
    eps = rng.whole.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
    return eps[assignment(gather_rows(x), eps)[rng.positions]]


def _target(prediction: str, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The output (B, *S) of a network that knew x and eps, without a conversion's rounding."""
    if prediction == "flow":
        return eps - x
    if prediction == "v":
        return alpha * eps - sigma * x
    return x if prediction == "x0" else eps
