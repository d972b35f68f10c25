"""Images of every PNG kind and of unusual JPEGs: kept exactly, converted with a note, or refused.

The PNG files are written here by hand, so that what reads them is not what wrote them.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo_core as zoo

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
KINDS = [
    *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (RGB, GREY_ALPHA, RGBA) for depth in (8, 16)),
]
H, W = 5, 7


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(row: np.ndarray, depth: int) -> bytes:
    """One row of values in `depth` bits each, the first in the highest bits, padded to a byte."""
    bits = "".join(f"{int(v):0{depth}b}" for v in row.ravel())
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def write(path: Path, values: np.ndarray, colour: int, depth: int, *chunks: bytes) -> None:
    """A PNG of values (H, W, C); `chunks` go before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, depth, colour, 0, 0, 0))
    rows = b"".join(b"\0" + packed(row, depth) for row in values)
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body)


def draw(colour: int, depth: int) -> np.ndarray:
    values = np.random.default_rng(depth).integers(0, 1 << depth, (H, W, CHANNELS[colour]))
    if colour in (GREY_ALPHA, RGBA):
        values[..., -1] = (1 << depth) - 1
    return values


def colours(depth: int) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (1 << depth, 3), dtype=np.uint8)


def read(folder: Path, **options) -> zoo.Dataset:
    return zoo.load_dataset(f"folder:{folder}", valid=0.0, test=0.0, **options)


def pixels(folder: Path, **options) -> np.ndarray:
    return read(folder, **options).split("train").x[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_kind_of_png_is_read_exactly_or_refused(tmp_path, colour, depth):
    values, chunks = draw(colour, depth), []
    if colour == PALETTE:
        chunks = [chunk(b"PLTE", colours(depth).tobytes())]
    write(tmp_path / "a.png", values, colour, depth, *chunks)
    if depth == 16:
        with pytest.raises(zoo.DataError, match=r"a\.png has 16 bits a channel.*npz"):
            read(tmp_path)
        return
    if colour == PALETTE:
        want = colours(depth)[values[..., 0]]
    else:
        want = values[..., : 1 if colour in (GREY, GREY_ALPHA) else 3] * 255 // (2**depth - 1)
    assert np.array_equal(pixels(tmp_path), want)
    assert read(tmp_path).provenance.endswith("1 images")  # nothing was converted


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_levels_of_few_bits_come_back_as_that_many_levels(tmp_path, depth):
    values = draw(GREY, depth)
    write(tmp_path / "a.png", values, GREY, depth)
    assert np.array_equal(pixels(tmp_path, levels=2**depth), values)


TRANSPARENT = [
    *((GREY, depth) for depth in (1, 2, 4, 8)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    (RGB, 8),
    (GREY_ALPHA, 8),
    (RGBA, 8),
]


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize(("colour", "depth"), TRANSPARENT)
def test_transparency_is_refused_where_a_pixel_shows_it(tmp_path, colour, depth, seen):
    """The largest value is transparent; it is among the pixels only if it is to be `seen`."""
    top = 2**depth - 1
    values, chunks = np.zeros((H, W, CHANNELS[colour]), int), []
    values[1, 2] = top if seen else 0
    if colour in (GREY_ALPHA, RGBA):
        values[..., -1] = 255
        values[1, 2, -1] = 254 if seen else 255
    elif colour == PALETTE:
        alpha = bytes([255] * top + [0])
        chunks = [chunk(b"PLTE", colours(depth).tobytes()), chunk(b"tRNS", alpha)]
    else:
        chunks = [chunk(b"tRNS", struct.pack(">H", top) * CHANNELS[colour])]
    write(tmp_path / "a.png", values, colour, depth, *chunks)
    if not seen:
        assert pixels(tmp_path).shape == (H, W, 1 if colour in (GREY, GREY_ALPHA) else 3)
        return
    with pytest.raises(zoo.DataError, match=r"a\.png has transparent pixels"):
        read(tmp_path)


def test_pixels_outside_their_palette_are_refused(tmp_path):
    values = np.full((H, W, 1), 3)
    write(tmp_path / "a.png", values, PALETTE, 8, chunk(b"PLTE", bytes(9)))
    with pytest.raises(zoo.DataError, match="outside its palette"):
        read(tmp_path)


def test_animations_are_refused(tmp_path):
    frames = [Image.new("L", (W, H), v) for v in (0, 255)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(zoo.DataError, match="has 2 frames"):
        read(tmp_path)


def test_colours_that_are_not_rgb_are_refused(tmp_path):
    Image.new("CMYK", (W, H), (1, 2, 3, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(zoo.DataError, match=r"a\.jpg has colours CMYK.*RGB"):
        read(tmp_path)


def test_what_is_converted_or_left_out_is_counted_in_the_provenance(tmp_path):
    image = Image.fromarray(np.arange(H * W, dtype=np.uint8).reshape(H, W))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.png", exif=exif)
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    write(tmp_path / "b.png", np.asarray(image)[..., None], GREY, 8, gamma)
    data = read(tmp_path)
    turned = np.asarray(image)[::-1, ::-1]
    rows = {x.tobytes() for x in data.split("train").x[:, 0].numpy()}
    assert rows == {turned.tobytes(), np.asarray(image).tobytes()}
    assert "1 turned upright by EXIF" in data.provenance
    assert "1 with a colour profile, not applied" in data.provenance
