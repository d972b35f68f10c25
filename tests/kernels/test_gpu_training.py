"""The GPU's training driver, tried on the CPU: it stops in time, goes on elsewhere, comes home."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
FEW = ["--set", "train.eval_every=0", "--set", "train.patience=0", "--set",
       "train.keep_best=false", "--set", "model.hidden=32"]  # fmt: skip


def drive(out, *arguments):
    command = [sys.executable, "benchmarks/gpu/train.py", "--device", "cpu", *map(str, arguments)]
    variables = os.environ | {"OUT": str(out), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)


def steps(folder):
    lines = (folder / "train" / "made.digits" / "log.jsonl").read_text().splitlines()
    return [e["step"] for line in lines if (e := json.loads(line))["event"] == "checkpoint"]


def test_a_training_stops_at_the_limit_and_goes_on_elsewhere(tmp_path):
    """Each call ends after half a minute, with a checkpoint."""
    first, second = tmp_path / "first", tmp_path / "second"
    asked = ["made.digits", *FEW, "--set", "train.steps=90000", "--limit", 50, "--grace", 12]
    stopped = drive(first, *asked)
    assert stopped.returncode == 3 and "call again" in stopped.stdout, stopped.stderr
    (reached,) = steps(first)
    assert 0 < reached < 90_000
    again = drive(second, *asked, "--from", first)
    assert again.returncode == 3, again.stderr
    assert steps(second)[0] == reached < steps(second)[-1]


def test_what_was_made_is_measured_and_only_an_untouched_recipe_comes_home(tmp_path):
    done = drive(tmp_path, "made.digits", *FEW, "--set", "train.steps=20")
    assert done.returncode == 0, done.stderr
    whole = json.loads((tmp_path / "train.json").read_text())
    made = whole["entries"]["made.digits"]
    assert whole["environment"]["torch"] and whole["tiny"]
    assert [m["relation"] for m in made["metrics"]] == ["equal", "equal"]
    assert made["steps_per_second"] > 0 and made["peak_mebibytes_of_the_device"] is None
    assert "20" in done.stdout
    folder = tmp_path / "train" / "made.digits"
    home = subprocess.run(
        [sys.executable, "tools/bundle_weights.py", str(folder)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert home.returncode == 1 and "set by hand" in home.stderr


def test_bundling_copies_a_sound_model_and_nothing_else(tmp_path):
    """The bundled weights themselves, from a folder like a training's, into a package's copy."""
    import zoo_core as zoo

    tag = zoo.info("made.digits").tag
    package = shutil.copytree(tag.folder.parents[1], tmp_path / "site" / "zoo_autoregressive")
    shutil.rmtree(package / "weights" / "made.digits")
    shutil.copytree(tag.folder, tmp_path / "run" / "model")
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "tools/bundle_weights.py", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {p.name: p.read_bytes() for p in (package / "weights" / "made.digits").iterdir()}
    assert made == {p.name: p.read_bytes() for p in tag.folder.iterdir()}
    (tmp_path / "run" / "model" / "golden.safetensors").unlink()
    refused = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert refused.returncode == 1 and "golden.safetensors cannot be read" in refused.stderr
