"""The times of a sampler: N calls of the network from noise to data, and the loop over them.

    uniform     t_i = 1 - i / N                                   every k-th step of a chain
    leading     t_i = (floor(T / N) (N - 1 - i) + 1) / T           diffusers' default
    quadratic   sqrt(t) even from 1 to sqrt(t_end)               DDIM (Song et al., 2021), app. D.2
    karras      (sigma / alpha)^(1/7) even                         Karras et al., 2022, eq. 5;
                where alpha_1 = 0, from the step before 1 on, after a call at 1

After the last call comes the data itself, alpha = 1 and sigma = 0.

Shapes: B batch, S the event's shape, N calls.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core.plugin import Event, Fixed, Rng, Schedule, UsageError
from zoo_diffusion.parameterization import Predictor, to_x0
from zoo_diffusion.scale import bounds
from zoo_diffusion.schedules import time_at
from zoo_diffusion.timesteps import ContinuousTime, DiscreteTime
from zoo_kernels import denoise

__all__ = [
    "Options",
    "Plan",
    "Spacing",
    "Trace",
    "Walk",
    "deviation",
    "loop",
    "prediction_of",
    "start",
    "states",
    "times",
    "walk",
]

Spacing = Literal["uniform", "leading", "quadratic", "karras"]
Trace = Callable[[int, Tensor], None]
_Prediction = Callable[[Tensor, Tensor, Tensor | None], Tensor]
_RHO = 7.0
_END = 1e-3
"""The earliest time, where a model states none: t = 1/T for T = 1000."""
_MOST = 1e6
"""Of a quantile of |x_0|: no limit."""


@dataclass(frozen=True)
class Walk:
    """Times (N,) of the calls, alpha and sigma (N + 1,) at them and at the data; float64.

    `deviation` is that of x_1, where data of unit variance end up.
    """

    times: Tensor
    alpha: Tensor
    sigma: Tensor
    deviation: float


def walk(model: Any, steps: int, spacing: Spacing) -> Walk:
    """The path of a model in `steps` calls, on the CPU."""
    schedule: Schedule = model.schedule
    t = times(model, steps, spacing)
    on_device = t.to(model.device)
    alpha, sigma = schedule.alpha(on_device).cpu(), schedule.sigma(on_device).cpu()
    one, zero = t.new_ones(1), t.new_zeros(1)
    ends = torch.cat((alpha.clamp(min=0), one)), torch.cat((sigma, zero))
    a, s = ends
    if not bool((a[:-1] * s[1:] < s[:-1] * a[1:]).all()):  # as where a chain has one step alone
        raise UsageError(
            f"steps = {steps} of spacing {spacing!r}: the noise of the model's schedule does not "
            "fall from each of these times to the next.",
            hint="fewer steps, or spacing='uniform'",
        )
    return Walk(t, *ends, deviation(model))


def times(model: Any, steps: int, spacing: Spacing) -> Tensor:
    """t (N,) float64, falling from the noise."""
    i = torch.arange(steps, dtype=torch.float64)
    if spacing == "uniform":
        return 1 - i / steps
    end = _end(model)
    if spacing == "quadratic":
        return _even(1.0, end**0.5, steps).square()
    if spacing == "karras":
        return _karras(model, steps, end)
    if not isinstance(model, DiscreteTime):
        raise UsageError(
            f"spacing 'leading' is for chains of discrete steps; {type(model).__name__} is none.",
            hint="spacing='uniform', 'quadratic' or 'karras'",
        )
    T = model.timesteps
    if steps > T:
        raise UsageError(f"steps = {steps}; the chain has {T}.", hint=f"steps of at most {T}")
    return ((T // steps) * (steps - 1 - i) + 1) / T


def _end(model: Any) -> float:
    if isinstance(model, DiscreteTime):
        return 1 / model.timesteps
    return model.start if isinstance(model, ContinuousTime) else _END


def _even(a: float, b: float, steps: int) -> Tensor:
    return torch.linspace(a, b, steps, dtype=torch.float64)


def _karras(model: Any, steps: int, end: float) -> Tensor:
    ends = torch.tensor([1.0, end], dtype=torch.float64, device=model.device)
    alone = 0 if bool(model.schedule.alpha(ends[:1]) > 0) else 1
    ends[0] -= alone * _end(model)
    noise = (model.schedule.sigma(ends) / model.schedule.alpha(ends)).cpu()
    warped = noise.pow(1 / _RHO).tolist()
    n = _even(warped[0], warped[1], steps - alone).pow(_RHO)
    t = time_at(model.schedule, (-2 * n.log()).to(model.device)).cpu()
    return torch.cat((t.new_ones(alone), t))


def deviation(model: Any) -> float:
    """sqrt(alpha_1^2 + sigma_1^2), read back from the device."""
    one = torch.ones(1, dtype=torch.float64, device=model.device)
    with torch.no_grad():
        return float(torch.hypot(model.schedule.alpha(one), model.schedule.sigma(one)))


def start(model: Any, rng: Rng, scale: float | None = None) -> Tensor:
    """x_1 ~ N(0, alpha_1^2 + sigma_1^2): where data of unit variance end up, (B, *S) float32.

    `scale` is its deviation, where that is known.
    """
    scale = deviation(model) if scale is None else scale
    return rng.normal(model.event.shape, stream="x_1") * scale


def prediction_of(model: Any) -> str:
    """What `prediction` gives: the network's own output, or x0 of a plain denoiser."""
    if isinstance(model, Predictor) and model.prediction in denoise.PREDICTIONS:
        return model.prediction
    return "x0"


def prediction(model: Any) -> _Prediction:
    """(x (B, *S), t (1,) float64, cond) -> the output that enters an update, in x's dtype.

    What the model is, is found out once: that takes longer than a step of a small network.
    """
    if not isinstance(model, Predictor):
        dtype = model.dtype

        def denoised(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
            out: Tensor = model.denoise(x.to(dtype), t.to(dtype).expand(len(x)), cond)
            return out.to(x.dtype)

        return denoised
    call = model.predict if prediction_of(model) == model.prediction else model.denoise
    return lambda x, t, cond: call(x, t.expand(len(x)), cond).to(x.dtype)


def loop(
    model: Any,
    rng: Rng,
    cond: Tensor | None,
    plan: "Plan",
    options: "Options",
    fixed: Fixed | None = None,
    trace: Trace | None = None,
) -> Tensor:
    """Events (B, *S) by a solver's table."""
    end = rng.rows  # any: a plan has at least one row
    for x in states(model, rng, cond, plan, options, fixed=fixed, trace=trace):
        end = x
    events = model.event.from_network(end)
    return events if fixed is None else fixed.apply(events)


def states(
    model: Any,
    rng: Rng,
    cond: Tensor | None,
    plan: "Plan",
    options: "Options",
    *,
    fixed: Fixed | None = None,
    trace: Trace | None = None,
) -> Iterator[Tensor]:
    """x (B, *S) after every row of a table; the host and the device never wait for each other.

    With a plan that is on the device already, all of it can be captured in a CUDA graph.
    """
    guided = _check_guidance(model, cond, options.guidance)
    plan = plan.to(rng.device)
    steps, t = plan.steps, plan.times
    index = torch.arange(len(steps), device=rng.device)
    clip, threshold = options.limits(model)
    known = None if fixed is None else _Known(model, rng, fixed, plan)
    predict, x, buffer = prediction(model), start(model, rng, plan.deviation), None
    for j in range(len(steps)):
        x = x if known is None else known.noisy(x, j)
        m, u = x, None
        if plan.calls[j]:
            m = predict(x, t[j : j + 1], cond)
            u = predict(x, t[j : j + 1], None) if guided else None
            if trace is not None:
                trace(j, _preview(model, x, m, float(plan.alpha[j]), float(plan.sigma[j])))
        x, buffer = denoise.step(
            x, m, steps, index[j : j + 1], rows=rng.rows, seed=rng.seed,
            stream=rng.stream("step"), unconditional=u,
            guidance=options.guidance if guided else 1.0, multistep_buffer=buffer, clip=clip,
            threshold=threshold,
        )  # fmt: skip
        yield x


@dataclass(frozen=True)
class Plan:
    """A table of R rows; row j finds x at alpha[j], sigma[j] and, if `calls[j]`, the network's
    output there at times[j]. Times (R,), alpha and sigma (R,) are float64; the last two stay on
    the CPU. `deviation` is that of x_1."""

    steps: denoise.Steps
    times: Tensor
    alpha: Tensor
    sigma: Tensor
    calls: tuple[bool, ...]
    deviation: float

    @classmethod
    def along(cls, path: Walk, steps: denoise.Steps) -> "Plan":
        """One row, and one call, a step of the path."""
        calls = (True,) * len(path.times)
        return cls(steps, path.times, path.alpha, path.sigma, calls, path.deviation)

    def to(self, device: torch.device) -> "Plan":
        """What a device reads of it, on that device."""
        return replace(self, steps=self.steps.to(device), times=self.times.to(device))


@dataclass(frozen=True)
class Options:
    """Guidance, and how x_0 is bounded: by the data's range or by a quantile of |x_0|."""

    guidance: float = 1.0
    clip: bool = True
    threshold: float | None = None

    def limits(self, model: Any) -> tuple[float | None, tuple[float, float] | None]:
        """The arguments `clip` and `threshold` of a step; reals have no range to be clipped to."""
        bound = bounds(model.event)
        if bound is None or (self.threshold is None and not self.clip):
            return None, None
        return (bound, None) if self.threshold is None else (None, (self.threshold, _MOST))


class _Known:
    """Known values on the way: at every time they are what noise makes of them (Song et al., 2021,
    app. I.2), with noise of their own that stays the same along the way."""

    def __init__(self, model: Any, rng: Rng, fixed: Fixed, plan: Plan) -> None:
        clean = torch.where(fixed.mask, fixed.values, torch.zeros_like(fixed.values))
        self.mask = fixed.mask
        self.x = model.event.to_network(clean, torch.float32)
        self.eps = rng.normal(model.event.shape, stream="known")
        self.alpha, self.sigma = plan.alpha.tolist(), plan.sigma.tolist()

    def noisy(self, x: Tensor, j: int) -> Tensor:
        return torch.where(self.mask, self.alpha[j] * self.x + self.sigma[j] * self.eps, x)


def _preview(model: Any, x: Tensor, m: Tensor, alpha: float, sigma: float) -> Tensor:
    """The denoised events as they look from here."""
    a, s = x.new_full((1,), alpha), x.new_full((1,), sigma)
    event: Event = model.event
    return event.from_network(to_x0(m, prediction_of(model), x, a, s))


def _check_guidance(model: Any, cond: Tensor | None, guidance: float) -> bool:
    """Whether the unconditional output is needed; raises where there is none."""
    if guidance == 1.0:
        return False
    if cond is None or not model.condition.optional:
        raise UsageError(
            f"guidance = {guidance} needs a class and a model that can do without one; this one "
            f"takes {model.condition}.",
            hint="give cond=..., or leave out guidance",
            command="--cond C, or leave out guidance",
        )
    return True
