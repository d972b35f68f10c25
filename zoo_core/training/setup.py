"""What a training consists of, checked before its first step."""

from collections.abc import Sequence
from typing import Any

from zoo_core.data.batches import read
from zoo_core.data.dataset import Dataset, Source, Split
from zoo_core.errors import ConfigError
from zoo_core.model import GenerativeModel
from zoo_core.training.config import TrainConfig
from zoo_core.training.data import check_batch_size
from zoo_core.training.distributed import ProcessGroup
from zoo_core.training.players import PlayerTrainer
from zoo_core.training.validation import has_likelihood

__all__ = ["Setup"]

_DIAGNOSED = 1024
"""Events of a lazy source that a loss's diagnosis sees."""


class Setup:
    """What a training consists of, checked: creating one changes nothing."""

    def __init__(
        self,
        model: GenerativeModel,
        data: Dataset,
        config: TrainConfig,
        objective: Any,
        trainers: Sequence[PlayerTrainer],
        group: ProcessGroup,
    ) -> None:
        self.model, self.config, self.objective = model, config, objective
        self.trainers, self.group = trainers, group
        self.split = data.split("train")
        check_batch_size(config, len(self.split), group.world_size)
        self.valid = data.split("valid") if config.eval_every else None
        self.diagnosed = _in_memory(data, data.splits.get("valid", self.split))
        self.by_likelihood = config.evaluate == "likelihood" and has_likelihood(model)
        if (config.keep_best or config.patience) and not self.by_likelihood and len(trainers) > 1:
            raise ConfigError(
                "keep_best and patience need one score, and this model has no likelihood but "
                f"{len(trainers)} players' losses.",
                hint="set train.keep_best = false and train.patience = 0",
            )


def _in_memory(data: Dataset, split: Source) -> Split:
    """The split for a diagnosis, which expects tensors: of a lazy source, evenly spread rows."""
    if isinstance(split, Split):
        return split
    return Split(*read(data.event, split, slice(None, None, -(-len(split) // _DIAGNOSED))))
