"""Every recipe of every plugin is one: it builds its model, and takes a step with its loss."""

from dataclasses import replace

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog import components as resolve
from zoo_core.catalog.registry import current
from zoo_core.data.dataset import Dataset, Split
from zoo_core.spaces import Group, as_condition
from zoo_core.testing.subjects import random_conditions
from zoo_core.training.loop import train
from zoo_core.workflows import load_recipe

RECIPES = sorted(r.name for r in current().list_models() if r.tag is not None and r.tag.recipe)
_UNET = {"type": "unet", "channels": [8, 16], "down": ["plain", "attention"], "groups": 8}
SMALLER = {  # what would take seconds a step here: the same architecture with less of it
    "ddpm.binarized_mnist": {"network": {**_UNET, "layers": 1}},
    "edm.emoji": {"network": {**_UNET, "layers": 1}},
    "vdm.emoji": {"network": {**_UNET, "layers": 1}},
    "gated_pixelcnn.cifar10": {"hidden": 12, "layers": 3, "head": 12},
    "glow.cifar10": {"steps": 2, "hidden": 16},
    "pixelcnn_pp.cifar10": {"hidden": 12, "blocks": (1, 1, 1)},
    "gated_pixelcnn.binarized_mnist_gpu": {"hidden": 16},
    "glow.mnist": {"steps": 2, "hidden": 16},
    "nsf_coupling.mnist": {"steps": 2, "hidden": 16},
    "transformer_ar.emoji": {
        "network": {"type": "transformer", "hidden": 8, "layers": 1, "heads": 2}
    },
}
SMALLER |= dict.fromkeys(
    ("consistency.cifar10", "mean_flow.cifar10"),
    {"network": {"type": "song_unet", "width": 8, "multipliers": [1, 1], "blocks": 1}},
) | {
    "flow_matching.cifar10": {"network": {**_UNET, "layers": 1}},
    "flow_matching.imagenet64": {
        "network": {"type": "dit", "patch": 16, "hidden": 16, "layers": 1, "heads": 2}
    },
}
SHAPES = {
    "digits": ((1, 8, 8), 17),
    "binarized_mnist": ((1, 28, 28), 2),
    "emoji": ((3, 32, 32), 256),
}
EVENTS = 4


def events(model: zoo.GenerativeModel) -> Dataset:
    """Random ones of the model's kind, and random labels where it is conditioned."""
    generator = torch.Generator().manual_seed(0)
    event, condition = model.event, model.condition
    shape = (EVENTS, *event.shape)
    if isinstance(event, Group):
        x = random_conditions(as_condition(event), EVENTS, generator)
    elif event.levels is not None:
        x = torch.randint(event.levels, shape, generator=generator)
    else:
        x = torch.rand(shape, generator=generator)
    split = Split(x, random_conditions(condition, EVENTS, generator))
    return Dataset("random", event, condition, {"train": split, "valid": split}, "none", "random")


@pytest.mark.filterwarnings("ignore:actnorm stays the identity")  # of so few events
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_its_model_and_takes_a_step(name):
    recipe = load_recipe(name)
    model = zoo.create(recipe.arch, **{**recipe.model, **SMALLER.get(name, {})})
    if recipe.data in SHAPES:
        assert (model.event.shape, model.event.levels) == SHAPES[recipe.data]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for stage in recipe.stages:
        once = replace(
            stage.train,
            steps=1,
            batch_size=2,
            precision="no",
            warmup=0,
            schedule="constant",
            accumulate=1,
            eval_every=0,
            keep_best=False,
            patience=0,
            ema=0.0,
        )
        loss = resolve.loss(model, stage.loss, stage.loss_options)
        train(
            model,
            events(model),
            once,
            loss=loss,
            players=stage.players,
            parameters=stage.parameters,
            progress=False,
        )
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    asked = [recipe.likelihood] if recipe.likelihood.options else []
    for score in (*asked, *recipe.scores):
        resolve.likelihood(model, score.method, score.options)


def test_what_is_made_smaller_exists():
    assert set(SMALLER) <= set(RECIPES)
