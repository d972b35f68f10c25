"""The page of one's own data: every block runs, and its recipe has every key there is."""

import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from os import environ
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo_core as zoo
from zoo_core.workflows import recipe as recipes

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "your-data.md").read_text()
FEW = {"steps=2000": "steps=2", "steps = 2000": "steps = 2"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def short(text):
    for long, few in FEW.items():
        text = text.replace(long, few)
    return text


@pytest.fixture
def place(tmp_path):
    """A folder with the files that the page speaks of."""
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(40):
        pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.jpg")
    x = random.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "file.npz", x=x)
    np.save(tmp_path / "file.npy", x)
    np.save(tmp_path / "labels.npy", np.arange(40) % 4)
    for text in blocks("toml"):
        name, body = re.match(r"# (\S+\.toml)\n(.*)", text, re.DOTALL).groups()
        (tmp_path / name).write_text(short(body))
    return tmp_path


def run(command, folder):
    variables = {**environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_python_of_the_page_runs(place):
    out = run([sys.executable, "-c", short("\n".join(blocks("python")))], place)
    assert "bits/dim" in out
    assert "{'train': 32, 'valid': 4, 'test': 4}" in out


@pytest.mark.slow
def test_commands_of_the_page_run(place):
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert all(line.startswith("zoo ") for line in lines) and len(lines) >= 4
    for line in lines:
        run([sys.executable, "-m", "zoo_core", *line.split()[1:]], place)
    assert (place / "samples.png").stat().st_size > 0


@pytest.mark.slow
def test_the_recipe_with_every_key_runs(place):
    run([sys.executable, "-m", "zoo_core", "train", "every.toml", "--out", "runs/every"], place)


def test_the_recipe_with_every_key_has_them_all_with_their_defaults():
    (text,) = [t for t in blocks("toml") if t.startswith("# every.toml")]
    table = tomllib.loads(text)
    assert set(table) == set(recipes._KEYS)
    of_submodels = {"arch", "model", "data"}  # of a model that has none, they are refused
    assert set(table["stage"][0]) == set(recipes._STAGE) - of_submodels
    assert set(table["quality"]) == {f.name for f in fields(recipes.QualityOptions)}
    config = recipes.parse_recipe(text).stages[0].train
    assert set(table["train"]) == {f.name for f in fields(zoo.TrainConfig)}
    differ = {n for n, v in table["train"].items() if getattr(zoo.TrainConfig(), n) != _plain(v)}
    assert differ == {"eval_every"} and config.steps == 20


def _plain(value):
    return tuple(value) if isinstance(value, list) else value


def test_the_readme_links_the_page_where_it_speaks_of_your_own_data():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme[readme.index("## Your own data") :]
    assert re.findall(r"\]\(docs/(\S+?\.md)\)", section)[0] == "guides/your-data.md"
