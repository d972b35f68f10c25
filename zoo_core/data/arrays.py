"""Reads .npz and .npy files that may be damaged or hostile: without pickle, in bounded memory."""

import zipfile
import zlib
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from zoo_core.errors import DataError
from zoo_core.reading import regular

__all__ = ["MAX_BYTES", "array_names", "map_npy", "read_array", "read_npy"]

MAX_BYTES = 4 << 30
"""Bytes that a data set may take in memory, unless an option says otherwise."""

_MAX_ARRAYS = 1000
_NO_HEADER = (
    ValueError,
    SyntaxError,
    TokenError,
    RecursionError,
    MemoryError,
    TypeError,
    KeyError,
)
"""What numpy and Python's parser raise for a malformed header."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an .npz file; raises `DataError` if it is none."""
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        what = "is a folder, not an .npz file" if path.is_dir() else what
        raise DataError(f"{path} {what}.", hint="give the path of an .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error) from None
    if len(names) > _MAX_ARRAYS:
        raise DataError(f"{path} holds {len(names)} arrays; at most {_MAX_ARRAYS} are read.")
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def read_npy(path: Path, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array of an .npy file; its header is first checked against the file and `max_bytes`."""
    try:
        size = regular(path)
        with path.open("rb") as file:
            shape, dtype = _header(file)
            _check_size(path, path.name, shape, dtype, size - file.tell(), max_bytes)
            file.seek(0)
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error, ".npy") from None
    return array


def map_npy(path: Path) -> np.ndarray:
    """The array of an .npy file, memory-mapped; its header is first checked against the file."""
    try:
        size = regular(path)
        with path.open("rb") as file:
            shape, dtype = _header(file)
            _check_size(path, path.name, shape, dtype, size - file.tell(), size)
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error, ".npy") from None
    return array


def read_array(path: Path, name: str, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """An array of an .npz file; its header is first checked against the file and `max_bytes`."""
    try:
        regular(path)
        with zipfile.ZipFile(path) as archive:
            _check_header(path, archive, name, max_bytes)
            with archive.open(f"{name}.npy") as file:
                array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
                file.read()  # to the end, so that the checksum is compared
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error) from None
    return array


def _check_header(path: Path, archive: zipfile.ZipFile, name: str, max_bytes: int) -> None:
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        shape, dtype = _header(file)
        _check_size(path, name, shape, dtype, info.file_size - file.tell(), max_bytes)


def _check_size(
    path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, stored: int, max_bytes: int
) -> None:
    """Refuse an array that holds objects, is too large, or has not the size in its header."""
    if dtype.hasobject:
        raise DataError(
            f"{path}: array {name!r} holds pickled Python objects, which are not read.",
            hint="save it with a numeric dtype",
        )
    size = prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise DataError(
            f"{path}: array {name!r} of shape {shape} and dtype {dtype} takes {size} bytes; "
            f"at most {max_bytes} are read.",
            hint="raise max_bytes, or give fewer events",
        )
    if stored != size:
        raise ValueError(f"array {name!r} claims {size} bytes, {stored} are there")


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in read:
        raise ValueError(f"version {version} of the array format")
    try:
        shape, _, dtype = read[version](file)
    except _NO_HEADER:  # numpy's own words advise to load it with allow_pickle=True
        raise ValueError("a header that is none of an array of numbers") from None
    return shape, dtype


def _damaged(path: Path, error: Exception, form: str = ".npz") -> DataError:
    return DataError(
        f"{path} cannot be read as {form} ({type(error).__name__}: {error}).",
        hint="write or download the file anew",
    )
