"""Recipes for one GPU, on files of the layouts that they name: they run ten steps anywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.catalog import components
from zoo_core.workflows import load_recipe
from zoo_core.workflows.stages import build_model


def cifar10(folder):
    """cifar10.npz: a few random images."""
    pixels = np.random.default_rng(0)
    sizes = {"train": 32, "valid": 4, "test": 4}
    images = {
        k: pixels.integers(256, size=(n, 3, 32, 32), dtype=np.uint8) for k, n in sizes.items()
    }
    np.savez(folder / "cifar10.npz", **images)


def imagenet64(folder):
    """imagenet64/<split>/<class>/*.png: one image of each of 1000 classes, of several sizes."""
    pixels = np.random.default_rng(0)
    for split, classes in {"train": 1000, "valid": 1000, "test": 1000}.items():
        for c in range(classes):
            place = folder / "imagenet64" / split / f"n{c:08d}"
            place.mkdir(parents=True)
            side = 64 if split != "train" else 64 + c % 3
            Image.fromarray(pixels.integers(256, size=(side, 70, 3), dtype=np.uint8)).save(
                place / "0.png"
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("flow_matching.cifar10", cifar10),
        ("consistency.cifar10", cifar10),
        ("mean_flow.cifar10", cifar10),
        ("flow_matching.imagenet64", imagenet64),
    ],
)
def test_a_recipe_for_a_gpu_runs_ten_steps_on_files_of_its_layout(
    name, files, tmp_path, monkeypatch
):
    files(tmp_path)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    (stage,) = recipe.stages
    data = zoo.load_dataset(recipe.data, **recipe.data_options)
    model = build_model(recipe)
    loss = components.loss(model, stage.loss, stage.loss_options)
    brief = replace(
        stage.train, steps=10, batch_size=2, accumulate=1, eval_every=0, checkpoint_every=0
    )
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    result = zoo.train(model, data, brief, loss=loss)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert result.steps == 10 and after.isfinite().all() and not torch.equal(before, after)
