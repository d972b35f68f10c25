"""What users have on their disks and what others wrote works with this version as it did.

`frozen/` was written by version 0.1 (`make.py` says what is in it) and is never edited: what
fails here would fail for its users.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from frozen_plugins import FROZEN, MANIFEST, declared, frozen_registry, installed_in, projects

import zoo_core as zoo
from zoo_core.catalog.plugins import Plugins, discover
from zoo_core.catalog.registry import use
from zoo_core.errors import ConfigError
from zoo_core.testing import run_checks
from zoo_core.weights import golden
from zoo_core.workflows import load_recipe, run_recipe
from zoo_core.workflows import verification as record

pytestmark = pytest.mark.filterwarnings("default:option .* is now:DeprecationWarning")
MODELS = sorted(path.name for path in (FROZEN / "models").iterdir())
TRAINED = FROZEN / "training" / "model"
RECIPE = FROZEN / "training" / "nsf_coupling.tiny.toml"
SLOW = ("energy",)
"""Its kit takes over ten seconds."""


@pytest.fixture(scope="module")
def frozen():
    """The frozen plugins beside those that are installed, in force."""
    with frozen_registry() as registry, use(registry):
        yield registry


def test_nobody_has_edited_what_is_frozen():
    files = [p for p in FROZEN.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    now = {
        p.relative_to(FROZEN).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p != MANIFEST
    }
    assert now == json.loads(MANIFEST.read_text())


def test_every_architecture_has_a_frozen_model(frozen):
    ours = {name.partition(".")[0] for name in MODELS}
    assert {entry.spec.arch for entry in frozen.all("model")} <= ours, "run tests/compat/make.py"


@pytest.mark.parametrize("name", MODELS)
def test_a_frozen_model_gives_the_numbers_that_it_gave(frozen, name):
    golden.check(zoo.load(str(FROZEN / "models" / name)), FROZEN / "models" / name)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in declared()]
)
def test_a_frozen_plugin_passes_the_kit(frozen, name):
    results = run_checks(name, frozen)
    assert len(results) > 5
    assert [f"{r.check}: {r.message}" for r in results if r.status == "failed"] == []


@pytest.mark.slow
@pytest.mark.parametrize("folder", [pytest.param(p, id=p.name) for p in projects()])
def test_a_frozen_plugin_passes_its_own_tests(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / folder.name)
    site = tmp_path / "site"
    site.mkdir()
    installed_in(site, projects()[folder])
    paths = [str(site), str(copy / "src"), os.environ.get("PYTHONPATH", "")]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        command, cwd=copy, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"


def test_a_folder_written_by_hand_loads():
    model = zoo.load(str(FROZEN / "bare"))
    want = golden.load_file(FROZEN / "bare" / "golden.safetensors")
    torch.testing.assert_close(model.log_likelihood(want["x"]).nats, want["nats"])


def test_a_recipe_reads_as_it_did():
    recipe = load_recipe(RECIPE)
    train = recipe.stages[0].train
    assert (recipe.arch, recipe.data, recipe.report) == ("nsf_coupling", "moons", "test")
    assert recipe.data_options == {"train": 256, "valid": 64, "test": 64}
    assert recipe.model == {"steps": 2, "bins": 4, "hidden": 8, "blocks": 1}
    assert (train.steps, train.batch_size, train.lr, train.ema) == (20, 32, 0.01, 0.5)
    assert record.recipe_of(TRAINED).text == recipe.text


def test_a_recorded_evaluation_is_measured_again():
    model, data = zoo.load(str(TRAINED)), record.data_of(TRAINED)
    golden.check(model, TRAINED)
    found = record.read_record(TRAINED)
    metrics = json.loads((TRAINED / "zoo.json").read_text())["metrics"]
    _, measured = record.verify(model, data, found)
    checks = [
        *record.spot_check(model, data, found),
        *measured,
        *record.verify_metrics(model, data, metrics),
    ]
    assert len(checks) > 8
    assert [str(c) for c in checks if not c.agrees] == []


def test_a_training_continues_from_its_checkpoint_or_says_which_versions_wrote_it(tmp_path):
    """Other versions of the code or of torch are refused, by name: the numbers could differ."""
    out = shutil.copytree(FROZEN / "training" / "half", tmp_path / "half")
    written = json.loads((TRAINED / "zoo.json").read_text())
    versions = (written["core_version"], written["training"]["torch"])
    if versions != (zoo.__version__, str(torch.__version__)):
        with pytest.raises(ConfigError, match=r"another training: code\."):
            run_recipe(load_recipe(RECIPE), out, resume=True, progress=False)
        return
    folder = run_recipe(load_recipe(RECIPE), out, resume=True, progress=False)
    golden.check(zoo.load(str(folder)), TRAINED)
    assert json.loads((folder / "zoo.json").read_text())["training"]["stages"][0]["steps"] == 20


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user whose cache, pins and configuration are the frozen ones, and who is offline."""
    shutil.copytree(FROZEN / "hub", tmp_path / "cache" / "hub", symlinks=True)
    shutil.copytree(FROZEN / "user", tmp_path / "config" / "density-zoo")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "ZOO_PINS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_pinned_model_loads_from_the_cache_without_the_network(user):
    model = zoo.load("hf://me/tiny", offline=True)
    golden.check(model, FROZEN / "models" / "made")
    (pin,) = json.loads((user / "config" / "density-zoo" / "pins.json").read_text()).values()
    assert model.origin == f"hf://me/tiny@{pin['revision']}"


def test_what_a_user_has_disabled_stays_disabled(user):
    assert Plugins(discover()).records["gan"].status == "disabled"
