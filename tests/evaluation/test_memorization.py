"""Samplers that repeat training events are flagged; those that learned what they have in common
are not, however good or bad they are."""

import pytest
import torch
import torch.nn.functional as F

import zoo_core as zoo
from zoo_core.catalog.significance import memorized, significance_of
from zoo_core.data.dataset import Dataset, Split
from zoo_core.evaluation.feature_set import FeatureSet
from zoo_core.evaluation.memorization import Memorization, reference_sets
from zoo_core.evaluation.quality import MEMORIZATION, SampleQuality
from zoo_core.spaces import Condition, Event


@pytest.fixture(scope="module")
def digits():
    return zoo.load_dataset("digits")


@pytest.fixture(scope="module")
def protocol(digits):
    return SampleQuality(digits, scores=("coverage", "frechet", MEMORIZATION))


def record(protocol, x):
    quality = {**protocol.describe(), "scores": [q.record() for q in protocol(x)]}
    return {"likelihood": None, "quality": quality}


def resampled(digits):
    train = digits.split("train").x
    return train[torch.randint(len(train), (360,), generator=torch.Generator().manual_seed(1))]


def test_a_resampler_of_training_events_is_flagged_and_is_not_pretrained(protocol, digits):
    found = record(protocol, resampled(digits))
    assert "memorization" in memorized(found)
    judged = significance_of(found)
    assert not judged.pretrained and "nearer to 597 events of train" in judged.why
    without = {**found["quality"], "memorization": None}
    assert "was not measured" in significance_of({"likelihood": None, "quality": without}).why


def test_everything_but_memorization_takes_a_resampler_for_real(protocol, digits):
    """The reason for the rule: without it these would be the best weights of the zoo."""
    found = record(protocol, resampled(digits))["quality"]["scores"]
    coverage, frechet = (
        next(s for s in found if s["score"] == n) for n in ("coverage", "frechet")
    )
    assert coverage["value"]["value"] > 0.9 * coverage["real"]["value"]
    assert frechet["value"]["value"] < frechet["real"]["value"]


def test_held_out_events_are_not_flagged_and_count_as_real(protocol, digits):
    found = record(protocol, digits.split("test").x[protocol.rows])
    assert memorized(found) is None and significance_of(found).pretrained


def test_blurred_training_images_are_not_flagged(protocol, digits):
    x = F.pad(resampled(digits).float(), (1, 1, 1, 1), mode="replicate")
    blurred = F.avg_pool2d(x, 3, stride=1).round().long()
    assert memorized(record(protocol, blurred)) is None


def test_draws_of_the_null_and_real_events_are_at_one_half(protocol, digits):
    """Real events do not count as their own neighbours, else they would be at 0."""
    rows = [q for q in protocol(resampled(digits)) if q.score == MEMORIZATION]
    assert {q.features for q in rows} == {"digits", "pixels"}
    for q in rows:
        assert abs(q.real.value - 0.5) < 3 * q.real.std_err
        assert q.real.std_err >= 0.5 / 360**0.5
        assert abs(q.baseline.value - 0.5) < 3 * q.baseline.std_err
        assert q.value.value == pytest.approx(protocol.reference_sets.copies, abs=0.06)


def test_events_in_train_and_held_out_count_half():
    x = torch.tensor([[0.0], [1.0], [5.0]])
    both = Memorization(FeatureSet(x), FeatureSet(x.clone()))
    assert both(FeatureSet(torch.tensor([[0.1], [4.0], [0.5]]))).value == 0.5
    apart = Memorization(FeatureSet(x), FeatureSet(x + torch.tensor([[0.0], [0.0], [20.0]])))
    assert apart(FeatureSet(torch.tensor([[0.1], [6.0]]))).value == 0.75


def test_samples_that_share_a_neighbour_count_as_one_toss():
    """Samples far from all data have the one event that is nearest to them all as neighbour."""
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    measure = Memorization(FeatureSet(x[:200]), FeatureSet(x[200:]))
    far = measure(FeatureSet(100 + torch.zeros(300, 5)))
    assert far.value in (0.0, 1.0) and far.std_err == 0.5
    apart = measure(FeatureSet(x[:100]))
    assert apart.value == 1.0 and apart.std_err == pytest.approx(0.5 / 100**0.5)


def made_up(train, **held):
    splits = {"train": train, **held}
    events = {
        k: Split(torch.randn(n, 2, generator=torch.Generator().manual_seed(n)))
        for k, n in splits.items()
    }
    return Dataset("made up", Event((2,)), Condition(), events, "none", "a test")


def test_both_sides_are_equally_many_and_all_held_out_splits_count():
    found = reference_sets(made_up(100, valid=20, test=30), seed=0)
    assert len(found.trained) == len(found.held) == 50 and found.copies == 0.75
    assert sorted(torch.cat(list(found.positions.values())).tolist()) == list(range(50))
    few = reference_sets(made_up(20, test=30), seed=0)
    assert len(few.trained) == len(few.held) == 20
    assert int((few.positions["test"] >= 0).sum()) == 20
    assert reference_sets(made_up(100), seed=0) is None


def test_too_few_held_out_events_to_tell_copies_show_nothing():
    """Of 40 held-out events in 1,000 of train, even copies of all of train would pass."""
    data = made_up(1000, test=40)
    protocol = SampleQuality(data, scores=("coverage", "frechet", MEMORIZATION))
    quality = record(protocol, data.split("train").x[:40])["quality"]
    for row in quality["scores"]:
        if row["score"] == "coverage":
            row["null"]["value"] = 0.0
        if row["score"] == "frechet":
            row["null"]["value"] = row["value"]["value"] + 100 * row["null"]["std_err"] + 100
    found = significance_of({"likelihood": None, "quality": quality})
    assert not found.pretrained and "too few to tell" in found.why
