"""The batches that steps ask for, read by this process or ahead of time by others.

Which rows a step sees, and what its random transforms do to them, is a function of (seed, step)
alone, so the batches are the same with any number of workers. Workers are those of torch's
DataLoader: they read, decode and transform while the model computes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from zoo_core.data.batches import augmented
from zoo_core.data.dataset import Source
from zoo_core.errors import ZooError
from zoo_core.rng import Rng
from zoo_core.training.distributed import ProcessGroup
from zoo_core.training.players import PlayerTrainer

__all__ = ["Batches"]

_Request = tuple[int, int, int]
"""A player by its place, the number of its step, and a microbatch of that."""


class Batches:
    """The microbatches of a training, for the rounds that are left."""

    def __init__(
        self,
        split: Source,
        trainers: Sequence[PlayerTrainer],
        group: ProcessGroup,
        *,
        workers: int,
        rounds: range,
    ) -> None:
        self.rows = _StepRows(split, trainers, group)
        self._loader = DataLoader(
            self.rows,
            batch_size=None,
            sampler=_Requests(trainers, rounds),
            num_workers=workers,
            pin_memory=group.device.type == "cuda" and workers > 0,
            generator=torch.Generator(),  # its workers' seeds, which nothing here draws from
        )
        self._ahead: Iterator[Any] | None = None

    def take(self, player: int, step: int, i: int) -> tuple[Tensor, Tensor | None]:
        """This process's rows of microbatch i, on the CPU; with workers, asked for in turn."""
        request = (player, step, i)
        if self._loader.num_workers == 0:
            given = self.rows[request]
        else:
            self._ahead = self._ahead or iter(self._loader)
            given = next(self._ahead)
        asked, batch = given
        assert tuple(asked) == request
        if isinstance(batch, ZooError):
            raise batch
        return batch[0], batch[1]


class _StepRows(TorchDataset[Any]):
    """The rows of a request; errors come as values, so that they reach the user as they are."""

    def __init__(
        self, split: Source, trainers: Sequence[PlayerTrainer], group: ProcessGroup
    ) -> None:
        self.split, self.rank, self.world = split, group.rank, group.world_size
        bare: Any = {"player": None, "parameters": {}, "optimizer": None, "ema": None}
        self.trainers = [replace(trainer, **bare) for trainer in trainers]  # what workers need

    def rng(self, request: _Request) -> Rng:
        """The dataset's indices of this process's part of a microbatch, as the rows of an rng."""
        player, step, i = request
        trainer = self.trainers[player]
        indices = trainer.indices(step, n=len(self.split))
        whole = trainer.rng(indices.chunk(trainer.config.accumulate)[i], torch.device("cpu"))
        if self.world == 1:
            return whole
        return whole.part(torch.arange(len(whole))[self.rank :: self.world])

    def __getitem__(self, request: _Request) -> tuple[_Request, Any]:
        rng = self.rng(request)
        try:
            return request, augmented(self.split, rng.rows, rng, request[1])
        except ZooError as error:
            return request, error


class _Requests:
    """What the steps of some rounds ask for, in their order."""

    def __init__(self, trainers: Sequence[PlayerTrainer], rounds: range) -> None:
        self.trainers, self.rounds = trainers, rounds

    def __iter__(self) -> Iterator[_Request]:
        for done in self.rounds:
            for player, trainer in enumerate(self.trainers):
                size = torch.arange(trainer.config.batch_size)
                microbatches = len(size.chunk(trainer.config.accumulate))
                for step in trainer.steps(done):
                    yield from ((player, step, i) for i in range(microbatches))

    def __len__(self) -> int:
        return len(self.rounds)  # only asked whether it is there
