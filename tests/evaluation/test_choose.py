"""Laws of `zoo choose`: which recipe a family gets, and when a baseline is recommended."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.errors import DataError, UsageError
from zoo_core.workflows import choose


def dataset(*shape, levels=None, n=90):
    draw = torch.Generator().manual_seed(0)
    if levels is None:
        events = torch.randn(n, *shape, generator=draw)
    else:
        events = torch.randint(levels, (n, *shape), generator=draw)
    third = n // 3
    event = zoo.Event(shape, levels=levels)
    splits = {
        name: zoo.Split(events[i * third : (i + 1) * third])
        for i, name in enumerate(("train", "valid", "test"))
    }
    return zoo.Dataset("mine", event, zoo.Condition(), splits, "CC0-1.0", "random")


def infos(arch):
    return [i for i in current().list_models(f"{arch}.*") if i.tag and i.tag.recipe]


def test_recipes_of_like_events_come_first():
    data = dataset(1, 8, 8, levels=17)
    ranked = sorted(infos("made"), key=lambda i: choose._distance(i, data))
    assert ranked[0].name == "made.digits"


@pytest.mark.parametrize("shape", [(1, 12, 10), (3, 5, 7), (7,)], ids=str)
def test_a_recipe_is_given_the_event_of_the_data_and_no_classes(shape):
    data = dataset(*shape, levels=5)
    fit = choose._fit("autoregressive", infos("made"), data)
    assert fit.options["shape"] == list(shape)
    assert (fit.options["levels"], fit.options["classes"]) == (5, None)


def test_a_family_without_a_fitting_recipe_says_why():
    fit = choose._fit("autoregressive", infos("made"), dataset(4))
    assert fit.recipe is None and "made" in fit.why and "levels" in fit.why


def entry(name, nats, *gaps):
    null = [
        {"name": f"null {i}", "nats": nats - gap, "gap": gap, "gap_std_err": error}
        for i, (gap, error) in enumerate(gaps)
    ]
    return SimpleNamespace(name=name, likelihood={"nats": nats, "null": null})


def test_a_baseline_is_recommended_if_it_is_ahead_by_two_paired_errors():
    assert choose._or_baseline(entry("made", -10.0, (3.0, 1.0))).startswith("made")
    assert choose._or_baseline(entry("made", -10.0, (-1.9, 1.0))).startswith("made")
    ahead = choose._or_baseline(entry("made", -10.0, (3.0, 1.0), (-2.5, 1.0), (-4.0, 1.0)))
    assert ahead.startswith("the baseline null 2: -6.00 nats")


def test_budgets_and_splits_are_checked_before_anything_is_trained():
    with pytest.raises(UsageError, match="minutes"):
        choose.choose_models(dataset(2), minutes=0)
    data = dataset(2)
    lacking = dataclasses.replace(data, splits={k: data.splits[k] for k in ("valid", "test")})
    with pytest.raises(DataError, match="test, valid"):
        choose.choose_models(lacking)


def test_a_single_split_is_cut_into_three_and_a_test_split_is_kept():
    data = dataset(2)
    (whole,) = (zoo.Split(torch.arange(80.0).view(40, 2)),)
    for name in ("train", "test"):
        splits = choose.with_all_splits(dataclasses.replace(data, splits={name: whole}), 0).splits
        rows = torch.cat([splits[k].x for k in ("train", "valid", "test")])
        assert torch.equal(rows.sort(0).values, whole.x)
    own = dataclasses.replace(data, splits={"train": whole, "test": data.splits["test"]})
    splits = choose.with_all_splits(own, 0).splits
    assert splits["test"] is own.splits["test"]
    assert len(splits["train"]) + len(splits["valid"]) == 40


@pytest.mark.slow
@pytest.mark.parametrize("shape, levels", [((1, 12, 10), 17), ((5,), None)], ids=str)
def test_every_family_that_fits_is_trained_and_measured(shape, levels):
    result = choose.choose_models(dataset(*shape, levels=levels), minutes=0.005, n=24)
    trained = {e.name for e in result.comparison.entries}
    assert trained == result.trained.keys() and len(trained) >= 3
    advice = dict(choose.recommendations(result.comparison))
    assert any(key.startswith("likelihood") for key in advice)
    assert {"speed", "latents"} <= advice.keys()
    families = {e.spec.family for e in current().models}
    assert len(trained) + len(result.unfit) == len(families)
