"""Data sets from the numbered files of `zoo sample --shards`."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core.data.arrays import read_array
from zoo_core.data.dataset import Dataset
from zoo_core.errors import ConfigError, DataError
from zoo_core.files import expanded
from zoo_core.pieces import Pieces
from zoo_core.spaces import Condition, Event, Tokens

__all__ = ["PieceFiles", "Samples"]


@dataclass(frozen=True)
class Samples:
    """Events that `zoo sample --shards` drew, as the split `test`, read file by file."""

    path: str

    def __call__(self) -> Dataset:
        folder = expanded(self.path)
        pieces = Pieces.read(folder)
        if missing := [k for k, _ in pieces.missing()]:
            raise DataError(
                f"{folder}: {len(missing)} of {len(pieces)} files are missing, the first is "
                f"{pieces.path(missing[0]).name}.",
                hint="run the same zoo sample again: it makes what is missing",
            )
        event = _event(folder, pieces)
        return Dataset(
            name=f"samples:{folder.name}",
            event=event,
            condition=Condition(),
            splits={"test": PieceFiles(pieces, event)},
            license="unstated",
            provenance=f"{folder}: {pieces.n} samples of {pieces.facts.get('model')}",
        )


def _event(folder: Path, pieces: Pieces) -> Event:
    """The event that the manifest states; raises `DataError` if it is no simple one."""
    stated: Any = pieces.facts.get("event")
    try:
        shape, levels = tuple(stated["shape"]), stated["levels"]
        if stated.get("kind") == "tokens":
            return Tokens(shape[0], levels)
        event = Event(shape, levels, stated["low"], stated["high"])
        configs.validate(event)
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise DataError(f"the manifest in {folder} states no event ({error}).") from None
    return event


class PieceFiles:
    """Events by their rows, from numbered files, of which the last ones read are kept."""

    def __init__(self, pieces: Pieces, event: Event) -> None:
        self.pieces, self.event = pieces, event
        self._piece = lru_cache(maxsize=4)(self._read)

    def __len__(self) -> int:
        return self.pieces.n

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, None]:
        indices = torch.arange(len(self))[rows]
        files = indices // self.pieces.size
        dtype = torch.int64 if self.event.discrete else torch.float32
        x = torch.empty((len(indices), *self.event.shape), dtype=dtype)
        for k in files.unique().tolist():
            own = files == k
            x[own] = self._piece(k)[indices[own] % self.pieces.size].to(dtype)
        return x, None

    def _read(self, k: int) -> Tensor:
        path, n = self.pieces.path(k), len(self.pieces.rows(k))
        x = read_array(path, "x")
        if x.shape != (n, *self.event.shape):
            raise DataError(f"{path} holds {x.shape}; expected {(n, *self.event.shape)}.")
        return torch.from_numpy(x)
