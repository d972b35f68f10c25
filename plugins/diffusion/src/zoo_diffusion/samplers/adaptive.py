"""The probability flow by steps of adaptive size: see `ODE`.

Shapes: B batch, S the event's shape.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Range, Rng
from zoo_diffusion.likelihoods.probability_flow import ProbabilityFlow, in_double, solve_ode
from zoo_diffusion.parameterization import earliest_time
from zoo_diffusion.samplers.loop import sample_prior

__all__ = ["ODE"]


@dataclass(frozen=True)
class ODE:
    """The probability flow by an adaptive Runge-Kutta method, then one denoising at its end.

    `rtol` and `atol` bound the error of a step for each event separately. A network rounds
    differently in batches of another size, and steps of a data-dependent size magnify that: in
    double precision the difference stays far below a quantization level, so that an event does not
    depend on its batch. `precision="model"` is faster and not repeatable to that degree. This is
    the only sampler whose loop reads values back, to know when it is done.
    """

    rtol: Annotated[float, Range(1e-12, 1.0)] = 1e-4
    atol: Annotated[float, Range(1e-12, 1.0)] = 1e-4
    precision: Literal["double", "model"] = "double"

    def __call__(
        self,
        model: Denoiser,
        rng: Rng,
        cond: Tensor | None,
        *,
        x_T: Tensor | None = None,
    ) -> Tensor:
        """Events (B, *S)."""
        if self.precision == "double":
            model = in_double(model)
        flow = ProbabilityFlow(model, cond)
        first, last = flow.angles(earliest_time(model))
        x = sample_prior(model, rng) if x_T is None else x_T
        u = (x / flow.radius(1.0)).double()
        solution = solve_ode(flow.velocity, u, last, first, rtol=self.rtol, atol=self.atol)
        rows = torch.arange(len(u), device=u.device)
        x = flow.denoised(solution.y, torch.full_like(u.flatten(1)[:, 0], first), rows)
        return model.event.from_network(x.to(torch.float32))

    def encode(self, model: Denoiser, x: Tensor, cond: Tensor | None) -> Tensor:
        """x_T (B, *S) from which the flow comes to x (B, *S), taken as x at the earliest time."""
        model = in_double(model) if self.precision == "double" else model
        flow = ProbabilityFlow(model, cond)
        t_min = earliest_time(model)
        first, last = flow.angles(t_min)
        u = (x / flow.radius(t_min)).double()
        solution = solve_ode(flow.velocity, u, first, last, rtol=self.rtol, atol=self.atol)
        x_T: Tensor = (solution.y * flow.radius(1.0)).to(x.dtype)
        return x_T
