"""Train steps as `zoo train` runs them, by recipe: milliseconds and the most memory they take.

Events are random and of the recipe's shape, so no data set is needed. Each recipe is timed with
the kernels of the machine, by the reference path, and in bf16; recipes of families that are not
installed are left out by name.
"""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from gpu_train import MINUTES

import zoo_core as zoo
import zoo_kernels
from zoo_core.building import build
from zoo_core.catalog import components as resolve
from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import UnknownNameError
from zoo_core.training.loop import train
from zoo_core.workflows import load_recipe

RECIPES = (
    *MINUTES,
    *("pixelcnn_pp.cifar10", "made.binarized_mnist"),
    *("glow.mnist", "nsf_coupling.mnist", "glow.cifar10", "maf.digits"),
    *("vae.binarized_mnist", "wgan_gp.binarized_mnist", "ddpm.digits"),
)
TINY = ("made.digits",)
ROWS, WARM, TIMED = 1024, 10, 40
VARIANTS = {"as shipped": (None, "no"), "reference": ("reference", "no"), "bf16": (None, "bf16")}


def events(event: zoo.Event, condition: zoo.Condition, n: int) -> Split:
    """Random events and, where there are classes, random labels."""
    generator = torch.Generator().manual_seed(0)
    shape = (n, *event.shape)
    if event.discrete:
        x = torch.randint(event.levels, shape, generator=generator)
    else:
        x = torch.rand(shape, generator=generator)
    classes = condition.classes
    return Split(x, torch.randint(classes, (n,), generator=generator) if classes else None)


def seconds(recipe: Any, steps: int, precision: str, device: str) -> float:
    """Of a training of so many steps, up to the last result."""
    stage = recipe.stages[0]
    torch.manual_seed(0)
    model = build(zoo.info(recipe.arch).spec, recipe.model).to(device)
    rows = max(ROWS if steps > 2 else 8, stage.train.batch_size)
    split = events(model.event, model.condition, rows)
    data = Dataset("random", model.event, model.condition, {"train": split}, "none", "random")
    config = replace(stage.train, steps=steps, eval_every=0, keep_best=False, patience=0,
                     checkpoint_every=0, log_every=10**6, precision=precision)  # fmt: skip
    loss = resolve.loss(model, stage.loss, stage.loss_options)
    took = train(model, data, config, loss=loss, players=stage.players,
                 parameters=stage.parameters, progress=False).seconds  # fmt: skip
    if device == "cuda":
        torch.cuda.synchronize()
    return took


def row(name: str, results: Any) -> dict[str, Any]:
    recipe = load_recipe(name)
    warm, timed = (1, 1) if results.tiny else (WARM, TIMED)
    made: dict[str, Any] = {"batch_size": recipe.stages[0].train.batch_size, "left_out": {}}
    for variant, (backend, precision) in VARIANTS.items():
        try:
            with zoo_kernels.backend(backend) if backend else nullcontext():
                few = seconds(recipe, warm, precision, results.device)
                if results.device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                many = seconds(recipe, warm + timed, precision, results.device)
        except Exception as error:
            if variant == "as shipped":
                raise
            made["left_out"][variant] = f"{type(error).__name__}: {error}"[:200]
            continue
        found = {"ms": 1e3 * (many - few) / timed}
        if results.device == "cuda":
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
        made[variant] = found
    return made


def run(results: Any) -> None:
    for name in TINY if results.tiny else RECIPES:
        try:
            load_recipe(name)
        except UnknownNameError as error:
            results.each(name, lambda e=error: {"left_out": str(e)[:200]})
            continue
        results.each(name, lambda n=name: row(n, results))
