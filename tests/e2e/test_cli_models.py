"""The command's verbs that run models: sample, likelihood, data, train; and their bad input."""

import json
import math
import resource
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

FAIR_BITS = math.log2(17)
"""Bits per dimension of fair dice with 17 faces, whatever they are shown."""


def left(folder):
    """Files in a folder, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_sample_writes_the_pixels_of_the_models_events(zoo, home):
    done = zoo("sample", "dice.fair", "-n", 9, "--seed", 5, "--out", "a.png")
    assert (done.code, done.err) == (0, "")
    assert zoo("sample", "dice.fair", "-n", 9, "--seed", 5, "--out", "a.npz").code == 0
    events = np.load(home / "a.npz")["x"]
    assert events.shape == (9, 1, 8, 8)
    picture = Image.open(home / "a.png")
    grey = np.asarray(picture.convert("L")).astype(int)
    tiles = [grey[2 + 66 * (i // 3) :, 2 + 66 * (i % 3) :][:64:8, :64:8] for i in range(9)]
    assert picture.size == (200, 200)
    assert (np.stack(tiles) == np.rint(events[:, 0] / 16 * 255)).all()
    assert picture.text["model"] == "dice.fair"
    assert len(picture.text["weights"]) == 64
    assert {"seed", "sampler", "versions"} <= picture.text.keys()


def test_an_event_depends_on_the_seed_and_its_row_alone(zoo, home):
    zoo("sample", "dice.fair", "-n", 40, "--out", "a.npz")
    zoo("sample", "dice.fair", "-n", 7, "--out", "b.npz", "--batch-size", 3)
    a, b = (np.load(home / name)["x"] for name in ("a.npz", "b.npz"))
    assert (a[:7] == b).all()


def test_sample_reports_what_it_did_as_json(zoo):
    done = zoo("sample", "dice.fair", "--json", "--sampler", "loaded", "--set", "face=7")
    found = done.json
    assert found["out"] == "samples.png"
    assert (found["n"], found["seed"], found["sampler"]) == (16, 0, "loaded")
    assert found["options"] == {"face": 7}


def test_what_is_no_picture_goes_to_npz_by_default(zoo, home):
    assert zoo("sample", "fog.grey", "--set", "shape=3").code == 7
    assert zoo("sample", "fog.grey", "-n", 3).code == 0
    assert (home / "samples.png").exists()  # points of the plane are drawn


def test_classes_are_given_once_or_in_turn(zoo, home):
    assert zoo("sample", "dice.classy", "-n", 5, "--cond", 3, "--out", "a.npz").code == 0
    done = zoo("sample", "dice.classy", "-n", 5, "--cond", "0,1", "--out", "b.npz", "--json")
    assert done.json["cond"] == "0,1"
    np.save(home / "c.npy", np.array([0, 1, 0, 1, 0]))
    assert zoo("sample", "dice.classy", "-n", 5, "--cond", "c.npy", "--out", "c.npz").code == 0
    b, c = (np.load(home / name)["x"] for name in ("b.npz", "c.npz"))
    assert (b == c).all()


def test_a_model_is_loaded_from_a_folder_by_its_path(zoo, site):
    folder = site / "zoo_tiny" / "weights" / "dice.fair"
    assert zoo("sample", folder, "--out", "a.npz").code == 0


def test_likelihood_gives_the_number_its_kind_and_its_error(zoo):
    arguments = ("likelihood", "dice.fair", "--data", "digits")
    found = zoo(*arguments, "--json").json
    assert found == {
        "model": "dice.fair",
        "data": "digits",
        "split": "test",
        "n": 360,
        "method": "exact",
        "kind": "exact",
        "relation": "equal",
        "events": "integers 0..16 of shape 1x8x8",
        "nats": pytest.approx(-64 * math.log(17), rel=1e-6),
        "bits_per_dim": pytest.approx(FAIR_BITS, rel=1e-6),
        "bits_per_dim_std_err": pytest.approx(0, abs=1e-5),
        "std_err": pytest.approx(0, abs=1e-4),
    }
    text = zoo(*arguments, "--split", "valid").out
    assert text.startswith("log p = -181.3")
    assert "4.0875" in text and "exact, n=237, digits valid" in text


def test_the_error_of_one_event_is_not_known(zoo):
    arguments = ("likelihood", "dice.fair", "--data", "digits", "--limit", 1)
    assert "+- ? nats" in zoo(*arguments).out
    found = zoo(*arguments, "--json").json
    assert found["n"] == 1 and found["std_err"] is found["bits_per_dim_std_err"] is None


def test_a_bound_is_marked_as_one(zoo):
    arguments = ("likelihood", "dice.fair", "--data", "digits", "--method", "tiny_bound")
    found = zoo(*arguments, "--set", "slack=0.5", "--json").json
    assert (found["method"], found["relation"]) == ("tiny_bound", "lower")
    assert found["kind"] == "tiny_bound(slack=0.5)"
    assert found["nats"] == pytest.approx(-64 * math.log(17) - 0.5, rel=1e-6)
    assert zoo(*arguments).out.startswith("log p >= ")


def test_a_model_of_classes_takes_the_datas_labels(zoo):
    arguments = ("likelihood", "dice.classy", "--data", "digits", "--json")
    assert zoo(*arguments).json["bits_per_dim"] == pytest.approx(FAIR_BITS, rel=1e-6)
    refused = zoo(*arguments, "--cond", "none")
    assert refused.code == 7
    assert "class 0..9" in json.loads(refused.err)["message"]


def test_a_limit_takes_a_permutation_by_the_seed_and_says_so(zoo):
    from zoo_core.cli.scored_events import first_of_permutation

    def _indices(size, limit, seed):
        return first_of_permutation(size, limit, seed, "zoo likelihood --limit")

    done = zoo("likelihood", "dice.fair", "--data", "digits", "--limit", 50, "--seed", 3)
    assert "n=50" in done.out
    assert "50 of 360" in done.err and "seed 3" in done.err
    first, again, other = _indices(360, 50, 3), _indices(360, 50, 3), _indices(360, 50, 4)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(set(first.tolist())) == 50
    assert first.tolist() != list(range(50))
    assert torch.equal(_indices(360, 80, 3)[:50], first)
    assert "50 of" not in zoo("likelihood", "dice.fair", "--data", "digits", "--quiet").err


def test_a_map_needs_conditionals_and_a_file_it_can_write(zoo, home):
    arguments = ("likelihood", "dice.fair", "--data", "digits", "--map")
    refused = zoo(*arguments, "map.png")
    assert refused.code == 2 and "Conditionals" in refused.err
    assert zoo(*arguments, "map.jpg").code == 7
    assert not list(home.glob("map.*"))


def test_data_lists_and_describes_data_sets(zoo):
    rows = {row["name"]: row for row in zoo("data", "--json").json}
    assert {"digits", "ising", "moons", "npz"} <= rows.keys()
    assert all(row["license"] for row in rows.values())
    found = zoo("data", "info", "digits", "--json").json
    assert found["splits"] == {"train": 1200, "valid": 237, "test": 360}
    assert found["event"]["levels"] == 17
    assert found["provenance"]
    assert "integers 0..16 of shape 1x8x8" in zoo("data", "info", "digits").out


def test_samples_are_data(zoo, home):
    zoo("sample", "dice.fair", "-n", 12, "--out", "a.npz")
    found = zoo("data", "info", "npz:a.npz", "--json").json
    assert sum(found["splits"].values()) == 12
    score = ("likelihood", "dice.fair", "--data", "npz:a.npz", "--json")
    assert zoo(*score).json["bits_per_dim"] == pytest.approx(FAIR_BITS, rel=1e-6)
    events = np.load(home / "a.npz")["x"]
    np.savez(home / "b.npz", x=events % 5)
    assert zoo("likelihood", "dice.fair", "--data", "npz:b.npz").code == 7
    told = ("--data", "npz:b.npz", "--data-option", "levels=17")
    assert zoo("likelihood", "dice.fair", *told).code == 0


SAMPLE = ("sample", "dice.fair", "--out", "a.png")
SCORE = ("likelihood", "dice.fair", "--data")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([*SAMPLE, "-n", "0"], 2, ["'-n'", "0 is not in the range"]),
        ([*SAMPLE, "-n", "-3"], 2, ["'-n'"]),
        ([*SAMPLE, "-n", "many"], 2, ["'many'"]),
        ([*SAMPLE, "--batch-size", "0"], 2, ["--batch-size"]),
        ([*SAMPLE, "--set", "face"], 2, ["'face' is not NAME=VALUE"]),
        ([*SAMPLE, "--set", "face=1", "--set", "face=2"], 2, ["given twice"]),
        ([*SAMPLE, "--sampler", "lodaed"], 3, ["unknown sampler 'lodaed'", "loaded"]),
        ([*SAMPLE, "--sampler", "loaded", "--set", "fase=1"], 7, ["loaded.fase", "face"]),
        ([*SAMPLE, "--sampler", "loaded", "--set", "face=17"], 7, ["face = 17", "[0, 16]"]),
        ([*SAMPLE, "--sampler", "loaded", "--set", "face=six"], 7, ["'six'", "type int"]),
        ([*SAMPLE, "--set", "seed=1"], 7, ["unknown option", "seed"]),
        ([*SAMPLE, "--cond", "3"], 7, ["takes no condition"]),
        ([*SAMPLE, "--device", "cuda:99"], 2, ["'cuda:99'", "--device cpu"]),
        ([*SAMPLE, "--device", "gpu"], 2, ["'gpu'"]),
        (["sample", "dice.fair", "--out", "a.jpg"], 7, ["'.jpg'", ".png or .npz"]),
        (["sample", "dice.fair", "--out", "."], 7, ["."]),
        (["sample", "dice.fair", "--out", "/proc/none/a.png"], 7, ["/proc/none/a.png"]),
        (["sample", "dice.fair", "-n", "400000", "--out", "a.png"], 2, ["400000", "npz"]),
        (["sample", "dice"], 3, ["names an architecture", "dice.fair"]),
        (["sample", "dice.planned"], 3, ["recipe", "zoo train --recipe dice.planned"]),
        (["sample", "./nowhere"], 7, ["nowhere", "zoo.json"]),
        (["sample", "hf://org/model", "--offline"], 5, ["Hub"]),
        (["sample", "org/model"], 3, ["./org/model", "hf://org/model"]),
        (["sample", "dice.classy", "--out", "a.png"], 7, ["class 0..9", "--cond"]),
        (["sample", "dice.classy", "--cond", "10", "--out", "a.png"], 7, ["cond", "10"]),
        (["sample", "dice.classy", "--cond", "x", "--out", "a.png"], 2, ["--cond 'x'"]),
        (["sample", "dice.classy", "--cond", "no.npy", "--out", "a.png"], 7, ["no.npy"]),
        ([*SAMPLE, "--fixed", "no.npz"], 7, ["no.npz"]),
        ([*SCORE, "digits", "--split", "dev"], 7, ["'dev'", "train, valid, test"]),
        ([*SCORE, "digits", "--limit", "0"], 2, ["--limit"]),
        ([*SCORE, "digitz"], 3, ["digitz"]),
        ([*SCORE, "./a.npz"], 7, ["a.npz does not exist"]),
        (
            [*SCORE, "a/b"],
            3,
            ["'a/b' does not exist", "an .npz or .npy file, a table", "or a folder"],
        ),
        ([*SCORE, "npz:no.npz"], 7, ["no.npz"]),
        ([*SCORE, "ising"], 7, ["integers 0..1 ", "integers 0..16 "]),
        ([*SCORE, "moons"], 7, ["shape 2", "1x8x8"]),
        ([*SCORE, "moons", "--data-option", "nose=1"], 7, ["moons.nose", "seed, sd"]),
        ([*SCORE, "digits", "--method", "elbo"], 2, ["Encoder"]),
        (["likelihood", "dice.fair"], 2, ["--data"]),
        (["likelihood", "fog.grey", "--data", "moons"], 2, ["no p(x)"]),
        (["data", "info", "digitz"], 3, ["digitz"]),
        (["train", "--recipe", "dice.fair"], 3, ["no recipe"]),
        (["train", "--recipe", "./no.toml"], 7, ["no.toml"]),
    ],
)
def test_bad_input_is_refused_with_its_exit_code_and_leaves_no_file(
    zoo, home, arguments, code, words
):
    done = zoo(*arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("zoo: error: ") and "Traceback" not in done.err
    for word in words:
        assert word in done.err
    assert left(home) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"PK\x03\x04" + data,
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"",
    ],
    ids=["truncated", "foreign", "absurd header", "one bit", "empty"],
)
def test_damaged_weights_are_refused_by_name(zoo, site, home, damage):
    import shutil

    folder = home / "weights"
    shutil.copytree(site / "zoo_tiny" / "weights" / "dice.fair", folder)
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    done = zoo("sample", folder)
    assert done.code == 6
    assert "model.safetensors" in done.err and "Traceback" not in done.err
    assert not (home / "samples.png").exists()


@contextmanager
def files_of_at_most(size):
    """No file may grow beyond `size` bytes: what a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_the_old_file_and_no_half_of_a_new_one(zoo, home):
    (home / "a.npz").write_bytes(b"precious")
    with files_of_at_most(20_000):
        done = zoo("sample", "dice.fair", "-n", 5000, "--out", "a.npz")
    assert done.code == 7
    assert "a.npz" in done.err and "Traceback" not in done.err
    assert left(home) == ["a.npz"]
    assert (home / "a.npz").read_bytes() == b"precious"


def test_what_cannot_fit_on_the_disk_is_refused_before_sampling(zoo, home, monkeypatch):
    usage = SimpleNamespace(total=10**6, used=0, free=10**6)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    done = zoo("sample", "fog.grey", "-n", 10**6, "--out", "a.npz")
    assert done.code == 7
    assert "7,000,000 bytes, and 1,000,000 are free" in done.err
    assert left(home) == []


def test_a_huge_n_streams_and_an_interrupt_leaves_nothing(zoo, home):
    def interrupt(*_):
        """Ctrl-C, as soon as a part of the file is on the disk."""
        if any(p.stat().st_size > 1 << 15 for p in home.glob(".a.npz*")):
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        done = zoo("sample", "dice.fair", "-n", 4_000_000_000, "--out", "a.npz")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == "zoo: interrupted"
    assert left(home) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["sample", "dice.fair", "--out"],
        ["sample", "dice.fair", "--trace"],
        ["likelihood", "dice.fair", "--data", "digits", "--map"],
        ["evaluate", "dice.fair", "--out"],
        ["compare", "dice.fair", "--out"],
    ],
)
def test_a_file_goes_into_a_folder_that_is_there(zoo, home, argv):
    done = zoo(*argv, "nowhere/x.png")
    assert done.code == 7 and done.err.splitlines()[1] == "hint: mkdir -p nowhere"
    (home / "file").touch()
    done = zoo(*argv, "file/x.png")
    assert done.code == 7 and "file is no folder" in done.err
    assert [p.name for p in home.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["compare", "--study", "toy", "--data", "digits"], "--data is not for a study"),
        (["compare", "dice.fair", "--minutes", "1"], "--minutes is for a study"),
        (["compare", "dice.fair", "dice.fair"], "dice.fair is named twice"),
        (["evaluate", "dice.fair", "--verify", "--limit", "3"], "--limit is not for --verify"),
        (["serve", ".", "--keyfile", "k"], "--keyfile needs its certificate"),
    ],
)
def test_what_would_do_nothing_is_refused(zoo, home, argv, words):
    done = zoo(*argv)
    assert done.code == 2 and words in done.err and done.out == ""


def test_arrays_of_objects_are_refused_without_advice_to_load_them(zoo, home):
    np.save(home / "o.npy", np.array([{}], dtype=object))
    np.savez(home / "o.npz", values=np.array([{}], dtype=object), mask=np.ones(1))
    (home / "long.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535)
    for file in ("o.npy", "long.npy"):
        done = zoo("sample", "dice.classy", "--cond", file, "--out", "x.npz")
        assert done.code == 7 and "allow_pickle" not in done.err
    done = zoo("sample", "dice.fair", "--fixed", "o.npz", "--out", "x.npz")
    assert done.code == 7 and "allow_pickle" not in done.err
