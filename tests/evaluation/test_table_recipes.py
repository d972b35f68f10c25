"""Recipes on tables fit their data, and a flow of them beats the baselines of tables."""

from dataclasses import replace

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog import components
from zoo_core.data.batches import check_fit
from zoo_core.evaluation.scoring import score
from zoo_core.training import train
from zoo_core.training.validation import validate_by_likelihood
from zoo_core.workflows import load_recipe

pytest.importorskip("sklearn")

RECIPES = ("made.wine", "vae.wine", "maf.breast_cancer", "nsf_coupling.breast_cancer")


def made(name):
    recipe = load_recipe(name)
    data = zoo.load_dataset(recipe.data, **recipe.data_options)
    torch.manual_seed(0)
    return recipe, data, zoo.create(recipe.arch, **recipe.model)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_on_a_table_fits_its_columns_and_trains(name):
    recipe, data, model = made(name)
    check_fit(model, data)
    short = replace(recipe.stages[0].train, steps=15, warmup=0, eval_every=15)
    before = validate_by_likelihood(model, data.split("valid")).value
    train(model, data, short, loss=components.loss(model, None, {}))
    assert validate_by_likelihood(model, data.split("valid")).value < before


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gaps"), [(RECIPES[2], 5.0), (RECIPES[3], 3.0)])
def test_a_flow_on_a_table_beats_the_gaussian_and_is_above_the_mixture(name, gaps):
    recipe, data, model = made(name)
    train(model, data, recipe.stages[0].train, loss=components.loss(model, None, {}))
    baselines = score(model, data, split="test").baselines
    gap = {kind.split("(")[0]: estimate for kind, _, _, estimate in baselines}
    assert gap["gaussian"].value > gaps * gap["gaussian"].std_err
    assert gap["gaussian_mixture"].value > 0
