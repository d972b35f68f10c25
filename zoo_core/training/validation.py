"""The validation score of a model: its likelihood if it has one, otherwise its loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog import components as resolve
from zoo_core.contracts import Player
from zoo_core.data.batches import labelled, read, take
from zoo_core.data.dataset import Source, log_det
from zoo_core.data.shuffle import choose
from zoo_core.errors import NoLikelihoodError, NotFiniteError
from zoo_core.likelihood import LogLikelihood, Mean
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.rng import Rng
from zoo_core.training.distributed import ProcessGroup

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
    model: GenerativeModel,
    split: Source,
    group: ProcessGroup | None = None,
    *,
    limit: int = 0,
    seed: int = 0,
) -> ValidationScore:
    """The mean default likelihood of a split, or of `limit` of its events.

    Each process scores a part of them; event i draws with (0, i), whatever their number.
    """
    rows = choose(seed, len(split), limit or None, stream="train/valid")
    rank, world = (0, 1) if group is None else (group.rank, group.world_size)
    first, end = (len(rows) * r // world for r in (rank, rank + 1))
    own = _scored(model, split, rows[first:end], first)
    parts = [own] if group is None else group.gather(own)
    failures = [part for part in parts if isinstance(part, str)]
    if failures:
        return ValidationScore(math.nan, None, {}, failures[0])
    scored = [part for part in parts if isinstance(part, LogLikelihood)]
    nats, errors = (torch.cat([getattr(p, k) for p in scored]) for k in ("nats", "std_err"))
    mean = replace(scored[0], nats=nats, std_err=errors).mean()
    return ValidationScore(-mean.nats, mean, {})


def _scored(
    model: GenerativeModel, split: Source, rows: Tensor, first: int
) -> LogLikelihood | str | None:
    """The scores of some events, on the CPU; the reason if one is not finite."""
    if len(rows) == 0:
        return None
    x, cond = labelled(model, read(model.event, split, rows))
    try:
        scored = model.log_likelihood(x, cond=cond, first_row=first)
    except NotFiniteError as error:
        return error.message
    own = scored.in_units(log_det(split)).to("cpu")
    return LogLikelihood(own.nats, own.kind, own.std_err, own.event)


def validate_by_loss(
    model: GenerativeModel,
    split: Source,
    players: dict[str, Player],
    group: ProcessGroup,
    *,
    seed: int,
    batch_size: int,
    step: int,
    limit: int = 0,
) -> ValidationScore:
    """The mean loss of each player over a split, in evaluation mode with fixed noise.

    `step` is passed to the loss; the last one leaves out schedules that warm up. Each process
    takes whole batches.
    """
    rows = choose(seed, len(split), limit or None, stream="train/valid")
    own = torch.split(rows, batch_size)[group.rank :: group.world_size]
    # with gradients: some losses differentiate with respect to x
    with evaluating(model), torch.enable_grad():
        sums = {
            name: _total_loss(model, split, player, partial(_noise, seed, name), own, step)
            for name, player in players.items()
        }
    parts = group.gather(sums)
    losses = {name: sum(part[name] for part in parts) / len(rows) for name in players}
    return ValidationScore(next(iter(losses.values())) if len(losses) == 1 else None, None, losses)


def _total_loss(
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
    return total


def _noise(seed: int, name: str, indices: torch.Tensor) -> Rng:
    return Rng(seed, indices).scope(f"valid/{name}")
