"""Baselines of tables: normalized, drawn as scored; likelihoods are ranked on equal columns."""

import itertools
from dataclasses import replace

import pytest
import torch

import zoo_core as zoo
from zoo_core.data.columns import Columns
from zoo_core.data.dataset import Dataset, Split
from zoo_core.evaluation.baselines import fitted_baselines
from zoo_core.evaluation.compare import Budget, ComparedModel, Comparison
from zoo_core.evaluation.mixture import GaussianMixture
from zoo_core.rng import Rng
from zoo_core.spaces import Classes, Condition, Event, Group

POINTS = Event((2,))
MIXED = Group(size=Event(()), kind=Classes(3), weight=Event(()))


def two_moons(n, seed, labels=False):
    data = zoo.load_dataset("moons", train=n, valid=1, test=1, seed=seed)
    split = data.split("train")
    return Split(split.x, split.y if labels else None)


def mixed(n, seed):
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(3, (n,), generator=generator)
    x = torch.randn(n, 2, generator=generator) + 3 * (kind[:, None] - 1)
    return Split(torch.stack([x[:, 0], kind.float(), x[:, 1]], 1))


def table(event, splits, condition=None):
    n = event.dims
    columns = Columns(tuple(f"c{i}" for i in range(n)), torch.zeros(n), torch.ones(n))
    condition = condition or Condition()
    return Dataset("t", event, condition, splits, "none", "made up", columns=columns)


def grid(low, high, n):
    line = torch.linspace(low, high, n)
    return torch.cartesian_prod(line, line), ((high - low) / (n - 1)) ** 2


def test_a_mixture_of_gaussians_integrates_to_one():
    fitted = GaussianMixture.fit(POINTS, two_moons(400, 0), two_moons(100, 1).rows(), None)
    points, area = grid(-6, 6, 300)
    assert float(fitted.log_prob(points, None).exp().sum() * area) == pytest.approx(1, abs=1e-3)
    assert fitted.log_w.exp().sum() == pytest.approx(1)


def test_a_mixture_of_gaussians_is_drawn_as_it_is_scored():
    fitted = GaussianMixture.fit(POINTS, two_moons(400, 0), two_moons(100, 1).rows(), None)
    x = fitted.sample(Rng(0, 20_000), None).double()
    points, area = grid(-6, 6, 300)
    p = fitted.log_prob(points, None).exp() * area
    mean = (p[:, None] * points).sum(0)
    assert float((x.mean(0) - mean).abs().max()) < 0.03
    second = (p[:, None] * points.square()).sum(0)
    assert float((x.square().mean(0) - second).abs().max()) < 0.05


def test_a_mixture_beats_one_gaussian_where_there_are_two_moons():
    splits = {"train": two_moons(400, 0), "valid": two_moons(200, 1), "test": two_moons(9, 2)}
    best, second = fitted_baselines(table(POINTS, splits))
    assert best.name.startswith("gaussian_mixture(k=") and second.name == "gaussian"
    plain = replace(table(POINTS, splits), columns=None)
    assert [b.name for b in fitted_baselines(plain)] == ["gaussian"]


def test_told_the_class_a_mixture_scores_and_draws_that_class():
    splits = {s: two_moons(400, i, labels=True) for i, s in enumerate(("train", "valid"))}
    data = table(POINTS, splits, Classes(2))
    told, untold = (
        next(b for b in fitted_baselines(data, conditional=c) if "mixture" in b.name)
        for c in (True, False)
    )
    x, y = splits["valid"].x, splits["valid"].y
    assert float(told.log_prob(x, y).mean() - untold.log_prob(x, None).mean()) > 0.3
    drawn = told.sample(Rng(0, 500), torch.tensor([0, 1] * 250))
    assert float(drawn[::2, 1].mean()) > float(drawn[1::2, 1].mean())


def test_a_group_has_baselines_of_its_reals_beside_independent_categories():
    data = table(MIXED, {"train": mixed(600, 0), "valid": mixed(200, 1)})
    fits = fitted_baselines(data)
    assert {b.name.split("(")[0] for b in fits} == {"gaussian", "gaussian_mixture"}
    points, area = grid(-9, 9, 120)
    rows = [
        torch.stack([points[:, 0], torch.full((len(points),), float(k)), points[:, 1]], 1)
        for k in range(3)
    ]
    for b in fits:
        assert b.kind.name == "exact_density"
        total = sum(float(b.log_prob(r, None).exp().sum()) for r in rows) * area
        assert total == pytest.approx(1, abs=1e-2)
        x = b.sample(Rng(0, 3000), None)
        MIXED.check(x)
        assert float(b.log_prob(x, None).mean()) == pytest.approx(
            float(b.log_prob(mixed(3000, 2).x, None).mean()), abs=0.25
        )


def test_a_group_of_categories_has_an_exact_baseline():
    group = Group(a=Classes(2), b=Classes(3))
    x = torch.stack([torch.arange(60) % 2, torch.arange(60) % 3], 1)
    (baseline,) = fitted_baselines(table(group, {"train": Split(x)}))
    every = torch.tensor(list(itertools.product(range(2), range(3))))
    assert float(baseline.log_prob(every, None).exp().sum()) == pytest.approx(1)
    assert baseline.kind.name == "exact" and baseline.sample(Rng(0, 4), None).dtype == torch.int64


def entry(name, columns, nats):
    likelihood = {"kind": "exact_density", "relation": "equal", "events": "reals", "nats": nats}
    evaluation = type("E", (), {"record": {"likelihood": {**likelihood, "columns": columns}}})
    return ComparedModel(name, evaluation, Budget(1), "none")


def test_likelihoods_are_ranked_only_on_equal_columns():
    entries = [
        entry("a", ["x", "y"], -2.0),
        entry("b", ["x", "y"], -1.0),
        entry("c", ["x", "z"], 0.0),
    ]
    comparison = Comparison(None, "test", entries, 0, [])
    assert [comparison.rank(e) for e in entries] == ["2 of 2 (=)", "1 of 2 (=)", "1 of 1 (=)"]
