"""Whatever the bytes: the config parser and the readers of checkpoints end, if not well, in ours.

A few seconds by default; `make fuzz` goes on for ten minutes (ZOO_FUZZ_SECONDS says how long).
"""

import json
import os
import pickletools
import struct
import time
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import torch
from foreign_pickles import Evil, persistent_module, write_pickle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zoo_core as zoo
from zoo_core import config as configs
from zoo_core.config import Range
from zoo_core.errors import ConfigError, IntegrityError, ZooError
from zoo_core.weights import unpickle
from zoo_core.weights.checkpoint import METADATA, WEIGHTS, read_metadata
from zoo_core.weights.hub.listing import parse
from zoo_core.weights.inert_files import read_inert
from zoo_core.weights.tensors import load_state, read_tensors, weight_files

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("minis")]

SECONDS = float(os.environ.get("ZOO_FUZZ_SECONDS", "20"))
QUIET = settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def again_and_again(law, targets=7):
    """Call a property with fresh draws until its share of the time is over."""
    end = time.monotonic() + SECONDS / targets
    law()
    while time.monotonic() < end:
        law()


@dataclass(frozen=True)
class Inner:
    type = "inner"
    rate: Annotated[float, Range(0, 1)] = 0.5


@dataclass(frozen=True)
class Other:
    type = "other"
    name: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    width: Annotated[int, Range(1, 64)] = 8
    shape: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    flag: bool = False
    text: str = ""
    maybe: int | None = None
    part: Inner | Other = field(default_factory=Inner)


NAMES = ["width", "shape", "pair", "flag", "text", "maybe", "part", "type", "rate", "name", "x"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["inner", "other", "a", 1e400, 10**400, -0.0, "x" * 10**5]),
    st.sampled_from([10**4, 10**5]).map(lambda n: [1] * n),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=12,
)


def test_the_config_parser_gives_a_config_or_a_config_error():
    @QUIET
    @given(VALUES)
    def law(values):
        try:
            found = configs.from_dict(Outer, values)
        except ConfigError:
            return
        configs.validate(found)
        assert configs.from_dict(Outer, json.loads(json.dumps(configs.to_dict(found)))) == found

    again_and_again(law)


def deep():
    """JSON of lists or tables in each other, a few or very many, which may lack their ends."""
    depth, forms = st.sampled_from([2, 63, 64, 65, 500, 10**5]), st.sampled_from(["[]", "{}"])
    opening = {"[]": "[", "{}": '{"config":'}
    return st.tuples(depth, forms, st.booleans()).map(
        lambda d: opening[d[1]] * d[0] + "1" + d[1][1] * d[0] * d[2]
    )


def test_metadata_are_read_or_refused(tmp_path):
    keys = st.sampled_from(["schema", "arch", "config", "files", "origin", "plugin", "x"])
    texts = st.one_of(
        st.binary(max_size=200),
        deep().map(str.encode),
        deep().map(lambda text: b'{"schema":1,"arch":"x","config":' + text.encode() + b"}"),
        st.integers(4000, 10**5).map(lambda n: b'{"schema":1,"x":' + b"1" * n + b"}"),
        VALUES.map(lambda v: json.dumps(v).encode()),
        st.dictionaries(keys, VALUES).map(lambda v: json.dumps({"schema": 1, **v}).encode()),
    )

    @QUIET
    @given(texts)
    def law(data):
        (tmp_path / METADATA).write_bytes(data)
        try:
            assert isinstance(read_metadata(tmp_path)["arch"], str)
        except ZooError:
            pass

    again_and_again(law)


def test_pickles_are_read_as_data_or_refused(tmp_path, monkeypatch):
    """Good and evil pickles, some bytes of them changed: nothing is run or written."""
    monkeypatch.chdir(tmp_path)
    texts = []
    for value in ({"w": torch.ones(2), "x": Evil(tmp_path / "run")}, torch.nn.Linear(2, 2)):
        for form in ("plain", "zip", "old"):
            write_pickle(tmp_path / "w.pt", value, form)
            texts.append((tmp_path / "w.pt").read_bytes())
    tensors = {"a.weight": torch.ones(2)}
    write_pickle(tmp_path / "w.pt", {"ema": persistent_module(tensors, "Net", {"n": 1})})
    texts.append((tmp_path / "w.pt").read_bytes())
    opcodes = [ord(op.code) for op in pickletools.opcodes]
    bytes_ = st.one_of(st.sampled_from(opcodes), st.integers(0, 255))
    changes = st.lists(st.tuples(st.integers(0, 1 << 30), bytes_), max_size=8)

    @QUIET
    @given(st.one_of(st.tuples(st.sampled_from(texts), changes), st.tuples(st.binary(), changes)))
    def law(drawn):
        content = bytearray(drawn[0])
        for place, byte in drawn[1] if content else ():
            content[place % len(content)] = byte
        (tmp_path / "w.pt").write_bytes(content)
        try:
            read_inert(tmp_path / "w.pt")
        except Exception as error:
            assert unpickle._why(error)
        assert [p.name for p in tmp_path.iterdir()] == ["w.pt"]

    again_and_again(law)


@pytest.fixture(scope="module")
def good():
    """The weights of a model and the model: the bytes that are mutated."""
    from importlib.metadata import EntryPoint

    from safetensors.torch import save

    from zoo_core.catalog.plugins import Plugins
    from zoo_core.catalog.registry import Registry, use

    mini = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")
    with use(Registry(Plugins([mini], disabled=()))):
        model = zoo.create("mini_ar", side=2, hidden=8)
    return model, save(model.state_dict())


def mutations(data):
    """The bytes with some of them changed, cut or put in, and headers of any numbers."""
    places = st.integers(0, len(data) - 1)
    flip = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)
    header = st.dictionaries(
        st.text(max_size=6),
        st.one_of(
            VALUES,
            st.fixed_dictionaries(
                {
                    "dtype": st.sampled_from(["F32", "F64", "I8", "BOOL", "BF16", "F8_E4M3", "X"]),
                    "shape": st.lists(st.integers(-1, 1 << 64), max_size=3),
                    "data_offsets": st.lists(st.integers(-1, 1 << 64), max_size=3),
                }
            ),
        ),
        max_size=3,
    )
    return st.one_of(
        flip.map(lambda f: _flipped(data, f)),
        places.map(lambda n: data[:n]),
        st.tuples(places, st.binary(max_size=16)).map(
            lambda p: data[: p[0]] + p[1] + data[p[0] :]
        ),
        st.tuples(header, st.binary(max_size=64)).map(lambda p: _framed(*p)),
        st.binary(max_size=64),
    )


def _flipped(data, flips):
    changed = bytearray(data)
    for place, value in flips:
        changed[place] = value
    return bytes(changed)


def _framed(header, tail):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tail


def test_safetensors_are_read_or_refused(tmp_path, good):
    model, data = good
    path = tmp_path / WEIGHTS

    @QUIET
    @given(mutations(data))
    def law(changed):
        path.write_bytes(changed)
        for read in (lambda: load_state(model, path), lambda: read_tensors([path])):
            try:
                read()
            except IntegrityError as error:
                assert str(path) in error.message
        assert all(bool(p.isfinite().all()) for p in model.parameters())

    again_and_again(law)


def test_indexes_are_read_or_refused(tmp_path):
    maps = st.dictionaries(st.text(max_size=4), VALUES).map(lambda m: {"weight_map": m})

    @QUIET
    @given(st.one_of(st.binary(max_size=64), deep(), st.one_of(maps, VALUES).map(json.dumps)))
    def law(text):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / f"{WEIGHTS}.index.json").write_bytes(data)
        try:
            found = weight_files(tmp_path, set(tmp_path.iterdir()))
            assert all(p.parent == tmp_path for p in found)
        except IntegrityError:
            pass

    again_and_again(law)


def test_answers_of_a_hub_are_read_or_refused():
    keys = st.sampled_from(["rfilename", "size", "blobId", "lfs", "sha256", "sha", "id"])
    siblings = st.lists(st.one_of(VALUES, st.dictionaries(keys, VALUES)), max_size=3)
    answers = st.fixed_dictionaries({"sha": st.just("a" * 40), "siblings": siblings})

    @QUIET
    @given(st.one_of(VALUES, answers))
    def law(data):
        try:
            parse("me/mini", data)
        except IntegrityError:
            pass

    again_and_again(law)


def test_whole_folders_are_loaded_or_refused(tmp_path, good):
    model, data = good
    folder = model.save(tmp_path / "m")
    before = json.loads((folder / METADATA).read_text()) | {"files": {}}
    config = st.dictionaries(st.sampled_from(["side", "hidden", "x"]), VALUES)
    change = st.fixed_dictionaries({}, optional={"config": config, "arch": st.text(max_size=9)})

    @QUIET
    @given(change, mutations(data))
    def law(changes, weights):
        (folder / METADATA).write_text(json.dumps(before | changes))
        (folder / WEIGHTS).write_bytes(weights)
        try:
            zoo.load(str(folder))
        except ZooError:
            pass

    again_and_again(law)
    assert torch.is_grad_enabled()
