"""The validation score of a model: its likelihood if it has one, otherwise its loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from zoo_core.catalog import components as resolve
from zoo_core.contracts import Player
from zoo_core.data.batches import labelled, read, take
from zoo_core.data.dataset import Source, log_det
from zoo_core.errors import NoLikelihoodError, NotFiniteError
from zoo_core.likelihood import Mean
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.sampling import evaluating

__all__ = ["ValidationScore", "has_likelihood", "validate_by_likelihood", "validate_by_loss"]


@dataclass(frozen=True)
class ValidationScore:
    """A score on the validation split; lower is better.

    `value` is -mean nats, or the mean loss. It is None for several players, whose losses do not
    measure quality, and NaN if the likelihood is not finite, which `failure` explains.
    """

    value: float | None
    mean: Mean | None
    losses: dict[str, float]
    failure: str | None = None

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        if self.failure is not None:
            return {"value": self.value, "failure": self.failure}
        if self.mean is None:
            return {"value": self.value, "losses": self.losses}
        return {"value": self.value, **self.mean.record()}

    def __str__(self) -> str:
        if self.mean is not None or self.failure is not None:
            return self.failure or str(self.mean)
        return ", ".join(f"{name} loss {value:.4f}" for name, value in self.losses.items())


def has_likelihood(model: GenerativeModel) -> bool:
    """Whether the model has a default likelihood."""
    try:
        resolve.likelihood(model, None, {})
    except NoLikelihoodError:
        return False
    return True


def validate_by_likelihood(
    model: GenerativeModel, split: Source, *, seed: int = 0
) -> ValidationScore:
    """The mean default likelihood of a split."""
    x, cond = labelled(model, read(model.event, split))
    try:
        mean = model.log_likelihood(x, cond=cond, seed=seed).in_units(log_det(split)).mean()
    except NotFiniteError as error:
        return ValidationScore(math.nan, None, {}, error.message)
    return ValidationScore(-mean.nats, mean, {})


def validate_by_loss(
    model: GenerativeModel,
    split: Source,
    players: dict[str, Player],
    *,
    seed: int,
    batch_size: int,
    step: int,
) -> ValidationScore:
    """The mean loss of each player over a split, in evaluation mode with fixed noise.

    `step` is passed to the loss; the last one leaves out schedules that warm up.
    """
    batches = torch.split(torch.arange(len(split)), batch_size)
    # with gradients: some losses differentiate with respect to x
    with evaluating(model), torch.enable_grad():
        losses = {
            name: _mean_loss(model, split, player, partial(_noise, seed, name), batches, step)
            for name, player in players.items()
        }
    return ValidationScore(next(iter(losses.values())) if len(losses) == 1 else None, None, losses)


def _mean_loss(
    model: GenerativeModel,
    split: Source,
    player: Player,
    noise: Callable[[torch.Tensor], Rng],
    batches: Sequence[torch.Tensor],
    step: int,
) -> float:
    total = 0.0
    for indices in batches:
        batch = take(model, split, indices)
        loss = player.loss(batch, noise(indices).to(model.device), step)
        total += float(loss.total.detach()) * len(indices)
    return total / len(split)


def _noise(seed: int, name: str, indices: torch.Tensor) -> Rng:
    return Rng(seed, indices).scope(f"valid/{name}")
