"""Weights of another architecture than the name asks for are refused."""

import json

import pytest

import zoo_core as zoo
from zoo_core.building import load_folder
from zoo_core.errors import IntegrityError


def test_a_folder_of_another_architecture_than_was_named_is_refused(minis, tmp_path):
    folder = zoo.create("mini_ar").save(tmp_path / "model")
    named = minis.models.one("mini_gan").spec
    with pytest.raises(IntegrityError, match="of arch 'mini_ar'; the name asks for 'mini_gan'"):
        load_folder(folder, spec=named)


def test_a_registered_name_is_that_of_its_weights(minis, tmp_path, monkeypatch):
    """A tag whose `zoo.json` was replaced by that of another architecture does not load."""
    folder = zoo.create("mini_ar").save(tmp_path / "mini_ar.small")
    metadata = json.loads((folder / "zoo.json").read_text())
    (folder / "zoo.json").write_text(json.dumps({**metadata, "arch": "mini_gan"}))
    monkeypatch.setattr("zoo_core.catalog.tags.package_folder", lambda spec: tmp_path)
    (tmp_path / "weights").mkdir()
    folder.rename(tmp_path / "weights" / "mini_ar.small")
    with pytest.raises(IntegrityError, match="the name asks for 'mini_ar'"):
        zoo.load("mini_ar.small")
