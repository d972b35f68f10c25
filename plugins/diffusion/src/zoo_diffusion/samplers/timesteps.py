"""The times at which a sampler calls a model's network, and the noise levels there.

Time t runs from 0 (data) to 1 (noise). A sampler calls the network at N falling times:

    uniform      t_i = 1 - i / N                                the times of an SDE
    trailing     t_i = round(T (1 - i / N)) / T                 the same, on the steps of a chain
    leading      t_i = (floor(T / N) (N - 1 - i) + 1) / T       the default of diffusers
    quadratic    sqrt(t) evenly spaced from 1 to sqrt(t_min)    DDIM (Song et al., 2021), app. D.2
    karras       (sigma / alpha)^(1/7) evenly spaced            Karras et al., 2022, eq. 5
    exponential  log(sigma / alpha) evenly spaced               Lu et al., 2022, "uniform lambda"

If alpha_1 = 0, the last two call at 1 first and start their spacing at 1 - t_min.

Shapes: N calls.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from zoo_core.plugin import Denoiser, UsageError
from zoo_diffusion.parameterization import DiscreteTime, earliest_time
from zoo_diffusion.schedules import time_at

__all__ = ["Level", "Path", "Spacing", "level_at", "spaced_times", "time_path"]

Spacing = Literal["uniform", "leading", "trailing", "quadratic", "karras", "exponential"]
_RHO = 7.0


class Level(NamedTuple):
    """A time t with alpha and sigma there, as numbers of the host."""

    t: float
    a: float
    s: float

    @property
    def n(self) -> float:
        """sigma / alpha, the noise of x / alpha; infinite where alpha is 0."""
        return self.s / self.a if self.a else math.inf

    @property
    def lam(self) -> float:
        """lambda = log(alpha / sigma), half the log-SNR."""
        return -math.log(self.n) if self.n else math.inf


DATA = Level(0.0, 1.0, 0.0)
"""Where solvers end: x_0 itself."""


class Path(tuple[Level, ...]):
    """The levels of a solver's N calls and of its end, N + 1 in all, from the noise to the data.

    `std` is the standard deviation of x at its start, and `at` gives the levels between, for
    solvers that call the network elsewhere.
    """

    model: Denoiser
    std: float

    @classmethod
    def of(cls, model: Denoiser, times: Tensor, *, end: Level = DATA) -> "Path":
        """The path of a model through falling times (N,) to the data, or another end."""
        on_device = times.to(model.device)
        with torch.no_grad():
            alpha = model.schedule.alpha(on_device).clamp(min=0)
            sigma = model.schedule.sigma(on_device)
        levels = zip(times.tolist(), alpha.tolist(), sigma.tolist(), strict=True)
        return cls._from(model, (*(Level(*p) for p in levels), end))

    @property
    def alpha(self) -> list[float]:
        return [p.a for p in self]

    @property
    def sigma(self) -> list[float]:
        return [p.s for p in self]

    def last(self, steps: int) -> "Path":
        """The last steps of the path."""
        return Path._from(self.model, self[-steps - 1 :])

    def between(self, p: Level, q: Level) -> "Path":
        """The path of a single step, from level p to q."""
        return Path._from(self.model, (p, q))

    @classmethod
    def _from(cls, model: Denoiser, levels: Iterable[Level]) -> "Path":
        path = cls(levels)
        path.model, path.std = model, math.hypot(path[0].a, path[0].s)
        return path

    def steps(self) -> Iterator[tuple[int, Level, Level]]:
        """(i, the level before step i, the level after it)."""
        return ((i, p, q) for i, (p, q) in enumerate(pairwise(self)))

    def at(self, n: float) -> Level:
        """The level where sigma / alpha = n."""
        return level_at(self.model, n)


def time_path(model: Denoiser, steps: int, spacing: Spacing) -> Path:
    """The path of a model with `steps` calls.

    Raises UsageError if sigma / alpha does not fall from each time to the next.
    """
    path = Path.of(model, spaced_times(model, steps, spacing))
    if any(p.a * q.s >= p.s * q.a for _, p, q in path.steps()):  # two steps of a chain of one
        raise UsageError(
            f"steps = {steps}, spacing = {spacing!r}: the noise of the model's schedule does not "
            "fall from each of these times to the next.",
            hint="fewer steps, or spacing='uniform'",
        )
    return path


def level_at(model: Denoiser, n: float) -> Level:
    """The level where sigma / alpha = n, by the inverse of the model's schedule."""
    log_snr = torch.tensor([-2 * math.log(n)], dtype=torch.float64, device=model.device)
    with torch.no_grad():
        t = time_at(model.schedule, log_snr)
        return Level(float(t), float(model.schedule.alpha(t)), float(model.schedule.sigma(t)))


def spaced_times(model: Denoiser, steps: int, spacing: Spacing) -> Tensor:
    """t (N,) float64, falling from the noise."""
    i = torch.arange(steps, dtype=torch.float64)
    if spacing == "uniform":
        return 1 - i / steps
    if spacing == "quadratic":
        return _evenly_spaced(1.0, earliest_time(model) ** 0.5, steps).square()
    if spacing == "karras":
        return _spaced_by_noise(model, steps, lambda n: n ** (1 / _RHO), lambda w: w.pow(_RHO))
    if spacing == "exponential":
        return _spaced_by_noise(model, steps, math.log, torch.exp)
    if not isinstance(model, DiscreteTime):
        raise UsageError(
            f"spacing {spacing!r} is for chains of discrete steps; {type(model).__name__} is "
            "none.",
            hint="spacing='uniform', 'quadratic', 'karras' or 'exponential'",
        )
    T = model.timesteps
    if steps > T:
        raise UsageError(f"steps = {steps}; the chain has {T}.", hint=f"steps of at most {T}")
    if spacing == "trailing":
        return (T * (1 - i / steps)).round() / T
    return ((T // steps) * (steps - 1 - i) + 1) / T


def _evenly_spaced(a: float, b: float, steps: int) -> Tensor:
    return torch.linspace(a, b, steps, dtype=torch.float64)


def _spaced_by_noise(
    model: Denoiser,
    steps: int,
    warp: Callable[[float], float],
    unwarp: Callable[[Tensor], Tensor],
) -> Tensor:
    """Times (N,) between which warp(sigma / alpha) falls evenly."""
    t_min = earliest_time(model)
    ends = torch.tensor([1.0, t_min], dtype=torch.float64, device=model.device)
    calls_at_one = 0 if bool(model.schedule.alpha(ends[:1]) > 0) else 1
    ends[0] -= calls_at_one * t_min
    first, last = map(warp, (model.schedule.sigma(ends) / model.schedule.alpha(ends)).tolist())
    n = unwarp(_evenly_spaced(first, last, steps - calls_at_one))
    t = time_at(model.schedule, (-2 * n.log()).to(model.device)).cpu()
    return torch.cat((t.new_ones(calls_at_one), t))
