"""Null baselines: normalized, drawn from what they score, told apart by class, chosen on valid."""

import itertools
import math

import numpy as np
import pytest
import torch

import zoo_core as zoo
from zoo_core.data.dataset import Dataset, Split
from zoo_core.evaluation.baselines import (
    Gaussian,
    Independent,
    fitted_baselines,
    strongest_baseline,
)
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event

BITS = Event((1, 2, 2), levels=3)


def integers(n=400, seed=0, labels=False):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=generator)
    noise = torch.randint(2, (n, 1, 2, 2), generator=generator)
    x = (y.view(-1, 1, 1, 1) + noise).to(torch.uint8)  # class 0 holds 0 and 1, class 1 holds 1, 2
    return Split(x, y if labels else None)


def dataset(labels=False):
    condition = Condition("classes", classes=2) if labels else Condition()
    splits = {s: integers(seed=i, labels=labels) for i, s in enumerate(("train", "valid", "test"))}
    return Dataset("small", BITS, condition, splits, "none", "made up")


def test_independent_values_sum_to_one_over_all_events():
    fitted = Independent.fit(BITS, integers(), None)
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 1, 2, 2)
    assert float(fitted.log_prob(every, None).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_independent_values_are_drawn_as_they_are_scored():
    fitted = Independent.fit(BITS, integers(), None)
    x = fitted.sample(Rng(0, 5_000), None)
    p = torch.stack([(x == k).double().mean(0) for k in range(3)], -1).view(4, 3)
    assert float((p - fitted.table[0].exp()).abs().max()) < 4 * math.sqrt(0.25 / 5_000)


def test_told_the_class_a_baseline_scores_better_and_draws_that_class():
    split = integers(labels=True)
    told, untold = Independent.fit(BITS, split, 2), Independent.fit(BITS, split, None)
    gain = told.log_prob(split.x, split.y) - untold.log_prob(split.x, None)
    assert float(gain.mean()) > 0.3
    y = torch.tensor([0, 1] * 500)
    x = told.sample(Rng(0, 1000), y)
    assert float(x[y == 0].double().mean()) < 0.6 < 1.4 < float(x[y == 1].double().mean())


def test_the_gaussian_of_reals_is_the_fitted_density():
    moons = zoo.load_dataset("moons")
    fitted = strongest_baseline(moons)
    assert (fitted.name, str(fitted.kind)) == ("gaussian", "exact_density")
    x, train = moons.split("test").x.double(), moons.split("train").x.double()
    cov = torch.from_numpy(np.cov(train.T.numpy(), bias=True))
    want = torch.distributions.MultivariateNormal(train.mean(0), cov).log_prob(x)
    torch.testing.assert_close(fitted.log_prob(x.float(), None), want, atol=1e-3, rtol=1e-4)


def test_the_gaussian_of_integers_is_a_lower_bound_that_says_so():
    """Of one ternary value: P(k) by integrating the density over [k, k + 1)."""
    event = Event((1,), levels=3)
    x = torch.tensor([0, 0, 1, 1, 1, 2]).view(-1, 1)
    split = Split(x.to(torch.uint8).repeat(50, 1))
    fitted = Gaussian.fit(event, split, split.batch(), None)
    normal = torch.distributions.Normal(fitted.mean[0, 0], fitted.root[0, 0])
    k = torch.arange(3.0).double()
    exact = (normal.cdf(k + 1) - normal.cdf(k)).log()
    bound = torch.stack(
        [fitted.log_prob(k.long().view(-1, 1), None, seed=s) for s in range(300)]
    ).mean(0)
    assert fitted.kind.relation == "lower"
    assert (bound < exact + 1e-2).all() and (bound > exact - 0.2).all()


def test_the_null_is_the_candidate_that_is_best_on_valid():
    assert [b.name for b in fitted_baselines(zoo.load_dataset("digits"))] == [
        "independent",
        "gaussian",
    ]
    assert strongest_baseline(dataset()).name == "gaussian"  # its values move together
    told = strongest_baseline(dataset(labels=True), conditional=True)
    assert len(told.table) == 2


def test_independent_pixels_of_digits_score_the_published_number():
    digits = zoo.load_dataset("digits")
    nats = strongest_baseline(digits).log_prob(digits.split("test").x, None)
    assert float(-nats.mean() / (64 * math.log(2))) == pytest.approx(2.423, abs=2e-3)


def test_draws_are_events_of_the_data_set():
    for name in ("digits", "ising", "moons"):
        data = zoo.load_dataset(name)
        for baseline in fitted_baselines(data):
            drawn = baseline.sample(Rng(0, 20), None)
            assert len(data.event.check(drawn)) == 20
            torch.testing.assert_close(baseline.sample(Rng(0, 30), None)[:20], drawn)
