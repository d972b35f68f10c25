"""One optimizer step of one player."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.contracts import Batch
from zoo_core.data.batches import placed
from zoo_core.errors import NotFiniteError
from zoo_core.model import GenerativeModel
from zoo_core.modes import changing_weights
from zoo_core.nn.whole_batch import part_of_batch
from zoo_core.rng import Rng
from zoo_core.training.distributed import ProcessGroup
from zoo_core.training.fetch import Batches
from zoo_core.training.optim import visible_averages
from zoo_core.training.players import PlayerTrainer, freeze_others
from zoo_core.training.setup import Setup

__all__ = ["DivergenceError", "Shared", "StepReport", "optimizer_step"]


class DivergenceError(NotFiniteError):
    """A loss or gradient is NaN or infinite; the parameters were not changed."""


@dataclass(frozen=True)
class StepReport:
    """Loss, terms, gradient norm and learning rate of one optimizer step."""

    player: str
    loss: float
    terms: dict[str, float]
    grad_norm: float
    lr: float

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {**vars(self)}


class PlayerLoss(nn.Module):
    """A module whose forward is a player's loss, so that DistributedDataParallel can wrap it."""

    def __init__(self, trainer: PlayerTrainer) -> None:
        super().__init__()
        parameters = list(trainer.parameters.values())
        self.trained = nn.ParameterList(parameters)
        # where DistributedDataParallel finds no unused parameters it warns at length
        self.unused = nn.Parameter(torch.zeros(1, device=parameters[0].device))
        self.loss = trainer.player.loss

    def forward(self, batch: Batch, rng: Rng, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the rows of `rng`, and its terms without gradients."""
        loss = self.loss(batch, rng, step)
        return loss.total, {name: term.detach() for name, term in loss.terms.items()}


@dataclass(frozen=True)
class Shared:
    """What the steps of a training share: the model, the data, the processes, and the players'
    losses as modules."""

    model: GenerativeModel
    batches: Batches
    group: ProcessGroup
    trainers: Sequence[PlayerTrainer]
    losses: Mapping[str, nn.Module]

    @classmethod
    def of(cls, setup: Setup, rounds: range) -> "Shared":
        """Wrap the players' losses; every process has to do so, with equal parameters."""
        group, trainers = setup.group, setup.trainers
        losses = {a.name: group.parallel(PlayerLoss(a)) for a in trainers}
        batches = Batches(
            setup.split, trainers, group, workers=setup.config.workers, rounds=rounds
        )
        return cls(setup.model, batches, group, trainers, losses)


def optimizer_step(shared: Shared, trainer: PlayerTrainer, step: int) -> StepReport:
    """Optimizer step `step` of a player: gradients of its batch, clipped, one update.

    Noise is keyed by (seed, sample index, player, step) and torch's generator is reseeded, so the
    step is a function of the parameters, the seed and its number. Raises `DivergenceError` before
    anything changes.
    """
    torch.manual_seed(trainer.torch_seed(step))
    trainer.optimizer.zero_grad(set_to_none=True)
    with freeze_others(trainer, shared.trainers):
        terms = _backward(shared, trainer, step)
    parameters = list(trainer.parameters.values())
    norm = _clipped_norm(parameters, trainer.config.clip)
    loss = terms.pop("loss")
    if not (math.isfinite(loss) and bool(norm.isfinite())):
        raise _non_finite(trainer, step, loss, terms, float(norm))
    lr = trainer.set_rate(step)
    with changing_weights(shared.model):
        trainer.optimizer.step()
    if trainer.ema is not None:
        trainer.ema.update(step)
    return StepReport(trainer.name, loss, terms, float(norm), lr)


def _clipped_norm(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """The norm of all gradients, which are scaled down to `limit` if there is one."""
    if limit:
        return torch.nn.utils.clip_grad_norm_(parameters, limit)
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _backward(shared: Shared, trainer: PlayerTrainer, step: int) -> dict[str, float]:
    """Gradients of the batch's mean loss; returns that loss and its terms.

    A process's part of a microbatch is weighted by its size; the mean over processes is taken with
    the last microbatch.
    """
    size, module, group = trainer.config.batch_size, shared.losses[trainer.name], shared.group
    sizes = [len(part) for part in torch.arange(size).chunk(trainer.config.accumulate)]
    sums: dict[str, Tensor] = {}
    for i, rows in enumerate(sizes):
        last = i + 1 == len(sizes)
        with part_of_batch(group.part(rows)), _averaging(module, last=last):
            total, terms, n = _loss(shared, trainer, module, step, i)
            weight = n * group.world_size / size
            (total * weight).backward()
        for name, value in (*terms.items(), ("loss", total)):
            sums[name] = sums.get(name, 0.0) + value.detach().float().mean() * weight
    values = group.mean(torch.stack(list(sums.values())))
    return dict(zip(sums, values.tolist(), strict=True))


def _averaging(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Gradients are averaged over processes in the backward pass of the last microbatch alone."""
    if last or not isinstance(module, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


def _loss(
    shared: Shared, trainer: PlayerTrainer, module: nn.Module, step: int, i: int
) -> tuple[Tensor, dict[str, Tensor], int]:
    """The loss and terms of this process's rows of microbatch i, and how many these are."""
    model, player = shared.model, shared.trainers.index(trainer)
    rng = shared.batches.rows.rng((player, step, i)).to(model.device)
    with trainer.autocast(model.device), visible_averages(model, trainer.ema):
        batch = placed(model, shared.batches.take(player, step, i))
        total, terms = module(batch, rng, step)
    return total, terms, len(rng)


def _non_finite(
    trainer: PlayerTrainer, step: int, loss: float, terms: Mapping[str, float], norm: float
) -> DivergenceError:
    shown = ", ".join(f"{name} = {value:g}" for name, value in terms.items()) or "none"
    return DivergenceError(
        f"player {trainer.name!r}, optimizer step {step}: the loss is {loss:g} and its gradient's "
        f"norm {norm:g}; terms: {shown}.",
        hint="try a smaller train.lr, a longer train.warmup, or train.clip = 1",
    )
