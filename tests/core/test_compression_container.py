"""Laws of the file of compressed events: what is damaged, foreign or newer is refused."""

import random

import pytest

from zoo_core.compression.container import Block, Container, Header, parse
from zoo_core.errors import IntegrityError

HEADER = Header("made.digits", "0" * 32, (1, 8, 8), 17, "conditionals", 25, 10)
FILE = Container(HEADER, tuple(Block(bytes([i] * 9), 7) for i in range(3)))


def test_a_container_is_read_as_it_was_written():
    data = FILE.encode()
    assert parse(data) == FILE
    assert len(data) == FILE.header_bytes + FILE.payload_bytes
    assert [HEADER.size(i) for i in range(HEADER.blocks)] == [10, 10, 5]


def test_every_changed_byte_is_refused():
    data = FILE.encode()
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 0x41
        with pytest.raises(IntegrityError):
            parse(bytes(changed))


def test_every_cut_and_every_byte_too_many_is_refused():
    data = FILE.encode()
    for size in range(len(data)):
        with pytest.raises(IntegrityError):
            parse(data[:size])
    with pytest.raises(IntegrityError, match="follow the last block"):
        parse(data + b"\0")


def test_a_newer_format_asks_for_an_upgrade():
    data = bytearray(FILE.encode())
    data[4] = 2
    with pytest.raises(IntegrityError, match="format 2") as refused:
        parse(bytes(data))
    assert "upgrade" in refused.value.hint


def test_a_foreign_file_is_named_as_such():
    with pytest.raises(IntegrityError, match="no file of compressed events"):
        parse(b"PK\3\4" + bytes(100))


@pytest.mark.parametrize(
    "change",
    [{"n": 0}, {"n": True}, {"block": "10"}, {"shape": [1 << 20, 1 << 20]}, {"levels": -1}],
    ids=str,
)
def test_a_header_with_a_valid_checksum_is_not_trusted(change):
    fields = {**HEADER.__dict__, "cond": None, **change}
    with pytest.raises((IntegrityError, TypeError)):
        crafted = _Crafted(**fields)
        parse(Container(crafted, FILE.blocks).encode())


class _Crafted(Header):
    @property
    def blocks(self):
        return 3


def test_random_files_raise_nothing_but_integrity_errors():
    draw, data = random.Random(0), FILE.encode()
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(draw.randrange(1, 6)):
            at = draw.randrange(len(changed) + 1)
            piece = draw.randbytes(draw.randrange(4))
            changed[at : at + draw.randrange(4)] = piece
        if bytes(changed) != data:
            with pytest.raises(IntegrityError):
                parse(bytes(changed))
