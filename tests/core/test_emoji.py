"""The data set `emoji`: its splits, labels and notices."""

from importlib.resources import files

import pytest
import torch

import zoo_core as zoo
from zoo_core.data import emoji


@pytest.fixture(scope="module")
def data():
    return zoo.load_dataset("emoji")


def test_emoji_are_colour_images_with_two_optional_labels(data):
    assert data.event == zoo.Event((3, 32, 32), levels=256)
    assert {k: len(s) for k, s in data.splits.items()} == {
        "train": 4117,
        "valid": 517,
        "test": 549,
    }
    parts = dict(data.condition.parts)
    assert list(parts) == ["group", "style"]
    assert parts["group"].names == emoji.GROUPS and len(emoji.GROUPS) == 9
    assert parts["style"].names == emoji.STYLES and len(emoji.STYLES) == 3
    assert all(part.optional for part in parts.values())


def test_labels_of_emoji_are_their_group_and_style(data):
    for split in data.splits.values():
        labels = data.condition.split(split.batch()[1])
        for name, classes in (("group", 9), ("style", 3)):
            assert labels[name].bincount(minlength=classes).min() > 0
            assert labels[name].max() < classes


def test_the_anchor_of_independent_channels_is_the_published_one(data):
    """5.05 bits/dim were measured on nearly this copy: a categorical a channel."""
    train, test = (data.split(s).batch()[0].transpose(0, 1).flatten(1) for s in ("train", "test"))
    counts = torch.stack([c.bincount(minlength=256) for c in train]).double() + 0.1
    table = (counts / counts.sum(1, keepdim=True)).log2()
    assert -float(table.gather(1, test).mean()) == pytest.approx(5.05, abs=0.02)


def test_the_splits_of_emoji_share_no_image(data):
    rows = {k: {x.numpy().tobytes() for x in s.x} for k, s in data.splits.items()}
    assert not rows["train"] & rows["valid"]
    assert not (rows["train"] | rows["valid"]) & rows["test"]
    assert sum(map(len, rows.values())) == sum(len(s) for s in data.splits.values())


def test_the_notices_of_all_three_sets_are_beside_the_images(data):
    text = (files("zoo_core.data") / "emoji.LICENSE.txt").read_text()
    for notice in ("Copyright Google", "Copyright 2020 Twitter", "(c) Microsoft", *emoji.STYLES):
        assert notice in text
    assert all(k in data.license for k in ("Apache-2.0", "CC-BY-4.0", "MIT"))
    assert emoji.SHA256 in data.provenance


def test_a_changed_file_of_emoji_is_refused(monkeypatch):
    monkeypatch.setattr(emoji, "SHA256", "0" * 64)
    with pytest.raises(zoo.IntegrityError, match=r"emoji\.npz is not the file"):
        emoji.Emoji()()
