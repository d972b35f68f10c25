"""Recipes: found by name, checked as a whole, run to a folder that says how it was made."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import zoo_core as zoo
from zoo_core.errors import (
    ConfigError,
    DataError,
    NoCapabilityError,
    OutputError,
    UnknownNameError,
    UsageError,
    ZooError,
    ZooWarning,
)
from zoo_core.likelihoods.exact import Exact
from zoo_core.weights import golden
from zoo_core.workflows import load_recipe, run_recipe
from zoo_core.workflows.precision import multiplies_bf16
from zoo_core.workflows.recipe import parse_recipe
from zoo_core.workflows.verification import verify_metrics

PLUGIN = """
from zoo_core.plugin import ModelSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_models():
    return [ModelSpec("toytable", "toys", "explicit/tractable", "zoo_toyrecipes.model:Table",
                      "zoo_toyrecipes.model:Config", capabilities=("Density",),
                      default_likelihood="exact"),
            ModelSpec("toylabelled", "toys", "explicit/tractable",
                      "zoo_toyrecipes.model:Labelled", "zoo_toyrecipes.model:Config",
                      capabilities=("Density",), default_likelihood="exact")]
"""
MODEL = """
from dataclasses import dataclass
import torch
from torch import nn
import zoo_core as zoo

@dataclass(frozen=True)
class Config:
    hidden: int = 4
    levels: int = 17

class Table(zoo.GenerativeModel):
    takes = zoo.Condition()

    def __init__(self, config):
        super().__init__(config, zoo.Event((1, 8, 8), levels=config.levels), self.takes)
        self.embed = nn.Sequential(nn.Linear(1, config.hidden), nn.Dropout(0.1))
        self.head = nn.Linear(config.hidden, 64 * config.levels)

    def logits(self, n):
        return self.head(self.embed(torch.ones(n, 1))).view(n, 1, 8, 8, -1)

    def log_prob(self, x, cond=None):
        logits = self.logits(len(x)).log_softmax(-1)
        return logits.gather(-1, x.unsqueeze(-1)).flatten(1).sum(1)

    def sample_rows(self, rng, cond=None):
        return rng.categorical(self.logits(len(rng)), stream="x")

class Labelled(Table):
    takes = zoo.Condition("classes", classes=3)
"""
RECIPE = """# A table, on digits.
arch = "toytable"
data = "digits"
license = "Apache-2.0"
source = "trained by this recipe"
report = "test"

[model]
hidden = 8

[train]
steps = 20
lr = 0.05
eval_every = 10
keep_best = true
"""
STAGES = """
arch = "toytable"
data = "digits"

[train]
steps = 6
lr = 0.05

[players.model]
weight_decay = 0.1

[[stage]]
name = "all"

[[stage]]
name = "embedding"
parameters = ["embed.*"]
[stage.train]
steps = 4
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "zoo_toyrecipes"
    (folder / "recipes").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "model.py").write_text(MODEL)
    (folder / "recipes" / "toytable.digits.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder.parent))
        yield folder


@pytest.fixture
def toys(package, registry_of):
    from zoo_core.catalog.registry import use

    with use(registry_of(EntryPoint("toys", "zoo_toyrecipes.plugin", "density_zoo"))) as registry:
        yield registry


def run(recipe, out, **kwargs):
    return run_recipe(recipe, out, progress=False, **kwargs)


def test_a_recipe_is_found_by_its_tag_and_by_its_path(toys, package):
    by_name = load_recipe("toytable.digits")
    assert by_name == load_recipe(str(package / "recipes" / "toytable.digits.toml"))
    assert (by_name.name, by_name.arch, by_name.data) == ("toytable.digits", "toytable", "digits")
    assert by_name.stages[0].train == zoo.TrainConfig(
        steps=20, lr=0.05, eval_every=10, keep_best=True
    )


def test_a_run_saves_a_model_with_its_metrics_its_golden_tensors_and_how_it_was_made(
    toys, tmp_path
):
    recipe = load_recipe("toytable.digits")
    folder = run(recipe, tmp_path / "run", overrides={"train.batch_size": "32"}, seed=3)
    saved = json.loads((folder / "zoo.json").read_text())
    assert saved["recipe"] == {
        "name": "toytable.digits",
        "text": RECIPE,
        "sha256": recipe.sha256,
        "overrides": {"train.batch_size": "32"},
    }
    assert saved["config"] == {"hidden": 8, "levels": 17}
    assert (saved["license"], saved["data"]["name"]) == ("Apache-2.0", "digits")
    assert saved["training"]["seed"] == 3
    assert saved["training"]["torch"] == torch.__version__
    assert saved["training"]["seconds"] > 0
    assert [(m["split"], m["n"]) for m in saved["metrics"]] == [("valid", 237), ("test", 360)]
    model = zoo.load(str(folder))
    golden.check(model, folder)
    digits = zoo.load_dataset("digits").split("test")
    mean = model.log_likelihood(digits.x).mean()
    metric = saved["metrics"][1]
    assert (metric["kind"], metric["relation"]) == ("exact", "equal")
    assert metric["nats"] == pytest.approx(mean.nats)
    assert metric["bits_per_dim"] == pytest.approx(mean.bits_per_dim)
    assert metric["bits_per_dim_std_err"] == pytest.approx(mean.bits_per_dim_std_err)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_a_recipe_gives_the_same_weights_each_time_and_others_by_another_seed(toys, tmp_path):
    recipe = load_recipe("toytable.digits")
    torch.manual_seed(1)
    first = run(recipe, tmp_path / "a")
    torch.manual_seed(2)
    assert weights(run(recipe, tmp_path / "b")) == weights(first)
    assert weights(run(recipe, tmp_path / "c", seed=1)) != weights(first)
    assert weights(run(recipe, tmp_path / "a", resume=True)) == weights(first)


def test_test_is_scored_only_where_the_recipe_reports_it(toys, tmp_path):
    folder = run(load_recipe("toytable.digits"), tmp_path, overrides={"report": "valid"})
    metrics = json.loads((folder / "zoo.json").read_text())["metrics"]
    assert [m["split"] for m in metrics] == ["valid"]


def test_weights_in_half_precision_are_measured_as_they_are_kept(toys, tmp_path):
    whole = run(load_recipe("toytable.digits"), tmp_path / "whole")
    folder = run(load_recipe("toytable.digits"), tmp_path / "half", overrides={"half": True})
    kept = load_file(folder / "model.safetensors")
    assert {t.dtype for t in kept.values()} == {torch.float16}
    assert len(weights(folder)) < 0.6 * len(weights(whole))
    model = zoo.load(str(folder))
    assert model.dtype == torch.float32
    assert all(torch.equal(p, kept[k].float()) for k, p in model.state_dict().items())
    golden.check(model, folder, tolerance=1e-6)
    valid = zoo.load_dataset("digits").split("valid")
    metric = json.loads((folder / "zoo.json").read_text())["metrics"][0]
    assert metric["nats"] == pytest.approx(model.log_likelihood(valid.x).mean().nats)


def test_further_likelihoods_are_scored_on_the_reported_split(toys, tmp_path):
    folder = run(load_recipe("toytable.digits"), tmp_path, overrides={"scores": ["exact"]})
    valid, test, again = json.loads((folder / "zoo.json").read_text())["metrics"]
    assert (valid["split"], test["split"]) == ("valid", "test")
    assert again == test | {"method": "exact"}


def test_likelihoods_of_some_events_are_those_that_the_seed_draws(toys, tmp_path):
    some = {"likelihood.limit": 20, "scores": [{"name": "exact", "limit": 5}]}
    folder = run(load_recipe("toytable.digits"), tmp_path, overrides=some)
    metrics = json.loads((folder / "zoo.json").read_text())["metrics"]
    assert [m["n"] for m in metrics] == [20, 20, 5]
    model, data = zoo.load(str(folder)), zoo.load_dataset("digits")
    again = verify_metrics(model, data, metrics)
    assert len(again) == 3 and all(abs(c.now - c.recorded) < 1e-9 for c in again)
    x = data.split("test").x
    assert metrics[1]["nats"] != model.log_likelihood(x[:20]).mean().nats


def test_a_likelihood_that_does_not_fit_is_refused_before_training(toys, tmp_path):
    with pytest.raises(NoCapabilityError, match="'elbo' needs Encoder"):
        run(load_recipe("toytable.digits"), tmp_path, overrides={"scores": [{"name": "elbo"}]})
    assert not [*tmp_path.rglob("*.safetensors")]


@pytest.fixture
def labelled_train(tmp_path):
    """Labelled events, all of them to be trained on."""
    x, y = np.arange(6 * 64, dtype=np.uint8).reshape(6, 1, 8, 8) % 17, np.arange(6) % 3
    np.savez(tmp_path / "data.npz", train=x, y_train=y)
    return tmp_path / "data.npz"


def small(path, **more):
    """A recipe of one step on an .npz file of 17 levels."""
    text = 'arch = "toylabelled"\ndata = "npz"\n[train]\nsteps = 1\nbatch_size = 2\nlr = 0.0\n'
    return parse_recipe(text, overrides={"data.path": str(path), "data.levels": 17, **more})


def test_a_conditional_model_needs_no_validation_data(toys, tmp_path, labelled_train):
    folder = run(small(labelled_train), tmp_path / "run")
    saved = load_file(folder / "golden.safetensors")
    assert saved["cond"].tolist() == [0, 1, 2, 0]
    golden.check(zoo.load(str(folder)), folder)
    assert json.loads((folder / "zoo.json").read_text())["metrics"] == []


STAGE = {"name": "second", "parameters": ["head.*"]}
LATE = [
    ({"report": "test"}, "report = 'test': .* no split of that name; splits: train"),
    ({"scores": ["exact"]}, "report = 'valid': .* no split of that name"),
    ({"train.eval_every": 1}, "no split 'valid'"),
    ({"stage": [{"name": "first"}, STAGE | {"loss": {"name": "nul"}}]}, "unknown loss 'nul'"),
    ({"stage": [{"name": "first"}, STAGE | {"parameters": ["x"]}]}, "'x' matches none"),
    ({"stage": [{"name": "first"}, STAGE | {"players": {"a": {}}}]}, "unknown player 'a'"),
    ({"stage": [{"name": "first"}, STAGE | {"train": {"batch_size": 9}}]}, "batch_size = 9"),
    ({"stage": [{"name": "first"}, STAGE | {"train": {"eval_every": 1}}]}, "no split 'valid'"),
]


@pytest.mark.parametrize(("overrides", "message"), LATE)
def test_what_would_fail_at_the_end_is_refused_before_the_first_step(
    toys, tmp_path, labelled_train, overrides, message
):
    with pytest.raises(ZooError, match=message):
        run(small(labelled_train, **overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_replaced_is_refused_before_the_first_step(
    toys, tmp_path, labelled_train
):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "thesis.txt").write_text("")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        run(small(labelled_train), tmp_path / "run")
    with pytest.raises(ConfigError, match="overrides must be JSON values"):
        run(small(labelled_train), tmp_path / "b", overrides={"data.path": labelled_train})
    assert [p.name for p in tmp_path.iterdir()] == ["data.npz", "run"]


def test_a_score_that_refuses_its_events_is_found_before_the_first_step(
    toys, tmp_path, monkeypatch
):
    def refuse(self, model, x, cond, rng):
        raise UsageError("not for such events")

    monkeypatch.setattr(Exact, "__call__", refuse)
    with pytest.raises(UsageError, match="not for such events"):
        run(load_recipe("toytable.digits"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["toytable.digits", "staged"])
def test_a_trained_model_is_saved_though_its_measurement_fails(
    toys, tmp_path, monkeypatch, recipe
):
    def fail(model, data, recipe):
        raise RuntimeError("out of memory")

    loaded = load_recipe(recipe) if recipe != "staged" else parse_recipe(STAGES, name=recipe)
    whole = run(loaded, tmp_path / "whole")
    monkeypatch.setattr("zoo_core.workflows.run._metrics", fail)
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        pytest.warns(ZooWarning, match="broken/model holds the trained weights"),
    ):
        run(loaded, tmp_path / "broken")
    assert weights(tmp_path / "broken" / "model") == weights(whole)
    found = json.loads((tmp_path / "broken" / "model" / "zoo.json").read_text())
    assert found["metrics"] == [] and found["training"]["seed"] == 0
    monkeypatch.undo()
    again = run(loaded, tmp_path / "broken", resume=True)
    assert json.loads((again / "zoo.json").read_text())["metrics"] != []
    golden.check(zoo.load(str(again)), again)


@pytest.mark.parametrize(
    ("precision", "instructions", "said"),
    [
        ("bf16", False, 1),
        ("bf16", True, 0),
        ("no", False, 0),
    ],
)
def test_bf16_on_a_cpu_that_lacks_it_is_remarked_on_once(
    toys, tmp_path, monkeypatch, caplog, precision, instructions, said
):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: instructions)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    recipe = parse_recipe(STAGES, overrides={"train.precision": precision})
    caplog.set_level("INFO")
    run_recipe(recipe, tmp_path)
    assert caplog.text.count("--set train.precision=no") == said


def test_only_the_cpu_can_lack_bf16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert not multiplies_bf16(torch.device("cpu"))
    assert multiplies_bf16(torch.device("cuda"))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")  # unknown there
    assert multiplies_bf16(torch.device("cpu"))


def test_stages_train_one_after_the_other_each_what_it_names(toys, tmp_path):
    recipe = parse_recipe(STAGES, name="staged")
    assert [s.train.steps for s in recipe.stages] == [6, 4]
    assert all(s.players == {"model": {"weight_decay": 0.1}} for s in recipe.stages)
    only = parse_recipe(STAGES.partition('[[stage]]\nname = "embedding"')[0], name="first")
    whole, first = run(recipe, tmp_path / "two"), run(only, tmp_path / "one")
    one, two = (zoo.load(str(f)).state_dict() for f in (first, whole))
    changed = [name for name in one if not torch.equal(one[name], two[name])]
    assert changed == ["embed.0.weight", "embed.0.bias"]
    files = sorted(str(p.relative_to(tmp_path / "two")) for p in tmp_path.glob("two/*/*.*"))
    assert "all/checkpoint.safetensors" in files
    assert "embedding/checkpoint.safetensors" in files
    again = run(recipe, tmp_path / "two", resume=True)
    assert weights(again) == weights(whole)


def test_overrides_reach_every_table(toys):
    changed = parse_recipe(
        STAGES,
        overrides={
            "stage.1.train.steps": 9,
            "model.hidden": "64",
            "data.seed": 3,
            "loss.name": "nll",
            "players.model.lr": 0.1,
            "source": "here",
        },
    )
    assert [s.train.steps for s in changed.stages] == [6, 9]
    assert changed.model == {"hidden": 64}
    assert (changed.data, changed.data_options) == ("digits", {"seed": 3})
    assert {s.loss for s in changed.stages} == {"nll"}
    assert changed.stages[0].players["model"] == {"weight_decay": 0.1, "lr": 0.1}
    assert changed.source == "here"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("toytable.dgits", UnknownNameError, r"Did you mean toytable\.digits"),
        ("toytable", UnknownNameError, r"no recipe; recipes: toytable\.digits"),
        ("my.toml", DataError, r"my\.toml cannot be read"),
        ("runs/my.toml", DataError, r"runs/my\.toml cannot be read"),
        ("./absent.toml", DataError, "cannot be read"),
    ],
)
def test_recipes_that_cannot_be_found_are_explained(toys, name, error, message):
    with pytest.raises(error, match=message):
        load_recipe(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch = made", r"recipe bad: .*line 1"),
        ('data = "digits"', "arch is required"),
        ('arch = "toytable"', "data is required"),
        ('arch = "a"\ndata = "b"\nlicence = "MIT"', r"unknown key licence.*Did you mean license"),
        ('arch = "a"\ndata = "b"\ntrain = 3', "train = 3 is of the wrong kind"),
        ('arch = "a"\ndata = "b"\nreport = "train"', "report = 'train'; it must be one of"),
        ('arch = "a"\ndata = "b"\n[train]\nsteps = "many"', "train.steps = 'many'"),
        ('arch = "a"\ndata = "b"\n[train]\nstepz = 1', r"unknown option train\.stepz"),
        ('arch = "a"\ndata = "b"\n[players.g]\nsteps = 1', r"unknown option players\.g\.steps"),
        ('arch = "a"\ndata = "b"\nscores = [3]', r"scores\.0 = 3"),
        ('arch = "a"\ndata = "b"\nhalf = 16', "half = 16 is of the wrong kind"),
        ('arch = "a"\ndata = "b"\nscores = [{k = 3}]', r"scores\.0\.name is required"),
        ('arch = "a"\ndata = "b"\nlikelihood = {limit = 0}', r"likelihood\.limit = 0"),
        ('arch = "a"\ndata = "b"\nstage = []', "stages need names"),
        ('arch = "a"\ndata = "b"\n[[stage]]\nname = "../x"', r"stage\.0\.name"),
        (
            'arch = "a"\ndata = "b"\n[[stage]]\nname = "s"\n[[stage]]\nname = "s"',
            "names of their own",
        ),
        ('arch = "a"\ndata = "b"\n[[stage]]\nparameters = [1]', r"parameters\[0\] = 1"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_recipe(text, name="bad")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("trian.steps", "Did you mean train"),
        ("train.stps", r"unknown option .*train\.stps"),
        ("arch.name", "has no options of its own"),
        ("stage.7.train.steps", "stages are numbered 0 to 1"),
    ],
)
def test_overrides_that_reach_nothing_are_refused(key, message):
    with pytest.raises(ConfigError, match=message):
        parse_recipe(STAGES, overrides={key: 1})


def test_a_model_that_does_not_fit_the_data_is_refused_before_anything_is_written(toys, tmp_path):
    with pytest.raises(DataError, match=r"0\.\.3.*0\.\.16"):
        run(load_recipe("toytable.digits"), tmp_path / "run", overrides={"model.levels": 4})
    assert not (tmp_path / "run").exists()


def test_reading_a_recipe_needs_no_torch():
    code = (
        "import sys\n"
        "from zoo_core.workflows.recipe import parse_recipe\n"
        'parse_recipe(\'arch = "a"\\ndata = "b"\')\n'
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
