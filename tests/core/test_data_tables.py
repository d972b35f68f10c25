"""Tables as data sets: numbers and categories, units that are counted, faults that are named."""

import builtins
import json
import logging
import math

import numpy as np
import pytest
import torch

import zoo_core as zoo
from zoo_core.cli import main
from zoo_core.errors import ConfigError, DataError, UnknownNameError, UsageError
from zoo_core.evaluation.scoring import score
from zoo_core.spaces import Classes, Event, Group
from zoo_core.training.validation import validate_by_likelihood
from zoo_core.workflows.recipe import LikelihoodOptions
from zoo_core.workflows.run import metric

RANDOM = np.random.default_rng(0)
N = 200
MM, KG = RANDOM.normal(1000, 50, N), RANDOM.normal(0, 0.01, N)
JOB = RANDOM.choice(["cook", "smith", "tailor"], N)
GRADE = RANDOM.integers(1, 5, N)


def written(tmp_path, columns, name="t.csv", delimiter=","):
    rows = [delimiter.join(columns)]
    rows += [delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path = tmp_path / name
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def mixed(tmp_path):
    return written(tmp_path, {"mm": MM, "job": JOB, "kg": KG, "grade": GRADE})


@pytest.fixture
def numbers(tmp_path):
    return written(tmp_path, {"mm": MM, "kg": KG}, "n.csv")


def standard_normal(features):
    """A fresh MAF, which is the identity: N(0, I) over D reals."""
    return zoo.create("maf", shape=[features], layers=1, hidden=8)


# columns


def test_text_and_repeated_whole_numbers_are_categories_and_the_rest_numbers(mixed):
    data = zoo.load_dataset(f"table:{mixed}")
    assert data.event == Group(
        mm=Event(()), job=Classes(3, names=("cook", "smith", "tailor")), kg=Event(()),
        grade=Classes(4, names=("1", "2", "3", "4")),
    )  # fmt: skip
    assert dict(data.event.parts)["job"].names == ("cook", "smith", "tailor")
    assert {k: len(s) for k, s in data.splits.items()} == {"train": 140, "valid": 30, "test": 30}
    x = torch.cat([s.x for s in data.splits.values()])
    counts = data.event.split(x)["job"].bincount()
    assert counts.tolist() == [int((JOB == name).sum()) for name in ("cook", "smith", "tailor")]
    assert "categorical: job (3), grade (4)" in data.provenance


def test_the_kinds_of_columns_can_be_declared(mixed):
    data = zoo.load_dataset(f"table:{mixed}", numeric=["grade"], ignore=["job"])
    assert data.event == Event((3,)) and data.columns.names == ("mm", "kg", "grade")
    data = zoo.load_dataset(f"table:{mixed}", categorical=["kg"], columns=["job", "kg"])
    assert data.event.slots[1].space.levels == len(set(KG.tolist()))


def test_codes_that_are_numbers_are_in_numeric_order(tmp_path):
    path = written(tmp_path, {"n": np.tile([9, 10, 100], 20), "x": RANDOM.normal(size=60)})
    data = zoo.load_dataset(str(path))
    assert dict(data.event.parts)["n"].names == ("9", "10", "100")


def test_codes_with_an_underscore_are_no_numbers(tmp_path):
    path = written(tmp_path, {"code": ["1_1", "1_2"] * 50, "x": RANDOM.normal(size=100)})
    assert dict(zoo.load_dataset(str(path)).event.parts)["code"].names == ("1_1", "1_2")


def test_a_target_is_the_condition_and_no_part_of_the_event(mixed):
    data = zoo.load_dataset(f"table:{mixed}", target="job", columns="numeric")
    assert data.event == Event((2,))
    assert data.condition == Classes(3) and data.condition.names[1] == "smith"
    assert data.columns.omitted == ("grade",)


def test_omitted_columns_are_named_in_the_log_and_in_the_record(mixed, caplog):
    with caplog.at_level(logging.INFO, logger="zoo_core"):
        data = zoo.load_dataset(f"table:{mixed}", columns="numeric")
    assert "without job, grade" in caplog.text
    record = zoo.evaluate(standard_normal(2), data, measurements=["likelihood"]).record
    assert record["data"]["columns"]["omitted"] == ["job", "grade"]
    assert record["likelihood"]["columns"] == ["mm", "kg"]
    assert "omitted: job, grade" in record["data"]["provenance"]


def test_columns_of_categories_alone_are_a_group_of_integers(mixed):
    data = zoo.load_dataset(f"table:{mixed}", columns="categorical")
    assert data.event.discrete and data.split("train").batch()[0].dtype == torch.int64
    assert data.columns.log_det == 0


def test_bins_are_cells_of_equal_counts_in_train(mixed):
    data = zoo.load_dataset(f"table:{mixed}", bins=5)
    assert data.event == Event((4,), levels=5)
    x = data.split("train").batch()[0]
    assert x[:, 0].bincount().tolist() == [28] * 5
    assert set(x[:, 1].unique().tolist()) == {0, 1, 2}


# units


def test_log_p_of_standardized_columns_is_that_of_the_file_by_hand(numbers):
    data = zoo.load_dataset(f"table:{numbers}")
    raw = torch.from_numpy(np.stack([MM, KG], 1))
    x = data.columns.to_file(data.split("train").x)
    assert all(float((raw - row).abs().sum(1).min()) < 1e-3 for row in x[:5])  # rows of the file
    mean, std = x.mean(0), x.std(0, correction=0)
    test = data.columns.to_file(data.split("test").x)
    by_hand = torch.distributions.Normal(mean, std).log_prob(test).sum(1)
    scored = score(standard_normal(2), data, split="test")
    torch.testing.assert_close(scored.nats, by_hand, atol=1e-3, rtol=0)


def test_every_way_to_score_a_table_counts_the_units(numbers):
    data, model = zoo.load_dataset(f"table:{numbers}"), standard_normal(2)
    split = data.split("test")
    without = model.log_likelihood(split.x, method="exact_density").mean().nats
    expected = without - math.log(50) - math.log(0.01)
    assert expected == pytest.approx(without + data.columns.log_det, abs=0.3)
    expected = without + data.columns.log_det
    how = LikelihoodOptions("exact_density")
    assert metric(split, "test", model, how)["nats"] == pytest.approx(expected)
    assert score(model, data, method="exact_density").mean.nats == pytest.approx(expected)


def test_the_loop_and_the_command_count_the_units(numbers, tmp_path, capsys):
    data = zoo.load_dataset(f"table:{numbers}")
    model = standard_normal(2)
    valid = data.split("valid")
    own = model.log_likelihood(valid.x).mean().nats
    expected = own + data.columns.log_det
    assert -validate_by_likelihood(model, valid).value == pytest.approx(expected)
    model.save(tmp_path / "model")
    capsys.readouterr()
    folder, table = str(tmp_path / "model"), str(numbers)
    code = main(["--json", "likelihood", folder, "--data", table, "--split", "valid"])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["nats"] == pytest.approx(expected, abs=1e-4)


def test_another_unit_of_a_column_shifts_log_p_by_its_logarithm(numbers, tmp_path):
    kilo = written(tmp_path, {"m": MM / 1000, "kg": KG}, "kilo.csv")
    scores = [
        score(standard_normal(2), zoo.load_dataset(f"table:{path}")) for path in (numbers, kilo)
    ]
    gap = scores[1].nats - scores[0].nats
    torch.testing.assert_close(gap, torch.full_like(gap, math.log(1000)), atol=1e-4, rtol=0)
    for a, b in zip(scores[0].baselines, scores[1].baselines, strict=True):
        assert b[2].nats - a[2].nats == pytest.approx(math.log(1000), abs=1e-4)


def test_the_units_are_those_of_train_alone(numbers):
    data = zoo.load_dataset(f"table:{numbers}")
    train = data.split("train").x
    torch.testing.assert_close(train.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert float(data.split("test").x.mean(0).abs().max()) > 1e-3


def test_without_standardization_events_are_in_the_units_of_the_file(numbers):
    data = zoo.load_dataset(f"table:{numbers}", standardize=False)
    assert data.columns.log_det == 0 and float(data.split("train").x[:, 0].mean()) > 900


# missing values


def test_rows_without_a_value_are_dropped_and_counted(tmp_path):
    mm, job = MM.astype(object), JOB.astype(object)
    mm[:3], job[2:7] = "NA", "?"
    path = written(tmp_path, {"mm": mm, "job": job})
    data = zoo.load_dataset(f"table:{path}")
    assert sum(map(len, data.splits.values())) == N - 7
    assert "7 rows dropped, in which a value is missing (mm 3, job 5)" in data.provenance
    data = zoo.load_dataset(f"table:{path}", missing="category")
    assert sum(map(len, data.splits.values())) == N - 3
    assert dict(data.event.parts)["job"].names[-1] == "(missing)"
    data = zoo.load_dataset(f"table:{path}", missing_values=["NA"])
    assert dict(data.event.parts)["job"].names[0] == "?"


def test_a_missing_value_of_a_column_that_is_not_used_drops_no_row(tmp_path):
    path = written(tmp_path, {"mm": MM, "empty": [""] * 100 + ["x"] * 100})
    data = zoo.load_dataset(f"table:{path}", columns=["mm"])
    assert sum(map(len, data.splits.values())) == N


def test_one_long_text_takes_no_room_in_every_row(tmp_path):
    import tracemalloc

    path = written(tmp_path, {"x": RANDOM.normal(size=5000), "t": ["y" * 100_000, *["n"] * 4999]})
    tracemalloc.start()
    zoo.load_dataset(str(path), ignore=["t"])
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


# other rows


def test_new_rows_are_read_in_the_units_and_categories_of_the_first_table(mixed, tmp_path):
    new = written(
        tmp_path,
        {"kg": KG[:9] * 3, "job": ["smith"] * 9, "mm": MM[:9], "grade": GRADE[:9]},
        "b.csv",
    )
    data, first = zoo.load_dataset(f"table:{new}", like=str(mixed)), zoo.load_dataset(str(mixed))
    assert data.event == first.event and list(data.splits) == ["test"]
    assert data.columns.log_det == first.columns.log_det
    parts = data.event.split(data.columns.to_file(data.split("test").x))
    torch.testing.assert_close(parts["mm"], torch.from_numpy(MM[:9]), atol=1e-3, rtol=0)
    assert parts["job"].tolist() == [1] * 9
    bins = zoo.load_dataset(f"table:{new}", like=str(mixed), bins=4)
    assert bins.split("test").x[0, 1] == 1


def test_new_rows_with_another_category_or_without_a_column_are_refused(mixed, tmp_path):
    columns = {"mm": [1.5], "job": ["baker"], "kg": [0.1], "grade": [1]}
    with pytest.raises(DataError, match="'baker', which is none of its 3 categories"):
        zoo.load_dataset(str(written(tmp_path, columns, "a.csv")), like=str(mixed))
    del columns["job"]
    with pytest.raises(DataError, match="column 'job' is not there"):
        zoo.load_dataset(str(written(tmp_path, columns, "b.csv")), like=str(mixed))


# what is refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"numeric": ["job"]}, "'job' is numeric and holds '"),
        ({"ignore": ["jobs"]}, "'jobs', which is not there"),
        ({"target": "mm"}, "the target 'mm' is numeric"),
        ({"numeric": ["mm"], "categorical": ["mm"]}, "by numeric and by categorical"),
        ({"columns": ["mm", "mm"]}, "'mm' twice"),
        ({"columns": ["mm", "job"], "target": "job"}, "by target and by columns"),
        ({"columns": "numeric", "ignore": ["mm", "kg"]}, "no columns are left"),
        ({"bins": 2}, "'job' has 3 categories; bins = 2"),
        ({"valid": 0.6, "test": 0.6}, "cannot be split"),
        ({"delimiter": ";"}, "option delimiter|single column"),
    ],
)
def test_options_that_do_not_fit_the_columns_are_refused(mixed, options, says):
    with pytest.raises(DataError, match=says):
        zoo.load_dataset(f"table:{mixed}", **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("a,b\n", "header and no rows"),
        ("a,a\n1,2\n", "'a' is empty or there twice"),
        ("1,2\n3,4\n", "no names of columns"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells"),
        ('a,b\n"1,2\n', "cannot be read as a table"),
        ("a;b\n1;2\n", "single column"),
        ("a,b\n" + "1.5,2\n" * 30, "'a' has a single value"),
        ("a,b\n" + "inf,2\n1.5,3.5\n", "'a' holds infinite"),
        ("a,b\n" + ",2.5\n,3.5\n", "'a' has no values"),
        ("a,b\n" + ",2.5\n1.5,\n", "every row lacks a value"),
    ],
)
def test_files_that_are_no_tables_are_refused_with_the_reason(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        zoo.load_dataset(str(tmp_path / "t.csv"), valid=0.0, test=0.0)


def test_text_that_differs_in_every_row_is_no_category(tmp_path):
    path = written(
        tmp_path, {"x": RANDOM.normal(size=2000), "id": [f"id{i}" for i in range(2000)]}
    )
    with pytest.raises(DataError, match=r"'id' has 2,000 categories"):
        zoo.load_dataset(str(path))
    assert zoo.load_dataset(str(path), ignore=["id"]).event == Event((1,))


def test_other_files_and_sizes_are_refused(tmp_path, numbers):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"suffix '\.xlsx'"):
        zoo.load_dataset(f"table:{tmp_path / 't.xlsx'}")
    with pytest.raises(DataError, match="cannot be read"):
        zoo.load_dataset(f"table:{tmp_path / 'none.csv'}")
    with pytest.raises(DataError, match="at most 10 are read"):
        zoo.load_dataset(f"table:{numbers}", max_bytes=10)
    (tmp_path / "latin.csv").write_bytes("a,b\né,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        zoo.load_dataset(f"table:{tmp_path / 'latin.csv'}")
    with pytest.raises(UsageError, match="single character"):
        zoo.load_dataset(f"table:{numbers}", delimiter="ab")
    with pytest.raises(ConfigError, match="missing"):
        zoo.load_dataset(f"table:{numbers}", missing="mean")
    with pytest.raises(UnknownNameError, match="does not exist"):
        zoo.load_dataset("nothing/here")


def test_tabs_quotes_and_files_without_a_header_are_read(tmp_path):
    path = written(tmp_path, {"mm": MM, "kg": KG}, "t.tsv", "\t")
    assert zoo.load_dataset(str(path)).columns.names == ("mm", "kg")
    (tmp_path / "q.csv").write_text("\ufeff" + '"a,b",c\n' + '"1,5",2.5\n"x y", 3.5\n\n' * 20)
    data = zoo.load_dataset(str(tmp_path / "q.csv"))
    assert dict(data.event.parts)["a,b"].names == ("1,5", "x y")
    (tmp_path / "h.csv").write_text("1.5,2\n2.5,3\n3.5,2.7\n" * 9)
    data = zoo.load_dataset(str(tmp_path / "h.csv"), header=False, numeric=["column_2"])
    assert data.columns.names == ("column_1", "column_2")


def test_a_model_of_numbers_says_which_columns_of_a_mixed_table_it_can_take(mixed):
    with pytest.raises(DataError, match="the model is for reals") as caught:
        score(standard_normal(2), zoo.load_dataset(f"table:{mixed}"))
    assert "columns='numeric'" in caught.value.hint


# parquet and scikit-learn


def without(monkeypatch, package):
    found = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_the_packages_that_read_them_tables_say_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    without(monkeypatch, "pyarrow")
    with pytest.raises(DataError, match="pyarrow, which is not installed") as caught:
        zoo.load_dataset(str(tmp_path / "t.parquet"))
    assert "pip install pyarrow" in caught.value.hint
    without(monkeypatch, "sklearn")
    with pytest.raises(DataError, match="scikit-learn, which is not installed") as caught:
        zoo.load_dataset("sklearn_table")
    assert "density-zoo[data]" in caught.value.hint


def test_parquet_holds_the_same_table(tmp_path, mixed):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"mm": MM, "job": JOB.tolist(), "kg": KG, "grade": GRADE})
    parquet.write_table(table, tmp_path / "t.parquet")
    data, text = zoo.load_dataset(str(tmp_path / "t.parquet")), zoo.load_dataset(str(mixed))
    assert data.event == text.event
    assert torch.equal(data.split("test").x, text.split("test").x)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        zoo.load_dataset(str(tmp_path / "bad.parquet"))
    parquet.write_table(pyarrow.table({"a": [[1], [2]]}), tmp_path / "nested.parquet")
    with pytest.raises(DataError, match="'a' holds list"):
        zoo.load_dataset(str(tmp_path / "nested.parquet"))


@pytest.mark.parametrize(
    ("table", "rows", "event", "classes"),
    [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)],
)
def test_tables_of_scikit_learn_have_their_columns_and_classes(table, rows, event, classes):
    pytest.importorskip("sklearn")
    data = zoo.load_dataset("sklearn_table", table=table, target="target")
    assert data.event == Event((event,)) and data.condition == Classes(classes)
    assert sum(map(len, data.splits.values())) == rows and data.license.startswith("CC-BY-4.0")


def test_diabetes_has_a_numeric_target_and_a_coded_column():
    pytest.importorskip("sklearn")
    data = zoo.load_dataset("sklearn_table", table="diabetes")
    assert len(data.event.parts) == 11 and dict(data.event.parts)["sex"] == Classes(2)
