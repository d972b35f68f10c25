"""One optimizer step of one player."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.contracts import Loss
from zoo_core.data.batches import take
from zoo_core.data.dataset import Split
from zoo_core.errors import NotFiniteError
from zoo_core.model import GenerativeModel
from zoo_core.training.distributed import Processes
from zoo_core.training.players import Actor, only

__all__ = ["NonFiniteError", "Report", "optimize"]


class NonFiniteError(NotFiniteError):
    """A loss or a gradient that is NaN or infinite; the parameters were not touched."""


@dataclass(frozen=True)
class Report:
    """What one optimizer step of a player saw: the batch's loss and terms."""

    player: str
    loss: float
    terms: dict[str, float]
    grad_norm: float
    lr: float

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {**vars(self)}


def optimize(
    model: GenerativeModel,
    actor: Actor,
    actors: Sequence[Actor],
    split: Split,
    step: int,
    processes: Processes,
) -> Report:
    """Optimizer step `step` of a player: gradients of its batch, clipped, one update.

    Noise is keyed by (seed, example, player, step) and torch's generator is seeded anew, so the
    step is a function of the parameters, the seed and its number. Raises `NonFiniteError` before
    anything changes.
    """
    torch.manual_seed(actor.torch_seed(step, processes.rank))
    actor.optimizer.zero_grad(set_to_none=True)
    rows = actor.rows(step, n=len(split.x))
    with only(actor, actors):
        terms = _backward(model, actor, split, processes.mine(rows), step, len(rows), processes)
    parameters = list(actor.parameters.values())
    processes.average_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, actor.config.clip or math.inf)
    loss = terms.pop("loss")
    if not (math.isfinite(loss) and bool(norm.isfinite())):
        raise _non_finite(actor, step, loss, terms, float(norm))
    lr = actor.set_rate(step)
    actor.optimizer.step()
    if actor.ema is not None:
        actor.ema.update(step)
    return Report(actor.name, loss, terms, float(norm), lr)


def _backward(
    model: GenerativeModel,
    actor: Actor,
    split: Split,
    rows: Tensor,
    step: int,
    batch: int,
    processes: Processes,
) -> dict[str, float]:
    """Gradients of the batch's mean loss; returns that loss and its terms.

    A part of the batch counts by its number of rows; processes are averaged afterwards.
    """
    sums: dict[str, Tensor] = {}
    for part in rows.chunk(actor.config.accumulate):
        loss = _loss(model, actor, split, part, step)
        weight = len(part) * processes.world / batch
        (loss.total * weight).backward()  # type: ignore[no-untyped-call]
        for name, value in (*loss.terms.items(), ("loss", loss.total)):
            sums[name] = sums.get(name, 0.0) + value.detach().float().mean() * weight
    values = processes.mean(torch.stack(list(sums.values())))
    return dict(zip(sums, values.tolist(), strict=True))


def _loss(model: GenerativeModel, actor: Actor, split: Split, rows: Tensor, step: int) -> Loss:
    with actor.autocast(model.device):
        return actor.player.loss(take(model, split, rows), actor.rng(rows, model.device), step)


def _non_finite(
    actor: Actor, step: int, loss: float, terms: Mapping[str, float], norm: float
) -> NonFiniteError:
    shown = ", ".join(f"{name} = {value:g}" for name, value in terms.items()) or "none"
    return NonFiniteError(
        f"player {actor.name!r}, optimizer step {step}: the loss is {loss:g} and its gradient's "
        f"norm {norm:g}; terms: {shown}.",
        hint="try a smaller train.lr, a longer train.warmup, or train.clip = 1",
    )
