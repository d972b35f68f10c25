"""Which modes of a ring and a grid are found: the measure, and the table that is kept of it."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from zoo_core.data.toys import Gaussians
from zoo_core.training import load_recipe

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/gan-modes.md"


def load_example():
    spec = importlib.util.spec_from_file_location("gan_modes", ROOT / "examples/gan_modes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = load_example()
ROWS = [json.loads(s) for s in PAGE.with_suffix(".jsonl").read_text().splitlines()]


@pytest.mark.parametrize("layout", ["ring", "grid"])
def test_samples_count_for_a_mode_within_three_deviations(layout):
    mixture = Gaussians(layout=layout)
    k = len(mixture.means)
    step = torch.tensor([1.0, 0.0], dtype=torch.float64) * mixture.noise
    near, far = mixture.means + 2.9 * step, mixture.means + 3.1 * step
    modes = EXAMPLE.Modes.of(torch.cat([near, far]), mixture)
    assert modes == EXAMPLE.Modes(k, 1 / (2 * k), 0.5)
    assert EXAMPLE.Modes.of(near[:1].expand(k, 2), mixture) == EXAMPLE.Modes(1, 0.0, 1.0)


def test_the_page_is_the_table_of_the_kept_rows():
    assert PAGE.read_text() == EXAMPLE.table(ROWS)


def test_rows_are_of_the_recipes_as_they_are_and_of_three_seeds():
    assert all(r["sha256"] == load_recipe(r["recipe"]).sha256 for r in ROWS)
    wanted = {(name, seed) for name in EXAMPLE.RECIPES for seed in range(3)}
    assert {(r["recipe"], r["seed"]) for r in ROWS} == wanted
