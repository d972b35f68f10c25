"""Static binarized MNIST in Larochelle and Murray's splits, 50,000 / 10,000 / 10,000.

On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, ICML 2008); The
Neural Autoregressive Distribution Estimator (Larochelle and Murray, AISTATS 2011). Two layouts are
read: the original three text files, with an image of 784 digits per line, and an .npz file with
arrays train, valid and test (N, 98) uint8, rows packed by numpy.packbits(axis=1).

Copies in circulation differ in some bits. Splits must have the right sizes, and valid must differ
from test; hashes and means only label which copy was read. The test split is sorted by class, so
that its first events are not a random sample.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zoo_core.data.arrays import array_names, read_array
from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import DataError, NetworkError
from zoo_core.files import cache_dir, expanded
from zoo_core.spaces import Condition, Event

__all__ = ["BinarizedMNIST", "parse_text"]

URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
SIZES = {"train": 50_000, "valid": 10_000, "test": 10_000}
DIMS = 784
_BENCHMARK_MEANS = {"train": 0.130562, "valid": 0.131127, "test": 0.132512}
_KNOWN = {
    "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a": "train of the MATLAB copy",
    "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e": "valid of the MATLAB copy",
    "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86": "test of the MATLAB copy",
}
_MAX_BYTES = 1 << 28
_BLOCK_BYTES = 1 << 22
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class BinarizedMNIST:
    """Images (1, 28, 28) of 0 and 1.

    `path` is an .npz file or a folder with the three text files. By default, it is the file
    `data/binarized_mnist.npz` in $ZOO_SHARED or in the cache, if it exists, else the text files in
    the cache. Missing text files are downloaded, unless `offline`.
    """

    path: str | None = None
    offline: bool = False

    def __call__(self) -> Dataset:
        path = expanded(self.path) if self.path is not None else _locate(self.offline)
        splits = dict(_read_text(path) if path.is_dir() else _read_packed(path))
        if np.array_equal(splits["valid"], splits["test"]):
            raise DataError(f"{path}: valid and test are the same images.")
        return Dataset(
            name="binarized_mnist",
            event=Event((1, 28, 28), levels=2),
            condition=Condition(),
            splits={
                k: Split(torch.from_numpy(x.reshape(-1, 1, 28, 28))) for k, x in splits.items()
            },
            license="CC-BY-SA-3.0",
            binarization="static",
            provenance=f"static MNIST, {path.name}: "
            + "; ".join(_label(k, x) for k, x in splits.items()),
        )


def parse_text(data: bytes, name: str, *, line: int = 1) -> np.ndarray:
    """Images (N, 784) uint8 from lines of 784 digits 0 or 1, separated by spaces.

    `line` is the number of the first line, for messages. Raises `DataError` with the line of a
    fault.
    """
    text = np.frombuffer(data, np.uint8)
    digit = (text == ord("0")) | (text == ord("1"))
    newline = text == ord("\n")
    blank = newline | (text == ord(" ")) | (text == ord("\r")) | (text == ord("\t"))
    if not (digit | blank).all() or (digit[1:] & digit[:-1]).any():
        at = line + int(newline[: int(np.argmin(digit | blank))].sum())
        raise DataError(f"{name}, near line {at}: expected digits 0 or 1 with spaces between.")
    lines = np.cumsum(newline, dtype=np.int32)[digit]  # the line of each digit
    rows = len(lines) // DIMS
    first = lines[::DIMS]  # the line in which an image begins: one line holds one image
    if (
        len(lines) % DIMS
        or (lines.reshape(rows, DIMS) != first[:, None]).any()
        or (first[1:] == first[:-1]).any()
    ):
        raise DataError(
            f"{name}, after line {line - 1}: a line has not {DIMS} digits; it may be cut off."
        )
    images: np.ndarray = (text[digit] & 1).reshape(rows, DIMS)
    return images


def _read_text(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    for split in SIZES:
        path = folder / _file_name(split)
        if not path.is_file():
            raise DataError(f"{path} does not exist.", hint=f"download it from {URL}")
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} is larger than {_MAX_BYTES} bytes; it is not the data.")
        yield split, _sized(_parse_file(path), split, path)


def _parse_file(path: Path) -> np.ndarray:
    blocks, line = [], 1
    with path.open("rb") as file:
        while lines := file.readlines(_BLOCK_BYTES):
            blocks.append(parse_text(b"".join(lines), str(path), line=line))
            line += len(lines)
    return np.concatenate(blocks) if blocks else np.empty((0, DIMS), np.uint8)


def _read_packed(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    names = array_names(path)
    for split in SIZES:
        if split not in names:
            raise DataError(f"{path} holds {', '.join(names) or 'nothing'}; {split} is missing.")
        x = read_array(path, split, max_bytes=_MAX_BYTES)
        if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] * 8 != DIMS:
            raise DataError(
                f"{path}: {split} has dtype {x.dtype} and shape {x.shape}; "
                f"expected uint8 of shape (N, {DIMS // 8}), rows packed by numpy.packbits.",
                hint=f"for other layouts: npz:{path}",
            )
        yield split, np.unpackbits(_sized(x, split, path), axis=1)


def _sized(x: np.ndarray, split: str, path: Path) -> np.ndarray:
    if len(x) != SIZES[split]:
        raise DataError(f"{path}: {split} has {len(x)} images; expected {SIZES[split]}.")
    return x


def _label(split: str, x: np.ndarray) -> str:
    """Which copy a split is of, by its hash, with its mean."""
    digest = hashlib.sha256(x.tobytes()).hexdigest()
    copy = _KNOWN.get(digest, "a copy of unknown hash")
    mean = float(x.mean(dtype=np.float64))
    usual = "" if abs(mean - _BENCHMARK_MEANS[split]) < 5e-4 else ", not the benchmark's mean"
    return f"{split} = {copy}, mean {mean:.6f}{usual}, sha256 {digest}"


def _file_name(split: str) -> str:
    return f"binarized_mnist_{split}.amat"


def _locate(offline: bool) -> Path:
    """The file or folder to read; missing text files are downloaded."""
    cache = cache_dir() / "data"
    shared = os.environ.get("ZOO_SHARED")
    roots = [Path(shared) / "data", cache] if shared else [cache]
    for path in (root / "binarized_mnist.npz" for root in roots):
        if path.is_file():
            return path
    folder = cache / "binarized_mnist"
    missing = [s for s in SIZES if not (folder / _file_name(s)).is_file()]
    if missing and offline:
        raise NetworkError(
            "binarized_mnist is not on this machine, and downloading is off.", hint=_LOCAL
        )
    for split in missing:
        _download(folder, _file_name(split))
    return folder


_LOCAL = "give a local copy: binarized_mnist:PATH, an .npz file or a folder with the .amat files"


def _download(folder: Path, name: str) -> None:
    try:
        import pooch
    except ImportError:
        raise NetworkError(
            "downloading binarized_mnist needs pooch.",
            hint=f"pip install density-zoo[data], or {_LOCAL}",
        ) from None
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS)
    try:
        pooch.retrieve(URL + name, known_hash=None, fname=name, path=folder, downloader=downloader)
    except (OSError, ValueError) as error:
        raise NetworkError(f"{URL + name} cannot be downloaded ({error}).", hint=_LOCAL) from None
