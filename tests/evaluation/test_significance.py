"""Verdicts cannot be had cheaply: five standard errors, the right relation, a null that fails."""

import math

import pytest

from zoo_core.catalog.registry import ModelInfo
from zoo_core.catalog.significance import significance_of
from zoo_core.catalog.tags import Tag


def by_likelihood(gaps, relation="lower"):
    null = [{"name": f"null{i}", "gap": g, "gap_std_err": e} for i, (g, e) in enumerate(gaps)]
    return {"likelihood": {"relation": relation, "null": null}, "quality": None}


def by_samples(coverage, frechet, features="digits"):
    def row(score, value, real, null, error=0.1):
        estimates = {"value": value, "real": real, "null": null}
        cells = {k: {"value": v, "std_err": error} for k, v in estimates.items()}
        return {"score": score, "features": features, **cells}

    scores = [row("frechet", *frechet), row("coverage", *coverage, error=0.01)]
    held = {"n": 600, "copies": 0.75, "splits": ["test"]}
    return {"likelihood": None, "quality": {"scores": scores, "n": 360, "memorization": held}}


@pytest.mark.parametrize("relation", ["equal", "lower"])
def test_five_standard_errors_beyond_every_null_are_needed(relation):
    assert significance_of(by_likelihood([(5.0, 1.0), (9.0, 1.0)], relation)).pretrained
    assert not significance_of(by_likelihood([(4.9, 1.0), (9.0, 1.0)], relation)).pretrained
    assert not significance_of(by_likelihood([(-5.0, 1.0)], relation)).pretrained
    found = significance_of(by_likelihood([(4.9, 1.0), (90.0, 1.0)], relation))
    assert found.sigmas == pytest.approx(4.9) and "null0" in found.why


@pytest.mark.parametrize("relation", ["upper", "estimate"])
def test_an_upper_bound_or_an_estimate_shows_nothing(relation):
    """Either may be far above log p: being above the null's is no claim to make."""
    found = significance_of(by_likelihood([(100.0, 1.0)], relation))
    assert not found.pretrained and found.sigmas is None


def test_samples_decide_beside_a_score_that_is_unrelated_to_log_p():
    score = by_likelihood([], "unrelated")
    assert "unrelated to log p" in significance_of(score).why
    samples = by_samples((0.66, 0.72, 0.02), (1.0, 0.9, 50.0))
    assert significance_of({**samples, **{"likelihood": score["likelihood"]}}).by == "samples"


def test_a_bound_of_a_baseline_must_be_beaten_but_shows_nothing_by_itself():
    record = by_likelihood([(9.0, 1.0), (9.0, 1.0)])
    gaussian, independent = record["likelihood"]["null"]
    gaussian["relation"], independent["relation"] = "lower", "equal"
    assert significance_of(record).pretrained
    independent["relation"] = "lower"
    assert not significance_of(record).pretrained


@pytest.mark.parametrize("gap", [(math.nan, 1.0), (100.0, math.nan)])
def test_numbers_that_are_none_show_nothing(gap):
    assert not significance_of(by_likelihood([gap])).pretrained


def test_samples_must_cover_what_real_data_cover_and_look_like_it():
    assert significance_of(by_samples((0.66, 0.72, 0.02), (1.0, 0.9, 50.0))).pretrained
    assert not significance_of(by_samples((0.64, 0.72, 0.02), (1.0, 0.9, 50.0))).pretrained
    far = significance_of(by_samples((0.70, 0.72, 0.02), (49.5, 0.9, 50.0)))
    assert not far.pretrained and far.by == "samples"


def test_coverage_that_the_null_has_as_well_shows_nothing():
    found = significance_of(by_samples((0.70, 0.72, 0.70), (1.0, 0.9, 50.0)))
    assert not found.pretrained and "nothing is shown" in found.why


@pytest.mark.parametrize(
    ("value", "n", "pretrained"),
    [(0.59, 1000, True), (0.61, 1000, False), (0.61, 100, True), (0.66, 100, False)],
)
def test_copies_of_training_events_do_not_count_however_good_they_look(value, n, pretrained):
    """Beyond one half by 0.1 and by three binomial errors, on any features."""
    record = by_samples((0.72, 0.72, 0.02), (0.5, 0.9, 50.0))
    cell = {"value": value, "std_err": 0.5 / n**0.5}
    row = {"score": "memorization", "features": "pixels", "value": cell, "n": n}
    record["quality"]["scores"].append({**row, "n_reference": 600})
    found = significance_of(record)
    assert found.pretrained is pretrained
    assert pretrained or f"memorization {value:.3f} on pixels" in found.why


def test_a_likelihood_goes_before_samples():
    record = by_samples((0.7, 0.72, 0.02), (1.0, 0.9, 50.0)) | by_likelihood([(-9.0, 1.0)])
    assert not significance_of(record).pretrained


def test_nothing_measured_is_nothing_shown():
    assert not significance_of({"likelihood": None, "quality": None}).pretrained


def tag(record, weights="a" * 64):
    metadata = {"files": {"model.safetensors": {"sha256": "a" * 64}}}
    evaluation = record and {**record, "model": {"weights": weights}}
    return Tag("x", "y", "bundled", "l", "s", metadata=metadata, evaluation=evaluation)


def test_weights_that_were_measured_and_failed_do_not_count_as_pretrained():
    good, bad = by_likelihood([(9.0, 1.0)]), by_likelihood([(1.0, 1.0)])
    assert tag(good).proven is True and tag(bad).proven is False
    assert tag(None).proven is None  # nothing was recorded
    assert tag(bad, weights="b" * 64).proven is None  # of other weights
    listed = [ModelInfo("x.y", None, None, tag(r)).pretrained for r in (good, bad, None)]
    assert listed == [True, False, True]


@pytest.mark.parametrize("error", [None, math.inf, 0.0])
def test_an_error_that_is_not_known_gives_no_verdict(error):
    found = significance_of(by_likelihood([(100.0, error)]))
    assert not found.pretrained and found.sigmas is None and "not known" in found.why
    record = by_samples((0.70, 0.72, 0.02), (1.0, 0.9, 50.0))
    for name in ("value", "null"):
        record["quality"]["scores"][0][name]["std_err"] = error
    found = significance_of(record)
    assert not found.pretrained and found.sigmas is None


def test_an_event_of_probability_zero_is_never_pretrained():
    record = by_likelihood([(None, None)])
    record["likelihood"]["impossible"] = 2
    assert "probability zero" in significance_of(record).why
