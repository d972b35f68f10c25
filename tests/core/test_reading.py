"""Files of which nothing is known: their kind, size and depth are looked at before any work."""

import os
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

import zoo_core as zoo
from zoo_core import config as configs
from zoo_core.catalog import lockfile as pins
from zoo_core.catalog import plugin_config
from zoo_core.data import load_dataset
from zoo_core.data.arrays import read_array, read_npy
from zoo_core.data.writers import read_metadata as read_written
from zoo_core.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    PluginError,
    UsageError,
    ZooError,
)
from zoo_core.installing.requirements import parse_requirement
from zoo_core.latent import interpolate, plane
from zoo_core.memory import available, require_memory
from zoo_core.reading import (
    MAX_TEXT,
    literal,
    parse_json,
    parse_toml,
    read_json,
    read_text,
    read_toml,
    regular,
    shown,
)
from zoo_core.weights import golden
from zoo_core.weights.checkpoint import METADATA, WEIGHTS
from zoo_core.weights.detect_format import detect_converter
from zoo_core.weights.hub.cache import Store, fits
from zoo_core.weights.hub.listing import Listed
from zoo_core.weights.tensors import read_tensors
from zoo_core.weights.unpickle import unpickle
from zoo_core.workflows.recipe import load_recipe, parse_recipe
from zoo_core.workflows.verification import read_record

SECONDS = 2.0
"""Of one reading; each takes some milliseconds, and some took minutes or never ended."""


@pytest.fixture(autouse=True)
def _at_once():
    """No test here may take long: the bounds come before the work."""
    before = time.process_time()
    yield
    assert time.process_time() - before < SECONDS


DEEP = {
    "lists": "[" * 500_000,
    "closed lists": "[" * 900 + "]" * 900,
    "tables": '{"a":' * 100_000,
    "just too deep": "[" * 65 + "]" * 65,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_json_that_is_nested_too_deeply_is_a_value_error(text):
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        parse_json(text)
    with pytest.raises(ConfigError, match="nested more than 64 deep"):
        literal(text)


TOML = {
    "lists": "a = " + "[" * 100_000,
    "closed lists": "a = " + "[" * 100 + "]" * 100,
    "tables": "a = " + "{b = " * 100_000,
    "a dotted key": "a." * 500_000 + "a = 1",
    "a quoted dotted key": '"\\"" . ' * 100_000 + "a = 1",
    "a header": "[" + "'a'." * 100_000 + "a]",
    "a long number": "a = " + "1" * 100_000,
}


@pytest.mark.parametrize("text", TOML.values(), ids=TOML)
def test_toml_that_costs_more_than_it_says_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_toml(text)


def test_what_keeps_the_bounds_is_read_as_it_is():
    assert parse_json("[" * 64 + "]" * 64)
    assert parse_toml("a.b.c = [1.5,2.5]\n'x.y' = 'a.b.c'") == {
        "a": {"b": {"c": [1.5, 2.5]}},
        "x.y": "a.b.c",
    }
    assert [literal(t) for t in ("5", "[1,2]", "true", "abc")] == [5, [1, 2], True, "abc"]
    assert shown("a" * 300) == "'" + "a" * 199 + "..."


def _fifo(path):
    os.mkfifo(path)
    return path


KINDS = {
    "a FIFO": _fifo,
    "a folder": lambda path: path.mkdir() or path,
    "a device": lambda path: path.symlink_to("/dev/zero") or path,
}

READERS = {
    "text": lambda path: read_text(path),
    "json": lambda path: read_json(path),
    "toml": lambda path: read_toml(path),
    "nothing": lambda path: regular(path),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_regular_file_is_an_os_error_at_once(tmp_path, make, read):
    with pytest.raises(OSError):
        read(make(tmp_path / "x"))


PLACES = {
    "an image": ("x.png", lambda folder: load_dataset(f"folder:{folder}")),
    "an .npz file": ("x.npz", lambda folder: load_dataset(f"npz:{folder}/x.npz")),
    "an .npy file": ("x.npy", lambda folder: read_npy(folder / "x.npy")),
    "what the zoo wrote": ("x.npz", lambda folder: read_written(folder / "x.npz")),
    "what the zoo drew": ("x.png", lambda folder: read_written(folder / "x.png")),
    "a recipe": ("x.toml", lambda folder: load_recipe(folder / "x.toml")),
    "metadata": (METADATA, lambda folder: zoo.load(str(folder))),
    "weights": (WEIGHTS, lambda folder: read_tensors([folder / WEIGHTS])),
    "golden tensors": ("golden.safetensors", lambda folder: golden.check(None, folder)),
    "a pickle": ("x.bin", lambda folder: unpickle(folder / "x.bin", folder / "y")),
    "a wheel": ("x-1.whl", lambda folder: parse_requirement(str(folder / "x-1.whl"))),
    "a project": ("pyproject.toml", lambda folder: parse_requirement(str(folder))),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("name", "read"), PLACES.values(), ids=PLACES)
def test_every_reader_refuses_what_is_no_regular_file(tmp_path, make, name, read):
    make(tmp_path / name)
    with pytest.raises(ZooError):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_files_of_the_user_and_of_the_cache_are_regular_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_PINS", str(_fifo(tmp_path / "pins.json")))
    with pytest.raises(ConfigError, match="not a regular file"):
        pins.everything()
    plugin_config.config_path().parent.mkdir(parents=True, exist_ok=True)
    _fifo(plugin_config.config_path())
    with pytest.raises(PluginError, match="not a regular file"):
        plugin_config.read()
    store = Store(tmp_path, "me/mini")
    (store.folder / "refs").mkdir(parents=True)
    _fifo(store.folder / "refs" / "main")
    assert store.ref("main") is None
    assert not fits(_fifo(tmp_path / "blob"), Listed("blob", 0, "0" * 64))


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_files_are_refused_by_their_readers(tmp_path, monkeypatch, text):
    (tmp_path / METADATA).write_text(text)
    with pytest.raises(IntegrityError):
        zoo.load(str(tmp_path))
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(IntegrityError):
        read_record(tmp_path)
    (tmp_path / "pins.json").write_text(text)
    monkeypatch.setenv("ZOO_PINS", str(tmp_path / "pins.json"))
    with pytest.raises(ConfigError):
        pins.everything()
    (tmp_path / METADATA).unlink()
    (tmp_path / "config.json").write_text(text)
    assert detect_converter(tmp_path) is None


@pytest.mark.parametrize("text", TOML.values(), ids=TOML)
def test_deep_toml_is_refused_by_its_readers(tmp_path, text):
    with pytest.raises(ConfigError):
        parse_recipe(text)
    plugin_config.config_path().parent.mkdir(parents=True, exist_ok=True)
    plugin_config.config_path().write_text(text)
    with pytest.raises(PluginError):
        plugin_config.read()
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(PluginError):
        parse_requirement(str(tmp_path))


@pytest.mark.parametrize(
    "text", ["project = 5", "[project]\nname = 5", "project.name = 'a'\nproject.entry-points = 5"]
)
def test_a_project_of_other_types_is_refused(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(PluginError, match="no pyproject.toml with a project name"):
        parse_requirement(str(tmp_path))


def test_deep_values_of_options_are_refused():
    with pytest.raises(ConfigError, match="nested"):
        configs.from_strings(configs.Range, {"low": "[" * 100_000})
    with pytest.raises(ConfigError, match="nested"):
        parse_recipe("arch = 'made'\ndata = 'digits'", overrides={"train.steps": "[" * 10**5})


def test_texts_are_read_up_to_a_size(tmp_path):
    (tmp_path / "x.toml").write_text("#" * (MAX_TEXT + 1))
    with pytest.raises(ValueError, match="larger than 1,048,576 bytes"):
        read_toml(tmp_path / "x.toml")


def test_of_a_wheel_that_inflates_without_end_little_is_read(tmp_path):
    path = tmp_path / "acme-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        text = b"[other]\na = b\n" * (10 << 18) + b"[density_zoo]\na = b\n"
        archive.writestr("acme-1.0.dist-info/entry_points.txt", text)
    with pytest.raises(PluginError, match="declares no entry point"):
        parse_requirement(str(path))


def test_an_npy_file_is_read_once_its_size_is_known(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6).reshape(2, 3))
    assert (read_npy(tmp_path / "x.npy") == np.arange(6).reshape(2, 3)).all()
    data = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "y.npy").write_bytes(data.replace(b"(2, 3), ", b"(1<<40,)"))
    (tmp_path / "z.npy").write_bytes(data.replace(b"(2, 3), }     ", b"(2, 300000000)"))
    for name in ("y.npy", "z.npy"):
        with pytest.raises(ZooError):
            read_npy(tmp_path / name)
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ZooError, match="pickled"):
        read_npy(tmp_path / "o.npy")


HEADERS = {
    "an open bracket": b"{'shape': (2,",
    "brackets": b"(" * 9000,
    "lists": b"{'descr': " + b"[" * 80 + b"]" * 80 + b", 'fortran_order': False, 'shape': ()}",
    "signs": b"-" * 9000 + b"1",
    "a list for a key": b"{[]: 1}",
    "no dtype": b"{'descr': 5, 'fortran_order': False, 'shape': ()}",
    "less than nothing": b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}",
    "a long number": b"{'descr': '<i8', 'fortran_order': False, 'shape': (" + b"9" * 9000 + b",)}",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_array_headers_that_are_none_are_refused(tmp_path, header):
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "x.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", data)
    for read in (read_npy, lambda path: read_array(path.with_suffix(".npz"), "x")):
        with pytest.raises(DataError):
            read(tmp_path / "x.npy")


def test_text_in_a_picture_that_inflates_without_end_is_refused(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("a", "x" * (80 << 20), zip=True)
    Image.new("L", (2, 2)).save(tmp_path / "x.png", pnginfo=info)
    with pytest.raises(ZooError):
        read_written(tmp_path / "x.png")


def test_memory_is_asked_for_before_it_is_used():
    free = available()
    assert free is not None and free > 0
    require_memory(free // 2, "half of it", hint="nothing")
    with pytest.raises(UsageError, match="all of it and more would take .* bytes of memory"):
        require_memory(100 * free, "all of it and more", hint="less")


def test_a_containers_own_limit_counts(monkeypatch, tmp_path):
    monkeypatch.setattr("zoo_core.memory._CONTAINER", tmp_path)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert available() > 1000
    (tmp_path / "memory.max").write_text("3000\n")
    assert available() == 2000


@pytest.mark.usefixtures("minis")
def test_more_events_than_memory_holds_are_refused_before_one_is_drawn(monkeypatch):
    model = zoo.create("mini_ar", side=2, hidden=8)
    monkeypatch.setattr(model, "sample_rows", None)
    with pytest.raises(UsageError, match="sample_batches"):
        model.sample(10**15)
    with pytest.raises(UsageError, match="batch"):
        next(model.sample_batches(10**15, batch_size=10**14))


def test_more_codes_than_memory_holds_are_refused():
    import torch

    with pytest.raises(UsageError, match="fewer steps"):
        interpolate(torch.zeros(2, 4), torch.ones(2, 4), steps=10**14)
    with pytest.raises(UsageError, match="smaller side"):
        plane(torch.zeros(4), side=10**8)


def test_more_draws_than_memory_holds_are_refused():
    import torch

    from zoo_core.likelihoods.iwae import log_weights

    with pytest.raises(UsageError, match="the option chunk"):
        log_weights(None, torch.zeros(100, 784), None, None, None, range(10**12))
