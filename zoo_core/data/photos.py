"""Patches of two photographs that come with scikit-learn, in colour: for tests and demonstrations.

`china.jpg` and `flower.jpg` (427x640) are read from the installed package. Each is cut into tiles
of 64x64, each of which belongs to one split, so that no pixel is in two splits; the last 43 rows
are not used. Patches of `train` overlap (every 4 pixels), those of `valid` and `test` do not.

Two photographs are too few to train a general model, and neighbouring patches are similar:
standard errors that assume independent patches are too small.
"""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import DataError
from zoo_core.spaces import Condition, Event

__all__ = ["Photos"]

LICENSE = "CC-BY-2.0 (danielbuechele, vultilion; shipped with scikit-learn)"
NAMES = ("china.jpg", "flower.jpg")
TILE = 64
_TRAIN_STRIDE = 4
_SHARES = {"valid": 0.15, "test": 0.25}


@dataclass(frozen=True)
class Photos:
    """Images (3, size, size) of 256 levels, without classes."""

    size: Literal[16, 32] = 16

    def __call__(self) -> Dataset:
        pictures, hashes = zip(*map(_picture, _paths()), strict=True)
        tiles = torch.cat([_tiles(p) for p in pictures])  # (T, 3, 64, 64)
        order = torch.from_numpy(np.random.RandomState(0).permutation(len(tiles)))
        held = {name: round(share * len(tiles)) for name, share in _SHARES.items()}
        valid, test, train = torch.split(order, [*held.values(), len(tiles) - sum(held.values())])
        rows = {
            "train": (train, _TRAIN_STRIDE),
            "valid": (valid, self.size),
            "test": (test, self.size),
        }
        return Dataset(
            name="photos",
            event=Event((3, self.size, self.size), levels=256),
            condition=Condition(),
            splits={k: Split(_patches(tiles[r], self.size, s)) for k, (r, s) in rows.items()},
            license=LICENSE,
            provenance=f"{self.size}x{self.size} patches of two photographs, tiles of {TILE} "
            f"pixels in one split each; {'; '.join(hashes)}",
        )


def _paths() -> list[Path]:
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError(
            "photos are read from scikit-learn, which is not installed.",
            hint="pip install density-zoo[data]",
        )
    folder = Path(package.origin).parent / "datasets" / "images"
    for name in NAMES:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} does not exist; this scikit-learn has no photos.")
    return [folder / name for name in NAMES]


def _picture(path: Path) -> tuple[Tensor, str]:
    """(3, H, W) uint8, and the file's name with the hash of the decoded pixels."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1), f"{path.name}, pixels {digest}"


def _tiles(picture: Tensor) -> Tensor:
    """(3, H, W) -> (T, 3, 64, 64), without overlap."""
    return _patches(picture[None], TILE, TILE)


def _patches(images: Tensor, size: int, stride: int) -> Tensor:
    """All patches (N, 3, size, size) of images (B, 3, H, W), `stride` pixels apart."""
    windows = images.unfold(2, size, stride).unfold(3, size, stride)  # (B, 3, h, w, size, size)
    return windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, size, size).contiguous()
