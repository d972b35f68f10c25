"""The file of compressed events: a header, an index of blocks, and the blocks.

    magic      4 bytes   "ZOOC"
    version    1 byte
    length     2 bytes   of the header
    header     JSON      model, weights, event, coder, n, events a block, type of conditions
    index      12 bytes a block: length, CRC-32 of its bytes, CRC-32 of its events
    checksum   4 bytes   CRC-32 of all before
    blocks

Numbers are little-endian. A block is decoded by itself. The checksum of its bytes tells a damaged
file, that of its events a machine that computes other probabilities than the encoder's.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from zoo_core.errors import IntegrityError, UsageError
from zoo_core.reading import parse_json, shown

__all__ = ["MAGIC", "VERSION", "Block", "Container", "Header", "parse"]

MAGIC = b"ZOOC"
VERSION = 1

_START = struct.Struct("<4sBH")
_ENTRY = struct.Struct("<III")
_CHECKSUM = struct.Struct("<I")
_MAX_HEADER = 65535
_MAX_VALUES = 1 << 28
"""Most values of a block that a reader allocates."""


@dataclass(frozen=True)
class Header:
    """What is coded, by which model, and how."""

    model: str
    """The registered name; empty if the encoder was not told."""
    weights: str
    """The first 32 digits of the SHA-256 of the weights (`weights_digest`)."""
    shape: tuple[int, ...]
    levels: int
    coder: str
    n: int
    block: int
    """Events a block; the last may have fewer."""
    cond: tuple[str, tuple[int, ...]] | None = None
    """The type and the shape of one event's condition, if the events have any."""

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.n // self.block)

    def size(self, i: int) -> int:
        """The number of events in block i."""
        return min(self.block, self.n - i * self.block)

    def encode(self) -> bytes:
        """The JSON form."""
        names = ("model", "weights", "shape", "levels", "coder", "n", "block", "cond")
        record = {k: getattr(self, k) for k in names if getattr(self, k) is not None}
        return json.dumps(record, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Block:
    """A block's bytes, and the CRC-32 of the events that they decode to."""

    payload: bytes
    events_crc: int


@dataclass(frozen=True)
class Container:
    """A header and its blocks."""

    header: Header
    blocks: tuple[Block, ...]

    @property
    def header_bytes(self) -> int:
        """What the file holds beside its blocks and their checksums."""
        return _START.size + len(self.header.encode()) + _CHECKSUM.size

    @property
    def payload_bytes(self) -> int:
        """The blocks, with their lengths and checksums."""
        return sum(len(b.payload) + _ENTRY.size for b in self.blocks)

    def encode(self) -> bytes:
        """The file."""
        header = self.header.encode()
        if len(header) > _MAX_HEADER:
            raise UsageError(f"the header has {len(header):,} bytes; at most {_MAX_HEADER:,}.")
        index = b"".join(
            _ENTRY.pack(len(b.payload), zlib.crc32(b.payload), b.events_crc) for b in self.blocks
        )
        start = _START.pack(MAGIC, VERSION, len(header)) + header + index
        payloads = b"".join(b.payload for b in self.blocks)
        return start + _CHECKSUM.pack(zlib.crc32(start)) + payloads


def parse(data: bytes) -> Container:
    """The container in a file; raises `IntegrityError` for one that is foreign, newer or damaged.

    Blocks are checked too, before anything is decoded.
    """
    if data[:4] != MAGIC:
        raise IntegrityError(
            f"this is no file of compressed events: it starts with {data[:4]!r}, not {MAGIC!r}.",
            hint="give a file that zoo compress wrote",
        )
    if len(data) < _START.size:
        raise _truncated(len(data), _START.size)
    _, version, length = _START.unpack_from(data)
    if version != VERSION:
        raise IntegrityError(
            f"the file is of format {version}; this version reads format {VERSION}.",
            hint="upgrade density-zoo" if version > VERSION else "the file is damaged",
        )
    if len(data) < _START.size + length:
        raise _truncated(len(data), _START.size + length)
    header = _header(data[_START.size : _START.size + length])
    return Container(header, _blocks(data, _START.size + length, header))


def _blocks(data: bytes, start: int, header: Header) -> tuple[Block, ...]:
    end = start + header.blocks * _ENTRY.size
    if len(data) < end + _CHECKSUM.size:
        raise _truncated(len(data), end + _CHECKSUM.size)
    if _CHECKSUM.unpack_from(data, end)[0] != zlib.crc32(data[:end]):
        raise IntegrityError("the header or the index is damaged: its checksum is another one.")
    entries = list(_ENTRY.iter_unpack(data[start:end]))
    position, blocks = end + _CHECKSUM.size, []
    expected = position + sum(length for length, _, _ in entries)
    if len(data) < expected:
        raise _truncated(len(data), expected)
    if len(data) > expected:
        raise IntegrityError(f"{len(data) - expected:,} bytes follow the last block.")
    for i, (length, crc, events_crc) in enumerate(entries):
        payload = data[position : position + length]
        if zlib.crc32(payload) != crc:
            raise IntegrityError(f"block {i} is damaged: its checksum is another one.")
        blocks.append(Block(payload, events_crc))
        position += length
    return tuple(blocks)


def _truncated(size: int, expected: int) -> IntegrityError:
    return IntegrityError(f"the file is cut off: {size:,} bytes of at least {expected:,}.")


def _header(text: bytes) -> Header:
    """The header of a JSON text, every field checked."""
    try:
        record: Any = parse_json(text)
        cond = record.get("cond")
        header = Header(
            model=_text(record["model"]),
            weights=_text(record["weights"]),
            shape=tuple(_positive(side) for side in record["shape"]),
            levels=_positive(record["levels"]),
            coder=_text(record["coder"]),
            n=_positive(record["n"]),
            block=_positive(record["block"]),
            cond=None if cond is None else (_text(cond[0]), tuple(_positive(s) for s in cond[1])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise IntegrityError(
            f"the header is damaged ({type(error).__name__}: {shown(str(error))})."
        ) from None
    values = min(header.n, header.block)
    for side in header.shape:
        values *= side
    if values > _MAX_VALUES:
        raise IntegrityError(
            f"the header tells of blocks of {values:,} values; at most {_MAX_VALUES:,} are read."
        )
    return header


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _positive(value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 48:
        raise ValueError(f"{value!r} is no positive integer")
    return value
