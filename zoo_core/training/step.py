"""One optimizer step of one player."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.contracts import Loss
from zoo_core.data.batches import take_augmented
from zoo_core.data.dataset import Source
from zoo_core.errors import NotFiniteError
from zoo_core.model import GenerativeModel
from zoo_core.training.distributed import ProcessGroup
from zoo_core.training.optim import visible_averages
from zoo_core.training.players import PlayerTrainer, freeze_others

__all__ = ["DivergenceError", "StepReport", "optimizer_step"]


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


def optimizer_step(
    model: GenerativeModel,
    trainer: PlayerTrainer,
    trainers: Sequence[PlayerTrainer],
    split: Source,
    step: int,
    group: ProcessGroup,
) -> StepReport:
    """Optimizer step `step` of a player: gradients of its batch, clipped, one update.

    Noise is keyed by (seed, sample index, player, step) and torch's generator is reseeded, so the
    step is a function of the parameters, the seed and its number. Raises `DivergenceError` before
    anything changes.
    """
    torch.manual_seed(trainer.torch_seed(step, group.rank))
    trainer.optimizer.zero_grad(set_to_none=True)
    indices = trainer.indices(step, n=len(split))
    with freeze_others(trainer, trainers):
        terms = _backward(model, trainer, split, group.shard(indices), step, len(indices), group)
    parameters = list(trainer.parameters.values())
    group.average_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, trainer.config.clip or math.inf)
    loss = terms.pop("loss")
    if not (math.isfinite(loss) and bool(norm.isfinite())):
        raise _non_finite(trainer, step, loss, terms, float(norm))
    lr = trainer.set_rate(step)
    trainer.optimizer.step()
    if trainer.ema is not None:
        trainer.ema.update(step)
    return StepReport(trainer.name, loss, terms, float(norm), lr)


def _backward(
    model: GenerativeModel,
    trainer: PlayerTrainer,
    split: Source,
    indices: Tensor,
    step: int,
    batch_size: int,
    group: ProcessGroup,
) -> dict[str, float]:
    """Gradients of the batch's mean loss; returns that loss and its terms.

    A microbatch is weighted by its size; gradients are averaged over processes afterwards.
    """
    sums: dict[str, Tensor] = {}
    for microbatch in indices.chunk(trainer.config.accumulate):
        loss = _loss(model, trainer, split, microbatch, step)
        weight = len(microbatch) * group.world_size / batch_size
        (loss.total * weight).backward()
        for name, value in (*loss.terms.items(), ("loss", loss.total)):
            sums[name] = sums.get(name, 0.0) + value.detach().float().mean() * weight
    values = group.mean(torch.stack(list(sums.values())))
    return dict(zip(sums, values.tolist(), strict=True))


def _loss(
    model: GenerativeModel, trainer: PlayerTrainer, split: Source, indices: Tensor, step: int
) -> Loss:
    with trainer.autocast(model.device), visible_averages(model, trainer.ema):
        rng = trainer.rng(indices, model.device)
        return trainer.player.loss(take_augmented(model, split, indices, rng, step), rng, step)


def _non_finite(
    trainer: PlayerTrainer, step: int, loss: float, terms: Mapping[str, float], norm: float
) -> DivergenceError:
    shown = ", ".join(f"{name} = {value:g}" for name, value in terms.items()) or "none"
    return DivergenceError(
        f"player {trainer.name!r}, optimizer step {step}: the loss is {loss:g} and its gradient's "
        f"norm {norm:g}; terms: {shown}.",
        hint="try a smaller train.lr, a longer train.warmup, or train.clip = 1",
    )
