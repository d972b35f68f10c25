"""The sampling loop: one solver step for every row of a table, from x_1 ~ prior to x_0.

Shapes: B batch, S the event's shape, R rows.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, Event, Inpainting, Rng, UsageError
from zoo_diffusion.parameterization import Predictor, prior_std, to_x0
from zoo_diffusion.samplers.timesteps import TimeGrid
from zoo_kernels import denoise

__all__ = [
    "GuidanceAndClipping",
    "SolverTable",
    "Trace",
    "prediction_type",
    "sample_prior",
    "sampling_loop",
    "trajectory",
]

Trace = Callable[[int, Tensor], None]
"""`trace(j, events)` gets the denoised events (B, *S) of row j."""

_Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
_NO_MAX = 1e6
"""The upper limit of the dynamic threshold: in effect none."""


@dataclass(frozen=True)
class SolverTable:
    """A solver as a table of R rows, each a step.

    Row j starts from x at noise level alpha[j], sigma[j] and, if `calls[j]`, takes the network's
    output there at times[j]. `times`, `alpha` and `sigma` are float64 (R,); alpha and sigma stay
    on the CPU. `std` is the standard deviation of x_1.
    """

    coefficients: denoise.Steps
    times: Tensor
    alpha: Tensor
    sigma: Tensor
    calls: tuple[bool, ...]
    std: float

    @classmethod
    def on(cls, grid: TimeGrid, coefficients: denoise.Steps) -> "SolverTable":
        """The table with one row, and one call, for each time of a grid."""
        calls = (True,) * len(grid.times)
        return cls(coefficients, grid.times, grid.alpha, grid.sigma, calls, grid.std)

    def to(self, device: torch.device) -> "SolverTable":
        """The table with coefficients and times on a device."""
        moved = self.coefficients.to(device)
        return replace(self, coefficients=moved, times=self.times.to(device))


@dataclass(frozen=True)
class GuidanceAndClipping:
    """Classifier-free guidance, and the bound on x_0.

    The guided output is u + guidance_scale (c - u), with the conditional output c and the
    unconditional u (Ho & Salimans, 2022). For integers, `clip_denoised` clips x_0 to the data's
    range; a `dynamic_thresholding_ratio` bounds |x_0| by that quantile of its own values instead
    (Saharia et al., 2022, sec. 2.3). Reals are not bounded.
    """

    guidance_scale: float = 1.0
    clip_denoised: bool = True
    dynamic_thresholding_ratio: float | None = None

    def bounds(self, event: Event) -> tuple[float | None, tuple[float, float] | None]:
        """The arguments `clip` and `threshold` of `denoise.step`."""
        bound = 1.0 if event.discrete else None
        if bound is not None and self.dynamic_thresholding_ratio is not None:
            return None, (self.dynamic_thresholding_ratio, _NO_MAX)
        return bound if self.clip_denoised else None, None


def sampling_loop(
    model: Denoiser,
    rng: Rng,
    cond: Tensor | None,
    table: SolverTable,
    options: GuidanceAndClipping,
    fixed: Inpainting | None = None,
    trace: Trace | None = None,
) -> Tensor:
    """Events (B, *S) after the last row of a solver's table."""
    states = trajectory(model, rng, cond, table, options, fixed=fixed, trace=trace)
    (x,) = deque(states, maxlen=1)
    events = model.event.from_network(x)
    return events if fixed is None else fixed.apply(events)


def trajectory(
    model: Denoiser,
    rng: Rng,
    cond: Tensor | None,
    table: SolverTable,
    options: GuidanceAndClipping,
    *,
    fixed: Inpainting | None = None,
    trace: Trace | None = None,
) -> Iterator[Tensor]:
    """x (B, *S) after every row of a solver's table.

    The host and the device never wait for each other: with a table that is on the device already,
    a CUDA graph can capture the whole loop.
    """
    guided = _is_guided(model, cond, options.guidance_scale)
    table = table.to(rng.device)
    t = table.times
    index = torch.arange(len(t), device=rng.device)
    clip, threshold = options.bounds(model.event)
    observed = None if fixed is None else _Replacement(model, rng, fixed, table)
    predict, x, buffer = _predict(model), sample_prior(model, rng, table.std), None
    for j in range(len(t)):
        x = x if observed is None else observed.replace(x, j)
        m, u = x, None
        if table.calls[j]:
            m = predict(x, t[j : j + 1], cond)
            u = predict(x, t[j : j + 1], None) if guided else None
            if trace is not None:
                trace(j, _denoised_events(model, x, m, table, j))
        x, buffer = denoise.step(
            x,
            m,
            table.coefficients,
            index[j : j + 1],
            rows=rng.rows,
            seed=rng.seed,
            stream=rng.stream("step"),
            unconditional=u,
            guidance=options.guidance_scale if guided else 1.0,
            multistep_buffer=buffer,
            clip=clip,
            threshold=threshold,
        )
        yield x


def sample_prior(model: Denoiser, rng: Rng, std: float | None = None) -> Tensor:
    """x_1 ~ N(0, std^2), (B, *S) float32; `std` is by default `prior_std(model)`."""
    std = prior_std(model) if std is None else std
    return rng.normal(model.event.shape, stream="x_1") * std


def prediction_type(model: Denoiser) -> str:
    """The type of output that enters a solver's update: the network's own if solvers take it."""
    if isinstance(model, Predictor) and model.prediction in denoise.PREDICTIONS:
        return model.prediction
    return "x0"


def _predict(model: Denoiser) -> _Predict:
    """(x (B, *S), t (1,) float64, cond) -> an output of `prediction_type`, in x's dtype.

    The kind of model is looked up once: the look-up takes longer than a step of a small network.
    """
    if not isinstance(model, Predictor):
        dtype = model.dtype

        def denoised(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
            return model.denoise(x.to(dtype), t.to(dtype).expand(len(x)), cond).to(x.dtype)

        return denoised
    call = model.predict if prediction_type(model) == model.prediction else model.denoise
    return lambda x, t, cond: call(x, t.expand(len(x)), cond).to(x.dtype)


class _Replacement:
    """Inpainting by the replacement method (Song et al., 2021, app. I.2).

    Before every step the observed values are put in place with that step's noise level. Their
    noise is drawn once and stays the same along the trajectory.
    """

    def __init__(self, model: Denoiser, rng: Rng, fixed: Inpainting, table: SolverTable) -> None:
        observed = torch.where(fixed.mask, fixed.observed, torch.zeros_like(fixed.observed))
        self.mask = fixed.mask
        self.observed = model.event.to_network(observed, torch.float32)
        self.eps = rng.normal(model.event.shape, stream="known")
        self.alpha, self.sigma = table.alpha.tolist(), table.sigma.tolist()

    def replace(self, x: Tensor, j: int) -> Tensor:
        """x (B, *S) before row j, with the observed values in place."""
        noisy = self.alpha[j] * self.observed + self.sigma[j] * self.eps
        return torch.where(self.mask, noisy, x)


def _denoised_events(model: Denoiser, x: Tensor, m: Tensor, table: SolverTable, j: int) -> Tensor:
    """The events (B, *S) that the network's output m at x predicts in row j."""
    a, s = (x.new_full((1,), float(level[j])) for level in (table.alpha, table.sigma))
    return model.event.from_network(to_x0(m, prediction_type(model), x, a, s))


def _is_guided(model: Denoiser, cond: Tensor | None, scale: float) -> bool:
    """Whether steps need the unconditional output; raises UsageError if there is none."""
    if scale == 1.0:
        return False
    if cond is None or not model.condition.optional:
        raise UsageError(
            f"guidance_scale = {scale} needs a class and a model that can sample without one; "
            f"this model takes {model.condition}.",
            hint="give cond=..., or leave out guidance_scale",
            command="--cond C, or leave out guidance_scale",
        )
    return True
