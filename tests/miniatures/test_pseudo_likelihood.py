"""A score that estimates nothing about log p is printed, never compared with a baseline or the
truth, never ranked."""

from importlib.metadata import EntryPoint

import pytest

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_core.cli.evaluate import lines
from zoo_core.cli.list import likelihood_text
from zoo_core.evaluation.compare import compare
from zoo_core.evaluation.evaluate import evaluate
from zoo_core.evaluation.page import html
from zoo_core.evaluation.report import report, tables
from zoo_core.testing import run_checks
from zoo_core.weights.card import metric_text

MINI = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")
PLUGIN = """
from zoo_core.plugin import LikelihoodKind, LikelihoodSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_likelihoods():
    kind = LikelihoodKind("pseudo", "unrelated")
    return [LikelihoodSpec("pseudo", "{module}_code:Pseudo", kind, requires=("Density",),
                           events="integers")]
"""
CODE = '''
from dataclasses import dataclass
import torch
from zoo_core.plugin import LikelihoodKind

@dataclass(frozen=True)
class Pseudo:
    """sum_i log p(x_i | all other values) (Besag, 1975)."""

    @property
    def kind(self):
        return LikelihoodKind("pseudo", "unrelated")

    def __call__(self, model, x, cond, rng):
        log_p, total = model.log_prob(x, cond), 0.0
        for i in range(model.event.dims):
            others = []
            for level in range(model.event.levels):
                y = x.flatten(1).clone()
                y[:, i] = level
                others.append(model.log_prob(y.view_as(x), cond))
            total = total + log_p - torch.stack(others).logsumexp(0)
        return total
'''


@pytest.fixture
def pseudo(install, registry_of):
    with use(registry_of(MINI, install(PLUGIN, code=CODE))) as registry:
        yield registry


@pytest.fixture
def data():
    return zoo.load_dataset("ising", size=2, train=200, valid=50, test=60)


def test_the_kit_holds_it_to_nothing_about_log_p(pseudo):
    assert [r for r in run_checks("acme", pseudo) if r.status == "failed"] == []


def test_it_is_printed_with_a_sign_of_its_own(pseudo, data):
    model = zoo.create("mini_ar", side=2)
    mean = model.log_likelihood(data.split("test").x, method="pseudo").mean()
    assert str(mean).startswith("log p ! -") and "bits/dim ! " in str(mean)
    assert mean.record()["relation"] == "unrelated"
    assert mean.record()["events"] == "integers 0..1 of shape 1x2x2"
    assert metric_text(mean.record()).startswith("log p ! -")
    assert likelihood_text(pseudo, "pseudo") == " ! pseudo"


def test_it_is_compared_neither_with_a_baseline_nor_with_the_truth(pseudo, data):
    model = zoo.create("mini_ar", side=2)
    exact, alone = (
        evaluate(model, data, measurements=["likelihood"], method=method).record
        for method in ("exact", "pseudo")
    )
    assert exact["likelihood"]["null"] and exact["likelihood"]["truth"]
    assert alone["likelihood"]["null"] == [] and alone["likelihood"]["truth"] is None
    assert not alone["verdict"]["pretrained"] and "unrelated to log p" in alone["verdict"]["why"]
    shown = "\n".join(lines(alone))
    assert "log p ! -" in shown and "beside" not in shown


def test_it_is_not_ranked_and_not_drawn_beside_likelihoods(pseudo, data):
    models = [(name, zoo.create("mini_ar", side=2)) for name in ("a", "b")]
    options = {"measurements": ["likelihood"]}
    compared = compare(models, data, method="pseudo", **options)
    assert [model["rank"] for model in compared.record()["models"]] == ["-", "-"]
    assert "log p ! -" in next(tables(compared)).table.rows[0][2]
    assert "Likelihood of each event" not in html(report(compared))
    assert "Likelihood of each event" in html(report(compare(models, data, **options)))
