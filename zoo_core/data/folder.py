"""Data sets from folders of PNG and JPEG images.

    PATH/*.png                     images without classes
    PATH/<class>/*.png             classes are the subfolders, in the order of their names
    PATH/{train,valid,test}/...    splits that are kept apart, each in one of the forms above

Other files and hidden files are ignored. `images.py` states which images are read unchanged, which
are converted and which are refused; conversions are counted in the provenance.

Images that take more than `max_bytes` in memory are decoded batch by batch, as they are read, so
that memory does not grow with the folder. A file that does not fit is then refused when it is
read, and conversions are not counted.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from zoo_core.config import Range
from zoo_core.data.dataset import Dataset, Source, Split
from zoo_core.data.generated import Seed
from zoo_core.data.images import read_image
from zoo_core.data.shuffle import cut
from zoo_core.errors import DataError
from zoo_core.files import expanded
from zoo_core.spaces import Classes, Condition, Event
from zoo_core.text import printable

__all__ = ["Folder", "ImageFiles"]

_logger = logging.getLogger(__name__)

_SUFFIXES = (".png", ".jpg", ".jpeg")
_SPLITS = ("train", "valid", "test")
_IN_MEMORY = 256 << 20


@dataclass(frozen=True)
class Folder:
    """Images (C, H, W) of integers 0..levels-1, quantized from 8 bits by x levels // 256.

    All must have one size, unless `size` is given: then the shorter side is resized to it
    (antialiased), and the centre square is cropped. `channels` is 1 or 3, by default that of the
    files. Without split folders, `valid` and `test` are the fractions that `seed` holds out.
    `max_bytes` is what decoded images may take in memory. A file that cannot be read or does not
    fit is named in the error, or with `on_error="skip"` left out and counted: each file of a
    folder is then decoded once beforehand.
    """

    path: str
    size: Annotated[int | None, Range(1, 4096)] = None
    channels: Literal[1, 3] | None = None
    levels: Annotated[int, Range(2, 256)] = 256
    valid: Annotated[float, Range(0, 1)] = 0.1
    test: Annotated[float, Range(0, 1)] = 0.1
    seed: Seed = 0
    max_bytes: Annotated[int, Range(1)] = _IN_MEMORY
    on_error: Literal["raise", "skip"] = "raise"

    def __call__(self) -> Dataset:
        root = expanded(self.path)
        files = _find(root)
        found = len(files)
        if self.on_error == "skip":
            files = self._readable(root, files)
        split_names = [s for s in _SPLITS if (root / s).is_dir()]
        depth = 1 if split_names else 0
        if split_names and (stray := [f for f in files if f.parts[0] not in split_names]):
            raise DataError(f"{root} has split folders, but {stray[0]} is in none of them.")
        classes = _classes(root, files, depth)
        notes = Counter[str]()
        numbers = {name: i for i, name in enumerate(classes)}
        y = torch.tensor([numbers[f.parts[depth]] for f in files]) if classes else None
        shape = self._image(root / files[0], Counter()).shape
        in_memory = len(files) * prod(shape) <= self.max_bytes
        splits: dict[str, Source] = {}
        for name, rows in self._rows(files, split_names):
            images = Images(self, root, tuple(files[i] for i in rows.tolist()), shape, files[0])
            labels = None if y is None else y[rows]
            if in_memory:
                splits[name] = Split(images.read(range(len(rows)), notes), labels)
            else:
                splits[name] = ImageFiles(images, labels)
        notes["left out: unreadable or of another size"] += found - len(files)
        return Dataset(
            name=f"folder:{root.name}",
            event=Event(shape, levels=self.levels),
            condition=Classes(len(classes), names=classes) if classes else Condition(),
            splits=splits,
            license="unstated",
            provenance=f"{root}: {len(files)} images" + _describe(classes) + _noted(notes),
        )

    def _rows(self, files: list[Path], split_names: list[str]) -> list[tuple[str, torch.Tensor]]:
        if not split_names:
            return cut(len(files), valid=self.valid, test=self.test, seed=self.seed)
        split_of = np.array([f.parts[0] for f in files])
        rows = [(name, torch.from_numpy(np.flatnonzero(split_of == name))) for name in split_names]
        return [(name, r) for name, r in rows if len(r)]

    def _readable(self, root: Path, files: list[Path]) -> list[Path]:
        """The files that can be read and have the shape of the first such file."""
        shape, kept = None, []
        for file in files:
            try:
                image = self._image(root / file, Counter())
            except DataError as error:
                _logger.warning("%s", printable(f"left out: {error.message}"))
                continue
            shape = shape or image.shape
            if image.shape == shape:
                kept.append(file)
            else:
                _logger.warning("%s", printable(f"left out: {file} is {_size(image.shape)}"))
        if not kept:
            raise DataError(f"{root}: none of {len(files)} images can be read.")
        return kept

    def _image(self, path: Path, notes: Counter[str]) -> np.ndarray:
        """One image (C, H, W), uint8, resized, converted and quantized by the options."""
        x = read_image(path, notes, channels=self.channels, size=self.size)
        return (x.astype(np.uint16) * self.levels >> 8).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Images:
    """Files of images that must have one shape, (C, H, W), that of the file `like`."""

    options: Folder
    root: Path
    files: tuple[Path, ...]
    shape: tuple[int, ...]
    like: Path

    def read(self, indices: Iterable[int], notes: Counter[str]) -> torch.Tensor:
        """Images (B, C, H, W), uint8; `notes` counts conversions."""
        chosen = [self.files[i] for i in indices]
        x = np.empty((len(chosen), *self.shape), np.uint8)
        for i, file in enumerate(chosen):
            image = self.options._image(self.root / file, notes)
            if image.shape != self.shape:
                raise DataError(
                    f"{file} is {_size(image.shape)}, {self.like} is {_size(self.shape)}; "
                    "all images must have one size and number of channels.",
                    hint="set size=N to resize them, channels=1 or channels=3 to convert them",
                )
            x[i] = image
        return torch.from_numpy(x)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """A source of images that are decoded as they are read."""

    images: Images
    y: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.images.files)

    def batch(self, rows: Any = slice(None)) -> tuple[torch.Tensor, torch.Tensor | None]:
        indices = torch.arange(len(self))[rows]
        x = self.images.read(indices.tolist(), Counter())
        return x, None if self.y is None else self.y[indices]


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


def _size(shape: tuple[int, ...]) -> str:
    c, h, w = shape
    return f"{w}x{h} with {c} channel{'s' if c > 1 else ''}"
