"""Samplers: each is a solver's table (zoo_kernels.denoise) over a path of times.

    Ancestral   Ho et al., 2020: the chain's own steps
    DDIM        Song et al., 2021: eta = 0 follows the flow, eta = 1 is ancestral
    Heun        Karras et al., 2022, algorithm 2: second order, with churn
    DPMpp2M     Lu et al., 2022: DPM-Solver++(2M), second order with one call a step
    ODE         the probability flow by an adaptive Runge-Kutta method, its error held for each row

All serve any model with the capability `Denoiser`. With `fixed`, known values are put in place at
every step, with that step's noise (the replacement method, which approximates p(unknown | known));
`trace(j, events)` gets the denoised events of every step.
"""

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from zoo_core.plugin import Event, Fixed, Range, Rng
from zoo_diffusion import fused_mlp_sampler, probability_flow
from zoo_diffusion.sampling_loop import (
    Options,
    Plan,
    Spacing,
    Trace,
    loop,
    prediction_of,
    start,
    walk,
)
from zoo_diffusion.stochastic_heun import heun
from zoo_diffusion.timesteps import DiscreteTime
from zoo_kernels import denoise

__all__ = ["DDIM", "ODE", "Ancestral", "DPMpp2M", "Heun", "Solver"]

_Steps = Annotated[int, Range(1, 1 << 20)]


@dataclass(frozen=True)
class Solver(ABC):
    """A sampler of fixed steps: `steps` of some spacing, each one call of the network.

    `guidance` w combines two calls, u + w (c - u). `clip` bounds x_0 to the data's range where
    it has one; `threshold` does so by that quantile of |x_0| instead (Saharia et al., 2022).
    """

    steps: _Steps = 50
    spacing: Spacing = "uniform"
    guidance: Annotated[float, Range(-1000, 1000)] = 1.0
    clip: bool = True
    threshold: Annotated[float, Range(0, 1)] | None = None

    @abstractmethod
    def plan(self, model: Any) -> Plan:
        """The table, and where its rows are."""

    def __call__(
        self,
        model: Any,
        rng: Rng,
        cond: Tensor | None,
        *,
        fixed: Fixed | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        """Events (B, *S)."""
        options, plan = Options(self.guidance, self.clip, self.threshold), self.plan(model)
        if fixed is None and trace is None and fused_mlp_sampler.serves(model, plan, options):
            event: Event = model.event
            return event.from_network(fused_mlp_sampler.run(model, rng, plan, options))
        return loop(model, rng, cond, plan, options, fixed, trace)


@dataclass(frozen=True)
class Ancestral(Solver):
    """x_s ~ p(x_s | x_t) with the small or the large variance; None: the model's own, or small."""

    steps: _Steps = 250
    variance: Literal["small", "large"] | None = None

    def plan(self, model: Any) -> Plan:
        path = walk(model, self.steps, self.spacing)
        own = model.variance if isinstance(model, DiscreteTime) else "small"
        kind = prediction_of(model)
        table = denoise.ddpm(
            path.alpha, path.sigma, prediction=kind, variance=self.variance or own
        )
        return Plan.along(path, table)


@dataclass(frozen=True)
class DDIM(Solver):
    """eta scales a step's noise, from none to that of ancestral sampling (eq. 16).

    Where x_0 is bounded, the step goes along the epsilon that the bounded x_0 implies, and more
    steps come closer to the flow. With `clipped_epsilon=False` epsilon stays the network's own,
    as by default in diffusers, and each step adds an error that does not shrink with the step.
    """

    eta: Annotated[float, Range(0, 1)] = 0.0
    clipped_epsilon: bool = True

    def plan(self, model: Any) -> Plan:
        path = walk(model, self.steps, self.spacing)
        kind = prediction_of(model)
        table = denoise.ddim(
            path.alpha,
            path.sigma,
            prediction=kind,
            eta=self.eta,
            clipped_epsilon=self.clipped_epsilon,
        )
        return Plan.along(path, table)


@dataclass(frozen=True)
class DPMpp2M(Solver):
    """Multistep in x_0 over log(alpha / sigma)."""

    steps: _Steps = 20
    spacing: Spacing = "karras"

    def plan(self, model: Any) -> Plan:
        path = walk(model, self.steps, self.spacing)
        kind = prediction_of(model)
        return Plan.along(path, denoise.dpm_solver_pp(path.alpha, path.sigma, prediction=kind))


@dataclass(frozen=True)
class Heun(Solver):
    """Two calls a step but the last. Where sigma / alpha is in [churn_min, churn_max], a step
    first adds noise: gamma = min(churn / steps, sqrt(2) - 1), scaled by `churn_noise`."""

    steps: _Steps = 18
    spacing: Spacing = "karras"
    churn: Annotated[float, Range(0, 1e6)] = 0.0
    churn_min: Annotated[float, Range(0, 1e6)] = 0.05
    churn_max: Annotated[float, Range(0, 1e9)] = 50.0
    churn_noise: Annotated[float, Range(0, 10)] = 1.003

    def plan(self, model: Any) -> Plan:
        path = walk(model, self.steps, self.spacing)
        return heun(
            model.schedule,
            path,
            prediction_of(model),
            gamma=min(self.churn / self.steps, 2**0.5 - 1),
            within=(self.churn_min, self.churn_max),
            noise=self.churn_noise,
        )


@dataclass(frozen=True)
class ODE:
    """The flow in its own angle (probability_flow.py), then one denoising at its end.

    `rtol` and `atol` bound the error of a step for each row alone. The network rounds otherwise in
    batches of another size, which steps of a data-dependent size magnify: in double precision
    that stays far below a level, so that a row does not depend on its batch; `precision="model"`
    is faster and not repeatable to that degree. It is the one sampler whose loop looks at its
    data, to know when it is done.
    """

    rtol: Annotated[float, Range(1e-12, 1.0)] = 1e-4
    atol: Annotated[float, Range(1e-12, 1.0)] = 1e-4
    precision: Literal["double", "model"] = "double"

    def __call__(self, model: Any, rng: Rng, cond: Tensor | None) -> Tensor:
        """Events (B, *S)."""
        if self.precision == "double":
            model = deepcopy(model).double()
        path = probability_flow.Flow(model, cond)
        ends = path.ends(probability_flow.first_time(model))
        u = (start(model, rng) / path.radius(1.0)).double()
        solved = probability_flow.solve(
            path.velocity, u, ends[1], ends[0], rtol=self.rtol, atol=self.atol
        )
        rows = torch.arange(len(u), device=u.device)
        x = path.denoised(solved.y, torch.full_like(u.flatten(1)[:, 0], ends[0]), rows)
        event: Event = model.event
        return event.from_network(x.to(torch.float32))
