"""Numbered files that several processes make together, and goes on with after a kill."""

import json

import numpy as np
import pytest
import torch

import zoo_core as zoo
from zoo_core import cli
from zoo_core.pieces import MANIFEST, Pieces

SAMPLE = ("--quiet", "sample", "made.digits", "-n", "40", "--batch-size", "4", "--seed", "3")


def begin(folder, **changes):
    return Pieces.begin(folder, **({"n": 10, "size": 4, "facts": {"seed": 0}} | changes))


def test_every_row_is_in_one_file_of_one_shard(tmp_path):
    pieces = begin(tmp_path / "run")
    rows = [row for shard in range(3) for _, own in pieces.missing(shard, 3) for row in own]
    assert sorted(rows) == list(range(10))


def test_a_file_that_is_there_is_not_made_again(tmp_path):
    begin(tmp_path / "run").path(1).touch()
    assert [k for k, _ in begin(tmp_path / "run").missing()] == [0, 2]


@pytest.mark.parametrize("changes", [{"n": 11}, {"size": 5}, {"facts": {"seed": 1}}])
def test_the_folder_of_another_run_is_refused(changes, tmp_path):
    begin(tmp_path / "run")
    name = next(iter(changes["facts"])) if "facts" in changes else next(iter(changes))
    with pytest.raises(zoo.OutputError, match=f"holds another run: {name}: "):
        begin(tmp_path / "run", **changes)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(zoo.OutputError, match="no run's folder"):
        begin(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 2, "n": 1, "size": 1}'])
def test_a_manifest_that_is_none_is_refused(text, tmp_path):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(zoo.DataError, match="is no manifest"):
        Pieces.read(tmp_path)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """Samples of three shards, of which one was drawn twice, and one in two runs."""
    folder = tmp_path_factory.mktemp("run") / "samples"
    for shard in ("2", "0", "0", "1"):
        command = [*SAMPLE, "--out", str(folder), "--shards", "3", "--shard", shard]
        assert cli.main(command) == 0
    (folder / "00001.npz").unlink()  # killed before it was there
    assert cli.main([*SAMPLE, "--out", str(folder), "--shards", "3"]) == 0
    return folder


def test_shards_hold_the_samples_that_one_process_draws(sharded, tmp_path):
    whole = tmp_path / "whole.npz"
    assert cli.main([*SAMPLE, "--out", str(whole)]) == 0
    x = torch.from_numpy(np.load(whole)["x"]).long()
    split = zoo.load_dataset(str(sharded)).split("test")
    assert torch.equal(split.batch()[0], x)
    assert torch.equal(split.batch(torch.tensor([39, 0, 17]))[0], x[[39, 0, 17]])


def test_samples_of_which_some_are_missing_are_no_data_set(sharded, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / MANIFEST).write_bytes((sharded / MANIFEST).read_bytes())
    with pytest.raises(zoo.DataError, match=r"3 of 3 files are missing, the first is 00000\.npz"):
        zoo.load_dataset(f"samples:{folder}")


def test_a_manifest_without_an_event_is_no_data_set(sharded, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    manifest = json.loads((sharded / MANIFEST).read_text()) | {"n": 1, "facts": {}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / "00000.npz").touch()
    with pytest.raises(zoo.DataError, match="states no event"):
        zoo.load_dataset(f"samples:{folder}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard", "1"), "--shard does nothing without --shards"),
        (("--shards", "2", "--shard", "2"), "the last one is 1"),
        (("--shards", "2", "--trace", "steps.png"), "--trace is of one picture"),
    ],
)
def test_shards_that_make_no_sense_are_usage_errors(options, message, capsys):
    assert cli.main([*SAMPLE, *options]) == 2
    assert message in capsys.readouterr().err


def test_samples_that_were_drawn_before_are_evaluated(sharded, capsys):
    evaluate = ("--json", "--quiet", "--seed", "3", "evaluate", "made.digits", "--samples", "40")
    evaluate += ("--only", "quality", "--features", "pixels", "--metrics", "frechet")
    records = []
    for options in ((), ("--drawn", str(sharded))):
        assert cli.main([*evaluate, *options]) == 0
        records.append(json.loads(capsys.readouterr().out))
    values = [record["quality"]["scores"][0]["value"]["value"] for record in records]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert records[1]["model"]["drawn"] == str(sharded)


def test_samples_of_other_weights_are_not_evaluated(sharded, capsys):
    evaluate = ("--quiet", "evaluate", "gated_pixelcnn.digits", "--only", "quality")
    assert cli.main([*evaluate, "--drawn", str(sharded)]) == 7
    assert "holds samples of made.digits" in capsys.readouterr().err
