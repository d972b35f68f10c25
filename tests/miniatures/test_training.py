"""The zoo's own training loop trains every miniature, by the players that each says it has."""

from dataclasses import replace

import pytest
import torch
from zoo_mini import toys

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.data.dataset import Split
from zoo_core.errors import NoCapabilityError

pytestmark = pytest.mark.usefixtures("minis")


def dataset(model, x, y=None):
    """Three quarters to train on, the rest to choose by; classes for who wants them."""
    keep = y if model.condition.kind == "classes" else None
    cut = 3 * len(x) // 4
    condition = zoo.Condition() if keep is None else zoo.Condition("classes", classes=3)
    labels = (None, None) if keep is None else (keep[:cut], keep[cut:])
    splits = {"train": Split(x[:cut], labels[0]), "valid": Split(x[cut:], labels[1])}
    return zoo.Dataset("toy", model.event, condition, splits, "CC0-1.0", "drawn here")


DATA = {
    "mini_ar": toys.bars,
    "mini_flow": toys.moons,
    "mini_vae": toys.bars,
    "mini_diffusion": toys.clusters,
}


def loss_of(model, data):
    """The mean loss on valid, with the noise of seed 0."""
    x, y = data.splits["valid"].x, data.splits["valid"].y
    (player,) = model.players().values()
    with torch.no_grad():
        return float(player.loss((x, y), zoo.Rng(0, len(x)), 0).total)


def test_a_model_that_names_no_loss_says_which_would_fit(monkeypatch):
    model = zoo.create("mini_ar")
    entry = current().entry_of(type(model))
    silent = replace(entry, spec=replace(entry.spec, default_loss=None))
    monkeypatch.setattr(current(), "entry_of", lambda cls: silent)
    with pytest.raises(NoCapabilityError, match="names no loss .* losses that fit: nll"):
        model.players()


@pytest.mark.parametrize("name", DATA)
def test_one_player_models_are_trained_by_their_default_loss(name):
    model = zoo.create(name, hidden=32)
    data = dataset(model, *DATA[name](512))
    before = loss_of(model, data)
    config = zoo.TrainConfig(steps=150, batch_size=64, lr=1e-2)
    result = zoo.train(model, data, config, progress=False)
    assert result.steps == 150 and not model.training
    assert loss_of(model, data) < before - 0.2


def test_two_players_take_turns_with_rates_of_their_own():
    model = zoo.create("mini_gan", hidden=32)
    data = dataset(model, toys.clusters(512)[0])
    still = {k: p.clone() for k, p in model.named_parameters()}
    config = zoo.TrainConfig(steps=3, batch_size=32, lr=0.0)
    zoo.train(model, data, config, players={"generator": {"lr": 1e-2}}, progress=False)
    moved = {k for k, p in model.named_parameters() if not torch.equal(p, still[k])}
    assert moved == {k for k in still if k.startswith("generator.")}


def test_a_part_can_be_left_as_it_was():
    model = zoo.create("mini_stack", base=zoo.create("mini_ar", side=2, hidden=8))
    still = {k: p.clone() for k, p in model.named_parameters()}
    x = torch.cat([toys.bars(64, side=2)[0]] * 2, 1)
    config = zoo.TrainConfig(steps=5, batch_size=16)
    zoo.train(model, dataset(model, x), config, parameters=["top.*"], progress=False)
    moved = {k for k, p in model.named_parameters() if not torch.equal(p, still[k])}
    assert moved == {"top.weight", "top.bias"}
