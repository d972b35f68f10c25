"""Samplers of flow maps X(x_t, t) = x_0, each call of the network a step.

    onestep     x_0 = X(x_1, 1)
    multistep   x_0 = X(x_t, t), x_s = alpha_s x_0 + sqrt(sigma_s^2 - sigma_0^2) z at the next
                time s < t (Song et al., 2023, algorithm 1)
    flow_map    x_s = X(x_t, t, s) along the flow, without noise (Geng et al., 2025)

with times from 1 (noise) down; sigma_0 is the noise that a schedule leaves at time 0.

Shapes: B batch, S the event's shape, N calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import ConfigError, Range, Rng
from zoo_diffusion.flow_map import FlowMap, FlowMapBetween
from zoo_diffusion.parameterization import prior_std
from zoo_kernels import denoise
from zoo_kernels.denoise import tables

__all__ = ["FlowMapSteps", "MultiStep", "OneStep"]

Trace = Callable[[int, Tensor], None]
"""`trace(j, events)` gets the events (B, *S) of call j."""
_Steps = Annotated[int, Range(1, 10_000)]
_Times = Annotated[tuple[float, ...], Range(0.0, 1.0, open=True)]


@dataclass(frozen=True)
class OneStep:
    """The end of the flow in one call; integers are clipped to the data's range."""

    def __call__(
        self,
        model: FlowMap,
        rng: Rng,
        cond: Tensor | None,
        *,
        trace: Trace | None = None,
        x_T: Tensor | None = None,
    ) -> Tensor:
        """Events (B, *S)."""
        return MultiStep(steps=1)(model, rng, cond, trace=trace, x_T=x_T)

    def with_steps(self, model: FlowMap, steps: int) -> "MultiStep | FlowMapSteps":
        """Along the flow where the model knows it between any two times, else with new noise."""
        kind = FlowMapSteps if isinstance(model, FlowMapBetween) else MultiStep
        return kind(steps=steps)


@dataclass(frozen=True)
class _Calls:
    """The times of the calls: 1 and `times`, falling; by default `steps` even ones, 1 - i / N."""

    steps: _Steps = 2
    times: _Times = ()

    def __post_init__(self) -> None:
        _check_times(self.steps, self.times)

    def _falling(self, rng: Rng) -> Tensor:
        """(N,) float64."""
        return _times(self.steps, self.times).to(rng.device)


@dataclass(frozen=True)
class MultiStep(_Calls):
    """The end of the flow, noised again to an earlier time and mapped again, `steps` times.

    The times are 1 and `times`, falling; by default `steps` even ones, 1 - i / N. Integers are
    clipped to the data's range after each call (`clip_denoised`).
    """

    clip_denoised: bool = True

    def __call__(
        self,
        model: FlowMap,
        rng: Rng,
        cond: Tensor | None,
        *,
        trace: Trace | None = None,
        x_T: Tensor | None = None,
    ) -> Tensor:
        """Events (B, *S)."""
        t = self._falling(rng)
        table, index = noise_again(model, t).to(rng.device), torch.arange(len(t)).to(rng.device)
        clip = 1.0 if model.event.discrete and self.clip_denoised else None
        x = _start(model, rng, x_T)
        for j in range(len(t)):
            x_0 = model.to_data(x, t[j].expand(len(x)), cond).to(x.dtype)
            if trace is not None:
                trace(j, model.event.from_network(x_0))
            x, _ = denoise.step(
                x,
                x_0,
                table,
                index[j : j + 1],
                rows=rng.rows,
                seed=rng.seed,
                stream=rng.stream("step"),
                clip=clip,
            )
        return model.event.from_network(x)


@dataclass(frozen=True)
class FlowMapSteps(_Calls):
    """The flow from time to time, `steps` calls; the times are those of `MultiStep`."""

    def __call__(
        self,
        model: FlowMapBetween,
        rng: Rng,
        cond: Tensor | None,
        *,
        trace: Trace | None = None,
        x_T: Tensor | None = None,
    ) -> Tensor:
        """Events (B, *S)."""
        times = self._falling(rng)
        x = _start(model, rng, x_T)
        for j, (t, s) in enumerate(pairwise((*times, torch.zeros_like(times[0])))):
            x = model.to_time(x, t.expand(len(x)), s.expand(len(x)), cond).to(x.dtype)
            if trace is not None:
                trace(j, model.event.from_network(x))
        return model.event.from_network(x)


def noise_again(model: FlowMap, t: Tensor) -> denoise.Steps:
    """Rows of `denoise.step` that noise x_0 to the next of the times t (N,); the last keeps it."""
    with torch.no_grad():
        ends = torch.cat((t, t.new_zeros(1))).to(model.device)
        alpha, sigma = (f(ends).cpu() for f in (model.schedule.alpha, model.schedule.sigma))
    noise = (sigma[1:].square() - sigma[-1].square()).clamp(min=0).sqrt()
    columns = {"C_X0": torch.cat((alpha[1:-1], alpha.new_ones(1))), "S": noise}
    rows = tables.rows_of("x0", alpha[:-1], sigma[:-1], **columns)
    return denoise.Steps(rows.float(), noisy=len(t) > 1)


def _start(model: FlowMap, rng: Rng, x_T: Tensor | None) -> Tensor:
    """x_1 (B, *S): `x_T`, or a draw of the prior."""
    return rng.normal(model.event.shape, stream="x_1") * prior_std(model) if x_T is None else x_T


def _times(steps: int, times: Sequence[float]) -> Tensor:
    """The times of the calls, (N,) float64, falling from 1."""
    if times:
        return torch.tensor((1.0, *times), dtype=torch.float64)
    return 1 - torch.arange(steps, dtype=torch.float64) / steps


def _check_times(steps: int, times: Sequence[float]) -> None:
    if times and len(times) != steps - 1:
        raise ConfigError(
            f"times = {tuple(times)} are those of {len(times) + 1} calls, the first at 1; "
            f"steps = {steps}.",
            hint=f"steps={len(times) + 1}, or as many times as steps - 1",
        )
    if any(t <= s for t, s in pairwise(times)):
        raise ConfigError(f"times = {tuple(times)}; they must fall, from the noise to the data.")
