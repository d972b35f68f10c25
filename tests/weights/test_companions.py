"""Weights in a companion distribution load by name as the plugin's own do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo_core as zoo
from zoo_core import doctor
from zoo_core.cli import main
from zoo_core.errors import IntegrityError, PluginError
from zoo_core.weights import golden

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tools.companions import moved, prepare  # noqa: E402

PROJECT = '[project]\nname = "zoo-mini"\nversion = "0.3.1"\nlicense = "MIT"\n'
DIST = "zoo-mini-weights"


def weights(place, name="mini_ar.small", seed=0):
    torch.manual_seed(seed)
    model = zoo.create("mini_ar", side=2, hidden=8)
    return model.save(place / "weights" / name, golden=golden.record(model))


@pytest.fixture
def built(minis, tmp_path):
    """The folders of a plugin without its weights, and of the companion that has them."""
    plugin = tmp_path / "plugins" / "mini"
    package = plugin / "src" / "zoo_mini"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (plugin / "pyproject.toml").write_text(PROJECT)
    (plugin / "LICENSE").write_text("MIT\n")
    weights(package)
    return prepare(plugin, tmp_path / "packages", most=0)


@pytest.fixture
def installed(built, tmp_path, monkeypatch):
    """The package folder of the companion, built into a wheel and installed by pip."""
    site = tmp_path / "companion-site"
    flags = ("--no-index", "--no-deps", "--no-build-isolation", "--target", str(site))
    command = [sys.executable, "-m", "pip", "install", "-q", *flags, str(built[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(site))
    return site / "zoo_mini_weights"


@pytest.fixture
def declared(minis, tmp_path, monkeypatch):
    """`declared(dist, package)` is the folder of a companion that is written, not built."""

    def write(dist="acme-weights", package="acme_weights"):
        site = tmp_path / f"site-of-{dist}"
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[density_zoo.weights]\nzoo_mini = {package}\n")
        monkeypatch.syspath_prepend(str(site))
        return site / package

    return write


def test_a_companion_gives_its_weights_by_name_and_is_not_imported(declared, capsys):
    folder = weights(declared())
    (folder.parents[1] / "__init__.py").write_text("raise SystemExit('imported')\n")
    assert zoo.load("mini_ar.small").sample(2).shape[0] == 2
    tag = zoo.info("mini_ar.small").tag
    assert (tag.folder, tag.status) == (folder, "bundled")
    assert main(["info", "mini_ar.small"]) == 0
    assert "acme-weights 1.0" in capsys.readouterr().out
    assert doctor.weights().message == "1 tags in acme-weights 1.0"


@pytest.mark.slow
def test_a_companion_that_is_built_and_installed_by_pip_gives_its_weights(installed):
    tag = zoo.info("mini_ar.small").tag
    assert tag.folder == installed / "weights" / "mini_ar.small"
    assert tag.companion == f"{DIST} 0.3.1"
    assert zoo.load("mini_ar.small").sample(2).shape[0] == 2


def test_weights_of_a_companion_are_verified_like_the_plugins_own(declared):
    folder = weights(declared())
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        zoo.load("mini_ar.small")


def test_a_plugin_whose_companion_is_missing_says_what_to_install(built, monkeypatch):
    reduced = built[0] / "src" / "zoo_mini"
    monkeypatch.setattr("zoo_core.catalog.tags.package_folder", lambda spec: reduced)
    with pytest.raises(PluginError, match=rf"{DIST}, which is not installed.*pip install {DIST}"):
        zoo.load("mini_ar.small")
    found = doctor.weights()
    assert found.status == "note" and found.remedy == f"pip install {DIST}"
    assert not zoo.info("mini_ar.small").pretrained


def test_different_weights_of_one_name_are_a_conflict_and_equal_ones_are_not(declared):
    first = declared("acme-weights", "acme_weights")
    weights(first)
    second = declared("beta-weights", "beta_weights")
    weights(second)
    assert zoo.load("mini_ar.small").sample(1).shape[0] == 1
    weights(second, "mini_ar.other")
    weights(first, "mini_ar.other", seed=1)
    said = "acme-weights 1.0 and beta-weights 1.0 hold different weights mini_ar.other"
    with pytest.raises(PluginError, match=said):
        zoo.load("mini_ar.other")
    assert said in doctor.weights().message
    assert zoo.load("mini_ar.small").sample(1).shape[0] == 1


def test_a_companion_without_weights_is_a_problem_of_its_own(declared):
    declared()
    found = doctor.weights()
    assert found.status == "problem" and "acme-weights 1.0" in found.message


def test_the_largest_weights_move_until_the_rest_is_small_enough(tmp_path):
    for name, bytes_ in {"a.x": 50, "b.x": 70, "c.x": 20, "d.x": 70}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"\0" * bytes_)
    assert moved(tmp_path, 210) == []
    assert moved(tmp_path, 140) == ["b.x"]
    assert moved(tmp_path, 139) == ["b.x", "d.x"]
    assert moved(tmp_path / "none", 0) == []


def test_a_prepared_plugin_keeps_all_but_its_weights_and_the_checkout_is_unchanged(built):
    reduced, companion = built
    note = reduced / "src" / "zoo_mini" / "weights" / "mini_ar.small"
    assert [(p.name, p.read_text()) for p in note.iterdir()] == [("companion.txt", f"{DIST}\n")]
    record = companion / "src" / "zoo_mini_weights" / "weights" / "mini_ar.small" / "zoo.json"
    assert json.loads(record.read_text())["arch"] == "mini_ar"
    original = reduced.parents[1] / "plugins" / "mini" / "src" / "zoo_mini" / "weights"
    assert (original / "mini_ar.small" / "zoo.json").is_file()
