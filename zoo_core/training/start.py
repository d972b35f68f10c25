"""What happens once before the first step: parameters that start from data are set.

It sees the whole first batch at once, on every process, so neither `accumulate` nor the number of
processes changes where a training starts.
"""

from collections.abc import Sequence

from zoo_core.data.batches import take
from zoo_core.data.dataset import Split
from zoo_core.model import GenerativeModel
from zoo_core.training.distributed import Processes
from zoo_core.training.players import Actor

__all__ = ["start"]

_ENOUGH = 16
"""Examples that are seen where a batch has fewer: the first ones of the first epoch."""


def start(
    model: GenerativeModel, actors: Sequence[Actor], split: Split, processes: Processes
) -> None:
    """`data_dependent_init` with the first batch of the first player and its noise.

    Averaged weights begin at what it has set.
    """
    first = actors[0]
    rows = first.rows(0, n=len(split.x), at_least=_ENOUGH)
    with first.autocast(model.device):
        model.data_dependent_init(take(model, split, rows), first.rng(rows, model.device))
    processes.share(model)
    for actor in actors:
        if actor.ema is not None:
            actor.ema.restart()
