"""What the distribution declares and ships: specs, recipes, weights, names on the Hub."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog import components as resolve
from zoo_core.catalog.measured_sampler import MeasuredSampler
from zoo_core.catalog.registry import current
from zoo_core.cli.list import likelihood_text
from zoo_core.data import load_dataset
from zoo_core.training import train
from zoo_core.training.config import TrainConfig
from zoo_core.weights import golden
from zoo_core.weights.card import card
from zoo_core.workflows import load_recipe

ARCHS = ("ddpm", "edm", "flow_matching", "vdm", "ve_sde", "vp_sde")
TAGS = [
    row
    for arch in ARCHS
    for row in zoo.list_models(f"{arch}.*", pretrained=True)
    if zoo.info(row).tag.status == "bundled"
]
RECIPES = sorted(
    p.stem for p in (Path(__file__).parents[1] / "src/zoo_diffusion/recipes").glob("*.toml")
)
README = (Path(__file__).parents[1] / "README.md").read_text()
MEASURED = [tag for tag in TAGS if "sampler" in zoo.info(tag).tag.metadata]
README_ROW = (
    "| `{arch}` | `{name}`, {options[steps]} steps | {calls} | {coverage:.3f} +- {std_err:.3f}"
)
DEAR = ("vdm.binarized_mnist", "vdm.digits", "vdm.emoji", "edm.emoji")
"""Samples of these take seconds; default tests reproduce scores of all tags, and tiny models."""
GOALS = {"vdm.digits": ("lower", 1.85), "ddpm.digits": ("lower", 2.1)}


def metrics(tag):
    return json.loads((zoo.info(tag).tag.folder / "zoo.json").read_text())["metrics"]


def test_listing_the_family_imports_no_torch():
    code = (
        "import sys, zoo_core as zoo; print(*zoo.list_models(family='diffusion'));"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    listing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert listing.returncode == 0, listing.stderr
    names = set(listing.stdout.split())
    assert {*ARCHS, *TAGS, "ddpm.cifar10", "ddpm.mnist", "ve_sde.ffhq256"} <= names


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_builds_its_model(name):
    recipe = load_recipe(name)
    model = zoo.create(recipe.arch, **recipe.model)
    default = (recipe.likelihood,) if model.spec.default_likelihood else ()
    for score in (*default, *recipe.scores):
        resolve.likelihood(model, score.method, score.options)


@pytest.mark.parametrize("tag", TAGS)
def test_bundled_weights_are_of_their_recipe(tag):
    recipe, info = load_recipe(tag), zoo.info(tag)
    described = info.tag.metadata["recipe"]
    assert described["sha256"] == recipe.sha256 and described["overrides"] == {}
    assert zoo.create(recipe.arch, **recipe.model).config == zoo.load(tag).config


@pytest.mark.parametrize(
    "tag", [pytest.param(t, marks=[pytest.mark.slow] * (t in DEAR)) for t in TAGS]
)
def test_bundled_weights_reproduce_their_golden_tensors(tag):
    golden.check(zoo.load(tag), zoo.info(tag).tag.folder)


@pytest.mark.parametrize("tag", [t for t in TAGS if t in GOALS])
def test_bundled_weights_reach_their_goal(tag):
    stated = next(m for m in metrics(tag) if m["split"] == "test")
    relation, most = GOALS[tag]
    assert stated["relation"] == relation and stated["n"] == 360
    assert stated["bits_per_dim"] <= most


@pytest.mark.slow
@pytest.mark.parametrize(
    "tag", [t for t in TAGS if t.endswith("digits") and zoo.info(t).spec.arch != "flow_matching"]
)
def test_bundled_weights_score_what_they_state(tag):
    x = load_dataset("digits").split("test").x
    (stated,) = [m for m in metrics(tag) if m["split"] == "test" and "vlb" in m["kind"]]
    mean = zoo.load(tag).log_likelihood(x).mean()
    assert mean.n == stated["n"] and abs(mean.bits_per_dim - stated["bits_per_dim"]) < 1e-3


@pytest.mark.parametrize("tag", TAGS)
def test_readme_states_what_the_weights_record(tag):
    rows = [line for line in README.splitlines() if line.startswith(f"| `{tag}` |")]
    assert len(rows) == 1, f"README has {len(rows)} rows of {tag}"
    numbers = re.findall(r"\d+\.\d{3}", rows[0])
    for m in metrics(tag):
        if m["split"] == "test":
            assert f"{m['bits_per_dim']:.3f}" in numbers


def test_listings_name_the_kind_of_the_number_and_not_the_method():
    """`vlb` is how the bound is computed; its number is an ELBO as others are."""
    (row,) = current().list_models("vdm.digits")
    assert row.row()["likelihood"] == "vlb"  # what --method takes
    assert likelihood_text(current(), "vlb") == ">= elbo"
    assert "likelihood | log p >= elbo" in card("o/r", row.spec, row.tag.metadata).replace(
        "\\", ""
    )


@pytest.mark.parametrize(
    ("arch", "loss"),
    [("ddpm", "simple"), ("ddpm", "vlb"), ("vp_sde", "vlb"), ("edm", "edm"), ("vdm", "vdm")],
)
def test_every_loss_trains_a_toy(arch, loss):
    """120 steps on the plane lower the loss that is trained."""
    torch.manual_seed(0)
    data = load_dataset("moons")
    model = zoo.create(arch, network={"type": "mlp", "hidden": 32, "layers": 1})
    batch = data.split("valid").batch(slice(0, 512))
    player = model.players(loss)["model"]
    before = float(player.loss(batch, zoo.Rng(5, 512), 0).total.detach())
    train(model, data, TrainConfig(steps=120, batch_size=128, lr=3e-3), loss=loss, progress=False)
    assert float(player.loss(batch, zoo.Rng(5, 512), 0).total.detach()) < 0.97 * before


@pytest.mark.parametrize("tag", MEASURED)
def test_a_tag_is_drawn_from_by_the_sampler_that_was_measured_for_it(tag):
    model = zoo.load(tag)
    measured = model.measured_sampler
    record = measured.record
    assert record["split"] == "valid" and record["calls"] <= 50
    assert README_ROW.format(arch=model.spec.arch, **record) in README
    stated = resolve.sampler(model, measured.name, measured.options)
    assert resolve.sampler(model, None, {}) == stated
    assert resolve.sampler(model, None, {"steps": 7}) == replace(stated, steps=7)


def test_info_tells_the_sampler_that_keeps_the_quality_with_the_fewest_calls():
    record = {"name": "unipc", "options": {"steps": 20}, "calls": 20, "coverage": 0.3, "real": 0.5}
    measured = MeasuredSampler.from_record(record)
    assert measured is not None and measured.told() == (
        "unipc, steps=20: fewest calls of the network (20) that keep its quality, "
        "60 % of real events' coverage"
    )
    for other in (record | {"real": 0.0}, record | {"calls": "many"}):
        assert MeasuredSampler.from_record(other).told() is None
