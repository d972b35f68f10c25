"""Optimizers, learning rates, averaged weights, and their states as plain tensors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from zoo_core.catalog.registry import current
from zoo_core.errors import PluginError
from zoo_core.model import GenerativeModel
from zoo_core.modes import changing_weights
from zoo_core.training.config import OptimizerConfig, component

__all__ = [
    "Ema",
    "averaged_weights",
    "flatten_state",
    "make_optimizer",
    "rate_factor",
    "swap",
    "unflatten_state",
    "visible_averages",
]

_SHARED = ("lr", "betas", "eps", "weight_decay")
"""Options of `[train]` that optimizers share."""


def make_optimizer(
    config: OptimizerConfig, parameters: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer that a config names, over named parameters."""
    spec = current().optimizers.one(config.optimizer).spec
    make = component(spec, config, _SHARED, config.optimizer_options)
    optimizer = make(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise PluginError(
            f"optimizer {spec.name!r} returned {type(optimizer).__name__}, no Optimizer."
        )
    return optimizer


def rate_factor(config: OptimizerConfig, step: int, steps: int) -> float:
    """The factor of the learning rate in optimizer step `step` of `steps`.

    It is (step + 1) / (warmup + 1) during warmup, then that of the schedule at the fraction u of
    the steps after warmup.
    """
    if step < config.warmup:
        return (step + 1) / (config.warmup + 1)
    u = (step - config.warmup) / max(1, steps - config.warmup)
    spec = current().schedules.one(config.schedule).spec
    return float(component(spec, config, ("final",), config.schedule_options)(u))


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
        averages = [self.averages[name] for name in self._parameters]
        torch._foreach_lerp_(averages, [p.detach() for p in self._parameters.values()], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their averages."""
        for name, p in self._parameters.items():
            raw = p.detach().clone()
            p.copy_(self.averages[name])
            self.averages[name] = raw


@contextmanager
def averaged_weights(model: nn.Module, emas: Sequence[Ema]) -> Iterator[None]:
    """Inside the block the model has its averaged weights."""
    swap(model, emas)
    try:
        yield
    finally:
        swap(model, emas)


def swap(model: nn.Module, emas: Sequence[Ema]) -> None:
    """Exchange the model's parameters with their averages, unseen by other threads."""
    with changing_weights(model):
        for ema in emas:
            ema.swap()


@contextmanager
def visible_averages(model: GenerativeModel, ema: Ema | None) -> Iterator[None]:
    """Inside the block a loss reads the averages from `model.averages`, if any are kept."""
    model.averages = None if ema is None else ema.averages
    try:
        yield
    finally:
        model.averages = None


def flatten_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """The optimizer's state as `<parameter>/<key>` tensors."""
    names = {id(p): name for name, p in parameters.items()}
    return {
        f"{names[id(p)]}/{key}": value
        for p in _parameters(optimizer)
        for key, value in optimizer.state.get(p, {}).items()
    }


def unflatten_state(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Set the optimizer's state from what `flatten_state` gave."""
    position = {id(p): i for i, p in enumerate(_parameters(optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        p = parameters[name]
        state.setdefault(position[id(p)], {})[key] = _laid_out_like(p, value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _laid_out_like(p: nn.Parameter, value: Tensor) -> Tensor:
    """`value` in the memory format of `p`: fused kernels pair numbers by their place in memory."""
    return torch.empty_like(p, dtype=value.dtype).copy_(value) if value.shape == p.shape else value


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return chain.from_iterable(group["params"] for group in optimizer.param_groups)
