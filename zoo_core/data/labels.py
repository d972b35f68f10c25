"""Labels of .npz files: one for each event, or several by name, and what classes are called.

y, or y_train, y_valid, y_test                    classes 0..K-1, (N,) integers
y_style, or y_train_style, ... beside y_group     several labels: a group with these parts
names, or names_style, names_group                what the classes are called, K strings
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo_core.data.arrays import read_array
from zoo_core.errors import DataError
from zoo_core.spaces import Classes, Condition, Group, as_condition

__all__ = ["SPLITS", "Labels", "label_arrays", "labels_of", "names_array"]

SPLITS = ("train", "valid", "test")

Labels = Mapping[str, Mapping[str, np.ndarray]]
"""Split -> part -> labels; a lone label's part is the empty string."""


def label_arrays(split: str, names: Sequence[str]) -> dict[str, str]:
    """Part -> array, of the labels of a split in a file with arrays `names`."""
    whole = "x" in names
    stem = "y" if whole else f"y_{split}"
    found = {n.removeprefix(f"{stem}_"): n for n in names if n.startswith(f"{stem}_")}
    parts = {part: n for part, n in found.items() if part and not (whole and part in SPLITS)}
    return ({"": stem} if stem in names else {}) | parts


def names_array(part: str) -> str:
    """The array with the names of a part's classes."""
    return f"names_{part}" if part else "names"


def labels_of(
    path: Path, names: Sequence[str], labels: Labels, sizes: Mapping[str, int]
) -> tuple[Condition, dict[str, Tensor]]:
    """The condition that a file's labels are, and the labels of each split as its rows.

    Raises `DataError` unless all splits, of `sizes`, have the same labels, or none.
    """
    parts = list(next(iter(labels.values()), {}))
    if any(set(have) != set(parts) for have in labels.values()):
        raise DataError(f"{path} has labels for some splits only; give y_* for all or none.")
    if not parts:
        return Condition(), {}
    if "" in parts and len(parts) > 1:
        raise DataError(
            f"{path} has one label and several by name ({', '.join(parts[1:])}).",
            hint="name all of them: y_group, y_style, ...",
        )
    for split, have in labels.items():
        for part, y in have.items():
            _check(path, part, y, sizes[split])
    spaces = {part: _classes(path, names, part, labels) for part in parts}
    condition = spaces.get("") or as_condition(Group(**spaces))
    rows = {s: {k: torch.from_numpy(y.astype(np.int64)) for k, y in labels[s].items()}
            for s in labels}  # fmt: skip
    packed = {s: condition.check(y.get("", y), sizes[s]) for s, y in rows.items()}
    return condition, {s: y for s, y in packed.items() if y is not None}


def _check(path: Path, part: str, y: np.ndarray, n: int) -> None:
    if y.dtype.kind not in "ui" or y.shape != (n,) or int(y.min()) < 0:
        called = f" of {part!r}" if part else ""
        raise DataError(
            f"{path}: labels{called} have dtype {y.dtype} and shape {y.shape}; "
            f"expected integers from 0 of shape ({n},)."
        )


def _classes(path: Path, names: Sequence[str], part: str, labels: Labels) -> Condition:
    top = max(int(have[part].max()) for have in labels.values())
    array = names_array(part)
    if array not in names:
        return Classes(1 + top)
    called = read_array(path, array, max_bytes=1 << 24)
    if called.dtype.kind != "U" or called.ndim != 1 or len(set(called.tolist())) <= top:
        raise DataError(
            f"{path}: {array} has dtype {called.dtype} and shape {called.shape}; expected "
            f"different strings, at least {1 + top}: a name for each class.",
        )
    return Classes(len(called), names=called.tolist())
