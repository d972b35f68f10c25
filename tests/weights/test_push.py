"""`zoo push`: what is published loads, says what it is, and is there as a whole or not at all."""

import io
import json
import re
import sys
import time
from pathlib import Path

import pytest
import torch

import zoo_core as zoo
from zoo_core.publishing import CARD, SAMPLES
from zoo_core.weights import golden
from zoo_core.weights.card import card
from zoo_core.weights.checkpoint import GOLDEN, METADATA, WEIGHTS

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools import publish  # noqa: E402

REPO = "me/new"


@pytest.fixture
def folder(minis, tmp_path):
    """A model's folder with a recorded metric."""
    model = zoo.create("mini_ar", side=2, hidden=8)
    score = {"nats": -2.5, "std_err": 0.1, "bits_per_dim": 0.9, "kind": "exact"}
    metrics = [{"split": "test", "n": 9, "relation": "equal", **score}]
    recipe = {"name": "r", "text": "arch = 'mini_ar'\n"}
    data = {"name": "toys", "license": "CC0-1.0"}
    kept = {"license": "MIT", "source": "us", "metrics": metrics, "recipe": recipe, "data": data}
    return model.save(tmp_path / "m", golden=golden.record(model), **kept)


@pytest.fixture
def may_write(hub, monkeypatch):
    """A token, and plain uploads: the other kind goes to another server."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_goodtoken")
    return hub


def test_what_is_pushed_loads_and_is_the_same(may_write, folder, zoo_command):
    code, out, err = zoo_command("push", folder, REPO, "--json")
    assert code == 0, err
    told = json.loads(out)
    sha, files = may_write.repos[REPO].at("main")
    assert told["commit"] == sha and set(files) == {METADATA, WEIGHTS, GOLDEN, CARD, SAMPLES}
    assert files[WEIGHTS] == (folder / WEIGHTS).read_bytes()
    model, again = zoo.load(str(folder)), zoo.load(f"hf://{REPO}")
    assert again.origin == f"hf://{REPO}@{sha}"
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


def test_the_card_says_what_the_model_is(may_write, folder, zoo_command):
    text = json.loads(zoo_command("push", folder, REPO, "--dry-run", "--json")[1])["card"]
    for part in (
        "license: mit\n",
        "| density type | explicit/tractable |",
        "| likelihood | log p = exact |",
        "log p = -2.500 +- 0.100 nats, bits/dim = 0.9000 (exact, n=9)",
        "| trained on | toys |",
        f'zoo.load("hf://{REPO}")',
        "arch = 'mini_ar'",
        "## Limits",
    ):
        assert part in text
    assert may_write.asked == []


def test_the_hub_reads_licence_task_and_typed_likelihoods_from_the_card(folder):
    from huggingface_hub import ModelCard

    data = ModelCard(zoo.push(folder, REPO, dry_run=True).card).data
    assert (data.license, data.library_name) == ("mit", "density-zoo")
    assert data.pipeline_tag == "unconditional-image-generation"
    nats, bits = data.eval_results
    assert (nats.dataset_name, nats.dataset_split, nats.metric_value) == ("toys", "test", -2.5)
    assert nats.metric_name == "log p = nats (exact)"
    assert nats.metric_args == {"kind": "exact", "relation": "equal", "std_err": 0.1, "n": 9}
    assert (bits.metric_type, bits.metric_value) == ("bits_per_dim", 0.9)


def test_a_bound_is_named_as_one_and_a_number_that_is_not_finite_is_left_out(minis):
    from huggingface_hub import ModelCard

    row = {"split": "test", "kind": "elbo", "relation": "lower", "std_err": None}
    metrics = [{**row, "nats": -2.5, "bits_per_dim": 0.9}, {**row, "nats": None}]
    metrics += [{"split": "test", "score": "fid", "value": 3.0, "std_err": 0.1}]
    event = {"shape": [5], "levels": None}
    text = card("o/r", zoo.info("mini_ar").spec, {"metrics": metrics, "event": event})
    data = ModelCard(text).data
    names = [result.metric_name for result in data.eval_results]
    assert names == ["log p >= nats (elbo)", "bits/dim <= (elbo)", "fid"]
    assert data.pipeline_tag is None


def test_text_of_a_zoo_json_cannot_add_metadata_to_the_card(minis):
    from huggingface_hub import ModelCard

    data = {"name": "x\n---\nlicense: mit", "license": "none"}
    metrics = [{"split": "a\nb: c", "score": "s'\"", "value": 1.0}]
    text = card("o/r", zoo.info("mini_ar").spec, {"metrics": metrics, "data": data})
    found = ModelCard(text).data
    assert found.license == "other" and found.eval_results[0].dataset_name == data["name"]


def test_the_card_shows_samples_of_what_can_be_drawn(may_write, folder):
    from PIL import Image

    pushed = zoo.push(folder, REPO, samples=4)
    assert f"({SAMPLES})" in pushed.card
    data = may_write.repos[REPO].at("main")[1][SAMPLES]
    assert Image.open(io.BytesIO(data)).format == "PNG" and pushed.files[SAMPLES] == len(data)
    again = zoo.push(folder, REPO, samples=0)
    assert SAMPLES not in again.card and SAMPLES not in may_write.repos[REPO].at("main")[1]


def test_all_bundled_tags_are_published_by_one_command(may_write, capsys):
    assert publish.main(["me", "nsf_coupling.[mr]*", "--dry-run"]) == 0
    assert (
        not may_write.asked
        and "nsf_coupling.rings: me/nsf_coupling.rings" in capsys.readouterr().out
    )
    may_write.fail("POST /api/repos/create", "status", 403)
    assert publish.main(["me", "nsf_coupling.[mr]*"]) == 1
    out, err = capsys.readouterr()
    assert "not published: nsf_coupling.moons" in err and "nsf_coupling.rings: " in out
    assert publish.main(["me", "nsf_coupling.[mr]*"]) == 0
    assert {"me/nsf_coupling.moons", "me/nsf_coupling.rings"} <= may_write.repos.keys()
    with pytest.raises(zoo.ZooError, match="no bundled tag matches"):
        publish.main(["me", "nothing.*"])


def test_the_card_flags_samples_that_repeat_events_of_training(minis):
    spec = zoo.info("mini_gan").spec
    row = {"split": "test", "score": "memorization_pixels", "std_err": 0.02, "n": 400}
    anchors = {"real": 0.5, "null": 0.5}
    for value, said in ((0.75, True), (0.55, False)):
        text = card("o/r", spec, {"metrics": [{**row, **anchors, "value": value}]})
        assert ("FLAGGED" in text) is said and ("repeats events of training" in text) is said


def test_a_dry_run_needs_neither_token_nor_network(folder, zoo_command):
    code, out, _ = zoo_command("push", folder, REPO, "--dry-run", "--offline")
    assert code == 0 and WEIGHTS in out and "density type" in out
    assert zoo_command("push", folder, REPO, "--offline")[0] == 5


def test_python_pushes_what_the_command_pushes(may_write, folder):
    planned = zoo.push(folder, REPO, dry_run=True)
    assert planned.commit is None and REPO not in may_write.repos
    pushed = zoo.push(str(folder), f"hf://{REPO}")
    assert pushed.commit == may_write.repos[REPO].at("main")[0]
    assert pushed.files == planned.files


def test_private_repositories_and_pull_requests(may_write, folder, zoo_command):
    assert zoo_command("push", folder, REPO, "--private")[0] == 0
    assert may_write.repos[REPO].private
    old = may_write.repos[REPO].refs["main"]
    zoo.create("mini_ar", side=2, hidden=4).save(folder)
    code, out, _ = zoo_command("push", folder, REPO, "--create-pr", "--json")
    assert code == 0 and "/discussions/1" in json.loads(out)["url"]
    assert may_write.repos[REPO].refs["main"] == old
    pr = may_write.repos[REPO].refs["refs/pr/1"]
    assert GOLDEN not in may_write.repos[REPO].commits[pr]  # the new model has none


STEPS = ["POST /api/repos/create", "GET /api/models", "POST .*preupload", "POST .*objects/batch"]
STEPS += ["PUT /upload", "POST .*commit/"]


@pytest.mark.parametrize("kind", ["status", pytest.param("hang up", marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", STEPS)
def test_a_push_that_breaks_off_leaves_the_old_state(
    may_write, folder, zoo_command, monkeypatch, step, kind
):
    import huggingface_hub.utils._http as http

    monkeypatch.setattr(http.time, "sleep", lambda _: None)
    zoo_command("push", folder, REPO)
    old = may_write.repos[REPO].at("main")
    zoo.create("mini_ar", side=2, hidden=4).save(folder)
    may_write.fail(step, kind, 500, times=99)
    code, _, err = zoo_command("push", folder, REPO)
    assert code == 5 and "hint:" in err
    assert "hf_goodtoken" not in err
    assert may_write.repos[REPO].at("main") == old
    may_write.faults.clear()
    assert zoo_command("push", folder, REPO)[0] == 0
    assert zoo.load(f"hf://{REPO}").config.hidden == 4


def test_a_reply_that_is_lost_leaves_the_new_state(may_write, folder, zoo_command):
    may_write.fail("POST .*commit/", "no reply")
    code, _, err = zoo_command("push", folder, REPO)
    assert code == 5 and "is as it was, or has all of it" in err
    assert zoo.load(f"hf://{REPO}").config.hidden == 8


def test_a_change_of_someone_else_is_not_overwritten(may_write, folder, zoo_command):
    zoo_command("push", folder, REPO)
    repo = may_write.repos[REPO]
    before = may_write.edit

    def meanwhile(data):
        may_write.edit = before
        repo.commit({"theirs": b""})
        return data

    may_write.edit = meanwhile
    code, _, err = zoo_command("push", folder, REPO)
    assert code == 5 and "changed by someone else" in err
    assert set(repo.at("main")[1]) == {"theirs"}


def test_a_push_to_a_host_that_hangs_is_given_up(may_write, folder, zoo_command, monkeypatch):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.5")
    may_write.fail(".", "stall", 3, times=99)
    start = time.monotonic()
    code, _, err = zoo_command("push", folder, REPO)
    assert code == 5 and "no answer within 0.5 s" in err and "HF_ENDPOINT" in err
    assert time.monotonic() - start < 2


def test_only_a_sound_model_is_pushed(may_write, folder, zoo_command, tmp_path):
    assert zoo_command("push", tmp_path / "none", REPO)[0] == 7
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert zoo_command("push", folder, REPO)[0] == 6
    assert zoo_command("push", folder, "../x")[0] == 3
    assert may_write.asked == []


def test_a_token_that_may_not_write_is_said(may_write, folder, zoo_command):
    may_write.fail("POST /api/repos/create", "status", 403, times=9)
    code, _, err = zoo_command("push", folder, REPO)
    assert code == 5 and re.search(r"cannot be written \(403\), with the token", err)
