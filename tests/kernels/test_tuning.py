"""Launch settings: the table of this card over the defaults, checked before it is used."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _tuning

ROOT = Path(__file__).parents[2]
WIDE = {"BM": 128, "MAX_TILE": 64, "num_warps": 8, "num_stages": 3}


def test_every_shipped_table_is_of_kernels_and_settings_that_exist():
    folder = Path(zoo_kernels.__file__).with_name("tuned")
    for path in folder.glob("*.json"):
        assert re.fullmatch(r"sm_\d+", path.stem)
        _tuning.check(json.loads(path.read_text()), path.name)
    _tuning.check(_tuning.DEFAULTS, "the defaults")


@pytest.mark.parametrize(
    "table",
    [
        {"spline.value": {"BLOCK": 128, "num_warps": 4}},
        {"spline.values": {"BLOCK": 128}},
        {"spline.values": {"BLOCK": 128, "num_warps": 4, "num_stages": 2}},
        {"spline.values": {"BLOCK": 100, "num_warps": 4}},
        {"spline.values": {"BLOCK": 128, "num_warps": 32}},
        {"spline.values": {"BLOCK": "128", "num_warps": 4}},
        {"spline.values": {"BLOCK": 128, "num_warps": True}},
        {"masked_conv.wide": {**WIDE, "num_stages": 9}},
    ],
)
def test_a_table_that_says_something_else_is_refused(table):
    with pytest.raises(ValueError, match="the table: "):
        _tuning.check(table, "the table")


def test_the_table_of_a_card_goes_before_the_defaults_and_is_read_once(tmp_path, monkeypatch):
    chosen = {"BLOCK": 512, "num_warps": 8}
    (tmp_path / "sm_90.json").write_text(json.dumps({"spline.values": chosen}))
    monkeypatch.setattr(_tuning, "_folder", tmp_path)
    monkeypatch.setattr(_tuning, "_arch", lambda: "sm_90")
    monkeypatch.setattr(_tuning, "interpreted", lambda: False)
    _tuning._table.cache_clear()
    try:
        assert _tuning.settings("spline.values", BLOCK=4096) == chosen
        (tmp_path / "sm_90.json").unlink()
        assert _tuning.settings("spline.values") == chosen
        assert _tuning.settings("rng.draw") == _tuning.DEFAULTS["rng.draw"]
        monkeypatch.setattr(_tuning, "_arch", lambda: "sm_80")
        assert _tuning.settings("spline.values") == _tuning.DEFAULTS["spline.values"]
    finally:
        _tuning._table.cache_clear()


def test_what_is_tried_holds_inside_the_block():
    chosen = {"BLOCK": 64, "num_warps": 1}
    with _tuning.trying("spline.values", chosen):
        assert _tuning.settings("spline.values") == chosen
        assert _tuning.settings("spline.backward") != chosen
    assert _tuning.settings("spline.values") != chosen
    with (
        pytest.raises(ValueError, match="legal"),
        _tuning.trying("spline.values", {**chosen, "BLOCK": 3}),
    ):
        raise AssertionError("never entered")


TRIED = {
    "coupling.values": {"BLOCK": 64, "num_warps": 1},
    "coupling.backward": {"BLOCK": 64, "num_warps": 1},
    "denoise.step": {"BLOCK": 16, "num_warps": 1},
    "mixture.log_prob": {"BLOCK": 16, "num_warps": 1},
    "mixture.backward": {"BLOCK": 16, "num_warps": 1},
    "rng.draw": {"BLOCK": 64, "num_warps": 1},
    "spline.values": {"BLOCK": 16, "num_warps": 1},
    "spline.backward": {"BLOCK": 16, "num_warps": 1},
}
OPS = {
    "coupling": "coupling_forward",
    "denoise": "denoise_step",
    "mixture": "mixture_log_prob",
    "rng": "rng_normal",
    "spline": "spline_forward",
}


@pytest.mark.skipif(not _dispatch.interpreted(), reason="needs TRITON_INTERPRET=1")
@pytest.mark.parametrize(
    "kernel",
    [k if k in ("rng.draw", "denoise.step") else pytest.param(k, marks=pytest.mark.slow)
     for k in TRIED],
)  # fmt: skip
def test_other_settings_give_the_same_results(kernel):
    """More programs a row than by default: values and gradients keep to the reference."""
    testing = importlib.import_module("zoo_kernels.testing")
    spec = zoo_kernels.ops()[OPS[kernel.partition(".")[0]]]
    law = (
        testing.gradients_match_the_float64_reference
        if kernel.endswith("backward")
        else testing.values_match_the_float64_reference
    )
    with zoo_kernels.backend("triton"), _tuning.trying(kernel, TRIED[kernel]):
        law(spec, spec.cases[0], torch.float32)


def test_the_best_settings_are_taken_only_where_they_are_worth_it(monkeypatch):
    for folder in ("benchmarks", "benchmarks/gpu"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    tune = importlib.import_module("gpu_tune")
    assert tune.ROWS.keys() == _tuning.DEFAULTS.keys()
    default, second, third, *_ = tune.candidates("rng.draw")
    assert default == _tuning.DEFAULTS["rng.draw"] and default not in (second, third)
    entries = {
        tune.name("rng.draw", default): {"a": 1.0, "b": 4.0},
        tune.name("rng.draw", second): {"a": 0.98, "b": 3.99},
        tune.name("rng.draw", third): {"failed": "wrong"},
    }
    assert tune.best("rng.draw", entries) is None
    entries[tune.name("rng.draw", second)] = {"a": 0.5, "b": 6.0}
    assert tune.best("rng.draw", entries) == second
    assert tune.best("rng.draw", {}) is None
