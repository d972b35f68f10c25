"""`zoo compress` and `zoo decompress`: files that come back, and files that are refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from zoo_core.cli.app import run

pytest.importorskip("constriction")

ARGUMENTS = ("compress", "digits", "--model", "made.digits", "--limit", 30, "--block", 10)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def zoo(home, capsys):
    """The command with the plugins that are installed."""

    def call(*argv):
        code = run([*map(str, argv), "--quiet"])
        out, err = capsys.readouterr()
        found = json.loads(out) if "--json" in argv and code == 0 else None
        return SimpleNamespace(code=code, out=out, err=err, json=found)

    return call


@pytest.fixture
def packed(zoo, home):
    done = zoo(*ARGUMENTS, "--out", "x.zoo", "--verify", "--codecs", "--json")
    assert done.code == 0, done.err
    return done.json


def test_the_report_states_what_is_counted_and_what_is_not(zoo, home, packed):
    assert packed["kind"] == "exact" and packed["decoded"] == packed["n"] == 30
    assert packed["bytes"] == packed["payload_bytes"] + packed["header_bytes"]
    assert packed["bytes"] == (home / "x.zoo").stat().st_size
    assert packed["header_bytes"] <= 256
    assert {"PNG", "zstd -19", "bz2 -9"} <= {c["codec"] for c in packed["codecs"]}
    text = zoo(*ARGUMENTS, "--out", "y.zoo").out
    assert "ratio" in text and "not counted: the model" in text


def test_blocks_are_decoded_by_themselves(zoo, home, packed):
    assert zoo("decompress", "x.zoo", "--out", "all.npz").code == 0
    assert zoo("decompress", "x.zoo", "--out", "one.npz", "--block", 1).code == 0
    everything, one = (np.load(home / name)["x"] for name in ("all.npz", "one.npz"))
    assert everything.shape == (30, 1, 8, 8)
    assert (one == everything[10:20]).all()


def test_damaged_foreign_and_mismatched_files_are_integrity_errors(zoo, home, packed):
    data = (home / "x.zoo").read_bytes()
    (home / "cut.zoo").write_bytes(data[:-1])
    (home / "foreign.zoo").write_bytes(b"\x89PNG" + data[4:])
    for name in ("cut.zoo", "foreign.zoo"):
        assert zoo("decompress", name, "--out", "z.npz").code == 6
    refused = zoo("decompress", "x.zoo", "--model", "gated_pixelcnn.digits", "--out", "z.npz")
    assert refused.code == 6 and "weights" in refused.err
    assert not (home / "z.npz").exists()


def test_a_model_without_a_code_says_why_before_anything_is_computed(zoo):
    refused = zoo("compress", "digits", "--model", "glow.digits", "--out", "x.zoo", "--json")
    assert refused.code == 2
    assert "local bits-back" in json.loads(refused.err)["message"]
