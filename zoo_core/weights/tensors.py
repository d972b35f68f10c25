"""Load tensors from safetensors files into a module; every name, shape and dtype must fit.

Headers are checked before they are parsed, and shapes before tensors are read. The weights of a
model are one file, or shards that an index lists.
"""

import errno
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo_core.catalog.layout import WEIGHTS, is_shard
from zoo_core.errors import IntegrityError
from zoo_core.reading import read_json, regular
from zoo_core.weights.assign import HERE, Place, assign

__all__ = [
    "MAX_INDEX",
    "WeightChanges",
    "count_elements",
    "damaged_file",
    "load_matching",
    "load_state",
    "load_tensors",
    "read_tensors",
    "weight_files",
    "write_tensors",
]

_MAX_HEADER = 1 << 22
_MAX_TENSORS = 100_000
MAX_INDEX = 1 << 22

Tensors = Mapping[str, Any]
"""Slices of open files, or tensors, by name."""


def weight_files(folder: Path, among: Collection[Path], name: str = WEIGHTS) -> list[Path]:
    """The files that hold a model's weights: one, or the shards that `<name>.index.json` lists.

    Files that are not in `among` are ignored. Only the index is opened. Raises `IntegrityError` if
    a file is missing.
    """
    path = folder / name
    index = folder / f"{name}.index.json"
    if path in among or index not in among:
        return _check_present([path], among)
    _check_present([index], among)
    try:
        shards = sorted(set(read_json(index, MAX_INDEX)["weight_map"].values()))
        if not shards:
            raise ValueError("its weight_map is empty")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{index} maps no tensors to files ({error!r}).") from None
    if strays := [s for s in shards if not (isinstance(s, str) and is_shard(s))]:
        raise IntegrityError(f"{index} names {strays[0]!r:.120}, which is no shard beside it.")
    return _check_present([folder / shard for shard in shards], among)


def _check_present(paths: list[Path], among: Collection[Path]) -> list[Path]:
    hint = "write or download the folder anew"
    for path in paths:
        if not path.is_file():
            raise IntegrityError(f"{path} is missing.", hint=hint)
        if path not in among:
            raise IntegrityError(f"{path} is in no list of the model's files.", hint=hint)
    return paths


def load_state(
    module: torch.nn.Module,
    path: Path | Sequence[Path],
    *,
    skip: tuple[str, ...] = (),
    place: Place = HERE,
    stored: torch.dtype | None = None,
) -> None:
    """Load a module's state from safetensors files; raises `IntegrityError` with all mismatches.

    The submodules in `skip` are loaded from files of their own. Tensors are read one by one, as
    `assign` does, after all of them were checked; `stored` is the type of the saved model.
    """
    paths = _paths(path)
    with _opened(paths) as tensors:
        _load(module, tensors, str(paths[0]), skip, place, stored)


def load_tensors(
    module: torch.nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    skip: tuple[str, ...] = (),
    place: Place = HERE,
) -> None:
    """`load_state` from tensors at hand; `where` is what messages call them."""
    _load(module, tensors, where, skip, place, None)


def _load(
    module: torch.nn.Module,
    tensors: Tensors,
    where: str,
    skip: tuple[str, ...],
    place: Place,
    stored: torch.dtype | None,
) -> None:
    expected = _expected(module, skip)
    _compare(where, expected, tensors)
    for name in expected:
        value = tensors[name][...]
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise IntegrityError(f"{where}: tensor {name!r} holds NaN or infinite values.")
    assign(module, ((name, tensors[name][...]) for name in expected), place, stored)
    place.settle(module, stored)


@dataclass(frozen=True)
class WeightChanges:
    """Tensors that a loaded model has and its weights lack, and the other way round.

    A tensor whose shape differs is both: it is new in the model, and that of the weights dropped.
    """

    new: tuple[str, ...]
    dropped: tuple[str, ...]


def load_matching(
    module: torch.nn.Module, path: Path | Sequence[Path], *, skip: tuple[str, ...] = ()
) -> WeightChanges:
    """Load the tensors whose names and shapes are those of the module; the rest stays as it is."""
    expected = _expected(module, skip)
    with _opened(_paths(path)) as tensors:
        fits = [
            n for n, t in expected.items() if n in tensors and _shape(tensors[n]) == tuple(t.shape)
        ]
        state = {name: tensors[name][...] for name in fits}
        dropped = sorted(set(tensors) - set(fits))
    module.load_state_dict(state, strict=False)
    return WeightChanges(tuple(sorted(expected.keys() - state.keys())), tuple(dropped))


def _shape(piece: Any) -> tuple[int, ...]:
    """The shape of a slice of a file, or of a tensor."""
    return tuple(piece.shape if isinstance(piece, Tensor) else piece.get_shape())


def count_elements(paths: Sequence[Path]) -> tuple[int, int]:
    """Numbers of elements and of tensors in safetensors files, from their headers."""
    with _opened(paths) as tensors:
        return sum(math.prod(t.get_shape()) for t in tensors.values()), len(tensors)


def read_tensors(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Every tensor of safetensors files, by name."""
    with _opened(paths) as tensors:
        return {name: tensor[...] for name, tensor in tensors.items()}


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file; views and tensors that share memory are copied.

    Raises `OSError` if it cannot be written; the library's own error is not one.
    """
    try:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def damaged_file(path: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{path} is damaged or no safetensors file ({reason}).",
        hint="write or download the folder anew",
    )


def _paths(path: Path | Sequence[Path]) -> Sequence[Path]:
    return [path] if isinstance(path, Path) else path


def _expected(module: torch.nn.Module, skip: tuple[str, ...]) -> dict[str, Tensor]:
    return {k: v for k, v in module.state_dict().items() if k.split(".")[0] not in skip}


@contextmanager
def _opened(paths: Sequence[Path]) -> Iterator[Tensors]:
    """Slices of all tensors in the files; raises if two files hold the same tensor."""
    for path in paths:
        _check_header(path)
    tensors: dict[str, Any] = {}
    with ExitStack() as stack:
        for path in paths:
            try:
                file = stack.enter_context(safe_open(path, "pt"))
                names = list(file.keys())
                if twice := tensors.keys() & set(names):
                    raise IntegrityError(f"{path}: {min(twice)!r} is in another shard too.")
                tensors |= {name: file.get_slice(name) for name in names[: _MAX_TENSORS + 1]}
            except (SafetensorError, OSError) as error:
                raise damaged_file(path, str(error)) from error
        if len(tensors) > _MAX_TENSORS:
            raise IntegrityError(f"{paths[0]} holds more than {_MAX_TENSORS} tensors.")
        yield tensors


def _check_header(path: Path) -> None:
    """Raise if a header claims an absurd length, before it is parsed."""
    try:
        size = regular(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise damaged_file(path, error.strerror or str(error)) from error
    if length > min(_MAX_HEADER, size):
        raise damaged_file(path, f"its header claims {length} bytes")


def _compare(where: str, expected: Mapping[str, Tensor], stored: Tensors) -> None:
    wrong = [_mismatch(k, expected[k], stored[k]) for k in sorted(stored.keys() & expected.keys())]
    lists = {
        "missing": sorted(expected.keys() - stored.keys()),
        "unexpected": sorted(stored.keys() - expected.keys()),
        "mismatched": [text for text in wrong if text],
    }
    if any(lists.values()):
        text = "; ".join(f"{k}: {_listing(v)}" for k, v in lists.items() if v)
        raise IntegrityError(
            f"{where} does not fit the model: {text}.",
            hint="the config in zoo.json must be the one the weights were made with",
        )


def _mismatch(name: str, expected: Tensor, stored: Any) -> str:
    shape, dtype = _shape(stored), _dtype(stored)
    if tuple(expected.shape) == shape and expected.is_floating_point() == dtype.is_floating_point:
        return ""
    return f"{name} is {shape} {dtype}, expected {tuple(expected.shape)} {expected.dtype}"


_NAMES = {"F": "float", "BF": "bfloat", "I": "int", "U": "uint"}


def _dtype(tensor: Any) -> torch.dtype:
    """The dtype that the header names, e.g. F32, BF16, I64, BOOL or F8_E4M3; or a tensor's."""
    if isinstance(tensor, Tensor):
        return tensor.dtype
    name: str = tensor.get_dtype()
    letters = name.rstrip("0123456789")
    text = "bool" if name == "BOOL" else _NAMES.get(letters, "") + name[len(letters) :]
    dtype = getattr(torch, text, None) or getattr(torch, f"float8_{name[3:].lower()}", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.uint8


def _listing(items: list[str], maximum: int = 8) -> str:
    rest = f" and {len(items) - maximum} more" if len(items) > maximum else ""
    return ", ".join(item[:120] for item in items[:maximum]) + rest
