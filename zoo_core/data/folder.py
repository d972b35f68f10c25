"""Data sets from folders of PNG and JPEG images.

    PATH/*.png                     images without classes
    PATH/<class>/*.png             classes are the subfolders, in the order of their names
    PATH/{train,valid,test}/...    splits that are kept apart, each in one of the forms above

Other files and hidden files are ignored. `images.py` states which images are read unchanged, which
are converted and which are refused; conversions are counted in the provenance.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch

from zoo_core.config import Range
from zoo_core.data.arrays import MAX_BYTES
from zoo_core.data.dataset import Dataset, Split
from zoo_core.data.generated import Seed
from zoo_core.data.images import read_image
from zoo_core.data.shuffle import cut
from zoo_core.errors import DataError
from zoo_core.files import expanded
from zoo_core.spaces import Classes, Condition, Event

__all__ = ["Folder"]

_SUFFIXES = (".png", ".jpg", ".jpeg")
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Folder:
    """Images (C, H, W) of integers 0..levels-1, quantized from 8 bits by x levels // 256.

    All must have one size, unless `size` is given: then the shorter side is resized to it
    (antialiased), and the centre square is cropped. `channels` is 1 or 3, by default that of the
    files. Without split folders, `valid` and `test` are the fractions that `seed` holds out.
    """

    path: str
    size: Annotated[int | None, Range(1, 4096)] = None
    channels: Literal[1, 3] | None = None
    levels: Annotated[int, Range(2, 256)] = 256
    valid: Annotated[float, Range(0, 1)] = 0.1
    test: Annotated[float, Range(0, 1)] = 0.1
    seed: Seed = 0
    max_bytes: Annotated[int, Range(1)] = MAX_BYTES

    def __call__(self) -> Dataset:
        root = expanded(self.path)
        files = _find(root)
        split_names = [s for s in _SPLITS if (root / s).is_dir()]
        depth = 1 if split_names else 0
        if split_names and (stray := [f for f in files if f.parts[0] not in split_names]):
            raise DataError(f"{root} has split folders, but {stray[0]} is in none of them.")
        classes = _classes(root, files, depth)
        notes = Counter[str]()
        x = torch.from_numpy(self._load(root, files, notes))
        y = torch.tensor([classes.index(f.parts[depth]) for f in files]) if classes else None
        return Dataset(
            name=f"folder:{root.name}",
            event=Event(tuple(x.shape[1:]), levels=self.levels),
            condition=Classes(len(classes), names=classes) if classes else Condition(),
            splits={
                name: Split(x[rows], None if y is None else y[rows])
                for name, rows in self._rows(files, split_names)
            },
            license="unstated",
            provenance=f"{root}: {len(files)} images" + _describe(classes) + _noted(notes),
        )

    def _rows(self, files: list[Path], split_names: list[str]) -> list[tuple[str, torch.Tensor]]:
        if not split_names:
            return cut(len(files), valid=self.valid, test=self.test, seed=self.seed)
        split_of = np.array([f.parts[0] for f in files])
        rows = [(name, torch.from_numpy(np.flatnonzero(split_of == name))) for name in split_names]
        return [(name, r) for name, r in rows if len(r)]

    def _load(self, root: Path, files: list[Path], notes: Counter[str]) -> np.ndarray:
        """All images (N, C, H, W), uint8."""
        first = self._image(root / files[0], Counter())
        need = len(files) * first.size
        if need > self.max_bytes:
            raise DataError(
                f"{root}: {len(files)} images of shape {first.shape} take {need} bytes; "
                f"at most {self.max_bytes} are read.",
                hint="set size to shrink them, or raise max_bytes",
            )
        x = np.empty((len(files), *first.shape), np.uint8)
        for i, file in enumerate(files):
            image = self._image(root / file, notes)
            if image.shape != first.shape:
                raise DataError(
                    f"{file} is {_size(image)}, {files[0]} is {_size(first)}; "
                    "all images must have one size and number of channels.",
                    hint="set size=N to resize them, channels=1 or channels=3 to convert them",
                )
            x[i] = image
        return x

    def _image(self, path: Path, notes: Counter[str]) -> np.ndarray:
        """One image (C, H, W), uint8, resized, converted and quantized by the options."""
        x = read_image(path, notes, channels=self.channels, size=self.size)
        return (x.astype(np.uint16) * self.levels >> 8).astype(np.uint8)


def _find(root: Path) -> list[Path]:
    """Image files below a folder, relative to it, sorted."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}.", hint="give a folder of PNG or JPEG files")
    files = sorted(_walk(root), key=lambda f: f.parts)
    if not files:
        raise DataError(f"{root} holds no images.", hint=f"put {', '.join(_SUFFIXES)} files there")
    return files


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in names:
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                yield (Path(folder) / name).relative_to(root)


def _classes(root: Path, files: list[Path], depth: int) -> list[str]:
    """Names of the class folders at a depth; [] if the images themselves are there."""
    direct = [f for f in files if len(f.parts) == depth + 1]
    if direct and len(direct) < len(files):
        other = next(f for f in files if len(f.parts) > depth + 1)
        raise DataError(
            f"{root}: {direct[0]} has no class, {other} has one.",
            hint="put all images into class folders, or none",
        )
    return [] if direct else sorted({f.parts[depth] for f in files})


def _describe(classes: list[str]) -> str:
    listing = ", ".join(f"{i} = {name}" for i, name in enumerate(classes[:20]))
    more = ", ..." if len(classes) > 20 else ""
    return f"; classes {listing}{more}" if classes else ""


def _noted(notes: Counter[str]) -> str:
    return "".join(f"; {n} {what}" for what, n in notes.items() if n)


def _size(image: np.ndarray) -> str:
    c, h, w = image.shape
    return f"{w}x{h} with {c} channel{'s' if c > 1 else ''}"
