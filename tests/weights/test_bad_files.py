"""Files that are not what they claim to be, or that ask for more than they hold.

Rows 2, 4-10 and 22 of the list of bad inputs in the design notes.
"""

import json
import struct
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo_core as zoo
from zoo_core.errors import ConfigError, DataError, IntegrityError, UnknownNameError, ZooError
from zoo_core.weights.checkpoint import METADATA, WEIGHTS, sha256

pytestmark = pytest.mark.usefixtures("minis")


@pytest.fixture
def folder(tmp_path):
    """A saved model without recorded hashes, so that the reader itself is what refuses."""
    path = zoo.create("mini_ar", side=2, hidden=8).save(tmp_path / "m")
    metadata = json.loads((path / METADATA).read_text()) | {"files": {}}
    (path / METADATA).write_text(json.dumps(metadata))
    return path


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(start, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' * 2
FILES = {
    "a pickle by that name": b"\x80\x04cos\nsystem\n(S'touch x'\ntR.",
    "a header of 2^63": struct.pack("<Q", 1 << 63) + b"{}",
    "a header of 2^64-1": b"\xff" * 16,
    "overlapping": safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "a hole": safetensors({"a": tensor(0, 8), "b": tensor(12, 20)}, bytes(20)),
    "trailing bytes": safetensors({"a": tensor(0, 8)}, bytes(9)),
    "names twice": safetensors(TWICE[:-1] + b"}", bytes(4)),
    "an overflowing shape": safetensors({"a": tensor(0, 8, (1 << 62, 8))}, bytes(8)),
    "another size than its shape": safetensors({"a": tensor(0, 8, (3,))}, bytes(8)),
    "a negative offset": safetensors({"a": tensor(-8, 0)}, bytes(8)),
    "an unknown dtype": safetensors({"a": tensor(0, 8, dtype="X9")}, bytes(8)),
    "no JSON": safetensors(b"{nothing"),
    "no text": safetensors(b"\xff\xfe{}"),
    "a list": safetensors(b"[]"),
    "deep JSON": safetensors(b"[" * 100_000),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_safetensors_is_refused_at_once(folder, what):
    (folder / WEIGHTS).write_bytes(FILES[what])
    start = time.monotonic()
    with pytest.raises(IntegrityError, match=WEIGHTS):
        zoo.load(str(folder))
    assert time.monotonic() - start < 1


def test_a_header_that_is_too_long_is_refused_unread(folder):
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", (100 << 20) + 1))
        file.truncate((100 << 20) + 100)  # sparse
    start = time.monotonic()
    with pytest.raises(IntegrityError, match="header claims 104857601 bytes"):
        zoo.load(str(folder))
    assert time.monotonic() - start < 1


def test_a_million_empty_tensors_are_refused_unread(folder):
    line = b'"%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(line % i for i in range(1_000_000)) + b"}"
    (folder / WEIGHTS).write_bytes(safetensors(header))
    start = time.monotonic()
    with pytest.raises(IntegrityError, match="header claims"):
        zoo.load(str(folder))
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "fırst.bias", "x" * 1_000_000])
def test_names_of_tensors_are_keys_and_never_paths(folder, tmp_path, name):
    before = {p for p in tmp_path.rglob("*") if p != folder / WEIGHTS}
    save_file(load_file(folder / WEIGHTS) | {name: torch.ones(1)}, folder / WEIGHTS)
    with pytest.raises(IntegrityError, match="unexpected: ") as caught:
        zoo.load(str(folder))
    assert len(str(caught.value)) < 2000
    assert {p for p in tmp_path.rglob("*") if p != folder / WEIGHTS} == before


SIDE = '"config": {"side": %s, "hidden": 8}'
CONFIGS = {
    '"config": {"side": 1e400}': (ConfigError, "side"),
    SIDE % "-1": (ConfigError, "side = -1"),
    SIDE % '"2"': (ConfigError, "side"),
    SIDE % "null": (ConfigError, "side"),
    '"config": {"side": 2, "hidden": 1000000000}': (ZooError, "hidden|does not fit"),
    '"config": {"side": 2, "hidden": 1000000000000000000000}': (ZooError, "hidden|does not fit"),
    '"config": {"__class__": "os:system"}': (ConfigError, "unknown option mini_ar.__class__"),
    '"config": []': (IntegrityError, "`config`"),
}


@pytest.mark.parametrize("text", CONFIGS)
def test_a_config_that_cannot_be_is_refused_before_anything_is_allocated(folder, text):
    error, message = CONFIGS[text]
    (folder / METADATA).write_text(f'{{"schema": 1, "arch": "mini_ar", {text}}}')
    start = time.monotonic()
    with pytest.raises(error, match=message):
        zoo.load(str(folder))
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", IntegrityError),
        ("\0", IntegrityError),
        (" " * (50 << 20), IntegrityError),
        ('{"schema": 1, "arch": "os:system", "config": {}}', UnknownNameError),
        ('{"schema": 1, "arch": "nothing", "config": {}}', UnknownNameError),
    ],
)
def test_metadata_that_are_none_are_refused(folder, text, error):
    (folder / METADATA).write_text(text)
    with pytest.raises(error):
        zoo.load(str(folder))


# Sharded weights


@pytest.fixture
def sharded(folder):
    """The same model in two files and their index."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    half = len(names) // 2
    weight_map = {}
    for i, part in enumerate((names[:half], names[half:]), 1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return folder


def listed(folder, *names):
    """Let zoo.json list these files with their hashes."""
    metadata = json.loads((folder / METADATA).read_text())
    metadata["files"] = {name: {"sha256": sha256(folder / name), "size": 1} for name in names}
    (folder / METADATA).write_text(json.dumps(metadata))


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def test_sharded_weights_are_those_of_one_file(sharded):
    whole = zoo.load(str(sharded)).state_dict()
    (sharded / WEIGHTS).unlink()
    parts = zoo.load(str(sharded)).state_dict()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_a_missing_and_a_damaged_shard_are_named(sharded):
    (sharded / WEIGHTS).unlink()
    listed(sharded, f"{WEIGHTS}.index.json", *SHARDS)
    shard = sharded / SHARDS[1]
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=f"{shard.name} is damaged"):
        zoo.load(str(sharded))
    shard.unlink()
    with pytest.raises(IntegrityError, match=f"{shard.name} is missing"):
        zoo.load(str(sharded))


INDEXES = {
    "no JSON": "{",
    "no map": "{}",
    "a list": "[]",
    "a path": '{"weight_map": {"a": "../model-00001-of-00002.safetensors"}}',
    "an absolute path": '{"weight_map": {"a": "/etc/passwd"}}',
    "a number": '{"weight_map": {"a": 3}}',
    "a pickle": '{"weight_map": {"a": "model.bin"}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("what", INDEXES)
def test_an_index_that_leads_elsewhere_is_refused(sharded, what):
    (sharded / WEIGHTS).unlink()
    (sharded / f"{WEIGHTS}.index.json").write_text(INDEXES[what])
    with pytest.raises(IntegrityError, match="index.json"):
        zoo.load(str(sharded))


def test_one_tensor_in_two_shards_is_refused(sharded):
    (sharded / WEIGHTS).rename(sharded / "model-00001-of-00002.safetensors")
    with pytest.raises(IntegrityError, match="is in another shard too"):
        zoo.load(str(sharded))


def test_a_folder_without_metadata_is_no_model(tmp_path):
    with pytest.raises(DataError, match="is no model folder"):
        zoo.load(str(tmp_path))
