"""Metrics of plugins are measured beside the core's; one that fails costs one line."""

import json

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_core.cli.app import run
from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import ConfigError, PluginError, UnknownNameError, UsageError
from zoo_core.evaluation.evaluate import evaluate
from zoo_core.evaluation.quality import SampleQuality
from zoo_core.spaces import Condition, Event
from zoo_core.workflows.recipe import parse_recipe
from zoo_core.workflows.run import run_recipe
from zoo_core.workflows.verification import verify

PLUGIN = """
from zoo_core.plugin import MetricSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_metrics():
    return [
        MetricSpec("spread", "{module}_code:Spread"),
        MetricSpec("slow", "{module}_code:Spread", optional=True),
        MetricSpec("broken", "{module}_code:Broken"),
        MetricSpec("untyped", "{module}_code:Untyped"),
        MetricSpec("missing", "{module}_code:Missing"),
        MetricSpec("raising", "{module}_code:Raising", "features"),
        MetricSpec("unwilling", "{module}_code:Unwilling", "features"),
    ]
"""
CODE = """
from dataclasses import dataclass
from typing import ClassVar
from zoo_core.evaluation.feature_set import Estimate

@dataclass(frozen=True)
class Spread:
    better: ClassVar[str] = "higher"
    def __call__(self, generated, reference):
        ratio = generated.cov.trace() / reference.cov.trace()
        return Estimate(float(ratio), 0.1)

@dataclass(frozen=True)
class Broken(Spread):
    def __call__(self, generated, reference):
        raise RuntimeError("no such layer")

@dataclass(frozen=True)
class Untyped(Spread):
    def __call__(self, generated, reference):
        return 1.0

@dataclass(frozen=True)
class Raising:
    identity = "raising"
    def accepts(self, event):
        return True
    def __call__(self, x, event):
        raise RuntimeError("weights are gone")

@dataclass(frozen=True)
class Unwilling(Raising):
    def accepts(self, event):
        raise KeyError("shape")
"""
RECIPE = """
arch = "mini_gan"
license = "Apache-2.0"
source = "trained by a test"
report = "test"
[data]
name = "moons"
train = 300
valid = 50
test = 60
[train]
steps = 2
batch_size = 50
"""


@pytest.fixture
def moons():
    return zoo.load_dataset("moons", train=300, valid=100, test=60)


@pytest.fixture
def plugin(install, registry_of):
    from importlib.metadata import EntryPoint

    mini = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")
    with use(registry_of(mini, install(PLUGIN, code=CODE))) as registry:
        yield registry


def test_a_plugins_score_is_measured_and_its_broken_ones_cost_one_line_each(plugin, moons, caplog):
    found = evaluate(zoo.create("mini_gan"), moons, measurements=["quality"])
    scores = {q.score for q in found.quality}
    assert {"spread", "coverage", "frechet", "memorization"} <= scores
    assert not scores & {"slow", "broken", "untyped", "missing"}  # optional, or failing
    (spread,) = [q for q in found.quality if q.score == "spread"]
    assert spread.label == "spread_pixels" and spread.better == "higher"
    assert spread.real.value == pytest.approx(1, abs=0.3)
    lines = caplog.messages
    for name in ("broken", "untyped", "missing", "raising", "unwilling"):
        assert len([line for line in lines if f"metric {name!r} cannot be measured" in line]) == 1
    problems = plugin.plugins.records["acme"].problems
    assert any("no such layer" in p for p in problems)
    assert any("an Estimate, not float" in p for p in problems)


def test_what_is_asked_for_by_name_is_all_there_is_or_an_error(plugin, moons):
    model = zoo.create("mini_gan")
    found = evaluate(model, moons, measurements=["quality"], scores=["spread", "slow"])
    assert [q.score for q in found.quality] == ["spread", "slow"]
    assert not found.verdict.pretrained
    with pytest.raises(PluginError, match="'acme'.*'broken'.*no such layer"):
        evaluate(model, moons, measurements=["quality"], scores=["broken"])
    with pytest.raises(PluginError, match="weights are gone"):
        evaluate(model, moons, measurements=["quality"], features=["raising"])
    with pytest.raises(UnknownNameError, match="spraed"):
        SampleQuality(moons, scores=["spraed"])
    with pytest.raises(UsageError, match="feature extractor, no score"):
        SampleQuality(moons, scores=["pixels"])


def test_what_was_measured_by_a_plugin_is_verified_by_it(plugin, moons):
    model = zoo.create("mini_gan")
    record = evaluate(model, moons, measurements=["quality"], scores=["spread"]).record
    _, compared = verify(model, moons, record)
    assert [c.what for c in compared] == ["spread_pixels"] and compared[0].agrees


def test_strict_mode_raises_what_a_default_metric_raises(install, registry_of, moons):
    with use(registry_of(install(PLUGIN, code=CODE), strict=True)):
        with pytest.raises(PluginError, match="cannot be measured"):
            SampleQuality(moons)


def colour(n=50):
    x = torch.randint(256, (3 * n, 3, 28, 28), generator=torch.Generator().manual_seed(0))
    x = x.to(torch.uint8)
    splits = {k: Split(x[i * n : (i + 1) * n]) for i, k in enumerate(("train", "valid", "test"))}
    event = Event((3, 28, 28), levels=256)
    return Dataset("colour", event, Condition(), splits, "none", "made up")


def test_the_frechet_distance_of_large_images_on_pixels_is_left_out_and_said():
    """It decomposes matrices of 2,352 x 2,352; every other score is measured."""
    data = colour()
    compare = SampleQuality(data)
    found = {q.label for q in compare(data.split("train").x)}
    assert {"coverage_pixels", "precision_pixels", "kd_pixels", "memorization_pixels"} <= found
    assert "fd_pixels" not in found
    assert "2,352 features" in compare.describe()["left_out"]["fd_pixels"]


def test_a_recipe_says_which_quality_is_measured_at_its_end(minis, tmp_path):
    def measured(extra, out):
        folder = run_recipe(parse_recipe(extra + RECIPE), tmp_path / out, progress=False)
        return {m["score"] for m in zoo.load(str(folder)) and _metrics(folder)}

    assert "fd_pixels" in measured("", "default")
    assert measured('quality = "none"\n', "none") == set()
    chosen = measured('quality = {scores = ["coverage"], n = 30}\n', "chosen")
    assert chosen == {"coverage_pixels"}


def _metrics(folder):
    from zoo_core.weights.checkpoint import read_metadata

    return read_metadata(folder)["metrics"]


def test_a_recipes_quality_is_checked_before_training(minis, tmp_path):
    with pytest.raises(ConfigError, match="quality = 'some'"):
        parse_recipe('quality = "some"\n' + RECIPE)
    with pytest.raises(ConfigError, match="quality.size"):
        parse_recipe("quality = {size = 3}\n" + RECIPE)
    wrong = parse_recipe('quality = {scores = ["covrage"]}\n' + RECIPE)
    with pytest.raises(UnknownNameError, match="covrage"):
        run_recipe(wrong, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "model").exists()


def test_the_command_takes_metrics_by_name(capsys):
    given = ["--only", "quality", "--samples", "40", "--metrics", "coverage"]
    assert run(["--json", "evaluate", "made.digits", *given, "--metrics", "memorization"]) == 0
    scores = json.loads(capsys.readouterr().out)["quality"]["scores"]
    assert {s["score"] for s in scores} == {"coverage", "memorization"}
    assert run(["evaluate", "made.digits", *given, "--metrics", "covrage"]) == 3
