"""What the distribution declares and ships: specs, recipes, weights, and numbers in its README."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.cli.app import run
from zoo_core.data import load_dataset
from zoo_core.weights import golden
from zoo_core.workflows import load_recipe

ARCHS = ("realnvp", "glow", "maf", "nsf_coupling")
RECIPES = ("glow.mnist", "nsf_coupling.mnist", "glow.cifar10")
GOALS = {"nsf_coupling": 2.03, "realnvp": 2.08, "glow": 2.15, "maf": 2.15}
README = (Path(__file__).parents[1] / "README.md").read_text()


def bundled():
    """The tags with weights in this plugin."""
    infos = [i for i in current().list_models(family="flows", pretrained=True)]
    return [i.name for i in infos if i.tag.status == "bundled"]


def stated(tag, split="test"):
    metadata = json.loads((zoo.info(tag).tag.folder / "zoo.json").read_text())
    (metric,) = [m for m in metadata["metrics"] if m["split"] == split]
    return metadata, metric


def test_listing_the_family_imports_no_torch():
    code = (
        "import sys, zoo_core as zoo; print(*zoo.list_models(family='flows'));"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    listing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert listing.returncode == 0, listing.stderr
    assert {*ARCHS, *bundled(), *RECIPES} <= set(listing.stdout.split())


def test_every_architecture_has_weights_for_digits_and_splines_for_a_toy():
    assert {f"{arch}.digits" for arch in ARCHS} <= set(bundled())
    assert any(tag.startswith("nsf_coupling.") and "digits" not in tag for tag in bundled())


def test_the_listed_likelihood_is_that_of_the_events_of_a_tag():
    assert zoo.info("realnvp").row()["likelihood"] == "exact_density"
    rows = {tag: zoo.info(tag).row()["likelihood"] for tag in bundled()}
    for tag, likelihood in rows.items():
        assert likelihood == ("deq_bound" if tag.endswith(".digits") else "exact_density")


@pytest.mark.parametrize("arch", ARCHS)
def test_config_says_what_is_wrong(arch):
    with pytest.raises(zoo.ConfigError, match=f"{arch}.levels = 1 is out of range"):
        zoo.create(arch, levels=1)
    with pytest.raises(zoo.ConfigError, match="unknown option"):
        zoo.create(arch, hiden=4)
    with pytest.raises(zoo.ConfigError, match="preprocess"):
        zoo.create(arch, preprocess={"logit": 0.7})


@pytest.mark.parametrize("arch", ARCHS)
def test_conditional_models_sample_score_and_ask_for_their_condition(arch):
    model = zoo.create(arch, shape=(1, 4, 4), levels=3, classes=4, hidden=4)
    x = model.sample(5, cond=torch.tensor([0, 1, 2, 3, 0]))
    assert x.shape == (5, 1, 4, 4) and int(x.max()) < 3
    assert model.log_likelihood(x, cond=2).kind.name == "deq_bound"
    with pytest.raises(zoo.DataError, match="cond is missing"):
        model.sample(1)


@pytest.mark.parametrize("tag", RECIPES)
def test_recipes_for_a_gpu_build_flows_of_images_in_their_own_size(tag):
    recipe = load_recipe(tag)
    assert recipe.report == "test" and recipe.data == "npz"
    model = zoo.create(recipe.arch, **{**recipe.model, "steps": 1, "hidden": 4})
    shape = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}[tag.partition(".")[2]]
    assert model.event.shape == shape and model.event.levels == 256
    assert model.sample(2).shape == (2, *shape)


@pytest.mark.parametrize("tag", bundled())
def test_recipe_builds_the_model_that_the_weights_are_of(tag):
    recipe, info = load_recipe(tag), zoo.info(tag)
    described = info.tag.metadata["recipe"]
    assert described["sha256"] == recipe.sha256 and described["overrides"] == {}
    assert zoo.create(recipe.arch, **recipe.model).config == zoo.load(tag).config


@pytest.mark.parametrize("tag", bundled())
def test_bundled_weights_reproduce_their_golden_tensors(tag):
    golden.check(zoo.load(tag), zoo.info(tag).tag.folder)


def test_info_says_that_vector_is_the_condition_and_shape_the_event(capsys):
    assert run(["info", "nsf_coupling"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert (
        "conditioned on a vector of this length, given as cond; shape is that of x"
        in (lines["vector"])
    )
    assert "[D] for vectors, [C, H, W] for images" in lines["shape"]
    model = zoo.create("nsf_coupling", shape=[3], vector=2)
    assert model.sample(4, cond=[0.0, 1.0]).shape == (4, 3)


@pytest.mark.parametrize("tag", [t for t in bundled() if t.endswith(".digits")])
def test_weights_for_digits_score_what_they_state_and_reach_the_goal(tag):
    _, metric = stated(tag)
    mean = zoo.load(tag).log_likelihood(load_dataset("digits").split("test").x).mean()
    assert mean.n == 360 and mean.kind.name == "deq_bound"
    assert abs(mean.bits_per_dim - metric["bits_per_dim"]) < 1e-4
    assert mean.bits_per_dim < GOALS[tag.partition(".")[0]]


@pytest.mark.parametrize("tag", [t for t in bundled() if not t.endswith(".digits")])
def test_splines_come_within_three_hundredths_of_a_nat_of_the_true_entropy(tag):
    data = load_dataset(tag.partition(".")[2])
    x = data.split("test").x
    scored = zoo.load(tag).log_likelihood(x)
    gap = data.truth(x) - scored.nats  # KL(truth, model) in the mean
    assert abs(float(scored.nats.mean()) - stated(tag)[1]["nats"]) < 1e-3
    assert float(gap.mean()) < 0.03


def test_numbers_of_the_readme_are_those_recorded_with_the_weights():
    rows = re.findall(r"^\| `(\S+\.\S+)` \| ([\d,]+) \| (-?[\d.]+)", README, re.MULTILINE)
    assert sorted(tag for tag, _, _ in rows) == sorted(bundled())
    for tag, params, value in rows:
        metadata, metric = stated(tag)
        assert int(params.replace(",", "")) == metadata["params"]
        recorded = metric["bits_per_dim"] if tag.endswith(".digits") else metric["nats"]
        assert value == f"{recorded:.3f}"


@pytest.mark.parametrize("tag", [t for t in bundled() if t.endswith(".digits")])
def test_trained_flows_lead_back_to_their_events_in_float32(tag):
    model = zoo.load(tag).eval()
    x = load_dataset("digits").split("test").x[:100]
    u, _ = model.dequantizer(x, zoo.Rng(0, 100), 0)
    with torch.no_grad():
        z, ladj = model.forward_and_ladj(x + u)
        back, other = model.inverse_and_ladj(z)
    assert float((back - x - u).abs().max()) < 2e-5 * 17
    assert float((ladj + other).abs().max()) < 2e-5 * 64
