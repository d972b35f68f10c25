"""The loss of consistency models: f agrees at two neighbouring noise levels of a path.

    E lambda d(f(x_t; sigma_t), f^-(x_r; sigma_r)),   x_t = x_0 + sigma_t eps,  sigma_r < sigma_t

    training       x_r = x_0 + sigma_r eps: the same event and noise (Song et al., 2023, sec. 5)
    distillation   x_r by steps of Heun's method from x_t along a teacher's flow (sec. 4)

f^- has no gradient: it is f itself (Song & Dhariwal, 2024, https://arxiv.org/abs/2310.14189), or
that of the moving average of the weights. d is the pseudo-Huber distance
sqrt(|a - b|^2 + c^2) - c with c = `huber` sqrt(D), or |a - b|^2, and lambda = 1 / (sigma_t -
sigma_r), as there. sigma^(1/rho) of the N + 1 levels is evenly spaced.

Shapes: B batch, S the event's shape, D its values, N pairs of levels.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zoo_core.plugin import (
    Batch,
    ConfigError,
    Denoiser,
    GenerativeModel,
    Loss,
    Range,
    Rng,
    UsageError,
    has,
    load,
)
from zoo_diffusion.consistency import ConsistencyConfig
from zoo_diffusion.flow_map import FlowMap
from zoo_diffusion.losses import stratified
from zoo_diffusion.parameterization import append_dims
from zoo_diffusion.schedules import Karras, time_at

__all__ = ["ConsistencyLoss", "HasConsistency", "follow", "level_counts", "slope_of"]


@runtime_checkable
class HasConsistency(FlowMap, Protocol):
    """A consistency function, which `ConsistencyLoss` trains."""

    config: ConsistencyConfig
    schedule: Karras
    network: nn.Module
    training: bool
    averages: Mapping[str, Tensor] | None

    def consistency(
        self,
        x: Tensor,
        sigma: Tensor,
        cond: Tensor | None = None,
        network: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """f(x; sigma) at sigma (B, 1, ..., 1), by the model's network or another."""
        ...


@dataclass(frozen=True)
class ConsistencyLoss:
    """Consistency training, or distillation of the model that `teacher` names.

    - `teacher`: a denoiser of the same events, e.g. "edm.digits", whatever its schedule.
      `guidance_scale` guides it, and `from_teacher` starts the training from its network's
      weights, which must be those of the same network.
    - `teacher_steps`: steps of Heun's method between two levels. With as many levels as calls will
      be made, and more steps, f is trained at those levels alone.
    - `target`: f^- is the `student` itself, or by the `average` of its weights, which `train.ema`
      makes.
    - `first_levels`, `last_levels`, `double_every`: N in the beginning and in the end; it doubles
      every so many steps, 0 for `last_levels` from the first.
    - `noise`: log sigma_t is normal with `p_mean` and `p_std`, or all pairs are equally likely.
    - `distance`, `huber`, `weighted`: d, its constant, and whether lambda is not 1.
    """

    teacher: str | None = None
    from_teacher: bool = False
    guidance_scale: Annotated[float, Range(-1000, 1000)] = 1.0
    teacher_steps: Annotated[int, Range(1, 1000)] = 1
    target: Literal["student", "average"] = "student"
    first_levels: Annotated[int, Range(1, 1 << 20)] = 10
    last_levels: Annotated[int, Range(1, 1 << 20)] = 1280
    double_every: Annotated[int, Range(0, 1 << 31)] = 50_000
    noise: Literal["log_normal", "uniform"] = "log_normal"
    p_mean: Annotated[float, Range(-10, 10)] = -1.1
    p_std: Annotated[float, Range(0.01, 10)] = 2.0
    distance: Literal["pseudo_huber", "squared"] = "pseudo_huber"
    huber: Annotated[float, Range(0.0, 10.0, open=True)] = 0.00054
    weighted: bool = True

    def __post_init__(self) -> None:
        if self.first_levels > self.last_levels:
            raise ConfigError(
                f"first_levels = {self.first_levels} is above last_levels = {self.last_levels}; "
                "their number grows."
            )
        of_teacher = self.guidance_scale != 1 or self.from_teacher or self.teacher_steps != 1
        if of_teacher and self.teacher is None:
            raise ConfigError(
                f"guidance_scale = {self.guidance_scale}, from_teacher = {self.from_teacher}, "
                f"teacher_steps = {self.teacher_steps} are of a teacher, and there is none.",
                hint="teacher='edm.digits', or leave them out",
            )

    def __call__(self, model: HasConsistency, batch: Batch, rng: Rng, step: int) -> Loss:
        wide = torch.promote_types(model.dtype, torch.float32)
        x, cond = model.event.to_network(batch[0], wide), batch[1]
        eps = rng.normal(x.shape[1:], stream="eps", step=step).to(x.dtype)
        sigma_r, sigma_t = (append_dims(s, x) for s in self._levels(model, rng, step))
        x_t = x + sigma_t * eps
        with torch.no_grad():
            if self.teacher is None:
                x_r = x + sigma_r * eps
            else:
                teacher = _teacher(self.teacher, model, self.guidance_scale)
                path = noise_between(sigma_t, sigma_r, self.teacher_steps, model.config.rho)
                x_r = follow(teacher, x_t, path, cond)
            with _same_dropout(x.device):
                f_r = model.consistency(x_r, sigma_r, cond, self._target(model))
        f_t = model.consistency(x_t, sigma_t, cond)
        weight = 1 / (sigma_t - sigma_r).flatten() if self.weighted else 1.0
        total = (weight * self._distance(f_t, f_r)).mean()
        return Loss(total, {"gap": (f_t.detach() - f_r).square().mean().sqrt()})

    def initialize(self, model: HasConsistency) -> None:
        """Give the model's network the weights of its teacher's, if that is asked for."""
        if not (self.from_teacher and self.teacher):
            return
        network = getattr(_checked(self.teacher, model), "network", None)
        theirs = {} if network is None else network.state_dict()
        own = model.network.state_dict()
        if {k: v.shape for k, v in theirs.items()} != {k: v.shape for k, v in own.items()}:
            raise ConfigError(
                f"from_teacher: the network of {self.teacher!r} is not that of this model.",
                hint="the [model.network] and `fourier` of its recipe, or from_teacher = false",
            )
        model.network.load_state_dict(theirs)

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        """d(a, b), (B,), divided by D, so that rates do not depend on the event's size."""
        square, D = (a - b).square().flatten(1).sum(1), a[0].numel()
        if self.distance == "squared":
            return square / D
        c = self.huber * math.sqrt(D)
        return ((square + c**2).sqrt() - c) / D

    def _levels(self, model: HasConsistency, rng: Rng, step: int) -> tuple[Tensor, Tensor]:
        """sigma_r and sigma_t of neighbouring levels, (B,) float64 each."""
        N = level_counts(self.first_levels, self.last_levels, self.double_every, step)
        sigma = model.schedule.sigma(
            torch.linspace(0, 1, N + 1, dtype=torch.float64, device=rng.device)
        )
        u = stratified(rng, stream="t", step=step)
        if self.noise == "uniform":
            i = (u * N).long().clamp(max=N - 1)
        else:
            z = (sigma.log() - self.p_mean) / (math.sqrt(2) * self.p_std)
            cdf = (z.erf() - z[0].erf()) / (z[-1].erf() - z[0].erf())
            i = (torch.searchsorted(cdf, u, right=True) - 1).clamp(0, N - 1)
        return sigma[i], sigma[i + 1]

    def _target(self, model: HasConsistency) -> Callable[..., Tensor]:
        """The network of f^-. A validation, whose weights are the averages, takes them as both."""
        if self.target == "student" or not model.training:
            return model.network
        if model.averages is None:
            raise UsageError(
                "target = 'average' is by the moving average of the weights, and none is kept.",
                hint="train with ema, e.g. TrainConfig(ema=0.999), or target='student'",
                command="--set train.ema=0.999, or loss.target=student",
            )
        prefix = "network."
        own = {
            k.removeprefix(prefix): v for k, v in model.averages.items() if k.startswith(prefix)
        }
        return partial(_call, model.network, own)


def level_counts(first: int, last: int, double_every: int, step: int) -> int:
    """N at a step: `first`, doubled every `double_every` steps up to `last`."""
    if double_every == 0:
        return last
    doublings = min(step // double_every, 30)
    return int(min(first << doublings, last))


Slope = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x (B, *S), sigma (B, 1, ..., 1), cond) -> dx / dsigma of a teacher's flow, (B, *S)."""


def follow(slope: Slope, x: Tensor, path: Sequence[Tensor], cond: Tensor | None) -> Tensor:
    """x (B, *S) at the end of a path of levels (B, 1, ..., 1), by a step of Heun's method each."""
    for sigma_t, sigma_r in pairwise(path):
        h = sigma_r - sigma_t
        d = slope(x, sigma_t, cond)
        x = x + h * (d + slope(x + h * d, sigma_r, cond)) / 2
    return x


def noise_between(sigma_t: Tensor, sigma_r: Tensor, steps: int, rho: float) -> list[Tensor]:
    """Levels from sigma_t to sigma_r, `steps` + 1 in all, with sigma^(1/rho) evenly spaced."""
    high, low = sigma_t.pow(1 / rho), sigma_r.pow(1 / rho)
    inner = [(high + (low - high) * (k / steps)).pow(rho) for k in range(1, steps)]
    return [sigma_t, *inner, sigma_r]


def slope_of(teacher: Denoiser, guidance_scale: float = 1.0) -> Slope:
    """dx / dsigma = (x - D(x; sigma)) / sigma of a denoiser of any schedule.

    x at sigma is x_t / alpha_t at the time where sigma_t / alpha_t = sigma.
    """

    def slope(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        t = time_at(teacher.schedule, -2 * sigma.flatten().double().log())
        x_t = append_dims(teacher.schedule.alpha(t), x) * x
        x_0 = teacher.denoise(x_t, t, cond)
        if guidance_scale != 1:
            free = teacher.denoise(x_t, t, None)
            x_0 = free + guidance_scale * (x_0 - free)
        return (x - x_0.to(x.dtype)) / sigma

    return slope


def _teacher(name: str, model: HasConsistency, guidance_scale: float) -> Slope:
    """The flow of the model of a name, on the student's device."""
    teacher = _checked(name, model)
    if guidance_scale != 1 and not (teacher.condition.optional and model.condition.slots):
        raise UsageError(
            f"guidance_scale = {guidance_scale} needs classes, and a teacher that can do without "
            f"them; {name!r} takes {teacher.condition}, the model {model.condition}.",
            hint="leave out guidance_scale",
        )
    return slope_of(teacher, guidance_scale)


def _checked(name: str, model: HasConsistency) -> Denoiser:
    """The denoiser of a name, which is of the model's events."""
    teacher = _loaded(name, str(model.device))
    if not has(teacher, "Denoiser"):
        raise UsageError(
            f"teacher = {name!r} is a {type(teacher).__name__}, which is no denoiser: it has no "
            "flow to distill.",
            hint="a diffusion or flow matching model, e.g. 'edm.digits'",
        )
    assert isinstance(teacher, Denoiser)
    if teacher.event != model.event:
        raise UsageError(f"teacher = {name!r} is of {teacher.event}; the model of {model.event}.")
    return teacher


@lru_cache(maxsize=1)
def _loaded(name: str, device: str) -> GenerativeModel:
    """The teacher, read once: every step of a training asks for it."""
    return load(name, device=device).eval().requires_grad_(False)


def _call(network: nn.Module, tensors: dict[str, Tensor], *inputs: Tensor | None) -> Tensor:
    out: Tensor = functional_call(network, tensors, inputs)
    return out


@contextmanager
def _same_dropout(device: torch.device) -> Iterator[None]:
    """The network drops the same units inside the block and after it (Song et al., 2023)."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
