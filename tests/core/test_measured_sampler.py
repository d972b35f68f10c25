"""Weights may state the sampler that was measured to serve them; it is then their default."""

import json

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog import components
from zoo_core.cli import main
from zoo_core.errors import IntegrityError
from zoo_core.weights import golden
from zoo_core.weights.checkpoint import METADATA

pytestmark = pytest.mark.usefixtures("minis")
RECORD = {"name": "mini_ddim", "options": {"steps": 3}, "calls": 3, "coverage": 0.3, "real": 0.5}


@pytest.fixture
def folder(tmp_path):
    """A saved model whose weights are served by three steps; its architecture takes 25."""
    torch.manual_seed(0)
    model = zoo.create("mini_diffusion", hidden=8)
    path = model.save(tmp_path / "m", golden=golden.record(model))
    return stating(path, RECORD)


def stating(path, record):
    metadata = json.loads((path / METADATA).read_text())
    (path / METADATA).write_text(json.dumps(metadata | {"sampler": record}))
    return path


def test_weights_are_drawn_from_by_the_sampler_that_was_measured_to_serve_them(folder):
    model = zoo.load(str(folder))
    drawn = {steps: model.sample(4, sampler="mini_ddim", steps=steps) for steps in (2, 3, 25)}
    assert torch.equal(model.sample(4), drawn[3])
    assert torch.equal(model.sample(4, steps=2), drawn[2])
    assert torch.equal(model.sample(4, sampler="mini_ddim"), drawn[25])
    assert components.sampler_name(model) == "mini_ddim"


def test_it_is_kept_when_the_model_is_saved_and_dropped_when_options_change_it(folder, tmp_path):
    again = zoo.load(str(zoo.load(str(folder)).save(tmp_path / "again")))
    assert again.measured_sampler.record == RECORD
    assert zoo.load(str(folder), hidden=4).measured_sampler is None


def test_golden_tensors_stay_those_of_the_architecture_s_sampler(folder):
    golden.check(zoo.load(str(folder)), folder)


def test_a_field_that_names_no_sampler_is_refused(folder):
    for wrong in ("mini_ddim", {"name": "mini_ddim"}, {"name": 3, "options": {}}):
        with pytest.raises(IntegrityError, match="it must have a `name`"):
            zoo.load(str(stating(folder, wrong)))


def test_metadata_of_draws_name_it(folder, tmp_path, capsys):
    out = str(tmp_path / "x.npz")
    assert main(["--json", "sample", str(folder), "-n", "2", "--out", out]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sampler"] == "mini_ddim" and told["options"]["steps"] == 3
