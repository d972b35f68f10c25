"""No architecture gives a number, a sample or a folder from parameters that are NaN."""

import math

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.testing.subjects import ModelSubject

ARCHITECTURES = sorted(e.spec.arch for e in current().models)


@pytest.fixture(params=ARCHITECTURES)
def poisoned(request):
    """A model of which every parameter is NaN, and its subject."""
    entry = next(e for e in current().models if e.spec.arch == request.param)
    subject = ModelSubject(entry.spec, entry.plugin, current())
    model = subject.model()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(math.nan)
    return model, subject


def test_nan_is_neither_scored_nor_drawn_nor_saved(poisoned, tmp_path):
    model, subject = poisoned
    if subject.scored:
        with pytest.raises(zoo.NotFiniteError, match="not finite"):
            model.log_likelihood(subject.events(2), cond=subject.cond(2))
    with pytest.raises(zoo.NotFiniteError, match=r"not finite|NaN"):
        model.sample(2, cond=subject.cond(2))
    with pytest.raises(zoo.NotFiniteError, match="cannot be saved") as caught:
        model.save(tmp_path / "m")
    assert "torch.save" in caught.value.hint
    assert not (tmp_path / "m").exists()
