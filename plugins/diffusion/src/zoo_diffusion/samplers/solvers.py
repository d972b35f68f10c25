"""Samplers: each is a solver's table (`zoo_kernels.denoise`) over a grid of times.

    Ancestral   Ho et al., 2020: the chain's own steps
    DDIM        Song et al., 2021: eta = 0 follows the probability flow, eta = 1 is ancestral
    Heun        Karras et al., 2022, algorithm 2: second order, with stochastic churn
    DPMpp2M     Lu et al., 2022: DPM-Solver++(2M), second order with one call a step
    ODE         the probability flow by an adaptive Runge-Kutta method with an error for each event

Samplers take any model with the capability `Denoiser`. The first four complete partly known events
(`fixed`) by the replacement method, which approximates p(unknown | known): before every step the
observed values are put in place with that step's noise. `trace(j, events)` gets the denoised
events of every call.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Inpainting, Range, Rng, Schedule
from zoo_diffusion.likelihoods.probability_flow import ProbabilityFlow, in_double, solve_ode
from zoo_diffusion.parameterization import DiscreteTime, earliest_time
from zoo_diffusion.samplers import fused_mlp
from zoo_diffusion.samplers.loop import (
    GuidanceAndClipping,
    SolverTable,
    Trace,
    prediction_type,
    sample_prior,
    sampling_loop,
)
from zoo_diffusion.samplers.timesteps import Spacing, TimeGrid, time_grid
from zoo_diffusion.schedules import time_at
from zoo_kernels import denoise
from zoo_kernels.denoise import reference as columns

__all__ = ["DDIM", "ODE", "Ancestral", "DPMpp2M", "Heun", "Solver", "heun_table"]

_Steps = Annotated[int, Range(1, 1 << 20)]


@dataclass(frozen=True)
class Solver(ABC):
    """A sampler of a fixed number of `steps` with a spacing of times (`timesteps.py`).

    `guidance_scale`, `clip_denoised` and `dynamic_thresholding_ratio` are those of
    `GuidanceAndClipping`; guidance takes two calls of the network.
    """

    steps: _Steps = 50
    spacing: Spacing = "uniform"
    guidance_scale: Annotated[float, Range(-1000, 1000)] = 1.0
    clip_denoised: bool = True
    dynamic_thresholding_ratio: Annotated[float, Range(0, 1)] | None = None

    @abstractmethod
    def table(self, model: Denoiser) -> SolverTable:
        """The solver's coefficients for a model."""

    def __call__(
        self,
        model: Denoiser,
        rng: Rng,
        cond: Tensor | None,
        *,
        fixed: Inpainting | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        """Events (B, *S)."""
        table = self.table(model)
        options = GuidanceAndClipping(
            self.guidance_scale, self.clip_denoised, self.dynamic_thresholding_ratio
        )
        plain = fixed is None and trace is None
        if plain and fused_mlp.supports(model, table, options):
            return model.event.from_network(fused_mlp.run(model, rng, table, options))
        return sampling_loop(model, rng, cond, table, options, fixed, trace)


@dataclass(frozen=True)
class Ancestral(Solver):
    """x_s ~ p(x_s | x_t), with the small or the large variance of Ho et al.

    A `variance` of None is that of the model's chain, or the small one for continuous time.
    """

    steps: _Steps = 250
    variance: Literal["small", "large"] | None = None

    def table(self, model: Denoiser) -> SolverTable:
        grid = time_grid(model, self.steps, self.spacing)
        own = model.variance if isinstance(model, DiscreteTime) else "small"
        coefficients = denoise.ddpm(
            grid.alpha,
            grid.sigma,
            prediction=prediction_type(model),
            variance=self.variance or own,
        )
        return SolverTable.on(grid, coefficients)


@dataclass(frozen=True)
class DDIM(Solver):
    """DDIM; eta scales the noise of a step, from none to that of ancestral sampling (eq. 16).

    Where x_0 is bounded, the step follows the epsilon that the bounded x_0 implies, and more steps
    come closer to the probability flow. With `clipped_epsilon=False`, the default of diffusers,
    epsilon stays the network's own, and each step adds an error that does not shrink with it.

        x = model.sample(4, sampler=DDIM(steps=50))
    """

    eta: Annotated[float, Range(0, 1)] = 0.0
    clipped_epsilon: bool = True

    def table(self, model: Denoiser) -> SolverTable:
        grid = time_grid(model, self.steps, self.spacing)
        coefficients = denoise.ddim(
            grid.alpha,
            grid.sigma,
            prediction=prediction_type(model),
            eta=self.eta,
            clipped_epsilon=self.clipped_epsilon,
        )
        return SolverTable.on(grid, coefficients)


@dataclass(frozen=True)
class DPMpp2M(Solver):
    """DPM-Solver++(2M): a multistep method in x_0 over log(alpha / sigma)."""

    steps: _Steps = 20
    spacing: Spacing = "karras"

    def table(self, model: Denoiser) -> SolverTable:
        grid = time_grid(model, self.steps, self.spacing)
        kind = prediction_type(model)
        coefficients = denoise.dpm_solver_pp(grid.alpha, grid.sigma, prediction=kind)
        return SolverTable.on(grid, coefficients)


@dataclass(frozen=True)
class Heun(Solver):
    """Heun's method, with two calls a step except in the last.

    Where sigma / alpha is in [churn_min, churn_max], a step first adds noise: sigma / alpha grows
    by the factor 1 + gamma with gamma = min(churn / steps, sqrt(2) - 1), and the noise added has
    the standard deviation `churn_noise`.
    """

    steps: _Steps = 18
    spacing: Spacing = "karras"
    churn: Annotated[float, Range(0, 1e6)] = 0.0
    churn_min: Annotated[float, Range(0, 1e6)] = 0.05
    churn_max: Annotated[float, Range(0, 1e9)] = 50.0
    churn_noise: Annotated[float, Range(0, 10)] = 1.003

    def table(self, model: Denoiser) -> SolverTable:
        return heun_table(
            model.schedule,
            time_grid(model, self.steps, self.spacing),
            prediction_type(model),
            gamma=min(self.churn / self.steps, 2**0.5 - 1),
            churn_range=(self.churn_min, self.churn_max),
            noise=self.churn_noise,
        )


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

    def __call__(self, model: Denoiser, rng: Rng, cond: Tensor | None) -> Tensor:
        """Events (B, *S)."""
        if self.precision == "double":
            model = in_double(model)
        flow = ProbabilityFlow(model, cond)
        first, last = flow.angles(earliest_time(model))
        u = (sample_prior(model, rng) / flow.radius(1.0)).double()
        solution = solve_ode(flow.velocity, u, last, first, rtol=self.rtol, atol=self.atol)
        rows = torch.arange(len(u), device=u.device)
        x = flow.denoised(solution.y, torch.full_like(u.flatten(1)[:, 0], first), rows)
        return model.event.from_network(x.to(torch.float32))


def heun_table(
    schedule: Schedule,
    grid: TimeGrid,
    prediction: str,
    *,
    gamma: float,
    churn_range: tuple[float, float],
    noise: float,
) -> SolverTable:
    """Heun's method with churn (Karras et al., 2022, algorithm 2).

    A step with churn is preceded by a row that only adds noise, from n = sigma / alpha to
    n' = (1 + gamma) n: x' = alpha' (x / alpha + noise sqrt(n'^2 - n^2) z). The times, alpha and
    sigma of the table are those from which each row starts.
    """
    rows, starts, calls = [], [], []
    n_max = (grid.sigma[0] / grid.alpha[0]).item()
    for i in range(len(grid.times)):
        here = torch.stack((grid.times[i], grid.alpha[i], grid.sigma[i]))
        n = (here[2] / here[1]).item()
        raised = min(n * (1 + gamma), n_max) if churn_range[0] <= n <= churn_range[1] else n
        if raised > n:
            before, here = here, _at_noise_level(schedule, raised)
            rows.append(_churn_row(before, here, noise))
            starts.append(before)
            calls.append(False)
        ends = torch.stack((here[1:], torch.stack((grid.alpha[i + 1], grid.sigma[i + 1]))))
        rows.append(denoise.heun(ends[:, 0], ends[:, 1], prediction=prediction).table)
        starts.append(here)
        if len(rows[-1]) == 2:
            starts.append(_at_noise_level(schedule, float(ends[1, 1] / ends[1, 0])))
        calls += [True] * len(rows[-1])
    coefficients = denoise.Steps(torch.cat(rows), noisy=not all(calls), remembers=True)
    t, alpha, sigma = torch.stack(starts).unbind(1)
    return SolverTable(coefficients, t, alpha, sigma, tuple(calls), grid.std)


def _at_noise_level(schedule: Schedule, n: float) -> Tensor:
    """Time, alpha and sigma where sigma / alpha = n, float64 (3,)."""
    t = time_at(schedule, -2 * torch.tensor([n], dtype=torch.float64).log())
    return torch.cat((t, schedule.alpha(t), schedule.sigma(t))).cpu()


def _churn_row(here: Tensor, raised: Tensor, noise: float) -> Tensor:
    """The row that adds noise, from (t, alpha, sigma) `here` to those `raised`."""
    row = torch.zeros(1, columns.COLUMNS, dtype=torch.float64)
    n, higher = here[2] / here[1], raised[2] / raised[1]
    row[0, columns.C_X] = raised[1] / here[1]
    row[0, columns.S] = noise * raised[1] * (higher.square() - n.square()).clamp(min=0).sqrt()
    return row.float()
