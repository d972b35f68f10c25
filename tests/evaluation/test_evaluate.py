"""Evaluations: paired with the null, complete enough to repeat, and never of a prefix."""

import json
import math

import pytest
import torch

import zoo_core as zoo
from zoo_core.cli.app import run
from zoo_core.errors import IntegrityError
from zoo_core.evaluation import scoring
from zoo_core.evaluation.baselines import fitted_baselines
from zoo_core.evaluation.evaluate import evaluate
from zoo_core.evaluation.speed import first_image
from zoo_core.weights.checkpoint import weights_hash
from zoo_core.workflows import verification as records
from zoo_core.workflows.recipe import parse_recipe
from zoo_core.workflows.run import run_recipe

RECIPE = """
arch = "mini_ar"
license = "Apache-2.0"
source = "trained by a test"
report = "test"

[data]
name = "ising"
size = 3
train = 1000
valid = 200
test = 300

[model]
hidden = 32

[train]
steps = 150
batch_size = 100
lr = 1e-2
"""


@pytest.fixture
def trained(minis, tmp_path):
    return run_recipe(parse_recipe(RECIPE), tmp_path / "run", progress=False)


@pytest.fixture
def ising(minis):
    return zoo.load_dataset("ising", size=3, train=1000, valid=200, test=300)


def test_a_trained_model_beats_the_null_and_comes_near_the_truth(trained, ising):
    found = evaluate(zoo.load(str(trained)), ising)
    assert found.verdict.pretrained and found.verdict.by == "likelihood"
    likelihood = found.record["likelihood"]
    assert likelihood["kind"] == "exact" and likelihood["every_event"]
    assert {n["name"] for n in likelihood["null"]} == {"independent", "gaussian"}
    truth = likelihood["truth"]
    assert -3 * truth["gap_std_err"] < truth["gap"] < 0.3
    assert found.record["sampler"]["name"] == "direct"
    assert found.speed.network_evaluations == 9 and found.speed.images_per_second > 0
    assert found.record["precision"] == "float32"
    json.dumps(found.record)


def test_fresh_parameters_are_not_pretrained(minis, ising):
    found = evaluate(zoo.create("mini_ar", side=3), ising, measurements=["likelihood"])
    assert not found.verdict.pretrained
    assert found.quality == [] and found.speed is None and found.samples is None


def test_gaps_are_paired(trained, ising):
    """The error of a gap is that of the differences, not of the two means apart."""
    model = zoo.load(str(trained))
    x = ising.split("test").x
    nats = model.log_likelihood(x.long()).nats
    found = scoring.score(model, ising)
    for baseline, (name, _, mean, gap) in zip(
        fitted_baselines(ising), found.baselines, strict=True
    ):
        difference = nats - baseline.log_prob(x, None)
        assert name == baseline.name
        assert gap.value == pytest.approx(float(difference.mean()))
        assert gap.std_err == pytest.approx(float(difference.std()) / math.sqrt(len(x)))
        assert mean.nats == pytest.approx(float(nats.mean()) - gap.value)


def test_fewer_events_are_drawn_by_the_seed_and_are_no_prefix():
    a, b = scoring.choose(0, 100, 10), scoring.choose(1, 100, 10)
    assert torch.equal(a, scoring.choose(0, 100, 10)) and not torch.equal(a, b)
    assert not torch.equal(a, torch.arange(10))
    assert torch.equal(scoring.choose(0, 10, None), torch.arange(10))


def test_a_sampler_without_likelihood_is_judged_by_its_samples(minis):
    moons = zoo.load_dataset("moons", train=500, valid=100, test=200)
    found = evaluate(zoo.create("mini_gan"), moons)
    assert found.record["likelihood"] is None and "spot" not in found.record
    assert found.verdict.by == "samples" and not found.verdict.pretrained
    assert found.speed.network_evaluations == 1


def test_a_conditional_model_competes_with_a_null_that_is_told_the_class(minis):
    moons = zoo.load_dataset("moons", train=300, valid=100, test=60)
    model = zoo.create("mini_diffusion", classes=2)
    found = evaluate(model, moons, measurements=["quality"])
    assert found.record["quality"]["null"] == "gaussian"
    assert len(found.samples) == 60


def test_ais_says_how_far_off_it_may_be(minis):
    moons = zoo.load_dataset("moons", train=300, valid=100, test=12)
    options = {"sigma": 0.3, "steps": 20, "chains": 4, "leapfrog": 2}
    found = scoring.score(zoo.create("mini_gan"), moons, method="ais", options=options)
    bdmc = found.record()["bdmc_gap"]
    assert bdmc["value"] > -3 * bdmc["std_err"]
    assert found.record()["kind"] == "ais(sigma=0.3, steps=20, chains=4)"


def test_evaluations_of_the_network_are_counted_without_a_trace(minis):
    model = zoo.create("mini_diffusion")
    seconds, evaluations = first_image(model, cond=torch.tensor([0]), steps=7)
    assert evaluations == 7 and seconds > 0
    assert "denoise" not in vars(model) and not any(m._forward_hooks for m in model.modules())


def test_a_record_is_kept_beside_its_weights_and_of_no_others(trained, ising):
    model = zoo.load(str(trained))
    weights = weights_hash(trained)
    found = evaluate(model, ising, about={"name": "x", "weights": weights})
    records.write_record(trained, found.record)
    kept = records.read_record(trained)
    assert kept == json.loads(json.dumps(found.record))
    assert all(c.agrees for c in records.spot_check(model, ising, kept))
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1
    assert not all(c.agrees for c in records.spot_check(model, ising, kept))
    path = trained / "evaluation.json"
    path.write_text(path.read_text().replace(weights, "0" * 64))
    with pytest.raises(IntegrityError, match="not of the weights"):
        records.read_record(trained)


def test_everything_recorded_is_measured_again(trained, ising):
    model = zoo.load(str(trained))
    about = {"name": "x", "weights": weights_hash(trained)}
    record = evaluate(
        model, ising, n=100, measurements=["likelihood", "quality"], about=about
    ).record
    _, compared = records.verify(model, ising, json.loads(json.dumps(record)))
    assert {c.what for c in compared} >= {"exact of test, nats", "gap to gaussian", "fd_pixels"}
    assert all(c.agrees for c in compared)
    record["likelihood"]["nats"] += 2 * record["likelihood"]["std_err"]
    wrong = [c for c in records.verify(model, ising, record)[1] if not c.agrees]
    assert [c.what for c in wrong] == ["exact of test, nats"]


def test_the_command_measures_records_and_verifies(trained, capsys, tmp_path):
    out = tmp_path / "found.json"
    common = ["--only", "likelihood", "--quiet"]
    assert run(["evaluate", str(trained), *common, "--record", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "counts as pretrained" in text and "independent" in text and "truth" in text
    assert json.loads(out.read_text())["data"]["name"] == "ising"  # the recipe's, with its options
    assert run(["evaluate", str(trained), "--verify", "--json", "--quiet"]) == 0
    assert all(row["agrees"] for row in json.loads(capsys.readouterr().out))
    path = trained / "zoo.json"
    metadata = json.loads(path.read_text())
    metadata["metrics"][-1]["nats"] += 1.0
    path.write_text(json.dumps(metadata))
    assert run(["evaluate", str(trained), "--verify", "--quiet"]) == IntegrityError.exit_code
    assert "NO" in capsys.readouterr().out
