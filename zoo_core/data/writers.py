"""Writes events as `.png` pictures or `.npz` arrays, atomically, with metadata.

    with writing(path, event, n, metadata) as put:    # fails here if the path cannot be written
        for batch in model.sample_batches(n):
            put(batch)

Arrays go to the file batch by batch, so any n needs bounded memory. Metadata (model, weights hash,
seed, sampler, ...) become text chunks of a PNG and the entry `metadata` (JSON) of an .npz file;
the versions of what wrote it are added.
"""

import io
import json
import platform
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from zoo_core.data import pictures
from zoo_core.errors import DataError, OutputError, UsageError
from zoo_core.files import atomic_path
from zoo_core.reading import parse_json, regular
from zoo_core.spaces import Event

__all__ = ["NpzWriter", "PngWriter", "read_metadata", "write", "writing"]

Put = Callable[[Tensor], None]
_MAX_POINTS = 10_000_000
_MAX_KEYWORD = 79


def write(
    path: Path | str,
    x: Any,
    event: Event,
    metadata: Mapping[str, Any] | None = None,
    *,
    y: Tensor | None = None,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Write events (N, *shape) by the suffix of `path`; see `writing`."""
    x = event.check(x)
    with writing(path, event, len(x), metadata, y=y, columns=columns, scale=scale) as put:
        put(x)


@contextmanager
def writing(
    path: Path | str,
    event: Event,
    n: int,
    metadata: Mapping[str, Any] | None = None,
    *,
    y: Tensor | None = None,
    columns: int | None = None,
    scale: int | None = None,
) -> Iterator[Put]:
    """Yield a function that takes n events in batches (B, *shape); the file appears at the end.

    `y` are labels (n,) for .npz; `columns` and `scale` (an integer, nearest neighbour) are for
    pictures. Raises `OutputError`, and leaves `path` unchanged, if it cannot be written, or the
    suffix or the events do not fit.
    """
    path = Path(path)
    if n < 1:
        raise UsageError(f"n = {n}; there must be at least one event to write.")
    details = _complete(metadata or {}, event)
    writer: PngWriter | NpzWriter
    if path.suffix.lower() == ".png":
        writer = PngWriter(event, n, details, columns=columns, scale=scale)
    elif path.suffix.lower() == ".npz":
        writer = NpzWriter(event, n, details, y=y)
    else:
        raise OutputError(f"{path} has suffix {path.suffix!r}; it must be .png or .npz.")
    with atomic_path(path) as temporary, writer.to(temporary) as put:
        yield put


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata of a file that `write` wrote; raises `DataError` if there is none."""
    from zoo_core.data.arrays import read_array

    path = Path(path)
    try:
        if path.suffix.lower() == ".npz":
            metadata: dict[str, Any] = parse_json(str(read_array(path, "metadata")))
            return metadata
        regular(path)
        with Image.open(path, formats=("PNG",)) as image:
            texts = {k: v for k, v in image.info.items() if isinstance(v, str)}
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as error:
        raise DataError(
            f"the metadata of {path} cannot be read ({error}).", hint="give a file of zoo sample"
        ) from None
    return {k: _parsed(v) for k, v in texts.items() if isinstance(k, str)}


class NpzWriter:
    """Writes an .npz file with `x` (n, *shape), `y` if there are labels, and `metadata`.

    Integers of at most 256 levels are uint8, others int64; reals are float32.
    """

    def __init__(
        self, event: Event, n: int, metadata: Mapping[str, Any], *, y: Tensor | None = None
    ) -> None:
        self.event, self.n, self.metadata, self.y = event, n, metadata, y
        small = event.levels is not None and event.levels <= 256
        self.dtype = np.dtype(np.uint8 if small else np.int64 if event.discrete else np.float32)
        if y is not None and tuple(y.shape) != (n,):
            raise UsageError(f"y has shape {tuple(y.shape)}; expected ({n},), a label per event.")

    @contextmanager
    def to(self, path: Path) -> Iterator[Put]:
        """Open the file, and yield the function that takes the batches."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("x.npy", "w", force_zip64=True) as file:
                file.write(_header((self.n, *self.event.shape), self.dtype))
                count = _Count(self.event, self.n)

                def put(x: Tensor) -> None:
                    x = count.checked(x)
                    file.write(np.ascontiguousarray(x.numpy(), self.dtype).data)

                yield put
                count.done()
            if self.y is not None:
                archive.writestr("y.npy", _npy(self.y.cpu().long().numpy()))
            archive.writestr("metadata.npy", _npy(np.array(json.dumps(self.metadata))))


class PngWriter:
    """A picture: images in a grid, or points in the plane."""

    def __init__(
        self,
        event: Event,
        n: int,
        metadata: Mapping[str, Any],
        *,
        columns: int | None = None,
        scale: int | None = None,
    ) -> None:
        for name, value in {"columns": columns, "scale": scale}.items():
            if value is not None and value < 1:
                raise UsageError(f"{name} = {value}; it must be at least 1.")
        if not pictures.drawable(event):
            raise OutputError(
                f"{event} cannot be drawn; images are HxW, 1xHxW or 3xHxW, points are pairs.",
                hint="write .npz",
            )
        self.event, self.n, self.metadata = event, n, metadata
        self.points = event.shape == (2,)
        if self.points and n > _MAX_POINTS:
            raise UsageError(f"n = {n}; at most {_MAX_POINTS} points are drawn.")
        if not self.points:
            layout = pictures.grid_layout(event, n, columns=columns, scale=scale)
            self.rows, self.columns, self.scale, _ = layout

    @contextmanager
    def to(self, path: Path) -> Iterator[Put]:
        """The function that takes the batches; the picture is written at the end."""
        count, parts = _Count(self.event, self.n), []
        low, high = self.event.low, self.event.high
        ready = not self.points and (self.event.discrete or None not in (low, high))

        def put(x: Tensor) -> None:
            x = count.checked(x)
            parts.append(pictures.shade(x, self.event, low or 0, high or 0) if ready else x)

        yield put
        count.done()
        x = torch.cat(parts)
        if not self.points:
            x = x if ready else self._shade(x)
            picture = pictures.grid(x, self.rows, self.columns, self.scale)
        else:
            picture = pictures.scatter(x)
        Image.fromarray(picture).save(path, format="PNG", pnginfo=_text(self.metadata))

    def _shade(self, x: Tensor) -> Tensor:
        """Reals without a stated range are shown from their least to their greatest value."""
        low, high = self.event.low, self.event.high
        low = float(x.min()) if low is None else low
        high = float(x.max()) if high is None else high
        return pictures.shade(x, self.event, low, high)


class _Count:
    """Checks batches and that there are n events in all."""

    def __init__(self, event: Event, n: int) -> None:
        self.event, self.n, self.seen = event, n, 0

    def checked(self, x: Tensor) -> Tensor:
        x = self.event.check(x)
        self.seen += len(x)
        if self.seen > self.n:
            raise UsageError(f"more than the announced n = {self.n} events were given.")
        return x

    def done(self) -> None:
        if self.seen != self.n:
            raise UsageError(f"{self.seen} events were given; n = {self.n} were announced.")


def _complete(metadata: Mapping[str, Any], event: Event) -> dict[str, Any]:
    """The metadata with the event and the versions of what wrote it; refuses what is no JSON."""
    from zoo_core.version import __version__

    versions = {
        "density-zoo": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    full = {"event": event.record(), "versions": versions, **metadata}
    try:
        json.dumps(full)
    except (TypeError, ValueError) as error:
        raise UsageError(f"metadata must be JSON values ({error}).") from None
    for key in full:
        if not (key.isascii() and key.isprintable() and 0 < len(key) <= _MAX_KEYWORD):
            raise UsageError(f"metadata key {key!r} must be 1 to {_MAX_KEYWORD} ASCII characters.")
    return full


def _text(metadata: Mapping[str, Any]) -> PngInfo:
    info = PngInfo()
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        info.add_text(key, text) if text.isascii() else info.add_itxt(key, text)
    return info


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The .npy header of an array in C order."""
    file = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()
