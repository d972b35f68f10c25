"""Checks and hashes of the splits that training reads: `train` and `valid`, never `test`."""

import hashlib
from typing import Any

import torch

from zoo_core.compat import moved_attribute
from zoo_core.data.dataset import Dataset, Source, Split
from zoo_core.data.sources import sample_digest
from zoo_core.errors import ConfigError
from zoo_core.hashing import absorb
from zoo_core.training.config import TrainConfig

__all__ = ["check_batch_size", "digest"]


def check_batch_size(config: TrainConfig, n: int, world: int) -> None:
    """Raise `ConfigError` unless the split fills a batch and every process gets a sample of it.

    With `accumulate`, of each of its microbatches.
    """
    size = config.batch_size
    if not world <= size <= n:
        raise ConfigError(
            f"train.batch_size = {size}; it must lie in [{world}, {n}]: at least one example "
            f"for each process, at most the size of the train split."
        )
    least = min(len(part) for part in torch.arange(size).chunk(config.accumulate))
    if least < world:
        raise ConfigError(
            f"train.accumulate = {config.accumulate} makes a microbatch of {least} of "
            f"train.batch_size = {size}, and there are {world} processes.",
            hint=f"accumulate at most {size // world}, such that it divides the batch",
        )


def digest(data: Dataset) -> dict[str, str]:
    """The name of the data set and a SHA-256 for each split that training reads.

    Splits in memory are hashed whole, other sources by their length and a sample of rows.
    """
    read = [name for name in ("train", "valid") if name in data.splits]
    return {"name": data.name, **{name: _sha256(data.split(name)) for name in read}}


def _sha256(split: Source) -> str:
    if not isinstance(split, Split):
        return sample_digest(split)
    digest = hashlib.sha256()
    for tensor in (split.x, split.y):
        if tensor is not None:
            absorb(digest, tensor)
    return digest.hexdigest()


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
