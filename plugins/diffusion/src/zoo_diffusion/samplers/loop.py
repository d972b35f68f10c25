"""The sampling loop: a solver's steps from x_1 ~ prior to x_0, by its table or its own loop.

Shapes: B batch, S the event's shape, R rows.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Event, Inpainting, Rng, UsageError
from zoo_diffusion.parameterization import (
    LearnsVariance,
    Predictor,
    append_dims,
    convert,
    prior_std,
)
from zoo_diffusion.samplers.inpainting import (
    InpaintingMethod,
    Replacement,
    observed_values,
    posterior_mean,
)
from zoo_diffusion.samplers.table import Loop, SolverTable
from zoo_diffusion.samplers.timesteps import Level, Path
from zoo_kernels import denoise

__all__ = [
    "GuidanceAndClipping",
    "Outputs",
    "Trace",
    "last_events",
    "loop_states",
    "prediction_type",
    "sample_prior",
    "start",
    "trajectory",
]

Trace = Callable[[int, Tensor], None]
"""`trace(j, events)` gets the denoised events (B, *S) of row j."""

_Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
_NO_MAX = 1e6
"""The upper limit of the dynamic threshold: in effect none."""


@dataclass(frozen=True)
class GuidanceAndClipping:
    """Classifier-free guidance, and the bound on x_0.

    The guided output is u + guidance_scale (c - u), with the conditional output c and the
    unconditional u (Ho & Salimans, 2022), at times t within `guidance_interval` and c outside of
    it (Kynkaanniemi et al., 2024). `guidance_rescale` phi moves its standard deviation to that of
    c, by the share phi (Lin et al., 2023, sec. 3.4). For integers, `clip_denoised` clips x_0 to
    the data's range; a `dynamic_thresholding_ratio` bounds |x_0| by that quantile of its own
    values instead (Saharia et al., 2022, sec. 2.3). Reals are not bounded.
    """

    guidance_scale: float = 1.0
    clip_denoised: bool = True
    dynamic_thresholding_ratio: float | None = None
    guidance_interval: tuple[float, ...] = (0.0, 1.0)
    guidance_rescale: float = 0.0

    def bounds(self, event: Event) -> tuple[float | None, tuple[float, float] | None]:
        """The arguments `clip` and `threshold` of `denoise.step`."""
        bound = 1.0 if event.discrete else None
        if bound is not None and self.dynamic_thresholding_ratio is not None:
            return None, (self.dynamic_thresholding_ratio, _NO_MAX)
        return bound if self.clip_denoised else None, None

    def guides(self, t: float) -> bool:
        """Whether the output at time t is guided."""
        low, high = self.guidance_interval
        return self.guidance_scale != 1.0 and low <= t <= high

    def guided(self, c: Tensor, u: Tensor) -> Tensor:
        """The guided output (B, *S)."""
        m = u + self.guidance_scale * (c - u)
        if self.guidance_rescale == 0:
            return m
        ratio = c.flatten(1).std(1) / m.flatten(1).std(1)
        return m * append_dims(1 + self.guidance_rescale * (ratio - 1), m)


class Outputs:
    """The network's outputs along one draw: guided, and conditioned on observed values."""

    def __init__(
        self,
        model: Denoiser,
        rng: Rng,
        cond: Tensor | None,
        options: GuidanceAndClipping,
        fixed: Inpainting | None = None,
        inpainting: InpaintingMethod = "moment_matching",
        iterations: int = 1,
        trace: Trace | None = None,
    ) -> None:
        _check_guidance(model, cond, options.guidance_scale)
        self.model, self.cond, self.options, self.trace = model, cond, options, trace
        self.predict, self.type = _predict(model), prediction_type(model)
        self.replacement = self.known = None
        if fixed is not None and inpainting != "moment_matching":
            self.replacement = Replacement(model.event, rng, fixed)
        elif fixed is not None:
            self.known = observed_values(model.event, fixed), fixed.mask, iterations

    def place(self, x: Tensor, p: Level) -> Tensor:
        """x (B, *S) at level p, with what is observed in place."""
        return x if self.replacement is None else self.replacement.replace(x, p)

    def at(self, j: int, x: Tensor, t: Tensor, p: Level) -> tuple[Tensor, Tensor | None]:
        """The output m (B, *S) of call j at t (1,), and one without a class, still to guide it."""
        m, u = self._both(x, t, p)
        if self.trace is not None:
            guided = m if u is None else self.options.guided(m, u)
            x_0 = _convert(guided, x, p, source=self.type, target="x0")
            self.trace(j, self.model.event.from_network(x_0))
        return m, u

    def denoised(self, j: int, x: Tensor, p: Level) -> tuple[Tensor, Tensor]:
        """x_0, bounded, and epsilon by the network (B, *S) of call j: the D of solvers' loops."""
        t = torch.full((1,), p.t, dtype=torch.float64, device=x.device)
        c, u = self.at(j, x, t, p)
        m = c if u is None else self.options.guided(c, u)
        x_0 = _convert(m, x, p, source=self.type, target="x0")
        return self._bounded(x_0), _convert(m, x, p, source=self.type, target="epsilon")

    def _both(self, x: Tensor, t: Tensor, p: Level) -> tuple[Tensor, Tensor | None]:
        if self.known is not None:
            x_hat = posterior_mean(partial(self._denoised, t=t, p=p), x, p, *self.known)
            return _convert(x_hat, x, p, source="x0", target=self.type), None
        if self.options.guidance_rescale:
            return self._output(x, t, p), None
        u = self.predict(x, t, None) if self.options.guides(p.t) else None
        return self.predict(x, t, self.cond), u

    def _output(self, x: Tensor, t: Tensor, p: Level) -> Tensor:
        c = self.predict(x, t, self.cond)
        guides = self.options.guides(p.t)
        return self.options.guided(c, self.predict(x, t, None)) if guides else c

    def _denoised(self, x: Tensor, *, t: Tensor, p: Level) -> Tensor:
        return _convert(self._output(x, t, p), x, p, source=self.type, target="x0")

    def _bounded(self, x_0: Tensor) -> Tensor:
        clip, threshold = self.options.bounds(self.model.event)
        if threshold is not None:
            size = x_0.abs().flatten(1).quantile(threshold[0], 1).clamp(min=1.0)
            bound = append_dims(size, x_0)
            return torch.minimum(torch.maximum(x_0, -bound), bound) / bound
        return x_0 if clip is None else x_0.clamp(-clip, clip)


def last_events(model: Denoiser, states: Iterator[Tensor], fixed: Inpainting | None) -> Tensor:
    """The last state as events, with observed values in place."""
    (x,) = deque(states, maxlen=1)
    events = model.event.from_network(x)
    return events if fixed is None else fixed.apply(events)


def trajectory(outputs: Outputs, x: Tensor, table: SolverTable, rng: Rng) -> Iterator[Tensor]:
    """x (B, *S) after every row of a solver's table, from x at its first.

    The host and the device never wait for each other: with a table that is on the device already,
    a CUDA graph can capture the whole loop.
    """
    table = table.to(rng.device)
    t, index = table.times, torch.arange(len(table.times), device=rng.device)
    clip, threshold = outputs.options.bounds(outputs.model.event)
    known: deque[Tensor] = deque(maxlen=table.lags)
    for j, p in enumerate(table.levels):
        x = outputs.place(x, p)
        m, u = outputs.at(j, x, t[j : j + 1], p) if table.calls[j] else (x, None)
        x, kept = denoise.step(
            x,
            m,
            table.coefficients,
            index[j : j + 1],
            rows=rng.rows,
            seed=rng.seed,
            stream=rng.stream("step"),
            unconditional=u,
            guidance=1.0 if u is None else outputs.options.guidance_scale,
            multistep_buffer=table.buffer(j, known),
            clip=clip,
            threshold=threshold,
        )
        if kept is not None:
            known.appendleft(kept)
        yield x


def loop_states(loop: Loop, outputs: Outputs, x: Tensor, path: Path, rng: Rng) -> Iterator[Tensor]:
    """x (B, *S) after every step of a solver's own loop, from x at the path's start."""
    D = _Denoised(outputs)

    def z(row: int) -> Tensor:
        return rng.normal(outputs.model.event.shape, stream="step", step=row).to(x.dtype)

    return iter(loop(D, x, path, z))


class _Denoised:
    """The D of a solver's loop: x_0 and epsilon by the network's outputs, call after call."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs, self._calls = outputs, count()

    def __call__(self, x: Tensor, p: Level) -> tuple[Tensor, Tensor]:
        return self._outputs.denoised(next(self._calls), self._outputs.place(x, p), p)

    def weigh(self, x: Tensor, p: Level) -> Tensor:
        """The weight of the large log-variance of a model that learns it."""
        model = self._outputs.model
        assert isinstance(model, LearnsVariance)
        t = torch.full((len(x),), p.t, dtype=torch.float64, device=x.device)
        _, v = model.denoise_and_weigh(self._outputs.place(x, p), t, self._outputs.cond)
        return v.to(x.dtype)


def start(
    model: Denoiser,
    rng: Rng,
    path: Path,
    x_T: Tensor | None,
    init: Tensor | None,
) -> Tensor:
    """x (B, *S) at a path's start: `x_T`, the noised events `init`, or a draw of the prior."""
    if x_T is not None:
        return x_T
    z = rng.normal(model.event.shape, stream="x_1")
    if init is None:
        return path.std * z
    return path[0].a * model.event.to_network(init, torch.float32) + path[0].s * z


def sample_prior(model: Denoiser, rng: Rng, std: float | None = None) -> Tensor:
    """x_1 ~ N(0, std^2), (B, *S) float32; `std` is by default `prior_std(model)`."""
    std = prior_std(model) if std is None else std
    return rng.normal(model.event.shape, stream="x_1") * std


def prediction_type(model: Denoiser) -> str:
    """The type of output that enters a solver's update: the network's own, if there is one."""
    return model.prediction if isinstance(model, Predictor) else "x0"


def _predict(model: Denoiser) -> _Predict:
    """(x (B, *S), t (1,) float64, cond) -> an output of `prediction_type`, in x's dtype.

    The kind of model is looked up once: the look-up takes longer than a step of a small network.
    """
    if isinstance(model, Predictor):
        call = model.predict
        return lambda x, t, cond: call(x, t.expand(len(x)), cond).to(x.dtype)
    dtype = model.dtype

    def denoised(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return model.denoise(x.to(dtype), t.to(dtype).expand(len(x)), cond).to(x.dtype)

    return denoised


def _convert(m: Tensor, x: Tensor, p: Level, *, source: str, target: str) -> Tensor:
    """An output at level p as another type of prediction, with what is finite at alpha = 0."""
    a, s = x.new_full((), p.a), x.new_full((), p.s)
    return convert(m, x, a, s, source=source, target=target)


def _check_guidance(model: Denoiser, cond: Tensor | None, scale: float) -> None:
    """Raise UsageError if steps need an unconditional output and there is none."""
    if scale != 1.0 and (cond is None or not model.condition.optional):
        raise UsageError(
            f"guidance_scale = {scale} needs a class and a model that can sample without one; "
            f"this model takes {model.condition}.",
            hint="give cond=..., or leave out guidance_scale",
            command="--cond C, or leave out guidance_scale",
        )
