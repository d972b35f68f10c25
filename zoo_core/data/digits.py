"""Handwritten digits, 8x8, 17 levels: scikit-learn's copy of the UCI data, shipped with the zoo.

Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998),
https://doi.org/10.24432/C50P49. Splits: numpy's RandomState(0).permutation(1797) cut into
1200 train, 237 valid and 360 test.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import torch

from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import IntegrityError
from zoo_core.spaces import Condition, Event

__all__ = ["Digits"]

LICENSE = "CC-BY-4.0 (UCI); BSD-3-Clause (scikit-learn's copy)"
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
_CUTS = {"train": slice(0, 1200), "valid": slice(1200, 1437), "test": slice(1437, 1797)}


@dataclass(frozen=True)
class Digits:
    """1,797 images (1, 8, 8) of integers 0..16, with classes 0..9."""

    def __call__(self) -> Dataset:
        with (
            as_file(files("zoo_core.data") / "digits.npz") as path,
            np.load(path, allow_pickle=False) as file,
        ):
            x, y = file["x"], file["y"]
        sha256 = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
        if sha256 != SHA256:
            raise IntegrityError("digits.npz is not the file this version came with.")
        order = np.random.RandomState(0).permutation(len(x))
        splits = {name: _split(x[order[cut]], y[order[cut]]) for name, cut in _CUTS.items()}
        return Dataset(
            name="digits",
            event=Event((1, 8, 8), levels=17),
            condition=Condition("classes", classes=10),
            splits=splits,
            license=LICENSE,
            provenance=f"sklearn.datasets.load_digits; sha256 of values and classes {sha256}",
        )


def _split(x: np.ndarray, y: np.ndarray) -> Split:
    return Split(torch.from_numpy(x[:, None]), torch.from_numpy(y.astype(np.int64)))
