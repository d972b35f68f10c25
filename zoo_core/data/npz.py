"""Data sets from .npz files: arrays `train`, `valid`, `test`, or one array `x`.

Labels, if any, are called `y_train`, `y_valid`, `y_test`, or `y`; several labels have names
(`zoo_core.data.labels`). Files that `zoo sample` wrote state their event in the entry `metadata`.
Arrays with other names are refused, unless the option `ignore` names them: otherwise labels under
another name would be ignored silently.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core.config import Range
from zoo_core.data.arrays import MAX_BYTES, array_names, read_array
from zoo_core.data.dataset import Dataset, Split, storage_dtype
from zoo_core.data.generated import Seed
from zoo_core.data.labels import SPLITS, label_arrays, labels_of, names_array
from zoo_core.data.shuffle import cut
from zoo_core.errors import ConfigError, DataError
from zoo_core.files import expanded
from zoo_core.reading import parse_json
from zoo_core.spaces import Event, Tokens

__all__ = ["Npz", "levels_of"]

_8_BIT = 128
MAX_LEVELS = 1 << 16


@dataclass(frozen=True)
class Npz:
    """Events from an .npz file.

    Integers 0..K-1 and bits (bool) are discrete, floating point is continuous. `levels` is K; by
    default that of the file's metadata, else 2 for bits, 256 for uint8 with values above 127, else
    the largest value plus 1. `low` and `high` bound reals. `shape` reshapes rows to events, e.g.
    [1, 28, 28]; `packed` means bits packed by numpy.packbits(axis=1).
    `tokens` means that integers (N, L) are sequences of tokens from a vocabulary of `levels`.

    An array `x` is the split `test`, unless `valid` or `test` is a fraction: then a permutation
    seeded by `seed` splits it into train, valid and test. `ignore` names arrays that are not read.
    """

    path: str
    levels: Annotated[int | None, Range(1, MAX_LEVELS)] = None
    low: float | None = None
    high: float | None = None
    shape: tuple[Annotated[int, Range(1)], ...] | None = None
    packed: bool = False
    tokens: bool = False
    valid: Annotated[float, Range(0, 1)] = 0.0
    test: Annotated[float, Range(0, 1)] = 0.0
    seed: Seed = 0
    ignore: tuple[str, ...] = ()
    max_bytes: Annotated[int, Range(1)] = MAX_BYTES

    def __call__(self) -> Dataset:
        path = expanded(self.path)
        names = [name for name in array_names(path) if name not in self.ignore]
        arrays = self._read(path, _event_arrays(path, names))
        label_names = {split: label_arrays(split, names) for split in arrays}
        named = {names_array(part) for parts in label_names.values() for part in parts}
        of_labels = {name for parts in label_names.values() for name in parts.values()}
        _check_rest(path, names, {*arrays, "x", "metadata", *of_labels, *named})
        labels = {split: self._read(path, parts) for split, parts in label_names.items()}
        event = self._event(path, names, arrays)
        sizes = {split: len(x) for split, x in arrays.items()}
        condition, y = labels_of(path, names, labels, sizes)
        splits = {
            name: Split(_tensor(x, event, f"{path}: {name}"), y.get(name))
            for name, x in arrays.items()
        }
        if self.valid or self.test:
            splits = self._cut(path, splits)
        return Dataset(
            name=f"npz:{path.name}",
            event=event,
            condition=condition,
            splits=splits,
            license="unstated",
            provenance=f"{path}, {path.stat().st_size} bytes",
        )

    def _read(self, path: Path, array_of: dict[str, str]) -> dict[str, np.ndarray]:
        """The arrays of splits or labels, together of at most `max_bytes`."""
        left, arrays = self.max_bytes, {}
        for key, name in array_of.items():
            arrays[key] = read_array(path, name, max_bytes=left)
            left -= arrays[key].nbytes
        return arrays

    def _event(self, path: Path, names: list[str], arrays: dict[str, np.ndarray]) -> Event:
        for split, x in arrays.items():
            if x.dtype.kind not in "buif":
                raise DataError(f"{path}: {split} has dtype {x.dtype}; expected bits or numbers.")
            arrays[split] = self._rows(f"{path}: {split}", x)
        shapes = {x.shape[1:] for x in arrays.values()}
        kinds = {x.dtype.kind == "f" for x in arrays.values()}
        if len(shapes) > 1 or len(kinds) > 1:
            text = ", ".join(f"{k} {v.dtype} {v.shape}" for k, v in arrays.items())
            raise DataError(f"{path}: the splits differ in shape or kind: {text}.")
        recorded = _recorded(path, names)
        if kinds == {True} and self.tokens:
            raise DataError(f"{path} holds floating point; tokens are integers.")
        if kinds == {True}:
            if self.levels is not None:
                raise DataError(
                    f"{path} holds floating point; levels = {self.levels} is for integers.",
                    hint="drop levels, or store integers 0..K-1",
                )
            low = self.low if self.low is not None else recorded.get("low")
            high = self.high if self.high is not None else recorded.get("high")
            return Event(shapes.pop(), low=low, high=high)
        levels = self.levels or recorded.get("levels") or levels_of(list(arrays.values()))
        shape = shapes.pop()
        return _tokens(path, shape, levels) if self.tokens else Event(shape, levels=levels)

    def _rows(self, name: str, x: np.ndarray) -> np.ndarray:
        """Events from rows, unpacked and reshaped by the options."""
        if x.ndim < 1 or not len(x):
            raise DataError(f"{name} holds no events (shape {x.shape}).")
        if self.packed:
            x = _unpack(name, x, self.shape)
        if self.shape is None:
            return x
        if prod(x.shape[1:]) != prod(self.shape):
            raise DataError(f"{name} has shape {x.shape}; its rows do not fit {self.shape}.")
        return x.reshape(len(x), *self.shape)

    def _cut(self, path: Path, splits: dict[str, Split]) -> dict[str, Split]:
        if list(splits) != ["test"] or "x" not in array_names(path):
            raise DataError(
                f"{path} has the splits {', '.join(splits)} already.",
                hint="drop the options valid and test",
            )
        whole = splits["test"]
        rows = cut(len(whole), valid=self.valid, test=self.test, seed=self.seed)
        return {k: Split(whole.x[r], None if whole.y is None else whole.y[r]) for k, r in rows}


def _tokens(path: Path, shape: tuple[int, ...], vocabulary: int) -> Tokens:
    if len(shape) != 1:
        raise DataError(
            f"{path} holds integers of shape {shape}; tokens are sequences, (N, L).",
            hint="drop the option tokens, or give shape=[L]",
        )
    return Tokens(shape[0], vocabulary)


def _event_arrays(path: Path, names: list[str]) -> dict[str, str]:
    """The array of each split."""
    arrays = {name: name for name in SPLITS if name in names}
    if "x" in names and not arrays:
        return {"test": "x"}
    if not arrays or "x" in names:
        listing = ", ".join(names[:8]) or "no arrays"
        raise DataError(f"{path} holds {listing}; expected arrays train, valid, test, or one x.")
    return arrays


def _check_rest(path: Path, names: list[str], known: set[str]) -> None:
    """Raise `DataError` for arrays that would be ignored silently."""
    if rest := [name for name in names if name not in known]:
        raise DataError(
            f"{path} holds {', '.join(rest[:8])}, which mean nothing here. Events are x, or "
            "train, valid, test; labels of those that are there: y, or y_train, y_valid, y_test; "
            "several labels: y_NAME, or y_train_NAME, ...; names of classes: names, names_NAME.",
            hint=f"rename them, or leave them out by the option ignore={json.dumps(rest[:8])}",
        )


def _unpack(name: str, x: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    if shape is None:
        raise DataError(f"{name}: packed bits need the option shape, e.g. shape=[1, 28, 28].")
    bits = prod(shape)
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != -(-bits // 8):
        raise DataError(
            f"{name} has dtype {x.dtype} and shape {x.shape}; packed rows of {bits} bits "
            f"are uint8 of shape (N, {-(-bits // 8)})."
        )
    return np.unpackbits(x, axis=1, count=bits)


def levels_of(arrays: list[np.ndarray]) -> int:
    """The levels of integers: 2 for bits, 256 for 8-bit values above 127, else the largest + 1."""
    if all(x.dtype.kind == "b" for x in arrays):
        return 2
    top = max(int(x.max()) for x in arrays)
    if top >= MAX_LEVELS:
        raise DataError(
            f"the largest integer is {top}; at most {MAX_LEVELS} levels are possible.",
            hint="store the values as floating point",
        )
    return 256 if all(x.dtype == np.uint8 for x in arrays) and top >= _8_BIT else max(2, top + 1)


def _recorded(path: Path, names: list[str]) -> dict[str, Any]:
    """The event in a file's metadata, {} if there is none."""
    if "metadata" not in names:
        return {}
    try:
        event = parse_json(str(read_array(path, "metadata", max_bytes=1 << 22)))["event"]
        stated = Event((), *(event.get(k) for k in ("levels", "low", "high")))
        configs.validate(stated)
    except (ValueError, KeyError, AttributeError, TypeError, ConfigError):
        return {}  # another program's metadata
    return {"levels": stated.levels, "low": stated.low, "high": stated.high}


def _tensor(x: np.ndarray, event: Event, name: str) -> Tensor:
    if event.discrete and (int(x.min()) < 0 or int(x.max()) >= (event.levels or 0)):
        raise DataError(
            f"{name} has values from {x.min()} to {x.max()}; expected {event}.",
            hint="set levels to the number of values",
        )
    dtype = {torch.uint8: np.uint8, torch.int64: np.int64, torch.float32: np.float32}
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
        return torch.from_numpy(np.ascontiguousarray(x, dtype=dtype[storage_dtype(event)]))
