"""Pickles of any class are read as data: tensors and arguments, and nothing of them is run."""

import collections
import os
import pickle
import pickletools
import random
import sys
import types

import pytest
import torch
from foreign_pickles import SOURCE, Evil, Persistent, persistent_module, write_pickle
from safetensors.torch import load_file
from torch import nn

from zoo_core.weights import third_party, unpickle
from zoo_core.weights.inert_files import read_inert

TENSORS = {
    "a.weight": torch.arange(6.0).view(2, 3),
    "a.b.bias": torch.ones(2),
    "scale": torch.eye(2),
}


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch):
    """What the child does is done here, so that what it would run shows here."""
    monkeypatch.setattr(unpickle, "_limit", lambda _: None)


@pytest.fixture(autouse=True)
def _nothing_is_run():
    """No module is imported while a test reads, but those of torch and of ours."""
    yield
    assert not any(name.startswith(("torch_utils", "dnnlib", "training")) for name in sys.modules)


def converted(path):
    """The tensors and the modules of a file, as the child reads it."""
    out = path.with_suffix(".safetensors")
    answer = unpickle._child(str(path), str(out), 1 << 30)
    return load_file(out), answer["modules"]


def test_a_persistent_module_gives_its_tensors_and_its_arguments(tmp_path):
    arguments = {"img_resolution": 8, "channel_mult": [1, 2], "model_type": "SongUNet"}
    write_pickle(
        tmp_path / "w.pkl", {"ema": persistent_module(TENSORS, "EDMPrecond", arguments), "n": 1}
    )
    tensors, modules = converted(tmp_path / "w.pkl")
    assert {k.removeprefix("ema."): v.tolist() for k, v in tensors.items()} == {
        k: v.tolist() for k, v in TENSORS.items()
    }
    assert modules == {"ema": {"class": "EDMPrecond", "positional": [], "arguments": arguments}}


def test_a_module_as_python_pickles_it_gives_its_state_dict(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    net.register_buffer("hidden", torch.ones(5), persistent=False)
    torch.save(net, tmp_path / "zip.pt")
    torch.save(net, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"net": net}))
    for name, prefix in (("zip.pt", ""), ("old.pt", ""), ("plain.pkl", "net.")):
        tensors, modules = converted(tmp_path / name)
        assert modules == {}
        assert tensors.keys() == {prefix + k for k in net.state_dict()}
        assert all(torch.equal(tensors[prefix + k], v) for k, v in net.state_dict().items())


TYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_form_of_tensor_is_read_as_torch_reads_it(tmp_path, zipped):
    base = torch.arange(24.0).view(2, 3, 4)
    held = {str(t): base.to(t) for t in (*TYPES, torch.uint16)}
    held |= {"part": base[1, :, 1:3], "same": base, "turned": base.permute(2, 0, 1)}
    held |= {"none": torch.zeros(0, 3), "one": torch.tensor(3.0), "leaf": nn.Parameter(base)}
    torch.save(held, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    found = read_inert(tmp_path / "w.pt")
    assert found.keys() == held.keys()
    for name, tensor in held.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_what_trainers_put_around_a_state_dict_is_left_out(tmp_path):
    """Lightning's checkpoints hold hyperparameters and callbacks of any class."""
    module = types.ModuleType("acme_trainer")
    for name in ("Callback", "Hyperparameters"):
        kind = type(name, (dict,), {"__module__": "acme_trainer"})
        setattr(module, name, kind)
    sys.modules["acme_trainer"] = module
    held = {
        "state_dict": {f"net.module.{k}": v for k, v in TENSORS.items()},
        "hyper_parameters": module.Hyperparameters(width=8),
        "callbacks": {module.Callback: module.Callback(best=1.5)},
        "epoch": 3,
        "loops": collections.deque([1]),
    }
    torch.save(held, tmp_path / "w.ckpt")
    del sys.modules["acme_trainer"]
    out = tmp_path / "w.safetensors"
    answer = unpickle._child(str(tmp_path / "w.ckpt"), str(out), 1 << 30)
    assert load_file(out).keys() == {f"state_dict.net.module.{k}" for k in TENSORS}
    assert "hyper_parameters.width" in answer["left_out"]


def evil_forms(marker):
    """A dangerous object at each place where a file may hold one."""
    evil = Evil(marker)
    persistent = persistent_module(TENSORS, "Net", {"evil": evil})
    in_state = persistent_module(TENSORS, "Net")
    in_state.meta["state"]["_modules"]["x"] = evil
    return {
        "an entry": {"w": torch.ones(1), "x": evil},
        "an argument": {"ema": persistent},
        "a part": {"ema": in_state},
        "a key": {"w": torch.ones(1), (1, evil): 2},
        "the source": {"ema": Persistent("Net", {"w": torch.ones(1)}, source=evil)},
        "alone": evil,
    }


@pytest.mark.parametrize("form", ["plain", "zip", "old"])
@pytest.mark.parametrize("place", evil_forms(None))
def test_what_asks_for_a_function_of_python_is_refused_and_runs_nothing(tmp_path, place, form):
    marker = tmp_path / "marker"
    write_pickle(tmp_path / "w.pt", evil_forms(marker)[place], form)
    with pytest.raises(pickle.UnpicklingError) as caught:
        converted(tmp_path / "w.pt")
    assert unpickle._why(caught.value) == (
        f"it asks for {os.name}.mkdir, and may run code when it is loaded"
    )
    assert not marker.exists()


def by_hand(*lines):
    """A pickle that no pickler writes, from its instructions."""
    return b"\x80\x02" + b"".join(lines) + b"."


MADE = b"ctorch._utils\n_rebuild_parameter\n"
BY_HAND = {
    "a builder is set": by_hand(MADE, b"}X\x01\x00\x00\x00aK\x01sb"),
    "a name is called in vain": by_hand(b"K\x01(K\x02tR"),
    "an item of a name": by_hand(MADE, b"K\x01K\x02s"),
    "an item of a text": by_hand(b"X\x01\x00\x00\x00aK\x01a"),
    "an extension": by_hand(b"\x82\x01"),
    "a buffer outside": by_hand(b"\x97"),
    "a class of ours": by_hand(b"czoo_core.weights.unpickle\nunpickle\n)R}b"),
    "a persistent id": by_hand(b"K\x01Q"),
    "a codec": by_hand(b"c_codecs\nlookup\n(X\x03\x00\x00\x00hextR"),
    "getattr": by_hand(b"cbuiltins\ngetattr\n(K\x01X\x01\x00\x00\x00atR"),
    "Python 2's eval": by_hand(b"c__builtin__\neval\n(X\x03\x00\x00\x001/0tR"),
    "an instance of old": by_hand(b"(ios\nsystem\n"),
    "a dotted name": by_hand(b"cbuiltins\nstr.format\n(tR"),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_instructions_that_no_pickler_writes_change_nothing(tmp_path, what):
    (tmp_path / "w.pkl").write_bytes(BY_HAND[what])
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the reason is told by `_why`
        converted(tmp_path / "w.pkl")
    assert unpickle._why(caught.value)
    assert not (tmp_path / "w.safetensors").exists()


def test_whatever_the_bytes_the_reader_ends_and_runs_nothing(tmp_path, monkeypatch):
    """Bytes of good pickles, and of evil ones, changed at random."""
    monkeypatch.chdir(tmp_path)
    marker, draw = tmp_path / "marker", random.Random(0)
    texts = []
    for form in ("plain", "zip", "old"):
        write_pickle(tmp_path / "w.pt", {"ema": persistent_module(TENSORS, "Net", {"n": 1})}, form)
        texts.append((tmp_path / "w.pt").read_bytes())
        write_pickle(tmp_path / "w.pt", evil_forms(marker)["a part"], form)
        texts.append((tmp_path / "w.pt").read_bytes())
    opcodes = [ord(op.code) for op in pickletools.opcodes]
    before = {m for m in sys.modules if not m.startswith(("torch", "encodings"))}
    for _ in range(400):
        content = bytearray(draw.choice(texts))
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(len(content))
            content[place] = draw.choice((draw.choice(opcodes), draw.randrange(256)))
        (tmp_path / "f.pt").write_bytes(content)
        try:
            read_inert(tmp_path / "f.pt")
        except Exception as error:
            assert unpickle._why(error)
    assert {p.name for p in tmp_path.iterdir()} <= {"w.pt", "f.pt", "site"}
    after = {m for m in sys.modules if not m.startswith(("torch", "encodings"))}
    assert after == before


def test_reading_a_pickle_gives_its_modules_beside_the_tensors(tmp_path):
    write_pickle(tmp_path / "w.pkl", {"ema": persistent_module(TENSORS, "Net", {"n": 3})})
    foreign = third_party.read(tmp_path / "w.pkl")
    assert foreign.configs["w.pkl"]["ema"]["arguments"] == {"n": 3}
    assert foreign.tensors[""].keys() == {f"ema.{k}" for k in TENSORS}
    assert SOURCE not in str(foreign.configs)
