"""Log-likelihoods are numbers or -inf, errors are known or said to be unknown."""

import json
import math
from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_core.data.dataset import Split
from zoo_core.files import write_json
from zoo_core.finite import check_parameters
from zoo_core.likelihood import LogLikelihood
from zoo_core.likelihoods.iwae import LogMeanExp
from zoo_core.training.validation import validate_by_likelihood
from zoo_core.uncertainty import finite_or_null, from_json, mean_error, plus_minus
from zoo_core.weights.card import metric_short, metric_text


@dataclass(frozen=True)
class Told:
    """A likelihood of a plugin: what it is told, of any kind."""

    values: tuple[float, ...]
    error: float = 0.1
    relation: str = "equal"

    @property
    def kind(self):
        return zoo.LikelihoodKind("told", self.relation)

    def __call__(self, model, x, cond, rng):
        nats = torch.tensor(self.values)[rng.rows]
        return nats, torch.full_like(nats, self.error)


@pytest.fixture
def scored(minis):
    model = zoo.create("mini_ar")
    x = model.sample(3)
    return lambda *values, **how: model.log_likelihood(x, method=Told(values, **how))


@pytest.mark.parametrize("relation", ["equal", "lower", "upper", "estimate"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_plus_infinity_are_errors_of_every_kind(scored, bad, relation):
    with pytest.raises(zoo.NotFiniteError, match="1 of 3 events"):
        scored(-1.0, bad, -2.0, relation=relation)


def test_minus_infinity_is_a_value_whose_mean_says_of_how_many_events(scored):
    found = scored(-1.0, -math.inf, -2.0, error=math.nan)
    assert found.nats.tolist() == [-1.0, -math.inf, -2.0] and found.std_err.isinf().all()
    mean = found.mean()
    assert (mean.nats, mean.std_err, mean.impossible) == (-math.inf, math.inf, 1)
    assert str(mean).startswith("log p = -inf +- ? nats")
    record = json.loads(json.dumps(mean.record(), allow_nan=False))
    assert record["nats"] is record["std_err"] is record["bits_per_dim"] is None
    assert record["impossible"] == 1
    assert metric_text(record).startswith("log p = -inf +- ? nats")
    assert metric_short(record) == "= -inf nats told"


def test_the_mean_of_one_event_has_an_unknown_error_however_exact_it_is(scored):
    one = scored(-1.0, -2.0, -4.0)
    one = LogLikelihood(one.nats[:1], one.kind, torch.zeros(1), one.event)
    assert one.std_err.tolist() == [0.0]
    assert "+- ? nats" in str(one.mean()) and one.mean().record()["std_err"] is None


def test_unknown_errors_print_as_unknown_and_are_null():
    assert plus_minus(0.25) == "+- 0.250" and plus_minus(1.234, ".2g") == "+- 1.2"
    assert {plus_minus(e) for e in (None, math.inf, math.nan)} == {"+- ?"}
    assert finite_or_null({"a": [1.0, math.inf, (math.nan, "x", 2)]}) == {
        "a": [1.0, None, [None, "x", 2]]
    }
    assert (from_json(None), from_json(2)) == (math.inf, 2.0)
    assert mean_error(torch.tensor([1.0])) == math.inf
    assert mean_error(torch.tensor([1.0, -math.inf])) == math.inf
    assert mean_error(torch.tensor([1.0, 3.0])) == pytest.approx(1.0)


def test_json_files_hold_no_infinite_numbers(tmp_path):
    write_json(tmp_path / "x.json", {"a": math.inf, "b": [math.nan]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None]}


def test_what_overflows_only_in_the_stored_type_is_not_saved(minis, tmp_path):
    from zoo_core.weights import checkpoint

    model = zoo.create("mini_ar")
    with torch.no_grad():
        next(model.parameters()).fill_(1e6)
    model.save(tmp_path / "whole")
    with pytest.raises(zoo.NotFiniteError):
        checkpoint.save(model, tmp_path / "half", stored=torch.float16)


def test_large_but_finite_parameters_are_no_fault():
    check_parameters({"w": torch.full((4,), 3e38), "n": torch.tensor([1])}, "x")
    with pytest.raises(zoo.NotFiniteError, match="x: NaN or infinite values in b"):
        check_parameters({"a": torch.ones(2), "b": torch.tensor([math.inf])}, "x")


def test_a_likelihood_of_valid_that_is_not_finite_is_no_score_and_says_why(minis):
    """Training goes on: what comes later may be better."""
    model = zoo.create("mini_ar")
    split = Split(model.sample(3))
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    found = validate_by_likelihood(model, split)
    assert math.isnan(found.value) and "not finite" in str(found)
    assert found.record() == {"value": found.value, "failure": found.failure}


@pytest.mark.parametrize("k", [2, 5, 20, 200])
@pytest.mark.parametrize("spread", [0.5, 2.0, 5.0])
def test_the_error_of_a_log_mean_is_its_spread_over_fresh_draws(k, spread):
    """Log-weights of sd s, as a linear Gaussian model's are; s = 5 is one weight's all."""
    n = 4000
    w = spread * torch.randn(k, n, generator=torch.Generator().manual_seed(k)).double()
    total = LogMeanExp()
    total.add(w)
    nats, error = total.value()
    stated = float(error.square().mean().sqrt())
    assert stated == pytest.approx(float(nats.std()), rel=0.2)


def test_a_weight_beside_which_the_others_vanish_leaves_an_error_of_that_size():
    total = LogMeanExp()
    total.add(torch.tensor([[0.0], [-800.0]]))
    assert float(total.value()[1]) == pytest.approx(400.0)
