"""Files of torch.save and of pickle.dump, read by the inert unpickler; nothing of them is run.

A file of torch.save is a zip archive with `data.pkl` and one member a storage, or, before version
1.6 and inside of pickled tensors, a sequence: a magic number, a version, the writer's system, the
object, the storages' keys, and then their numbers. Any other file is a single pickle.
"""

import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from zoo_core.weights.inert_pickle import InertUnpickler

__all__ = ["read_inert"]

_MAGIC = 0x1950A86A20F9469CFC6C
_DEPTH = 4
"""Most files inside of files: a tensor of a plain pickle is a file of its own."""
_TYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "Untyped": torch.uint8,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
"""Types of numbers by the name of their storage, without `Storage`."""


def read_inert(source: Path) -> Any:
    """What a file holds: containers, tensors, and records for all other objects.

    Raises `pickle.UnpicklingError` for what is refused, and other errors for a damaged file.
    """
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            return _read_archive(archive)
    with source.open("rb") as file:
        return _read_stream(file, source.stat().st_size, _DEPTH)


def _read_archive(archive: zipfile.ZipFile) -> Any:
    """The object of `data.pkl`, at any name of the archive's folder."""
    (path,) = (n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl"))
    folder, storages = path.removesuffix("data.pkl"), {}
    if f"{folder}byteorder" in archive.namelist():
        _check_order(archive.read(f"{folder}byteorder").decode())

    def storage(identifier: Any) -> Any:
        key, dtype, size = _parsed(identifier)
        if key not in storages:
            content = bytearray(archive.read(f"{folder}data/{key}"))
            _check_size(size * dtype.itemsize, len(content))
            storages[key] = torch.frombuffer(content, dtype=torch.uint8) if content else _empty()
        return storages[key][: size * dtype.itemsize].view(dtype)

    with archive.open(path) as file:
        return InertUnpickler(file, storage, _nested(_DEPTH)).load()


def _read_stream(file: IO[bytes], length: int, depth: int) -> Any:
    """A file of torch.save's first format, or a single pickle."""
    storages: dict[str, Tensor] = {}

    def storage(identifier: Any) -> Any:
        if isinstance(identifier, tuple) and identifier[:1] == ("module",):
            return identifier[1]  # beside it is the class's source
        key, dtype, size = _parsed(identifier)
        if key not in storages:
            _check_size(size * dtype.itemsize, length)
            storages[key] = torch.zeros(size, dtype=dtype)
        return _viewed(storages[key], *identifier[5:])

    first = InertUnpickler(file, storage, _nested(depth)).load()
    if first != _MAGIC:
        return first
    _, system, loaded, keys = (
        InertUnpickler(file, storage, _nested(depth)).load() for _ in range(4)
    )
    _check_order("little" if system.get("little_endian", True) else "big")
    for key in keys:
        _fill(storages[key], file)
    return loaded


def _fill(storage: Tensor, file: IO[bytes]) -> None:
    """Read the numbers of a storage: how many, and then their bytes."""
    _check_size(len(storage), int.from_bytes(file.read(8), "little", signed=True))
    content = bytearray(file.read(len(storage) * storage.dtype.itemsize))
    _check_size(len(storage) * storage.dtype.itemsize, len(content))
    if content:
        storage.copy_(torch.frombuffer(content, dtype=storage.dtype))


def _viewed(storage: Tensor, view: Any = None) -> Tensor:
    """The part of a storage that a view of it is, by its key, offset and size."""
    if view is None:
        return storage
    _, offset, size = view
    return storage[offset : offset + size]


def _nested(depth: int) -> Any:
    """The reader of files inside of a file, at most `depth` of them in each other."""

    def read(content: bytes) -> Any:
        if depth == 0:
            raise pickle.UnpicklingError("it holds files in files in files")
        return _read_stream(io.BytesIO(content), len(content), depth - 1)

    return read


def _parsed(identifier: Any) -> tuple[str, torch.dtype, int]:
    """Key, type and number of values of a storage, from its persistent id."""
    kind, storage, key, _, size = identifier[:5]
    name = storage.name.rpartition(".")[2].removesuffix("Storage")
    if kind != "storage" or type(key) is not str or type(size) is not int or size < 0:
        raise pickle.UnpicklingError("a storage without key or size")
    return key, _TYPES[name], size


def _check_size(claimed: int, held: int) -> None:
    if claimed > held:
        raise ValueError(f"a storage of {claimed} that has {held}")


def _check_order(order: str) -> None:
    if order != sys.byteorder:
        raise ValueError(f"its numbers are in {order}-endian order")


def _empty() -> Tensor:
    return torch.zeros(0, dtype=torch.uint8)
