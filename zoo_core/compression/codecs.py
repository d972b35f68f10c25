"""The bytes that codecs in common use need for the same events, without loss.

Pictures (PNG, WebP, JPEG XL) are for images of one or three channels and at most 256 levels;
streams (zstd, bz2) for all integers. Each is measured on single files and on one file of all
events: a mosaic as square as possible, or one stream. None of them is told what the events are
like, and no model is needed to decode.

Shapes: N events (N, *S), images (N, C, H, W).
"""

import bz2
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from zoo_core.spaces import Event

__all__ = ["CodecSize", "mosaic", "picture_sizes", "sizes"]

_SINGLES = 256
"""Events that are coded one by one."""
_GRAY, _COLOR = 1, 3

Encode = Callable[[Tensor, Event], int]
"""Events (N, *S), as one file, to its bytes."""


@dataclass(frozen=True)
class CodecSize:
    """Mean bytes of an event in a file of its own, and in one file of all; or why there are none.

    `single_n` is how many events were coded one by one.
    """

    name: str
    single: float | None = None
    single_n: int = 0
    together: float | None = None
    missing: str | None = None

    @property
    def best(self) -> float:
        """The fewer bytes an event; infinite if there are none."""
        return min((b for b in (self.single, self.together) if b is not None), default=math.inf)

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        found = {"single": self.single, "single_n": self.single_n, "together": self.together}
        return {"codec": self.name, **({"missing": self.missing} if self.missing else found)}


def sizes(x: Tensor, event: Event) -> list[CodecSize]:
    """Bytes an event by each codec, for events x (N, *S); [] for reals.

    A codec whose library is not installed is listed with what to install.
    """
    if not event.discrete:
        return []
    pictures = picture_sizes(x, event) if _is_picture(event) else []
    return [*pictures, *(_size(*codec, x, event, _SINGLES) for codec in _STREAMS.items())]


def picture_sizes(x: Tensor, event: Event, singles: int = _SINGLES) -> list[CodecSize]:
    """Bytes an image by each codec of pictures, for images x (N, C, H, W); `singles` of them also
    one by one."""
    return [_size(*codec, x, event, singles) for codec in _PICTURES.items()]


def mosaic(x: Tensor) -> Tensor:
    """Images (N, C, H, W) as one image (C, R H, Q W), row by row, zeros where none is left."""
    n, C, H, W = x.shape
    columns = math.isqrt(n - 1) + 1
    rows = -(-n // columns)
    padded = torch.cat((x, x.new_zeros(rows * columns - n, C, H, W)))
    tiles = padded.view(rows, columns, C, H, W).permute(2, 0, 3, 1, 4)
    return tiles.reshape(C, rows * H, columns * W)


def _is_picture(event: Event) -> bool:
    channels = event.shape[0] if len(event.shape) == 3 else 0
    return channels in (_GRAY, _COLOR) and (event.levels or 0) <= 256


def _size(name: str, encode: Encode, x: Tensor, event: Event, singles: int) -> CodecSize:
    if name == "WebP" and not features.check("webp"):
        return CodecSize(name, missing="this Pillow was built without it")
    try:
        alone = [encode(row.unsqueeze(0), event) for row in x[:singles]]
        together = encode(x, event) / len(x)
    except ImportError as error:
        return CodecSize(name, missing=f"pip install 'density-zoo[codecs]' ({error.name})")
    return CodecSize(name, sum(alone) / len(alone), len(alone), together)


def _picture(x: Tensor, event: Event) -> Image.Image:
    """The mosaic of images as a picture: bits as mode 1, gray as L, colours as RGB."""
    values = mosaic(x).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    if event.shape[0] == _COLOR:
        return Image.fromarray(values, "RGB")
    if event.levels == 2:
        return Image.fromarray(values[..., 0] * np.uint8(255)).convert("1")
    return Image.fromarray(values[..., 0], "L")


def _saved(picture: Image.Image, **options: Any) -> int:
    file = io.BytesIO()
    picture.save(file, **options)
    return file.tell()


def _png(x: Tensor, event: Event) -> int:
    return _saved(_picture(x, event), format="PNG", optimize=True)


def _webp(x: Tensor, event: Event) -> int:
    options: dict[str, Any] = {"lossless": True, "quality": 100, "method": 6, "exact": True}
    return _saved(_picture(x, event).convert("RGB"), format="WEBP", **options)


def _jxl(x: Tensor, event: Event) -> int:
    import pillow_jxl  # noqa: F401  (registers the format)

    picture = _picture(x, event)
    picture = picture.convert("L") if picture.mode == "1" else picture
    return _saved(picture, format="JXL", lossless=True, effort=9)


def _streams(x: Tensor, event: Event) -> list[bytes]:
    """The events as bytes; bits also packed, eight to a byte."""
    kind = "u1" if (event.levels or 0) <= 256 else "<u2"
    values = x.cpu().numpy().astype(kind)
    packed = [np.packbits(values.reshape(len(x), -1), 1).tobytes()] if event.levels == 2 else []
    return [values.tobytes(), *packed]


def _zstd(x: Tensor, event: Event) -> int:
    import zstandard

    codec = zstandard.ZstdCompressor(level=19)
    return min(len(codec.compress(stream)) for stream in _streams(x, event))


def _bz2(x: Tensor, event: Event) -> int:
    return min(len(bz2.compress(stream, 9)) for stream in _streams(x, event))


_PICTURES: dict[str, Encode] = {"PNG": _png, "JPEG XL": _jxl, "WebP": _webp}
_STREAMS: dict[str, Encode] = {"zstd -19": _zstd, "bz2 -9": _bz2}
