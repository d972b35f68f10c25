"""Data sets from memory-mapped .npy files: read by rows, of any size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from zoo_core.config import Range
from zoo_core.data.arrays import map_npy
from zoo_core.data.dataset import Dataset
from zoo_core.data.generated import Seed
from zoo_core.data.npz import MAX_LEVELS
from zoo_core.data.shuffle import cut
from zoo_core.data.sources import Arrays, subset
from zoo_core.errors import DataError
from zoo_core.files import expanded
from zoo_core.spaces import Condition, Event

__all__ = ["Npy"]


@dataclass(frozen=True)
class Npy:
    """Events from an array (N, *S) in an .npy file; values are checked as they are read.

    Floating point is continuous, bits and integers 0..K-1 are discrete: `levels` is K, by default
    2 for bits and 256 for uint8. `low` and `high` bound reals. `labels` is an .npy file of
    integers (N,). `valid` and `test` are the fractions that `seed` holds out.
    """

    path: str
    labels: str | None = None
    levels: Annotated[int | None, Range(1, MAX_LEVELS)] = None
    low: float | None = None
    high: float | None = None
    valid: Annotated[float, Range(0, 1)] = 0.1
    test: Annotated[float, Range(0, 1)] = 0.1
    seed: Seed = 0

    def __call__(self) -> Dataset:
        path = expanded(self.path)
        x = map_npy(path)
        if x.ndim < 1 or not len(x):
            raise DataError(f"{path} holds no events (shape {x.shape}).")
        y = None if self.labels is None else _labels(expanded(self.labels), len(x))
        source = Arrays(x, y)
        rows = cut(len(x), valid=self.valid, test=self.test, seed=self.seed)
        return Dataset(
            name=f"npy:{path.name}",
            event=self._event(path, x),
            condition=Condition() if y is None else Condition("classes", classes=1 + int(y.max())),
            splits={name: subset(source, chosen) for name, chosen in rows},
            license="unstated",
            provenance=f"{path}, {path.stat().st_size} bytes",
        )

    def _event(self, path: Path, x: np.ndarray) -> Event:
        shape = x.shape[1:]
        if x.dtype.kind == "f":
            if self.levels is not None:
                raise DataError(
                    f"{path} holds floating point; levels = {self.levels} is for integers.",
                    hint="drop levels, or store integers 0..K-1",
                )
            return Event(shape, low=self.low, high=self.high)
        known = {"b": 2}.get(x.dtype.kind, 256 if x.dtype == np.uint8 else None)
        levels = self.levels or known
        if levels is None or x.dtype.kind not in "bui":
            raise DataError(
                f"{path} has dtype {x.dtype}; its number of levels is not known.",
                hint="state it by the option levels, e.g. levels=1024",
            )
        return Event(shape, levels=levels)


def _labels(path: Path, n: int) -> np.ndarray:
    y = np.asarray(map_npy(path))
    if y.dtype.kind not in "ui" or y.shape != (n,) or int(y.min()) < 0:
        raise DataError(
            f"{path}: labels have dtype {y.dtype} and shape {y.shape}; expected integers from 0 "
            f"of shape ({n},)."
        )
    return y
