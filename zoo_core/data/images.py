"""Reads a PNG or JPEG file as 8-bit grey or RGB: unchanged, converted with a note, or refused.

| file | what is done |
|---|---|
| PNG of 1, 2, 4 or 8 bits, grey or RGB | kept; v of b bits is v 255 / (2^b - 1) |
| PNG with a palette | the palette's colours, RGB |
| alpha, tRNS | dropped where every pixel is opaque, else refused |
| PNG of 16 bits a channel | refused: 8 bits cannot hold it |
| PNG with several frames (APNG) | refused |
| JPEG, grey or YCbCr | grey or RGB; of a multi-picture file (MPO) the first, noted |
| JPEG in CMYK or YCCK | refused: RGB needs a profile |
| EXIF orientation | the image is turned upright, noted |
| ICC profile, gAMA | not applied: the stored numbers are the data, noted |
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from zoo_core.errors import DataError
from zoo_core.reading import regular

__all__ = ["read_image"]

_MAX_PIXELS = 1 << 26
_GREY = ("1", "L", "LA")
_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_UPRIGHT = 1


def read_image(
    path: Path, notes: Counter[str], *, channels: int | None = None, size: int | None = None
) -> np.ndarray:
    """An image (C, H, W), uint8; `notes` counts conversions by their description.

    `channels` is 1 or 3, by default that of the file. With `size` the shorter side is resized to
    it (antialiased), and the centre square is cropped. Raises `DataError` for files that are
    damaged
    or that 8-bit grey or RGB cannot hold.
    """
    try:
        regular(path)
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            _check(file, path, _png_depth(path))
            _note(file, notes)
            image = ImageOps.exif_transpose(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}).", hint="replace or remove the file"
        ) from None
    channels = channels or (1 if image.mode in _GREY else 3)
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    x = np.asarray(image)
    return x[None] if x.ndim == 2 else x.transpose(2, 0, 1)


def _png_depth(path: Path) -> int | None:
    """Bits per channel of a PNG, from its header, since Pillow opens 16-bit RGB as 8-bit."""
    with path.open("rb") as file:
        head = file.read(25)
    if not head.startswith(_PNG):
        return None
    if head[12:16] != b"IHDR" or len(head) < 25:
        raise ValueError("a PNG starts with its header")
    return head[24]


def _check(file: Image.Image, path: Path, depth: int | None) -> None:
    """Raise `DataError` for what 8-bit grey or RGB cannot hold."""
    if file.width * file.height > _MAX_PIXELS:
        raise DataError(
            f"{path} is {file.width}x{file.height}; at most {_MAX_PIXELS} pixels are read."
        )
    if depth == 16:
        raise DataError(
            f"{path} has 16 bits a channel; 8 can be read.",
            hint="save it with 8 bits, or store the values in an .npz file",
        )
    frames = getattr(file, "n_frames", 1)
    if file.format == "PNG" and frames > 1:
        raise DataError(f"{path} has {frames} frames.", hint="save the frame you mean")
    if file.mode not in (*_GREY, "P", "RGB", "RGBA"):
        raise DataError(f"{path} has colours {file.mode}.", hint="convert it to RGB")
    if file.mode == "P" and _highest(file) >= _palette_size(file):
        raise DataError(f"{path} has pixels outside its palette.", hint="replace the file")
    if _transparent(file, depth):
        raise DataError(f"{path} has transparent pixels.", hint="flatten it first")


def _highest(file: Image.Image) -> int:
    """The largest palette index of any pixel."""
    _, top = file.getextrema()
    assert isinstance(top, int | float)
    return int(top)


def _palette_size(file: Image.Image) -> int:
    return len(file.getpalette() or ()) // 3


def _transparent(file: Image.Image, depth: int | None) -> bool:
    """Whether any pixel is not opaque."""
    if not file.has_transparency_data:
        return False
    clear: Any = file.info.get("transparency")
    if isinstance(clear, int) and depth in (2, 4) and file.mode == "L":
        # Pillow scales such pixels to 8 bits, but not the grey level that tRNS names
        level = clear * 255 // (2**depth - 1)
        return bool((np.asarray(file) == level).any())
    return bool(file.convert("RGBA").getchannel("A").getextrema()[0] != 255)


def _note(file: Image.Image, notes: Counter[str]) -> None:
    notes["turned upright by EXIF"] += file.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
    notes["with a colour profile, not applied"] += bool(
        {"icc_profile", "gamma"} & file.info.keys()
    )
    notes["with further pictures, not read"] += getattr(file, "n_frames", 1) > 1
