"""A few steps at ten times the usual learning rate, with clipped gradients, spoil no model."""

import json
import math
from dataclasses import replace

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog import components as resolve
from zoo_core.catalog.registry import current
from zoo_core.training.loop import train
from zoo_core.workflows import load_recipe

RECIPES = sorted(
    r.name for r in current().list_models() if r.tag is not None and r.name.endswith(".digits")
)


@pytest.mark.parametrize("name", RECIPES)
def test_three_large_steps_leave_a_loss_finite_and_near_its_start(name, tmp_path):
    recipe = load_recipe(name)
    torch.manual_seed(0)
    model = zoo.create(recipe.arch, **recipe.model)
    stage = recipe.stages[0]
    large = replace(
        stage.train,
        steps=4,
        batch_size=32,
        lr=1e-2,
        clip=1.0,
        warmup=0,
        schedule="constant",
        eval_every=0,
        keep_best=False,
        patience=0,
        log_every=1,
    )
    loss = resolve.loss(model, stage.loss, stage.loss_options)
    train(model, zoo.load_dataset("digits"), large, loss=loss, out=tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "train"]
    assert all(map(math.isfinite, losses))
    if len(model.players(loss)) == 1:  # a game's losses are no score
        assert max(losses) < 10 * losses[0], losses
