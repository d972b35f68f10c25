"""Weights are data: what is saved is what is loaded, and what is damaged is named."""

import json
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo_core as zoo
from zoo_core.errors import ConfigError, DataError, IntegrityError, NetworkError, OutputError
from zoo_core.weights import golden
from zoo_core.weights.checkpoint import GOLDEN, METADATA, WEIGHTS, sha256
from zoo_core.weights.tensors import load_state

pytestmark = pytest.mark.usefixtures("minis")


@pytest.fixture
def folder(tmp_path):
    """A saved model, with golden tensors."""
    model = zoo.create("mini_ar", side=2, hidden=8)
    return model.save(tmp_path / "m", golden=golden.record(model), license="CC0-1.0", source="us")


def test_a_model_comes_back_bit_for_bit_with_what_was_said_of_it(folder):
    model = zoo.load(str(folder))
    assert (model.config.side, model.training) == (2, False)
    metadata = json.loads((folder / METADATA).read_text())
    assert metadata["license"] == "CC0-1.0" and metadata["arch"] == "mini_ar"
    assert metadata["event"] == {"shape": [1, 2, 2], "levels": 2, "low": None, "high": None}
    assert metadata["params"] == sum(p.numel() for p in model.parameters())
    assert metadata["files"][WEIGHTS]["sha256"] == sha256(folder / WEIGHTS)
    assert set(metadata["files"]) == {WEIGHTS, GOLDEN}
    for name, value in load_file(folder / WEIGHTS).items():
        assert torch.equal(model.state_dict()[name], value)


def test_loading_neither_uses_nor_moves_torchs_generator(folder):
    before = torch.get_rng_state()
    zoo.load(str(folder))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_folder_can_be_saved_over(folder):
    other = zoo.create("mini_ar", side=2, hidden=4)
    other.save(folder)
    assert zoo.load(str(folder)).config.hidden == 4
    assert not (folder / GOLDEN).exists()
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".m")] == []


def test_precision_and_device_are_asked_for(folder):
    assert zoo.load(str(folder), dtype=torch.float64).dtype == torch.float64
    assert zoo.create("mini_ar", dtype=torch.float64).dtype == torch.float64


def test_double_precision_comes_back_without_a_rounding(tmp_path):
    model = zoo.create("mini_ar", side=2, hidden=8, dtype=torch.float64)
    with torch.no_grad():
        next(model.parameters()).add_(1e-12)  # lost in float32
    again = zoo.load(str(model.save(tmp_path / "m")))
    assert again.dtype == torch.float64
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def rewrite(folder, change):
    """Change the tensors, and the hash that is recorded of them."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["files"][WEIGHTS]["sha256"] = sha256(folder / WEIGHTS)
    (folder / METADATA).write_text(json.dumps(metadata))


def put(name, value):
    return lambda tensors: tensors.update({name: value})


TENSORS = {
    "missing: first.bias": lambda tensors: tensors.pop("first.bias"),
    "unexpected: extra": put("extra", torch.ones(1)),
    "mismatched: first.bias is (3,) torch.float32, expected (8,) torch.float32": put(
        "first.bias", torch.ones(3)
    ),
    "mismatched: first.bias is (8,) torch.int64, expected (8,) torch.float32": put(
        "first.bias", torch.ones(8).long()
    ),
    "tensor 'first.bias' holds NaN or infinite values": put(
        "first.bias", torch.full((8,), torch.nan)
    ),
}


@pytest.mark.parametrize("message", TENSORS)
def test_tensors_that_do_not_fit_are_listed(folder, message):
    rewrite(folder, TENSORS[message])
    with pytest.raises(IntegrityError) as caught:
        zoo.load(str(folder))
    assert message in caught.value.message
    assert str(folder / WEIGHTS) in caught.value.message


def test_all_lists_are_given_at_once_and_long_ones_are_cut(folder):
    def change(t):
        t.pop("first.bias")
        t.update({f"x{i:02}": torch.ones(1) for i in range(20)})

    rewrite(folder, change)
    with pytest.raises(
        IntegrityError, match=r"missing: first.bias; unexpected: x00, .* and 12 more"
    ):
        zoo.load(str(folder))


DAMAGED = {
    "truncated": lambda b: b[: len(b) // 2],
    "empty": lambda b: b"",
    "one byte": lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    "a pickle": lambda b: b"\x80\x04}q\x00.",
    "foreign": lambda b: b"GIF89a" + b,
    "an absurd header": lambda b: (1 << 60).to_bytes(8, "little") + b[8:],
}


@pytest.mark.parametrize(
    ("damage", "recorded"),
    [*((d, True) for d in DAMAGED), *((d, False) for d in DAMAGED if d != "one byte")],
)
def test_a_damaged_file_is_an_integrity_error_that_names_it(folder, damage, recorded):
    path = folder / WEIGHTS
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    if not recorded:
        metadata = json.loads((folder / METADATA).read_text())
        del metadata["files"]
        (folder / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(IntegrityError) as caught:
        zoo.load(str(folder))
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 6
    assert caught.value.hint


def test_weights_are_read_without_a_recorded_hash(folder):
    metadata = json.loads((folder / METADATA).read_text())
    del metadata["files"]
    (folder / METADATA).write_text(json.dumps(metadata))
    assert zoo.load(str(folder)).config.side == 2


METADATA_FAULTS = [
    ("{", IntegrityError, "cannot be read as JSON"),
    ("[" * 100_000, IntegrityError, "cannot be read as JSON"),
    ("[]", IntegrityError, "is not a zoo.json of schema 1"),
    ('{"schema": 2, "arch": "mini_ar", "config": {}}', IntegrityError, "schema 1"),
    ('{"schema": 1, "config": {}}', IntegrityError, "must name an `arch`"),
    ('{"schema": 1, "arch": "mini_ar", "config": 3}', IntegrityError, "hold its `config`"),
    ('{"schema": 1, "arch": "mini_ar", "config": {}, "files": []}', IntegrityError, "`files`"),
    ('{"schema": 1, "arch": "mini_ra", "config": {}}', zoo.UnknownNameError, "Did you mean"),
    ('{"schema": 1, "arch": "../mini", "config": {}}', zoo.UnknownNameError, "not a model name"),
    ('{"schema": 1, "arch": "mini_ar", "config": {"side": 0}}', ConfigError, "mini_ar.side = 0"),
    ('{"schema": 1, "arch": "mini_ar", "config": {"x": 0}}', ConfigError, "unknown option"),
    ('{"schema": 1, "arch": "mini_ar", "config": {}}', IntegrityError, "does not fit the model"),
    (" " * (1 << 21), IntegrityError, "larger than"),
]


@pytest.mark.parametrize(("text", "error", "message"), METADATA_FAULTS)
def test_metadata_that_are_wrong_are_refused(folder, text, error, message):
    (folder / METADATA).write_text(text)
    with pytest.raises(error) as caught:
        zoo.load(str(folder))
    assert message in str(caught.value)


def test_what_is_no_model_folder_is_said_to_be_none(folder, tmp_path):
    with pytest.raises(DataError, match="is no model folder: it has no zoo.json"):
        zoo.load(str(tmp_path / "nothing"))
    (folder / WEIGHTS).unlink()
    with pytest.raises(IntegrityError, match=r"model.safetensors is missing"):
        zoo.load(str(folder))
    with pytest.raises(NetworkError, match="is on the Hub and not in the cache"):
        zoo.load("hf://me/model", offline=True)


def test_a_path_that_holds_something_else_is_not_replaced(tmp_path):
    model = zoo.create("mini_ar")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds other files \(notes.txt\)"):
        model.save(tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        model.save(tmp_path / "notes.txt")
    with pytest.raises(OutputError, match="cannot be written"):
        model.save(tmp_path / "notes.txt" / "m")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_save_that_fails_leaves_what_was_there(folder):
    class Unserializable:
        pass

    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(TypeError):
        zoo.create("mini_ar").save(folder, metrics=Unserializable())
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir() if p.name != "m"] == ["site"] * (
        folder.parent / "site"
    ).exists()


def test_golden_tensors_are_reproduced_or_the_difference_is_told(folder):
    model = zoo.load(str(folder))
    golden.check(model, folder)
    with torch.no_grad():
        model.last.bias += 0.5
    with pytest.raises(IntegrityError, match=r"nats differ from the golden ones|samples differ"):
        golden.check(model, folder)
    (folder / GOLDEN).write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"golden.safetensors is damaged"):
        golden.check(model, folder)
    (folder / GOLDEN).unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        golden.check(model, folder)


def test_golden_tensors_of_a_conditional_model_keep_the_conditions(tmp_path):
    model = zoo.create("mini_diffusion")
    tensors = golden.record(model, cond=torch.tensor([0, 1, 2, 0, 1]))
    assert set(tensors) == {"cond", "samples", "x"} and len(tensors["samples"]) == 4
    golden.check(model, model.save(tmp_path / "d", golden=tensors))


def test_load_state_leaves_the_module_alone_when_it_refuses(folder):
    model = zoo.create("mini_ar", side=2, hidden=8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    rewrite(folder, TENSORS["tensor 'first.bias' holds NaN or infinite values"])
    with pytest.raises(IntegrityError):
        load_state(model, folder / WEIGHTS)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


SAVE_FOREVER = """
    import sys
    from importlib.metadata import EntryPoint
    import torch, zoo_core as zoo
    from zoo_core.catalog.plugins import Plugins
    from zoo_core.catalog.registry import Registry, use
    with use(Registry(Plugins([EntryPoint("mini", "zoo_mini.plugin", "density_zoo")]))):
        model = zoo.create("mini_ar", side=2, hidden=8)
        for hidden in range(10**9):
            with torch.no_grad():
                for p in model.parameters():
                    p.fill_(hidden)
            model.save(sys.argv[1], round=hidden)
            print(hidden, flush=True)
"""


def test_a_kill_in_the_middle_of_saving_leaves_a_whole_model(tmp_path):
    """The child saves over and over; killed at any moment, the last complete one loads."""
    path = tmp_path / "m"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SAVE_FOREVER), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    try:
        assert child.stdout.readline().strip() == "0"
        time.sleep(0.2)
    finally:
        child.kill()
    said = [0, *map(int, child.stdout.read().split())]
    child.wait()
    child.stdout.close()
    model = zoo.load(str(path))
    saved = json.loads((path / METADATA).read_text())["round"]
    assert saved >= said[-1]
    assert all(p.eq(saved).all() for p in model.parameters())


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
