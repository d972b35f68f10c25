"""Optimizers, learning-rate schedules, averaged weights, and their states as plain tensors."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from zoo_core.training.config import TrainConfig

__all__ = [
    "Ema",
    "averaged_weights",
    "flatten_state",
    "learning_rate",
    "make_optimizer",
    "unflatten_state",
]

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
}


def make_optimizer(
    config: TrainConfig, parameters: Sequence[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer that a config names, over `parameters`."""
    return _OPTIMIZERS[config.optimizer](
        parameters,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of optimizer step `step` of `steps`: linear warmup, then the schedule.

    With u in [0, 1) the fraction of the steps after warmup, and f = final:
    cosine f + (1 - f)(1 + cos pi u)/2, linear 1 - (1 - f) u, exponential f^u.
    """
    if step < config.warmup:
        return config.lr * (step + 1) / (config.warmup + 1)
    u = (step - config.warmup) / max(1, steps - config.warmup)
    f = config.final
    factor: dict[str, float] = {
        "constant": 1.0,
        "cosine": f + (1 - f) * (1 + math.cos(math.pi * u)) / 2,
        "linear": 1 - (1 - f) * u,
        "exponential": f**u,
    }
    return config.lr * factor[config.schedule]


class Ema:
    """Exponential moving averages of parameters: a <- d a + (1 - d) p after each step.

    The decay d_t = min(decay, (1 + t) / (10 + t)) forgets the initial parameters quickly.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.restart()

    def restart(self) -> None:
        """Set the averages to the parameters' present values."""
        self.averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    def update(self, step: int) -> None:
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, p in self._parameters.items():
            self.averages[name].lerp_(p.detach(), 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their averages."""
        for name, p in self._parameters.items():
            raw = p.detach().clone()
            p.copy_(self.averages[name])
            self.averages[name] = raw


@contextmanager
def averaged_weights(emas: Sequence[Ema]) -> Iterator[None]:
    """Inside the block the model has its averaged weights."""
    for ema in emas:
        ema.swap()
    try:
        yield
    finally:
        for ema in emas:
            ema.swap()


def flatten_state(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """The optimizer's state as `<parameter>/<key>` tensors; `names` are its parameters'."""
    tensors = {}
    for name, p in zip(names, _parameters(optimizer), strict=True):
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"{name}/{key}"] = value
    return tensors


def unflatten_state(
    optimizer: torch.optim.Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]
) -> None:
    """Set the optimizer's state from what `flatten_state` gave."""
    index = {name: i for i, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        state.setdefault(index[name], {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return chain.from_iterable(group["params"] for group in optimizer.param_groups)
