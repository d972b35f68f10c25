"""Rates of image codecs beside likelihoods of colour images."""

import builtins
import io

import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.cli.evaluate import lines
from zoo_core.evaluation import codecs
from zoo_core.evaluation.codecs import codec_lines, codec_rates, has_codecs
from zoo_core.evaluation.evaluate import evaluate

EVENT = zoo.Event((3, 32, 32), levels=256)


@pytest.fixture(autouse=True)
def fresh():
    codecs._rates.cache_clear()


@pytest.fixture(scope="module")
def emoji():
    return zoo.load_dataset("emoji").split("test").x[:9]


def test_a_rate_is_the_size_of_files_that_hold_the_images(emoji):
    png = next(r for r in codec_rates(emoji, EVENT) if r.codec == "PNG")
    bits = 0
    for image in emoji.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG", optimize=True)
        bits += 8 * len(file.getvalue())
    assert png.files == pytest.approx(bits / emoji.numel())
    assert png.n == len(emoji)


def test_headers_cost_less_in_one_mosaic(emoji):
    png = codec_rates(emoji, EVENT)[0]
    assert png.codec == "PNG" and png.mosaic < png.files


def test_codecs_are_for_colour_images_of_256_levels():
    assert has_codecs(zoo.Event((3, 32, 32), levels=256))
    for event in (
        zoo.Event((1, 8, 8), levels=256),
        zoo.Event((3, 8, 8), levels=17),
        zoo.Event((3, 8, 8), low=0.0, high=1.0),
    ):
        assert not has_codecs(event)


def test_a_missing_library_is_said(emoji, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pillow_jxl":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    rates = {r.codec: r for r in codec_rates(emoji[:4], EVENT)}
    assert rates["JPEG XL"].files is None and "density-zoo[codecs]" in rates["JPEG XL"].missing
    record = {"relation": "equal", "bits_per_dim": 0.5}
    said = codec_lines(record | {"codecs": [r.record() for r in rates.values()]})
    assert any(line.startswith("JPEG XL was not measured: pip install") for line in said)
    assert rates["PNG"].files is not None


def _record(bits, relation):
    rates = [{"codec": "PNG", "n": 9, "files": 2.66, "mosaic": 2.47, "missing": ""}]
    rates += [{"codec": "WebP", "n": 9, "files": 1.75, "mosaic": 1.71, "missing": ""}]
    return {"relation": relation, "bits_per_dim": bits, "codecs": rates}


def test_a_model_beats_the_codecs_that_need_more_bits():
    assert codec_lines(_record(1.72, "equal")) == [
        "on single files: beats PNG 2.66, WebP 1.75 bits/dim",
        "on one mosaic: beats PNG 2.47; does not beat WebP 1.71 bits/dim",
    ]
    assert codec_lines(_record(2.9, "lower")) == [
        "on single files: does not beat PNG 2.66, WebP 1.75 bits/dim",
        "on one mosaic: does not beat PNG 2.47, WebP 1.71 bits/dim",
    ]


def test_an_estimate_beats_no_codec():
    (line,) = codec_lines(_record(0.1, "estimate"))
    assert line == "codecs on single files: PNG 2.66, WebP 1.75 (an estimate beats none)"


def test_an_evaluation_of_colour_images_says_which_codecs_are_beaten():
    data = zoo.load_dataset("emoji")
    event = zoo.Event((3, 8, 8), levels=256)
    model = zoo.create(
        "glow", shape=event.shape, levels=256, scales=1, steps=1, hidden=4, preprocess={"logit": 0}
    )
    few = {"train": slice(64), "valid": slice(16), "test": slice(8)}
    splits = {k: zoo.Split(data.splits[k].x[at, :, ::4, ::4]) for k, at in few.items()}
    small = zoo.Dataset("small", event, zoo.Condition(), splits, "", "")
    with torch.no_grad():
        record = evaluate(model, small, measurements=["likelihood"]).record
    assert [c["codec"] for c in record["likelihood"]["codecs"]] == ["PNG", "JPEG XL", "WebP"]
    assert any(line.startswith("on one mosaic: does not beat PNG") for line in lines(record))
