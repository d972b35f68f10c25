"""What lossless image codecs need for the same colour images, beside a model's likelihood.

A model with a likelihood is a codec, up to rounding: it needs -log2 p(x) bits. PNG, WebP and
JPEG XL are measured by their libraries at their best effort, once on a file for each image and
once on one mosaic of all, in which headers cost nothing and codecs learn from earlier images.

Shapes: N images (N, 3, H, W) of 256 levels.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, features
from torch import Tensor

from zoo_core.data.shuffle import choose
from zoo_core.spaces import Event

__all__ = ["CodecRate", "codec_lines", "codec_rates", "has_codecs"]

_MAX_IMAGES = 1_000
_JPEG_XL = "needs pillow-jxl-plugin (pip install density-zoo[codecs])"
_WEBP = "this Pillow was built without it"
_CODECS: Mapping[str, Mapping[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    "JPEG XL": {"format": "JXL", "lossless": True, "effort": 9},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
}


@dataclass(frozen=True)
class CodecRate:
    """Bits/dim of one codec on n images; None, and why, where its library is missing."""

    codec: str
    n: int
    files: float | None
    """One file an image."""
    mosaic: float | None
    """One file of all images."""
    missing: str = ""

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return vars(self).copy()


def has_codecs(event: Event) -> bool:
    """Whether codecs are for such events: colour images of 256 levels."""
    return len(event.shape) == 3 and event.shape[0] == 3 and event.levels == 256


def codec_rates(x: Tensor, *, seed: int = 0) -> list[CodecRate]:
    """The rates of all codecs on images (N, 3, H, W), or on 1,000 of them that the seed draws."""
    rows = choose(seed, len(x), _MAX_IMAGES, stream="evaluation/codecs")
    pixels = x[rows].permute(0, 2, 3, 1).to("cpu").numpy().astype(np.uint8)  # (N, H, W, 3)
    return list(_rates(pixels.tobytes(), pixels.shape))


@lru_cache(maxsize=1)  # models are compared on the same images
def _rates(pixels: bytes, shape: tuple[int, ...]) -> tuple[CodecRate, ...]:
    images = np.frombuffer(pixels, np.uint8).reshape(shape)
    return tuple(_rate(codec, images) for codec in _CODECS)


def _rate(codec: str, images: np.ndarray) -> CodecRate:
    if missing := _missing(codec):
        return CodecRate(codec, len(images), None, None, missing)
    options = _CODECS[codec]
    files = sum(_bits(image, options) for image in images)
    whole = _bits(_mosaic(images), options)
    return CodecRate(codec, len(images), files / images.size, whole / images.size)


def _missing(codec: str) -> str:
    """Why a codec cannot be measured; empty if it can."""
    if codec == "WebP" and not features.check("webp"):
        return _WEBP
    if codec == "JPEG XL":
        try:
            import pillow_jxl  # noqa: F401  importing it registers the format
        except ImportError:
            return _JPEG_XL
    return ""


def _bits(image: np.ndarray, options: Mapping[str, Any]) -> int:
    """The size of a picture (H, W, 3) as a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, **options)
    return 8 * file.tell()


def _mosaic(images: np.ndarray) -> np.ndarray:
    """All images side by side, about square; empty places repeat the last image."""
    n, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    filled = np.concatenate([images, np.repeat(images[-1:], rows * columns - n, 0)])
    tiles = filled.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(rows * height, columns * width, 3))


def codec_lines(record: Mapping[str, Any]) -> list[str]:
    """What a likelihood's record says of codecs: which the model beats, and which are missing.

    Only a likelihood that is exact or a lower bound shows that fewer bits are enough.
    """
    codecs: Sequence[Mapping[str, Any]] = record.get("codecs") or ()
    measured = [c for c in codecs if not c["missing"]]
    own = record.get("bits_per_dim")
    lines = [f"{c['codec']} was not measured: {c['missing']}" for c in codecs if c["missing"]]
    if measured and record["relation"] not in ("equal", "lower"):
        rates = ", ".join(_text(c, "files") for c in measured)
        return [f"codecs on single files: {rates} (an estimate beats none)", *lines]
    for key, name in (("files", "single files"), ("mosaic", "one mosaic")) if measured else ():
        beaten = [_text(c, key) for c in measured if own is not None and own < c[key]]
        others = [_text(c, key) for c in measured if own is None or own >= c[key]]
        said = [f"beats {', '.join(beaten)}"] if beaten else []
        said += [f"does not beat {', '.join(others)}"] if others else []
        lines.append(f"on {name}: {'; '.join(said)} bits/dim")
    return lines


def _text(codec: Mapping[str, Any], key: str) -> str:
    return f"{codec['codec']} {codec[key]:.2f}"
