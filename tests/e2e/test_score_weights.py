"""tools/score_weights.py adds what a recipe asks for, and nothing else, to a tag's zoo.json."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_scores_that_a_recipe_gained_are_added_and_another_recipe_is_refused(tmp_path):
    import zoo_core as zoo

    tag = zoo.info("vae.digits").tag
    package = shutil.copytree(tag.folder.parents[1], tmp_path / "site" / "zoo_vae")
    recipe = package / "recipes" / "vae.digits.toml"
    described = package / "weights" / "vae.digits" / "zoo.json"
    before = json.loads(described.read_text())
    text = recipe.read_text().replace("k = 5000 }]", 'k = 5000 }, { name = "iwae", k = 3 }]')
    recipe.write_text(text)
    done = score("vae.digits", tmp_path / "site")
    assert done.returncode == 0 and "iwae(k=3)" in done.stdout, done.stderr
    after = json.loads(described.read_text())
    *kept, added = after["metrics"]
    assert kept == before["metrics"] and added["kind"] == "iwae(k=3)" and added["n"] == 360
    assert after["recipe"]["text"] == text
    assert {**after, "metrics": 0, "recipe": 0} == {**before, "metrics": 0, "recipe": 0}
    recipe.write_text(text.replace("steps = 2000", "steps = 2001"))
    refused = score("vae.digits", tmp_path / "site")
    assert refused.returncode == 1 and "differs in more than scores" in refused.stderr
    assert json.loads(described.read_text()) == after


def score(name, site):
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "tools/score_weights.py", name]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
