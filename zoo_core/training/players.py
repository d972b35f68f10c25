"""Players in training: each with its parameters, optimizer, averaged weights and batches."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn, optim

from zoo_core.contracts import Player
from zoo_core.errors import ConfigError, did_you_mean
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.training.batch_sampler import batch_indices, derive_seed
from zoo_core.training.config import TrainConfig, for_player
from zoo_core.training.optim import Ema, make_optimizer, rate_factor

__all__ = ["PlayerTrainer", "freeze_others", "make_trainers", "trainable"]


@dataclass(frozen=True)
class PlayerTrainer:
    """A player with its optimizer and averaged weights; step j is a function of (seed, j)."""

    name: str
    player: Player
    config: TrainConfig
    parameters: dict[str, nn.Parameter]
    optimizer: optim.Optimizer
    ema: Ema | None
    rates: tuple[float, ...] = ()
    """Learning rates of the optimizer's groups, before the schedule."""

    def steps(self, done: int) -> range:
        """Numbers of the optimizer steps in round `done`: none unless `every` divides it."""
        turn, remainder = divmod(done, self.player.every)
        first = turn * self.player.steps
        return range(first, first if remainder else first + self.player.steps)

    def indices(self, step: int, *, n: int, min_size: int = 1) -> Tensor:
        """Sample indices of optimizer step `step`; each player has its own shuffled order."""
        seed = derive_seed(self.config.seed, "order", self.name)
        size = max(self.config.batch_size, min(min_size, n))
        return batch_indices(seed, step, n=n, size=size)

    def rng(self, indices: Tensor, device: torch.device) -> Rng:
        """Noise of the samples: a function of the seed, the player and the indices."""
        return Rng(self.config.seed, indices).scope(self.name).to(device)

    def autocast(self, device: torch.device) -> torch.autocast:
        """A context in which networks compute in the precision of the config."""
        bf16 = self.config.precision == "bf16"
        return torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def torch_seed(self, step: int) -> int:
        """The seed of torch's own generator (dropout) in optimizer step `step`."""
        return derive_seed(self.config.seed, "torch", self.name, step, 0)  # formerly the rank

    def set_rate(self, step: int) -> float:
        """Set the scheduled learning rates of optimizer step `step`; returns that of `lr`."""
        total = math.ceil(self.config.steps / self.player.every) * self.player.steps
        factor = rate_factor(self.config, step, total)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        return self.config.lr * factor


def make_trainers(
    model: GenerativeModel,
    loss: Any,
    config: TrainConfig,
    options: Mapping[str, Mapping[str, Any]],
) -> list[PlayerTrainer]:
    """A trainer for each player of the model; its `options` override those of `config`.

    Raises `ConfigError` for an unknown player or option, and if nothing is left to train.
    """
    players = model.make_players(loss)
    for name in options:
        if name not in players:
            raise ConfigError(
                f"unknown player {name!r}; players of this model: {', '.join(players)}.",
                hint=did_you_mean(name, players) or None,
            )
    trainers = [
        _make_trainer(model, name, player, for_player(config, name, options.get(name, {})))
        for name, player in players.items()
        if any(p.requires_grad for p in player.parameters)
    ]
    if not trainers:
        raise ConfigError("no parameter is trained.", hint="see the stage's `parameters`")
    return trainers


def _make_trainer(
    model: nn.Module, name: str, player: Player, config: TrainConfig
) -> PlayerTrainer:
    if player.every < 1 or player.steps < 1:
        raise ConfigError(
            f"player {name!r} acts every {player.every} rounds with {player.steps} steps; "
            "both must be at least 1."
        )
    names = {id(p): key for key, p in model.named_parameters()}
    if any(id(p) not in names for p in player.parameters):
        raise ConfigError(
            f"player {name!r} trains parameters that are not the model's.",
            hint="register them as a submodule, so that they are saved",
        )
    parameters = {names[id(p)]: p for p in player.parameters if p.requires_grad}
    optimizer = make_optimizer(config, parameters)
    rates = tuple(float(group["lr"]) for group in optimizer.param_groups)
    ema = Ema(parameters, config.ema) if config.ema else None
    return PlayerTrainer(name, player, config, parameters, optimizer, ema, rates)


@contextmanager
def trainable(model: nn.Module, patterns: Sequence[str]) -> Iterator[None]:
    """Inside the block, only the parameters whose names match a pattern require gradients."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in before):
            raise ConfigError(
                f"parameters: {pattern!r} matches none of the model's.",
                hint=f"names are such as {', '.join(list(before)[:3])}",
            )
    for name, p in model.named_parameters():
        p.requires_grad_(before[name] and any(fnmatchcase(name, q) for q in patterns))
    try:
        yield
    finally:
        for name, p in model.named_parameters():
            p.requires_grad_(before[name])


@contextmanager
def freeze_others(trainer: PlayerTrainer, trainers: Sequence[PlayerTrainer]) -> Iterator[None]:
    """Inside the block, the other players' parameters collect no gradients."""
    own = {id(p) for p in trainer.parameters.values()}
    others = [p for a in trainers for p in a.parameters.values() if id(p) not in own]
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)
