"""Initialization by the loss and by data, once before the first step.

Every process sees the whole first batch, so neither `accumulate` nor the number of processes
changes the initial parameters.
"""

from collections.abc import Sequence
from typing import Any

from zoo_core.contracts import Initializes
from zoo_core.data.batches import take_augmented
from zoo_core.data.dataset import Source
from zoo_core.model import GenerativeModel
from zoo_core.training.distributed import ProcessGroup
from zoo_core.training.players import PlayerTrainer

__all__ = ["initialize"]

_MIN_BATCH = 16
"""Samples to use if a batch has fewer: the first ones of the first epoch."""


def initialize(
    model: GenerativeModel,
    objective: Any,
    trainers: Sequence[PlayerTrainer],
    split: Source,
    group: ProcessGroup,
) -> None:
    """Let the loss set parameters if it `Initializes`, and call `data_dependent_init` with the
    first player's first batch and noise.

    Averaged weights restart from the parameters that they set.
    """
    if isinstance(objective, Initializes):
        objective.initialize(model)
    first = trainers[0]
    indices = first.indices(0, n=len(split), min_size=_MIN_BATCH)
    with first.autocast(model.device):
        rng = first.rng(indices, model.device)
        model.data_dependent_init(take_augmented(model, split, indices, rng, 0), rng)
    group.broadcast_parameters(model)
    for trainer in trainers:
        if trainer.ema is not None:
            trainer.ema.restart()
