"""Sample quality: real data beside every value, equal counts, names that say what was measured."""

import math
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

import zoo_core as zoo
from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import ConfigError, NoCapabilityError, UsageError
from zoo_core.evaluation import features, reference_cache
from zoo_core.evaluation.classifier import bundled
from zoo_core.evaluation.features import (
    DigitsFeatures,
    Inception,
    Pixels,
    extractor,
    fitting,
    to_event,
)
from zoo_core.evaluation.quality import Quality, SampleQuality
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event


@pytest.fixture(scope="module")
def digits():
    return zoo.load_dataset("digits")


@pytest.fixture(scope="module")
def protocol(digits):
    return SampleQuality(digits, n=200)


def rows(found):
    return {(q.score, q.features): q for q in found}


def test_train_images_pass_for_real_and_the_null_does_not(protocol, digits):
    found = rows(protocol(digits.split("train").x[:200]))
    assert {f for _, f in found} == {"digits", "pixels"} and len(found) == 14
    for q in found.values():
        if q.score == "memorization":  # the one that tells them apart
            assert q.value.value > 0.6
            continue
        better = 1 if q.better == "higher" else -1
        error = math.hypot(q.real.std_err, q.value.std_err)
        assert better * (q.value.value - q.real.value) > -4 * error, str(q)
    for name in (("frechet", "digits"), ("coverage", "digits"), ("coverage", "pixels")):
        q = found[name]
        better = 1 if q.better == "higher" else -1
        covers_nothing = q.score == "coverage" and q.baseline.value == 0  # of an unknown error
        error = math.hypot(q.real.std_err, 0.0 if covers_nothing else q.baseline.std_err)
        assert better * (q.real.value - q.baseline.value) > 5 * error


def test_draws_of_the_null_score_as_the_null(protocol):
    drawn = protocol.baseline.sample(Rng(5, 200), None)
    for q in protocol(drawn):
        error = math.hypot(q.value.std_err, q.baseline.std_err)
        assert abs(q.value.value - q.baseline.value) < 5 * error + 1e-9, str(q)


def test_a_collapsed_sampler_keeps_precision_and_loses_coverage(protocol, digits):
    one = digits.split("train").x[:1].expand(200, -1, -1, -1)
    found = rows(protocol(one))
    assert found["precision", "pixels"].value.value == 1.0
    assert found["coverage", "pixels"].value.value < 0.2 * found["coverage", "pixels"].real.value
    assert found["frechet", "digits"].value.value > 5 * found["frechet", "digits"].real.value


def test_the_real_events_are_no_prefix_and_depend_on_the_seed(digits):
    a, b, c = (SampleQuality(digits, n=50, seed=s) for s in (0, 0, 1))
    assert torch.equal(a.rows, b.rows) and not torch.equal(a.rows, c.rows)
    assert not torch.equal(a.rows, torch.arange(50))


def test_counts_that_differ_are_refused(protocol, digits):
    with pytest.raises(UsageError, match="as many as real events"):
        protocol(digits.split("train").x[:100])
    with pytest.raises(UsageError, match="360 events to compare"):
        SampleQuality(digits, n=1000)


def test_a_record_reads_back_to_the_same_row(protocol, digits):
    q = protocol(digits.split("train").x[:200])[0]
    assert Quality.from_record(q.record()) == q
    assert "real" in str(q) and "baseline" in str(q) and "n=200" in str(q)


def test_conditional_comparisons_have_the_classes_of_the_real_events(digits):
    protocol = SampleQuality(digits, n=60, conditional=True)
    assert torch.equal(protocol.classes, digits.split("test").y[protocol.rows])
    assert len(protocol.baseline.table) == 10


def test_the_description_says_what_is_needed_to_repeat_it(protocol):
    said = protocol.describe()
    assert said["reference"]["n"] == 1200 and len(said["reference"]["sha256"]) == 64
    assert bundled("digits")[1]["sha256"] in said["features"]["digits"]
    assert said["scores"]["coverage"] == {"k": 5}


def test_reference_features_are_computed_once_and_kept_by_the_hash_of_the_data(tmp_path, digits):
    calls = []

    class Counting:
        identity = "counting"

        def accepts(self, event):
            return True

        def __call__(self, x, event):
            calls.append(len(x))
            return Pixels()(x, event)

    x = digits.split("train").x[:100]
    clouds = [reference_cache.reference_features(x, digits.event, Counting()) for _ in range(2)]
    assert calls == [100]
    torch.testing.assert_close(clouds[0].points, clouds[1].points)
    torch.testing.assert_close(clouds[0].radii(3), clouds[1].radii(3))
    reference_cache.reference_features(x.flip(0), digits.event, Counting())
    assert calls == [100, 100]
    paths = sorted((reference_cache.cache_dir() / "features").iterdir())
    whole = [path.read_bytes() for path in paths]
    one_bit = [data[:-1] + bytes([data[-1] ^ 1]) for data in whole]
    for damaged in ([b"damaged"] * 2, one_bit, whole[::-1]):
        for path, data in zip(paths, damaged, strict=True):
            path.write_bytes(data)
        calls.clear()
        again = reference_cache.reference_features(x, digits.event, Counting())
        assert calls == [100] and torch.equal(again.points, clouds[0].points)
        assert torch.equal(again.radii(3), clouds[0].radii(3))


def test_extractors_take_the_events_they_are_for():
    assert fitting(Event((1, 8, 8), levels=17)) == ["digits", "pixels"]
    assert fitting(Event((1, 28, 28), levels=2)) == ["mnist", "pixels"]
    assert fitting(Event((2,))) == ["pixels"]
    assert fitting(Event((3, 32, 32), levels=256)) == ["emoji", "pixels"]
    assert fitting(Event((3, 48, 48), levels=256)) == ["pixels"]  # inception only if asked for
    with pytest.raises(ConfigError, match="no feature extractor"):
        extractor("frechet")


def test_the_classifiers_know_digits(digits):
    """Right as often as their cards say, which is far beyond chance."""
    model, card = bundled("digits")
    test = digits.split("test")
    with torch.no_grad():
        right = (model(test.x.float() / 16).argmax(1) == test.y).double()
    assert float(right.mean()) == pytest.approx(card["accuracy"]["test"]["value"], abs=0.01)
    assert card["accuracy"]["test"]["value"] > 0.98
    assert bundled("mnist")[1]["accuracy"]["valid"]["value"] > 0.95


def test_the_classifier_of_emoji_is_as_accurate_as_stated():
    model, card = bundled("emoji")
    data = zoo.load_dataset("emoji")
    x, y = data.split("test").batch()
    with torch.no_grad():
        right = (model(x.float() / 255).argmax(1) == data.condition.cell(y)).double()
    assert float(right.mean()) == pytest.approx(card["accuracy"]["test"]["value"], abs=0.01)
    assert float(right.mean()) > 0.6  # of 27 cells; the most frequent one holds 8 %


def test_features_of_reals_are_those_of_the_levels_they_stand_for(digits):
    x = digits.split("test").x[:5]
    reals = x.float() / 8 - 1
    want = DigitsFeatures()(x, digits.event)
    torch.testing.assert_close(DigitsFeatures()(reals, Event((1, 8, 8), low=-1, high=1)), want)
    assert torch.equal(to_event(reals, Event((1, 8, 8), low=-1, high=1), digits.event), x.long())
    with pytest.raises(NoCapabilityError, match="cannot be compared"):
        to_event(reals, Event((1, 8, 8)), digits.event)


@pytest.fixture
def fake_fidelity(monkeypatch):
    """A module in place of torch-fidelity: it shows the plumbing, and computes no Inception."""
    seen = []

    class FeatureExtractorInceptionV3(torch.nn.Module):
        def __init__(self, name, features_list, feature_extractor_weights_path=None):
            super().__init__()
            seen.append((name, features_list, feature_extractor_weights_path))

        def forward(self, x):
            assert x.dtype == torch.uint8 and x.shape[1] == 3
            return (x.float().flatten(1)[:, :4],)

    package, module = ModuleType("torch_fidelity"), ModuleType("feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FeatureExtractorInceptionV3
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    features._inception.cache_clear()
    yield seen
    features._inception.cache_clear()


def test_inception_gets_three_channels_of_bytes_and_weights_by_path(fake_fidelity, tmp_path):
    weights = tmp_path / "pt_inception.pth"
    weights.write_bytes(b"not read by the stand-in")
    extract = Inception(weights=str(weights))
    x = torch.linspace(-1, 1, 2 * 64).view(2, 1, 8, 8)
    found = extract(x, Event((1, 8, 8), low=-1, high=1))
    assert found.shape == (2, 4) and float(found.max()) <= 255
    assert fake_fidelity == [("inception-v3-compat", ["2048"], str(weights))]
    with pytest.raises(ConfigError, match="is no file"):
        Inception(weights=str(tmp_path / "nowhere"))(x, Event((1, 8, 8), low=-1, high=1))


def test_only_the_reference_protocol_is_called_fid(fake_fidelity, monkeypatch):
    """50,000 events against the whole of train; anything less keeps the name of its features."""
    event = Event((1, 8, 8), levels=256)
    x = torch.randint(256, (30, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    splits = {name: Split(x.to(torch.uint8)) for name in ("train", "test")}
    data = Dataset("bytes", event, Condition(), splits, "none", "made up")
    scores = ("frechet", "kernel")
    protocol = SampleQuality(data, features=["inception"], scores=scores)
    assert [q.label for q in protocol(x)] == ["fd_inception", "kd_inception"]
    monkeypatch.setattr("zoo_core.evaluation.quality._FID_EVENTS", 30)
    assert [q.label for q in protocol(x)] == ["FID", "KID"]
    part = SampleQuality(data, features=["inception"], scores=scores, n_reference=20)
    assert [q.label for q in part(x)] == ["fd_inception", "kd_inception"]


def test_without_torch_fidelity_the_error_names_the_extra():
    features._inception.cache_clear()
    if find_spec("torch_fidelity"):
        pytest.skip("torch-fidelity is installed here: nothing is missing")
    with pytest.raises(NoCapabilityError, match="torch-fidelity") as caught:
        Inception()(torch.zeros(2, 1, 8, 8), Event((1, 8, 8), low=0, high=1))
    assert "density-zoo[fid]" in str(caught.value.hint)
