"""What the distribution declares and ships: specs, recipes, weights."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo_autoregressive
import zoo_core as zoo
from zoo_autoregressive import Jacobi, Sequential
from zoo_core.catalog import components
from zoo_core.cli.app import run
from zoo_core.data import load_dataset
from zoo_core.weights import golden
from zoo_core.workflows import load_recipe

PACKAGE = Path(zoo_autoregressive.__file__).parent
TAGS = sorted(folder.name for folder in (PACKAGE / "weights").iterdir())
RECIPES = sorted(path.stem for path in (PACKAGE / "recipes").glob("*.toml"))
ARCHES = sorted({name.split(".")[0] for name in RECIPES})
README = PACKAGE.parents[1] / "README.md"


def test_listing_the_family_imports_no_torch():
    code = (
        "import sys, zoo_core as zoo; print(*zoo.list_models(family='autoregressive'));"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    listing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert listing.returncode == 0, listing.stderr
    assert {*ARCHES, *TAGS} <= set(listing.stdout.split())


def test_every_architecture_has_weights_of_digits_that_fit_a_wheel():
    assert {f"{arch}.digits" for arch in ARCHES} <= set(TAGS)
    sizes = [path.stat().st_size for path in (PACKAGE / "weights").rglob("*.safetensors")]
    assert max(sizes) <= 8_000_000 and sum(sizes) <= 60_000_000


@pytest.mark.parametrize("arch", ARCHES)
def test_config_says_what_is_wrong(arch):
    with pytest.raises(zoo.ConfigError, match=f"{arch}.levels = 1 is out of range"):
        zoo.create(arch, levels=1)
    with pytest.raises(zoo.ConfigError, match="unknown option"):
        zoo.create(arch, hiden=4)


@pytest.mark.parametrize("arch", ARCHES)
def test_class_conditional_model_samples_scores_and_asks_for_its_class(arch):
    small = (
        {"hidden": (8, 8), "blocks": (1, 1)} if arch == "multiscale_pixelcnn" else {"hidden": 8}
    )
    small |= {"blocks": (1, 1)} if arch == "pixelcnn_pp" else {}
    if arch == "transformer_ar":
        small = {"network": {"type": "transformer", "hidden": 8, "layers": 1, "heads": 2}}
    model = zoo.create(arch, shape=(1, 3, 3), levels=3, classes=4, **small)
    x = model.sample(5, cond=torch.tensor([0, 1, 2, 3, 0]), temperature=0.5)
    assert x.shape == (5, 1, 3, 3) and int(x.max()) < 3
    assert str(model.log_likelihood(x, cond=2).kind) == "exact"
    with pytest.raises(zoo.DataError, match="cond is missing"):
        model.sample(1)


def test_sampler_refuses_a_temperature_of_zero():
    model = zoo.create("made", shape=(1, 2, 2), hidden=4)
    with pytest.raises(zoo.ConfigError, match="temperature = 0.0 is out of range"):
        model.sample(1, temperature=0.0)


@pytest.mark.parametrize("tag", TAGS)
def test_recipe_builds_the_model_that_the_weights_are_of(tag):
    recipe, info = load_recipe(tag), zoo.info(tag)
    assert info.tag is not None and info.tag.status == "bundled"
    described = info.tag.metadata["recipe"]
    assert described["sha256"] == recipe.sha256 and described["overrides"] == {}
    built = zoo.create(recipe.arch, **recipe.model)
    assert built.config == zoo.load(tag).config


@pytest.mark.parametrize(
    "tag", [pytest.param(t, marks=[pytest.mark.slow] * t.endswith(".emoji")) for t in TAGS]
)
def test_bundled_weights_reproduce_their_golden_tensors(tag):
    golden.check(zoo.load(tag), zoo.info(tag).tag.folder)


GOALS = {  # bits/dim of each one's digits, with room for other machines' rounding
    "made": 2.10,
    "gated_pixelcnn": 1.75,
}


@pytest.mark.parametrize("arch", ARCHES)
def test_weights_of_digits_score_what_they_state(arch):
    stated = metrics(f"{arch}.digits")["test"]
    mean = zoo.load(f"{arch}.digits").log_likelihood(load_dataset("digits").split("test").x).mean()
    assert mean.n == 360 and str(mean.kind) == "exact"
    assert abs(mean.bits_per_dim - stated["bits_per_dim"]) < 1e-4
    assert mean.bits_per_dim < GOALS.get(arch, 1.85)


@pytest.mark.parametrize("tag", TAGS)
def test_readme_states_what_the_weights_record(tag):
    lines = [line for line in README.read_text().splitlines() if line.startswith(f"| `{tag}` ")]
    (row,) = [line for line in lines if "±" in line]  # others are times
    stated, params = metrics(tag)["test"], zoo.info(tag).tag.metadata["params"]
    value = f"{stated['bits_per_dim']:.3f} ± {stated['bits_per_dim_std_err']:.3f}"
    if tag.endswith("mnist"):
        value = f"{-stated['nats']:.2f} ± {stated['std_err']:.2f}"
    assert {value, f"{params:,}"} <= {cell.strip() for cell in row.split("|")}


def metrics(tag):
    """The recorded ones, by split."""
    recorded = json.loads((PACKAGE / "weights" / tag / "zoo.json").read_text())["metrics"]
    return {m["split"]: m for m in recorded}


def test_ising_weights_come_close_to_the_exact_log_p_and_stay_below_it():
    data = load_dataset("ising")
    x = data.split("test").x
    gap = data.truth(x) - zoo.load("gated_pixelcnn.ising").log_likelihood(x).nats  # KL in the mean
    error = float(gap.std()) / len(x) ** 0.5
    assert -3 * error < float(gap.mean()) < 0.1


def test_the_command_says_on_stderr_that_known_values_do_not_count(tmp_path, capsys):
    lower = np.zeros((1, 8, 8), bool)
    lower[:, 4:] = True
    for name, mask, lines in (("lower", lower, 1), ("upper", ~lower, 0)):
        path, out = tmp_path / f"{name}.npz", tmp_path / f"{name}-out.npz"
        np.savez(path, values=np.zeros((1, 8, 8), np.int64), mask=mask)
        argv = ["sample", "made.digits", "-n", "2", "--quiet", "--out", str(out)]
        assert run([*argv, "--fixed", str(path)]) == 0
        err = capsys.readouterr().err.splitlines()
        assert len(err) == lines
        assert all(line.startswith("zoo: warning: up to 32 unknown values") for line in err)


@pytest.mark.parametrize("arch", ["row_lstm", "pixelcnn", "multiscale_pixelcnn", "pixelcnn_pp"])
def test_up_to_16_images_of_row_wise_networks_are_drawn_by_jacobi(arch):
    model = zoo.load(f"{arch}.digits")
    chosen = [type(components.sampler(model, None, {}, n)) for n in (1, 16, 17, None)]
    assert chosen == [Jacobi, Jacobi, Sequential, Sequential]
    assert torch.equal(model.sample(17)[:16], model.sample(16))


@pytest.mark.parametrize("sampler", ["sequential", "jacobi"])
def test_the_output_says_when_the_distribution_is_not_the_scored_one(tmp_path, capsys, sampler):
    argv = ["--json", "sample", "made.digits", "-n", "1", "--sampler", sampler]

    def sample(*options):
        assert run([*argv, "--out", str(tmp_path / "x.npz"), *options]) == 0
        return json.loads(capsys.readouterr().out)

    assert "distribution" not in sample()
    stated = "not the scored one: temperature = 0.9, top_k = 4"
    assert sample("--set", "temperature=0.9", "--set", "top_k=4")["distribution"] == stated
    with np.load(tmp_path / "x.npz") as written:
        assert any(stated in str(written[name]) for name in written.files)


def test_an_evaluation_says_when_its_samples_do_not_follow_the_scored_distribution():
    model, data = zoo.load("made.digits"), load_dataset("digits")
    options = {"sampler": "sequential", "sampler_options": {"top_p": 0.5}}
    record = zoo.evaluate(model, data, measurements=["likelihood"], limit=4, **options).record
    assert record["sampler"]["distribution"] == "not the scored one: top_p = 0.5"
