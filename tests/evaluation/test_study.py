"""The study: truths that are true, cells that are densities, equal means, one model a family."""

import math

import pytest
import torch

import zoo_core as zoo
from zoo_core.building import build
from zoo_core.catalog.registry import current
from zoo_core.data.ising import Lattice
from zoo_core.data.toys import Gaussians
from zoo_core.errors import UnknownNameError, UsageError
from zoo_core.evaluation.page import html, markdown
from zoo_core.workflows import study as module
from zoo_core.workflows.recipe import load_recipe
from zoo_core.workflows.study import TASKS, candidates, run_study
from zoo_core.workflows.study_report import report, text
from zoo_core.workflows.study_statistics import statistics as measured

LEVELS = 64


def statistics(x, truth):
    return {s.name: s for s in measured(x, truth)}


def test_cells_are_a_density_whose_gap_to_the_truth_is_what_a_grid_costs():
    """E[log p(x) - log P(cell of x) / volume] is about D (h / sd)^2 / 24, and never below 0."""
    points = zoo.load_dataset("gaussians", sd=0.2)
    cells = zoo.load_dataset("gaussians", sd=0.2, levels=LEVELS)
    log_q = cells.truth(cells.split("test").x) - module._log_volume(cells, points)
    gap = points.truth(points.split("test").x) - log_q
    h = 6 / LEVELS
    error = float(gap.std()) / math.sqrt(len(gap))
    assert float(gap.mean()) == pytest.approx(2 * (h / 0.2) ** 2 / 24, abs=4 * error + 2e-3)
    assert float(gap.mean()) > -3 * error


def test_cells_sum_to_one_and_hold_their_points():
    toy = Gaussians(sd=0.2, levels=LEVELS)
    cells, points = toy(), Gaussians(sd=0.2)()
    every = torch.cartesian_prod(torch.arange(LEVELS), torch.arange(LEVELS)).view(-1, 1, 1, 2)
    assert float(cells.truth(every).exp().sum()) == pytest.approx(1, abs=1e-12)
    back = module._in_the_plane(cells.split("test").x, cells, points, 0)
    assert float((back - points.split("test").x).abs().max()) <= 6 / LEVELS + 1e-6


def test_the_statistics_of_the_lattice_are_those_of_its_partition_function():
    """d log Z / dJ is the mean sum of neighbours' products."""
    truth = zoo.load_dataset("ising")
    measured = statistics(truth.split("valid").x, truth)["neighbours' correlation"].value
    h, bonds = 1e-4, 2 * 8 * 7
    up, down = (Lattice(8, 0.4 + s * h, 0.0, False).log_z for s in (1, -1))
    want = (up - down) / (2 * h) / bonds
    assert measured.value == pytest.approx(want, abs=4 * measured.std_err)


def test_what_is_wrong_with_samples_shows():
    truth = zoo.load_dataset("gaussians", sd=0.2)
    toy, x = Gaussians(sd=0.2), truth.split("valid").x
    good = statistics(x, truth)
    assert good["modes, of 8"].value.value == 8
    assert good["width of the modes (1 is right)"].value.value == pytest.approx(1, abs=0.1)
    one = (toy.means[:1] + 0.2 * torch.randn(500, 2)).float()
    collapsed = statistics(one, truth)
    assert collapsed["modes, of 8"].value.value == 1
    assert collapsed["balance of the modes"].value.value == pytest.approx(1 / 8, abs=0.01)
    wide = statistics(x + 0.3 * torch.randn(x.shape), truth)
    assert wide["width of the modes (1 is right)"].value.value > 2
    assert (
        wide["energy, E[log p] (nats)"].value.value < good["energy, E[log p] (nats)"].value.value
    )


def test_each_family_has_one_model_of_equal_size():
    for tag in TASKS:
        found = candidates(tag)
        families = {e.spec.family for e in current().models}
        assert found.keys() == families & found.keys() and len(found) >= 1
        sizes = {}
        for family, info in found.items():
            recipe = load_recipe(info.tag.recipe)
            model = build(info.spec, recipe.model)
            sizes[family] = sum(p.numel() for p in model.parameters())
        assert max(sizes.values()) <= 1.1 * min(sizes.values()), sizes


def test_a_wanted_architecture_takes_the_place_of_its_family():
    tag = "toy_ising"
    archs = {i.spec.arch: i.spec.family for i in current().list_models(f"*.{tag}")}
    for arch, family in archs.items():
        assert candidates(tag, [arch])[family].spec.arch == arch
    with pytest.raises(UnknownNameError, match="no recipe for the study"):
        run_study(["no_such_model"])
    with pytest.raises(UsageError, match="minutes = 0"):
        run_study(minutes=0)


def test_a_family_joins_by_its_recipes_alone(registry_of, install, tmp_path):
    """A stranger's plugin, trained for a moment: exact gap, statistics, reports."""
    point = install(
        """
        from zoo_core.plugin import ModelSpec, hookimpl

        ZOO_API = 1

        @hookimpl
        def zoo_models():
            return [
                ModelSpec(
                    "stranger", family="strangers", density="explicit/tractable",
                    target="zoo_mini_study.model:Normal", config="zoo_mini_study.model:Config",
                    capabilities=("Density",), default_likelihood="exact_density",
                )
            ]
        """
    )
    package = install.site / "zoo_mini_study"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text(STRANGER)
    (package / "recipes" / "stranger.toy_mixture.toml").write_text(
        'arch = "stranger"\n[data]\nname = "gaussians"\nsd = 0.2\n[train]\nlr = 0.05\n'
    )
    from zoo_core.catalog.registry import use

    with use(registry_of(point)):
        found = run_study(minutes=0.02, samples=300)
        mixture, lattice = found.tasks
        assert [o.name for o in mixture.results] == ["stranger"] and lattice.results == []
        assert lattice.absent == ["strangers"]
        (outcome,) = mixture.results
        assert outcome.relation == "equal" and outcome.steps > 1
        assert 1.0 < outcome.gap.value < 4.0  # one normal for eight: log 8 and more
        assert 0.3 < outcome.cpu_seconds < 4  # 1.2 are meant
        page, table = html(report(found)), markdown(report(found))
    assert "<script" not in page and "strangers" in page
    assert "KL(p" in table and "toy_ising" in table
    assert any("stranger" in line for line in text(found))


STRANGER = """
from dataclasses import dataclass

import torch
from torch import nn

import zoo_core as zoo
from zoo_core.nn import distributions


@dataclass(frozen=True)
class Config:
    width: int = 1


class Normal(zoo.GenerativeModel):
    def __init__(self, config):
        super().__init__(config, zoo.Event((2,)))
        self.mean, self.log_std = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))

    def p(self, n):
        return distributions.Normal(self.mean.expand(n, 2), self.log_std.expand(n, 2))

    def log_prob(self, x, cond=None):
        return self.p(len(x)).log_prob(x)

    def sample_rows(self, rng, cond=None):
        return self.p(len(rng)).sample(rng, stream="x")
"""


@pytest.mark.slow
def test_the_study_runs_with_every_installed_family():
    found = run_study(minutes=0.02, samples=100)
    for task in found.tasks:
        for outcome in task.results:
            if outcome.relation in ("equal", "lower"):
                assert outcome.gap.value > -3 * outcome.gap.std_err, outcome.name
            assert all(math.isfinite(s.value.value) for s in outcome.statistics)
