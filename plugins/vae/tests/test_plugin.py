"""Declarations and contents of the distribution: specs, recipes, weights, README's numbers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo_core as zoo
from zoo_core.data import load_dataset
from zoo_core.weights import golden
from zoo_core.workflows import load_recipe

TAGS = tuple(name for name in zoo.list_models(family="vae", pretrained=True))
README = Path(__file__).parents[1] / "README.md"
SMALL = {
    "vae": {"hidden": (8,), "latent": 2},
    "iwae": {"latent": (2,), "hidden": (8,)},
    "hvae": {"channels": (4,), "blocks": (3,), "latent": (1,)},
}


def metrics(tag):
    folder = zoo.info(tag).tag.folder
    return json.loads((folder / "zoo.json").read_text())["metrics"]


def test_listing_the_family_imports_no_torch():
    code = (
        "import sys, zoo_core as zoo; print(*zoo.list_models(family='vae'));"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"vae", "iwae", "hvae", *TAGS} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("vae", {"levels": 5}, "bernoulli likelihood is for 2 levels, not 5"),
        ("vae", {"shape": (1, 6, 8), "channels": (4, 4)}, "6x8 cannot be downsampled 2 times"),
        ("hvae", {"shape": (1, 6, 8)}, r"6x8 cannot be divided by strides = \(2, 2\)"),
        ("hvae", {"strides": (2,)}, r"strides = \(2,\); each needs one entry per resolution"),
        ("hvae", {"blocks": (1, 0)}, "the last resolution needs a latent group"),
        ("hvae", {"blocks": (1, 1, 1)}, "each needs one entry per resolution"),
        ("iwae", {"latent": (4,)}, "each needs one entry per latent group"),
        ("iwae", {"likelihood": "gaussian"}, "must be one of 'bernoulli'"),
    ],
)
def test_config_says_what_is_wrong(arch, options, message):
    with pytest.raises(zoo.ConfigError, match=message):
        zoo.create(arch, **options)


@pytest.mark.parametrize("arch", SMALL)
def test_class_conditional_model_samples_scores_and_asks_for_its_class(arch):
    model = zoo.create(
        arch, shape=(1, 4, 4), levels=3, likelihood="categorical", classes=4, **SMALL[arch]
    )
    x = model.sample(5, cond=torch.tensor([0, 1, 2, 3, 0]))
    assert x.shape == (5, 1, 4, 4) and int(x.max()) < 3
    assert str(model.log_likelihood(x, cond=2).kind) == "elbo"
    assert str(model.log_likelihood(x, cond=2, method="iwae", k=7).kind) == "iwae(k=7)"
    with pytest.raises(zoo.DataError, match="cond is missing"):
        model.sample(1)


@pytest.mark.parametrize("tag", TAGS)
def test_recipe_builds_the_model_that_the_weights_are_of(tag):
    recipe, info = load_recipe(tag), zoo.info(tag)
    assert info.tag is not None and info.tag.status == "bundled"
    recorded = info.tag.metadata["recipe"]
    assert recorded["sha256"] == recipe.sha256 and recorded["overrides"] == {}
    assert zoo.create(recipe.arch, **recipe.model).config == zoo.load(tag).config


@pytest.mark.parametrize("tag", TAGS)
def test_bundled_weights_reproduce_their_golden_tensors(tag):
    golden.check(zoo.load(tag), zoo.info(tag).tag.folder)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag.endswith(".digits")])
def test_bundled_weights_score_what_they_state(tag):
    stated = next(m for m in metrics(tag) if m["split"] == "test" and m["kind"] == "elbo")
    mean = zoo.load(tag).log_likelihood(load_dataset("digits").split("test").x).mean()
    assert mean.n == 360 and str(mean.kind) == "elbo"
    assert mean.nats == pytest.approx(stated["nats"], abs=1e-2)
    assert mean.bits_per_dim < 2.423  # independent categorical


@pytest.mark.parametrize("tag", TAGS)
def test_importance_weights_tighten_the_recorded_bound(tag):
    test = {m["kind"]: m["nats"] for m in metrics(tag) if m["split"] == "test"}
    tighter = [nats for kind, nats in test.items() if kind.startswith("iwae")]
    assert test["elbo"] < min(tighter, default=0.0)


@pytest.mark.parametrize("tag", TAGS)
def test_readme_states_the_recorded_numbers(tag):
    (row,) = re.findall(rf"^\| `{re.escape(tag)}` \|(.*)\|$", README.read_text(), re.M)
    params, elbo, iwae, *_ = (cell.strip() for cell in row.split("|"))
    info, test = zoo.info(tag), {m["kind"]: m for m in metrics(tag) if m["split"] == "test"}
    assert params == f"{info.tag.metadata['params']:,}"
    assert elbo == _cell(test["elbo"])
    scored = [f"{_cell(m)} {kind}" for kind, m in test.items() if kind != "elbo"]
    assert iwae == (scored[0] if scored else "not measured")


def _cell(metric):
    return f"{-metric['nats']:.2f} ({metric['bits_per_dim']:.3f})"
