"""Laws of the training: which player is updated, how often; resuming, averaging, warnings."""

import json
from dataclasses import replace

import pytest
import torch

import zoo_core as zoo
from zoo_core.data.dataset import Split
from zoo_core.workflows import load_recipe, run_recipe
from zoo_gan.diagnosis import warning
from zoo_gan.losses import AdversarialLoss, Hinge, NonSaturating, Relativistic, Wasserstein

IMAGES = {
    "dcgan": {"channels": 1, "levels": 5, "kernels": (2, 4, 4), "width": 4, "latent": 4},
    "wgan_gp": {"shape": (1, 8, 8), "levels": 5, "width": 4, "latent": 4, "classes": 3},
    "r3gan": {"shape": (1, 8, 8), "levels": 5, "widths": (8, 4), "group": 4, "latent": 4}
    | {"patch": 2, "classes": 3},
}
LOSSES = {
    "non_saturating": NonSaturating(),
    "hinge": Hinge(r1=0.1),
    "wasserstein": Wasserstein(steps=2),
    "relativistic": Relativistic(lazy=2),
}


def model_of(arch, **changes):
    torch.manual_seed(0)
    return zoo.create(arch, **{**IMAGES[arch], **changes})


def dataset(model, n=48):
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(5, (n, *model.event.shape), generator=generator).to(torch.uint8)
    y = torch.arange(n) % 3
    splits = {"train": Split(x[16:], y[16:]), "valid": Split(x[:16], y[:16])}
    condition = zoo.Condition("classes", classes=3)
    return zoo.Dataset("noise", model.event, condition, splits, "CC0-1.0", "drawn here")


CONFIG = zoo.TrainConfig(steps=4, batch_size=8, lr=1e-2, optimizer="adam", log_every=2)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("arch", IMAGES)
def test_gradients_reach_only_the_player_that_is_trained(arch, loss):
    model = model_of(arch).train()
    for name, player in model.players(LOSSES[loss]).items():
        model.zero_grad()
        mine = {id(p) for p in player.parameters}
        for p in model.parameters():
            p.requires_grad_(id(p) in mine)
        x, y = dataset(model).split("train").batch(slice(8))
        cond = None if model.condition.kind == "none" else y
        player.loss((x, cond), zoo.Rng(0, 8), 0).total.backward()
        reached = {key for key, p in model.named_parameters() if p.grad is not None}
        assert reached == {k for k, p in model.named_parameters() if id(p) in mine}, name
        assert all(key.startswith(f"{name}.") for key in reached)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_the_trainer_gradients_still_stay_with_their_player(loss):
    """The discriminator's loss cuts the graph at G's samples; G's own reaches D as well."""
    model = model_of("r3gan").train()
    x, y = dataset(model).split("train").batch(slice(8))
    player = model.players(LOSSES[loss])["discriminator"]
    player.loss((x, y), zoo.Rng(0, 8), 0).total.backward()
    assert all(p.grad is None for p in model.generator.parameters())


def test_players_have_their_own_optimizers_rates_and_numbers_of_steps(tmp_path):
    model = model_of("wgan_gp")
    still = {k: p.clone() for k, p in model.named_parameters()}
    players = {"generator": {"lr": 0.0, "betas": [0.5, 0.9]}}
    loss = Wasserstein(steps=3)
    options = {"players": players, "out": tmp_path, "progress": False}
    zoo.train(model, dataset(model), CONFIG, loss=loss, **options)
    moved = {k for k, p in model.named_parameters() if not torch.equal(p, still[k])}
    assert moved and all(k.startswith("discriminator.") for k in moved)
    last = [line for line in log(tmp_path, "train") if line["step"] == 4]
    assert [line["player"] for line in last] == ["discriminator"] * 3 + ["generator"]
    assert {"real", "fake", "gradient_penalty"} <= last[0]["terms"].keys()
    assert last[0]["grad_norm"] > 0


def log(folder, event):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_lazy_penalties_act_in_every_kth_step_k_times_as_much():
    model = model_of("r3gan").train()
    for p in model.discriminator.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x, y = dataset(model).split("train").batch(slice(8))
    rng = zoo.Rng(0, 8)

    def terms(step, **options):
        loss = Relativistic(**options).discriminator(model, (x, y), rng, step)
        return {
            "total": float(loss.total.detach()),
            **{k: float(v) for k, v in loss.terms.items()},
        }

    plain, often, lazy = terms(4, r1=0, r2=0), terms(4), terms(4, lazy=4)
    penalty = often["r1"] + often["r2"]
    assert penalty > 0 and often["total"] - plain["total"] == pytest.approx(penalty, rel=1e-4)
    assert lazy["total"] - plain["total"] == pytest.approx(4 * penalty, rel=1e-4)
    assert "r1" not in terms(5, lazy=4)
    assert terms(5, lazy=4)["total"] == pytest.approx(terms(5, r1=0, r2=0)["total"])


@pytest.mark.parametrize("arch", IMAGES)
def test_a_resumed_training_is_the_uninterrupted_one_bit_by_bit(arch, tmp_path, monkeypatch):
    config = replace(CONFIG, checkpoint_every=2, precision="bf16" if arch == "r3gan" else "no")
    loss = LOSSES["wasserstein" if arch == "wgan_gp" else "relativistic"]
    players = {"generator": {"ema": 0.9}}

    def run(name, **options):
        model = model_of(arch)
        options |= {"players": players, "progress": False, "out": tmp_path / name}
        zoo.train(model, dataset(model), config, loss=loss, **options)
        return model

    whole = run("whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AdversarialLoss, "generator", interrupted)
        run("half")
    again = run("half", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert log(tmp_path / "half", "diagnosis") == log(tmp_path / "whole", "diagnosis")


def interrupted(loss, model, batch, rng, step, whole=AdversarialLoss.generator):
    """The user presses a key in the third round."""
    if step == 2:
        raise KeyboardInterrupt
    return whole(loss, model, batch, rng, step)


def test_only_the_generator_is_averaged_where_only_it_asks():
    averaged, raw = model_of("wgan_gp"), model_of("wgan_gp")
    for model, players in ((averaged, {"generator": {"ema": 0.9}}), (raw, {})):
        zoo.train(model, dataset(model), CONFIG, players=players, progress=False)
    other = raw.state_dict()
    same = {k for k, v in averaged.state_dict().items() if torch.equal(v, other[k])}
    assert same == {k for k in other if k.startswith("discriminator.")}


@pytest.mark.parametrize("arch", IMAGES)
def test_mixed_precision_gives_nearly_the_same_losses_and_penalties(arch):
    model = model_of(arch).train()
    x, y = dataset(model).split("train").batch(slice(8))
    cond = None if model.condition.kind == "none" else y
    loss = replace(model.players()["discriminator"].loss.func.__self__, r1=0.1)
    totals = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            totals.append(loss.discriminator(model, (x, cond), zoo.Rng(0, 8), 0).total.detach())
    assert float(totals[1]) == pytest.approx(float(totals[0]), rel=0.05, abs=0.02)


@pytest.mark.parametrize("arch", IMAGES)
def test_a_sample_does_not_depend_on_its_batch_after_training(arch):
    model = model_of(arch)
    zoo.train(model, dataset(model), CONFIG, progress=False)
    cond = None if model.condition.kind == "none" else torch.arange(9) % 3
    together, apart = (model.sample(9, cond=cond, batch_size=size) for size in (9, 1))
    assert torch.equal(together, apart)


def test_log_has_scores_and_coverage_of_modes(tmp_path):
    model = zoo.create("r3gan", shape=(2,), levels=None, widths=(16,), latent=2)
    data = zoo.load_dataset("gaussians", train=256, valid=64)
    zoo.train(model, data, CONFIG, out=tmp_path, progress=False)
    (first, second) = log(tmp_path, "diagnosis")
    assert (first["step"], second["step"]) == (2, 4)
    assert {"real", "fake", "auc", "spread", "coverage", "modes"} <= first.keys()
    assert 0 <= first["modes"] <= 1 and 0 <= first["coverage"] <= 1


@pytest.mark.slow
def test_a_recipe_records_the_quality_of_samples_beside_real_ones(tmp_path):
    recipe = load_recipe("dcgan.digits")
    folder = run_recipe(recipe, tmp_path, overrides={"train.steps": 2}, progress=False)
    metrics = json.loads((folder / "zoo.json").read_text())["metrics"]
    assert {m["split"] for m in metrics} == {"valid", "test"}
    test = {m["score"]: m for m in metrics if m["split"] == "test"}
    scores = ("fd", "kd", "precision", "recall", "density", "coverage", "memorization")
    assert set(test) == {f"{score}_{f}" for score in scores for f in ("digits", "pixels")}
    assert test["precision_pixels"]["real"] > 0.5 > test["precision_pixels"]["value"]
    assert test["fd_pixels"]["n"] == 360 and test["fd_pixels"]["n_reference"] == 1200


GOOD = {"auc": 0.7, "spread": 0.95, "coverage": 0.9, "modes": 1.0}


def test_warnings_name_the_likely_failure():
    assert warning(GOOD) is None
    assert "collapsing" in warning(GOOD | {"spread": 0.05})
    assert "collapsing" in warning(GOOD | {"modes": 0.25})
    assert "discriminator is winning" in warning(GOOD | {"auc": 1.0})


def test_a_collapsed_generator_is_noticed_in_its_samples(tmp_path, caplog):
    """A generator that ignores its latents."""
    model = zoo.create("r3gan", shape=(2,), levels=None, widths=(16,), latent=2)
    with torch.no_grad():
        for p in model.generator.parameters():
            p.zero_()
    still = {"generator": {"lr": 0.0}}
    data = zoo.load_dataset("gaussians", train=256, valid=64)
    zoo.train(model, data, CONFIG, players=still, out=tmp_path)
    assert all("collapsing" in line["warning"] for line in log(tmp_path, "diagnosis"))
    assert caplog.text.count("the generator is collapsing") == 1  # said once


def test_a_discriminator_that_wins_is_noticed(tmp_path):
    model = zoo.create("r3gan", shape=(2,), levels=None, widths=(16,), latent=2)
    with torch.no_grad():
        for p in model.generator.parameters():
            p.normal_()
        model.generator.body[-2].bias.add_(50.0)  # far from the data, and spread out
    config = replace(CONFIG, steps=40, lr=1e-2)
    data = zoo.load_dataset("gaussians", train=256, valid=64)
    still = {"generator": {"lr": 0.0}}
    loss = NonSaturating()
    zoo.train(model, data, config, loss=loss, players=still, out=tmp_path, progress=False)
    last = log(tmp_path, "diagnosis")[-1]
    assert last["auc"] > 0.999
