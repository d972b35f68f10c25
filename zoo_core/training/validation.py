"""How good a model is on the validation split: its likelihood where it has one, else its loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from zoo_core.catalog import components as resolve
from zoo_core.contracts import Player
from zoo_core.data.batches import labelled, take
from zoo_core.data.dataset import Split
from zoo_core.errors import NoLikelihoodError, NotFiniteError
from zoo_core.likelihood import Mean
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.sampling import evaluating

__all__ = ["Valid", "by_likelihood", "by_loss", "scores_by_likelihood"]


@dataclass(frozen=True)
class Valid:
    """A score on the validation split, the lower the better.

    `value` is -mean nats, or the mean loss; None where several players' losses say nothing, NaN
    where a likelihood is not finite, as `failure` says: later weights may do better.
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


def scores_by_likelihood(model: GenerativeModel) -> bool:
    """Whether the model has a default likelihood."""
    try:
        resolve.likelihood(model, None, {})
    except NoLikelihoodError:
        return False
    return True


def by_likelihood(model: GenerativeModel, split: Split, *, seed: int = 0) -> Valid:
    """The mean default likelihood of a split."""
    x, cond = labelled(model, (split.x, split.y))
    try:
        mean = model.log_likelihood(x, cond=cond, seed=seed).mean()
    except NotFiniteError as error:
        return Valid(math.nan, None, {}, error.message)
    return Valid(-mean.nats, mean, {})


def by_loss(
    model: GenerativeModel,
    split: Split,
    players: dict[str, Player],
    *,
    seed: int,
    batch_size: int,
    step: int,
) -> Valid:
    """The mean loss of each player over a split, in evaluation mode with fixed noise.

    `step` is the one whose loss it is: of the last one, so that what warms up does not count.
    """
    parts = torch.split(torch.arange(len(split.x)), batch_size)
    # with gradients: some losses differentiate with respect to x
    with evaluating(model), torch.enable_grad():
        losses = {
            name: _mean_loss(model, split, player, partial(_noise, seed, name), parts, step)
            for name, player in players.items()
        }
    return Valid(next(iter(losses.values())) if len(losses) == 1 else None, None, losses)


def _mean_loss(
    model: GenerativeModel,
    split: Split,
    player: Player,
    noise: Callable[[torch.Tensor], Rng],
    parts: Sequence[torch.Tensor],
    step: int,
) -> float:
    total = 0.0
    for rows in parts:
        loss = player.loss(take(model, split, rows), noise(rows).to(model.device), step)
        total += float(loss.total.detach()) * len(rows)
    return total / len(split.x)


def _noise(seed: int, name: str, rows: torch.Tensor) -> Rng:
    return Rng(seed, rows).scope(f"valid/{name}")
