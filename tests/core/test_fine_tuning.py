"""Fine-tuning: weights are the start of another training, in whole or in part."""

import json

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import ConfigError, UsageError
from zoo_core.workflows import load_recipe, run_recipe
from zoo_core.workflows.recipe import parse_recipe

RECIPE = """
arch = "made"
data = "digits"
license = "CC0-1.0"
quality = "none"
[model]
shape = [1, 8, 8]
levels = 17
hidden = {hidden}
{more}
[train]
steps = 2
batch_size = 16
lr = 0.0
[likelihood]
limit = 4
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    model = zoo.create("made", shape=(1, 8, 8), levels=17, hidden=8)
    model.save(folder := tmp_path_factory.mktemp("base") / "model", license="CC0-1.0")
    return folder, zoo.load(str(folder))


def test_options_change_a_loaded_model_and_what_is_new_is_drawn_by_a_seed(base, caplog):
    folder, whole = base
    models = [zoo.load(str(folder), classes=5, seed=s) for s in (0, 0, 1)]
    changes = models[0].weight_changes
    assert models[0].condition == zoo.Condition("classes", classes=5)
    assert changes.new and not set(changes.new) <= set(changes.dropped)
    assert all(name in caplog.text for name in changes.new + changes.dropped)
    first, again, other = (m.state_dict() for m in models)
    for name, value in first.items():
        if name in changes.new:
            assert torch.equal(value, again[name])
        else:
            assert torch.equal(value, whole.state_dict()[name])
    drawn = [n for n in changes.new if not torch.equal(first[n], other[n])]
    assert drawn
    assert models[0].sample(2, cond=3).shape == (2, 1, 8, 8)


def test_a_tensor_of_another_shape_is_new_and_dropped(base):
    wider = zoo.load(str(base[0]), hidden=9)
    assert set(wider.weight_changes.new) & set(wider.weight_changes.dropped)


def test_options_that_are_those_of_the_weights_change_nothing(base):
    same = zoo.load(str(base[0]), hidden=8)
    assert same.weight_changes is None
    with pytest.raises(ConfigError, match=r"unknown option made\.colours"):
        zoo.load(str(base[0]), colours=3)


def test_a_recipe_starts_from_weights_and_says_so(base, tmp_path):
    folder, whole = base
    recipe = parse_recipe(RECIPE.format(hidden=8, more=""))
    tuned = run_recipe(recipe, tmp_path / "same", base=str(folder))
    for name, value in zoo.load(str(tuned)).state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])  # the rate is 0
    changed = parse_recipe(RECIPE.format(hidden=8, more="classes = 10"))
    tuned = run_recipe(changed, tmp_path / "classes", base=str(folder))
    start = json.loads((tuned / "zoo.json").read_text())["from"]
    assert start["name"] == str(folder) and start["new"]


def test_weights_of_another_architecture_are_refused(base, tmp_path):
    recipe = load_recipe("pixelcnn.digits")
    with pytest.raises(UsageError, match=r"is of arch 'made'; the recipe trains 'pixelcnn'"):
        run_recipe(recipe, tmp_path, base=str(base[0]))
