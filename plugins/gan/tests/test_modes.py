"""Mode coverage on a ring and a grid: the measure, and the table of its results."""

import importlib.util
from pathlib import Path

import pytest
import torch

from zoo_core.data.toys import Gaussians
from zoo_core.workflows import load_recipe

ROOT = Path(__file__).parents[3]


def load_example():
    spec = importlib.util.spec_from_file_location("gan_modes", ROOT / "examples/gan_modes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = load_example()


@pytest.mark.parametrize("layout", ["ring", "grid"])
def test_samples_count_for_a_mode_within_three_deviations(layout):
    mixture = Gaussians(layout=layout)
    k = len(mixture.means)
    step = torch.tensor([1.0, 0.0], dtype=torch.float64) * mixture.noise
    near, far = mixture.means + 2.9 * step, mixture.means + 3.1 * step
    modes = EXAMPLE.ModeCoverage.of(torch.cat([near, far]), mixture)
    assert modes == EXAMPLE.ModeCoverage(k, 1 / (2 * k), 0.5)
    assert EXAMPLE.ModeCoverage.of(near[:1].expand(k, 2), mixture) == EXAMPLE.ModeCoverage(
        1, 0.0, 1.0
    )


@pytest.mark.parametrize("name", EXAMPLE.RECIPES)
def test_recipes_are_of_the_mixtures_that_they_are_named_after(name):
    mixture = EXAMPLE.mixture_of(load_recipe(name))
    assert name.endswith(f".{mixture.layout}")
    assert mixture.noise == {"ring": 0.02, "grid": 0.05}[mixture.layout]


def test_a_row_meets_its_goals_with_all_modes_and_enough_within():
    good = {"recipe": "r3gan.ring", "seed": 0, "covered": 8, "modes": 8, "rarest": 0.1}
    good |= {"within": 0.96, "cpu_seconds": 1}
    bad = [good | {"seed": 1, "covered": 7}, good | {"seed": 2, "within": 0.94}]
    assert EXAMPLE.reaches_goals(good) and not any(EXAMPLE.reaches_goals(r) for r in bad)
    page = EXAMPLE.table([*bad, good])
    assert "| `r3gan.ring` | 0 | 8 of 8 | 10.00 % | 96.0 % | met | 1 |" in page
    assert page.count("| missed |") == 2
    assert "| real points, grid | | 25 of 25 |" in page
