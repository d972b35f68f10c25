"""Laws of `zoo choose`: which recipe a family gets, and when a baseline is recommended."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.errors import DataError, UsageError
from zoo_core.evaluation import recommendations, report
from zoo_core.workflows import choose, fitting, own_data


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
    ranked = sorted(infos("made"), key=lambda i: fitting._distance(i, data, 60))
    assert ranked[0].name == "made.digits"


@pytest.mark.parametrize("shape", [(1, 12, 10), (3, 5, 7), (7,)], ids=str)
def test_a_recipe_is_given_the_event_of_the_data_and_no_classes(shape):
    data = dataset(*shape, levels=5)
    fit = fitting._fit("autoregressive", infos("made"), data)
    assert fit.options["shape"] == list(shape)
    assert fit.options["levels"] == 5 and fit.options.get("classes") is None


@pytest.mark.parametrize(
    "family, arch", [("flows", "maf"), ("flows", "realnvp"), ("diffusion", "vdm")]
)
@pytest.mark.parametrize("shape", [(1, 12, 10), (3, 13, 11)], ids=str)
def test_images_of_any_size_fit_without_options(family, arch, shape):
    if arch == "realnvp" and shape[1] % 2:
        pytest.skip("a flow that halves sides never pads")
    fit = fitting._fit(family, infos(arch), dataset(*shape, levels=17, n=6))
    assert fit.recipe is not None, fit.why


def test_of_like_recipes_one_that_the_minutes_serve_comes_first():
    data = dataset(1, 8, 8, levels=17)
    slow, quick = (fitting._distance(infos("row_lstm")[0], data, m) for m in (0.1, 60))
    assert quick < slow


@pytest.mark.parametrize(
    "event",
    [
        zoo.Group(size=zoo.Event(()), kind=zoo.Classes(3), age=zoo.Event(())),
        zoo.Group(kind=zoo.Classes(3), other=zoo.Classes(2)),
        zoo.Event((4,)),
    ],
    ids=str,
)
def test_rows_of_numbers_and_categories_fit_a_vae(event):
    dtype = torch.int64 if event.discrete else torch.float32
    splits = {k: zoo.Split(torch.zeros(20, event.dims, dtype=dtype)) for k in ("train", "valid")}
    data = zoo.Dataset("mine", event, zoo.Condition(), splits, "CC0-1.0", "zeros")
    fit = fitting._fit("vae", infos("vae"), data)
    assert fit.recipe is not None, fit.why
    assert fit.recipe.name == "vae.wine"


def test_events_of_other_axes_become_images_or_vectors_of_the_same_values():
    for shape, levels, expected in [
        ((12, 10), 5, (1, 12, 10)),
        ((2, 40), 5, (80,)),
        ((3, 16), None, (48,)),
        ((3, 5, 7), 5, (3, 5, 7)),
    ]:
        data = dataset(*shape, levels=levels)
        changed = own_data.with_common_axes(data)
        assert changed.event.shape == expected
        before, after = (d.split("test").batch()[0] for d in (data, changed))
        assert torch.equal(before.flatten(1), after.flatten(1))


def test_reals_are_standardized_and_likelihoods_stay_in_their_units():
    data = dataset(3)
    scaled = dataclasses.replace(
        data, splits={k: zoo.Split(1000 * s.x + 5) for k, s in data.splits.items()}
    )
    changed = own_data.standardized(scaled)
    train = changed.split("train")
    assert torch.allclose(train.x.std(0, correction=0), torch.ones(3), atol=1e-4)
    std = scaled.split("train").x.double().std(0, correction=0)
    assert train.log_det == pytest.approx(-float(std.log().sum()))


def test_a_family_without_a_fitting_recipe_says_why():
    fit = fitting._fit("autoregressive", infos("made"), dataset(4))
    assert fit.recipe is None and "made" in fit.why and "integers" in fit.why


or_baseline = recommendations._or_baseline


def entry(name, nats, *gaps):
    null = [
        {"name": f"null {i}", "nats": nats - gap, "gap": gap, "gap_std_err": error}
        for i, (gap, error) in enumerate(gaps)
    ]
    return SimpleNamespace(name=name, likelihood={"nats": nats, "null": null})


def test_a_baseline_is_recommended_if_it_is_ahead_by_two_paired_errors():
    assert or_baseline(entry("made", -10.0, (3.0, 1.0))).startswith("made")
    assert or_baseline(entry("made", -10.0, (-1.9, 1.0))).startswith("made")
    ahead = or_baseline(entry("made", -10.0, (3.0, 1.0), (-2.5, 1.0), (-4.0, 1.0)))
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
        splits = own_data.with_all_splits(
            dataclasses.replace(data, splits={name: whole}), 0
        ).splits
        rows = torch.cat([splits[k].x for k in ("train", "valid", "test")])
        assert torch.equal(rows.sort(0).values, whole.x)
    own = dataclasses.replace(data, splits={"train": whole, "test": data.splits["test"]})
    splits = own_data.with_all_splits(own, 0).splits
    assert splits["test"] is own.splits["test"]
    assert len(splits["train"]) + len(splits["valid"]) == 40


@pytest.mark.slow
@pytest.mark.parametrize("shape, levels", [((1, 12, 10), 17), ((5,), None)], ids=str)
def test_every_family_that_fits_is_trained_and_measured(shape, levels):
    result = choose.choose_models(dataset(*shape, levels=levels), minutes=0.005, n=24)
    trained = {e.name for e in result.comparison.entries}
    assert trained == result.trained.keys() and len(trained) >= 3
    advice = dict(recommendations.recommendations(result.comparison))
    assert any(key.startswith("likelihood") for key in advice)
    assert {"speed", "latents"} <= advice.keys()
    sections = result.sections()
    assert dict(sections["What serves"]) == advice and sections["Baselines"]
    page = report.markdown(result.comparison, sections)
    assert "## What serves" in page and f"**speed**: {advice['speed']}" in page
    assert "<h2>What serves</h2>" in report.html(result.comparison, sections)
    families = {e.spec.family for e in current().models}
    assert len(trained) + len(result.unfit) == len(families)
