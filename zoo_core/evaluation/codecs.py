"""What lossless image codecs need for the same colour images, beside a model's likelihood.

A model with a likelihood is a codec, up to rounding: it needs -log2 p(x) bits. PNG, WebP and
JPEG XL are measured by their libraries at their best effort (`compression/codecs.py`), once on a
file for each image and once on one mosaic of all, in which headers cost nothing and codecs learn
from earlier images.

Shapes: N images (N, 3, H, W) of 256 levels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from zoo_core.compression.codecs import CodecSize, picture_sizes
from zoo_core.data.shuffle import choose
from zoo_core.spaces import Event

__all__ = ["CodecRate", "codec_lines", "codec_rates", "has_codecs"]

_MAX_IMAGES = 1_000


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


def codec_rates(x: Tensor, event: Event, *, seed: int = 0) -> list[CodecRate]:
    """The rates of all codecs on images (N, 3, H, W), or on 1,000 of them that the seed draws."""
    rows = choose(seed, len(x), _MAX_IMAGES, stream="evaluation/codecs")
    images = x[rows].to("cpu", torch.uint8)
    return list(_rates(images.numpy().tobytes(), images.shape, event))


@lru_cache(maxsize=1)  # models are compared on the same images
def _rates(pixels: bytes, shape: tuple[int, ...], event: Event) -> tuple[CodecRate, ...]:
    images = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(shape)
    sizes = picture_sizes(images, event, singles=len(images))
    return tuple(_rate(size, len(images), event.dims) for size in sizes)


def _rate(size: CodecSize, n: int, dims: int) -> CodecRate:
    if size.single is None or size.together is None:
        return CodecRate(size.name, n, None, None, size.missing or "")
    return CodecRate(size.name, n, 8 * size.single / dims, 8 * size.together / dims)


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
