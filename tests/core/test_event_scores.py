"""The score of every event in a file: whole, sharded, and after a kill."""

import csv
import json
import math

import numpy as np
import pytest
import torch

import zoo_core as zoo
from zoo_core import cli

SCORE = ("--quiet", "--seed", "5", "likelihood", "vae.digits", "--data", "digits")
SCORE += ("--limit", "30", "--batch-size", "8")


def scores(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("scores") / "whole.npz"
    assert cli.main([*SCORE, "--out", str(out)]) == 0
    return out


def test_every_event_has_the_score_that_log_likelihood_gives(whole):
    given = scores(whole)
    x = zoo.load_dataset("digits").split("test").batch(torch.from_numpy(given["row"]))[0]
    ll = zoo.load("vae.digits").log_likelihood(x, seed=5, batch_size=8)
    assert np.array_equal(given["nats"], ll.nats.numpy())
    assert np.array_equal(given["std_err"], ll.std_err.numpy())
    np.testing.assert_allclose(given["bits_per_dim"], ll.bits_per_dim().numpy(), rtol=1e-12)
    about = json.loads(str(given["metadata"]))
    assert (about["kind"], about["relation"]) == ("elbo", "lower")
    assert not whole.with_name("whole.npz.parts").exists()


def test_shards_and_a_killed_run_give_the_same_file(whole, tmp_path):
    out = tmp_path / "scores.npz"
    for shard in ("1", "0", "0"):
        assert cli.main([*SCORE, "--out", str(out), "--shards", "3", "--shard", shard]) == 0
    assert not out.exists()
    assert cli.main([*SCORE, "--out", str(out), "--shards", "3", "--shard", "2"]) == 0
    for name, values in scores(whole).items():
        assert np.array_equal(scores(out)[name], values), name
    again = [*SCORE[:-1], "9", "--out", str(out), "--shards", "3"]
    assert cli.main(again) == 7  # other pieces


def test_a_table_has_a_row_for_each_event(whole, tmp_path):
    out = tmp_path / "scores.csv"
    assert cli.main([*SCORE, "--out", str(out)]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["nats"]) for row in rows] == scores(whole)["nats"].tolist()


def test_parquet_holds_what_the_numbers_are(whole, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "scores.parquet"
    assert cli.main([*SCORE, "--out", str(out)]) == 0
    table = parquet.read_table(out)
    assert table.column("nats").to_pylist() == scores(whole)["nats"].tolist()
    assert json.loads(table.schema.metadata[b"zoo"])["relation"] == "lower"


def test_events_of_probability_zero_are_written_as_such(tmp_path):
    from zoo_core.catalog.specs import LikelihoodKind
    from zoo_core.likelihood import LogLikelihood
    from zoo_core.workflows.event_scores import write

    nats = torch.tensor([-1.0, -math.inf], dtype=torch.float64)
    kind, event = LikelihoodKind("exact", "equal"), zoo.Event((2,), levels=3)
    out = tmp_path / "scores.csv"
    write(out, LogLikelihood(nats, kind, torch.zeros(2), event), torch.arange(2), {})
    assert out.read_text().splitlines()[2].split(",")[1] == "-inf"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--shards", "2"), 2, "the score of every event"),
        (("--out", "scores.txt"), 7, "scores are written as .csv, .npz, .parquet"),
        (("--out", "scores.csv", "--map", "map.npz"), 2, "--out in pieces"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, code, message, capsys):
    assert cli.main([*SCORE, *options]) == code
    assert message in capsys.readouterr().err
