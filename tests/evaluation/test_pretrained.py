"""Every tag that counts as pretrained beats its null baseline by five standard errors.

The default tier reads what was recorded beside the weights, holds it against the weights' hash,
recomputes the significance, and reproduces the scores of a few events. A tag without a record is
measured on the spot by what its `zoo.json` says. The slow tier measures everything again, but
for static MNIST, which `make test-records` measures.
"""

import dataclasses
import math

import pytest

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.catalog.significance import SIGMAS, significance_of
from zoo_core.catalog.specs import import_target
from zoo_core.data.dataset import Dataset
from zoo_core.errors import NetworkError
from zoo_core.evaluation.baselines import fitted_baselines
from zoo_core.evaluation.evaluate import evaluate
from zoo_core.workflows import verification as records


def bundled():
    rows = current().list_models()
    return [row for row in rows if row.tag is not None and row.tag.status == "bundled"]


def data_of(folder) -> Dataset:
    """Never a download in a test: what is not here is skipped with the reason."""
    spec = current().datasets.one(records.recipe_of(folder).data).spec
    fields = {f.name for f in dataclasses.fields(import_target(spec.target))}
    try:
        return records.data_of(folder, **({"offline": True} if "offline" in fields else {}))
    except NetworkError as error:
        pytest.skip(f"its data are not on this machine: {error.message}")


@pytest.mark.parametrize("info", bundled(), ids=lambda info: info.name)
def test_a_bundled_tag_beats_its_null_baseline(info):
    record = records.read_record(info.tag.folder)
    if record is None:
        return by_what_training_recorded(info)
    found = significance_of(record)
    assert info.pretrained is found.pretrained
    if not found.pretrained:
        pytest.skip(f"{info.name} does not count as pretrained, and is not listed so: {found.why}")
    model, data = zoo.load(info.name), data_of(info.tag.folder)
    wrong = [c for c in records.spot_check(model, data, record) if not c.agrees]
    assert wrong == [], f"{info.name}: {wrong[0]}"


def by_what_training_recorded(info):
    """The last likelihood in zoo.json against the nulls now, as if they were of other events."""
    data = data_of(info.tag.folder)
    metrics = [m for m in info.tag.metrics if "nats" in m]
    if not metrics:
        found = evaluate(zoo.load(info.name), data, measurements=["quality"])
        assert found.verdict.pretrained, f"{info.name}: {found.verdict}"
        return
    metric = metrics[-1]
    assert metric["relation"] != "upper"
    x, y = data.split(metric["split"]).batch()
    told = info.tag.metadata["condition"]["kind"] in ("classes", "group")
    for baseline in fitted_baselines(data, conditional=told):
        nats = baseline.log_prob(x, y if told else None)
        error = math.hypot(metric["std_err"], float(nats.std()) / math.sqrt(len(nats)))
        sigmas = (metric["nats"] - float(nats.mean())) / error
        assert sigmas >= SIGMAS, f"{info.name}: {sigmas:.1f} standard errors from {baseline.name}"


def measured_again():
    """Static MNIST and emoji take minutes a tag: those measurements are a tier of their own."""
    for info in bundled():
        minutes = info.tag.tag in ("binarized_mnist", "emoji")
        hours = [pytest.mark.records] if minutes else []
        yield pytest.param(info, marks=hours, id=info.name)


@pytest.mark.slow
@pytest.mark.parametrize("info", measured_again())
def test_what_is_recorded_of_a_bundled_tag_is_measured_again(info):
    model, data = zoo.load(info.name), data_of(info.tag.folder)
    compared = records.verify_metrics(model, data, list(info.tag.metrics))
    record = records.read_record(info.tag.folder)
    if record is not None:
        compared += records.verify(model, data, record)[1]
    if not compared:
        pytest.skip("nothing that can be checked is recorded; the default tier measures it")
    assert [str(c) for c in compared if not c.agrees] == []
