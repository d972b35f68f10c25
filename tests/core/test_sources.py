"""Sources of data: whatever gives events by index trains a model as arrays in memory do."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zoo_core as zoo
from zoo_core.data import folder as folder_module
from zoo_core.data.dataset import CheckedSource
from zoo_core.data.sources import Arrays, sample_digest
from zoo_core.evaluation.baselines import fitted_baselines
from zoo_core.evaluation.quality import SampleQuality
from zoo_core.training.loop import train

N, EVENT = 40, zoo.Event((1, 4, 4), levels=256)
DIGIT = zoo.Condition("classes", classes=3)


def draw(n=N):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return x, torch.arange(n) % 3


@dataclass(frozen=True)
class Config:
    hidden: int = 4


class Shade(zoo.GenerativeModel):
    """One categorical for each class, or for all."""

    def __init__(self, condition=zoo.Condition()):  # noqa: B008
        super().__init__(Config(), EVENT, condition)
        self.logits = nn.Parameter(torch.zeros(3, 256))

    def log_prob(self, x, cond=None):
        rows = torch.zeros(len(x), dtype=torch.long) if cond is None else cond
        log_p = self.logits.log_softmax(-1)[rows]
        return log_p.gather(-1, x.flatten(1)).sum(-1)


class Pairs(torch.utils.data.Dataset):
    """torch's map style."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return draw()[0][i], int(draw()[1][i])


class Rows:
    """The protocol of a Hugging Face data set: dicts, a list of indices at once, column names."""

    column_names = ("image", "label", "id")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        image = Image.fromarray(self.x[i, 0].numpy())
        return {"image": image, "label": int(self.y[i]), "id": f"row {i}"}

    def __getitems__(self, indices):
        return [self[i] for i in indices]

    def batch(self, batch_size):
        raise AssertionError("another meaning of `batch`")


class Own:
    """A length and `batch(rows)`, no more."""

    def __len__(self):
        return N

    def batch(self, rows):
        x, y = draw()
        return x[rows], y[rows]


def mapped(tmp_path):
    np.save(tmp_path / "x.npy", draw()[0].numpy())
    return np.load(tmp_path / "x.npy", mmap_mode="r"), draw()[1].numpy()


KINDS = {
    "arrays": lambda p: draw(),
    "numpy": lambda p: tuple(a.numpy() for a in draw()),
    "memory-mapped": mapped,
    "torch": lambda p: Pairs(),
    "list": lambda p: [(x, int(y)) for x, y in zip(*draw(), strict=True)],
    "hugging face": lambda p: Rows(*draw()),
    "own": lambda p: Own(),
}


def trained(data, condition=DIGIT, **options):
    model = Shade(condition)
    train(model, data, zoo.TrainConfig(steps=6, batch_size=8, lr=0.1), **options)
    return model.logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_does_not_depend_on_what_holds_the_examples(tmp_path, kind):
    assert torch.equal(trained(KINDS[kind](tmp_path)), trained(draw()))


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_left_out_for_a_model_without_a_condition(tmp_path, kind):
    plain = trained(draw()[0], zoo.Condition())
    assert torch.equal(trained(KINDS[kind](tmp_path), zoo.Condition()), plain)


def png(x):
    """A picture as Hugging Face stores it."""
    file = io.BytesIO()
    Image.fromarray(x[0].numpy()).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def test_real_data_sets_of_hugging_face_train_by_their_keys():
    datasets = pytest.importorskip("datasets")
    arrow = pytest.importorskip("pyarrow")
    x, y = draw()
    features = datasets.Features(
        {"picture": datasets.Image(), "digit": datasets.ClassLabel(num_classes=3)}
    )
    rows = {"picture": [png(v) for v in x], "digit": y.tolist()}
    table = datasets.table.InMemoryTable(arrow.table(rows, schema=features.arrow_schema))
    info = datasets.DatasetInfo(features=features)
    held = datasets.Dataset(table, info=info, fingerprint="drawn here")
    data = zoo.as_dataset({"train": held, "validation": held}, event=EVENT, labels="digit")
    assert list(data.splits) == ["train", "valid"] and data.condition == DIGIT
    assert torch.equal(trained(data), trained(draw()))


def test_fractions_are_held_out_by_the_seed():
    x, y = draw()
    data = zoo.as_dataset((x, y), event=EVENT, valid=0.25, test=0.1, seed=3)
    assert {k: len(s) for k, s in data.splits.items()} == {"train": 26, "valid": 10, "test": 4}
    lazy = zoo.as_dataset(Arrays(x.numpy(), y.numpy()), event=EVENT, valid=0.25, test=0.1, seed=3)
    assert lazy.condition == data.condition == DIGIT
    for name, split in data.splits.items():
        for a, b in zip(split.batch(), lazy.split(name).batch(), strict=True):
            assert torch.equal(a, b)


def test_a_lazy_source_is_checked_batch_by_batch():
    bad = draw()[0].long()
    bad[30] = 300
    data = zoo.as_dataset(Arrays(bad.numpy()), event=EVENT)
    data.split("train").batch(torch.arange(30))
    with pytest.raises(zoo.DataError, match=r"data\.train has values from 0 to 300"):
        data.split("train").batch(torch.arange(40))
    wrong = zoo.as_dataset((draw()[0], draw()[1].numpy()), event=EVENT).split("train")
    checked = CheckedSource(wrong, "mine", EVENT, zoo.Condition("classes", classes=2))
    with pytest.raises(zoo.DataError, match=r"0\.\.1"):
        checked.batch(torch.arange(4))


def test_a_lazy_source_is_evaluated_as_arrays_in_memory_are():
    x, y = draw()
    splits = {name: (x, y) for name in ("train", "valid", "test")}
    memory = zoo.as_dataset(splits, event=EVENT)
    lazy = zoo.as_dataset(
        {k: Arrays(v[0].numpy(), v[1].numpy()) for k, v in splits.items()}, event=EVENT
    )
    a, b = (fitted_baselines(d, conditional=True) for d in (memory, lazy))
    assert [m.name for m in a] == [m.name for m in b]
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one.log_prob(x, y), other.log_prob(x, y))
    options = {"n": 20, "features": ["pixels"], "conditional": True}
    one, other = (SampleQuality(d, **options) for d in (memory, lazy))
    assert torch.equal(one.real_events, other.real_events)
    assert torch.equal(one.reference_sets.held, other.reference_sets.held)
    assert one(x[:20]) == other(x[:20])


def test_the_digest_of_a_lazy_source_sees_its_length_its_rows_and_its_transforms():
    x = draw()[0].numpy()
    other = x.copy()
    other[0, 0, 0, 0] ^= 1
    whole = zoo.as_dataset(Arrays(x), event=EVENT)
    sources = [
        whole,
        zoo.as_dataset(Arrays(x[:-1]), event=EVENT),
        zoo.as_dataset(Arrays(other), event=EVENT),
        whole.transformed(zoo.Flip()),
        whole.transformed(zoo.Flip(0.25)),
    ]
    digests = [sample_digest(d.split("train")) for d in sources]
    assert len(set(digests)) == len(digests)
    assert digests[0] == sample_digest(zoo.as_dataset(Arrays(x), event=EVENT).split("train"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: 3, zoo.UsageError, "int holds no examples by index"),
        (lambda: [], zoo.DataError, "empty"),
        (lambda: {}, zoo.DataError, "no splits"),
        (lambda: (draw()[0], draw()[1][:3]), zoo.DataError, "40 events and 3 labels"),
        (lambda: [{"a": [1.0], "b": [2.0]}], zoo.DataError, "keys a, b; 2 of them"),
        (lambda: [torch.zeros(2), torch.zeros(3)], zoo.DataError, "example 1 has shape"),
        (
            lambda: Arrays(np.zeros((3, 2), int)),
            zoo.DataError,
            r"number of levels.*shape is \(2,\)",
        ),
        (lambda: np.array(["a"]), zoo.DataError, "numbers"),
    ],
)
def test_what_is_no_data_is_refused_with_what_would_be(make, error, message):
    with pytest.raises(error, match=message):
        data = zoo.as_dataset(make())
        data.split("train").batch()


def test_options_that_a_named_data_set_would_ignore_are_refused():
    with pytest.raises(zoo.UsageError, match="valid do not concern 'digits'.*load_dataset"):
        zoo.as_dataset("digits", valid=0.2)


def test_the_old_keyword_of_train_still_works():
    model = Shade()
    with pytest.warns(DeprecationWarning, match="data="):
        train(model, dataset=draw()[0], config=zoo.TrainConfig(steps=1, batch_size=8))


def test_keys_and_splits_that_are_not_there_are_named():
    rows = Rows(*draw())
    with pytest.raises(zoo.DataError, match=r"labels = 'colour'; an example has the keys image"):
        zoo.as_dataset(rows, event=EVENT, labels="colour")
    with pytest.raises(zoo.DataError, match=r"no split 'valid'.*valid=0\.1"):
        zoo.as_dataset(rows, event=EVENT, condition=DIGIT).split("valid")
    with pytest.raises(zoo.DataError, match="there already"):
        zoo.as_dataset({"train": rows, "test": rows}, condition=DIGIT, valid=0.1)


# .npy files and folders of images


def test_an_npy_file_is_mapped_and_split(tmp_path):
    x, y = draw()
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "y.npy", y.numpy())
    data = zoo.load_dataset(str(tmp_path / "x.npy"), labels=str(tmp_path / "y.npy"))
    assert (data.event, data.condition) == (EVENT, DIGIT)
    memory = zoo.as_dataset((x, y), event=EVENT, valid=0.1, test=0.1)
    for name, split in memory.splits.items():
        for a, b in zip(split.batch(), data.split(name).batch(), strict=True):
            assert torch.equal(a, b)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    with pytest.raises(zoo.DataError, match=r"x\.npy cannot be read"):
        zoo.load_dataset(str(tmp_path / "x.npy"))


@pytest.fixture
def pictures(tmp_path):
    for i, x in enumerate(draw()[0]):
        path = tmp_path / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(x[0].numpy()).save(path)
    return tmp_path


def test_a_large_folder_is_decoded_batch_by_batch_and_is_the_same_data(pictures, monkeypatch):
    memory = zoo.load_dataset(f"folder:{pictures}")
    decoded = []
    read = folder_module.read_image
    monkeypatch.setattr(
        folder_module, "read_image", lambda p, *a, **k: decoded.append(p) or read(p, *a, **k)
    )
    lazy = zoo.load_dataset(f"folder:{pictures}", max_bytes=N * 16 - 1)
    assert len(decoded) == 1
    lazy.split("train").batch(torch.arange(5))
    assert len(decoded) == 6
    assert (lazy.event, lazy.condition) == (memory.event, memory.condition)
    for name, split in memory.splits.items():
        for a, b in zip(split.batch(), lazy.split(name).batch(), strict=True):
            assert torch.equal(a, b)


def test_corrupt_files_are_named_or_skipped_with_their_count(pictures, caplog):
    (pictures / "a" / "04.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("L", (9, 9)).save(pictures / "b" / "05.png")
    for limit in (1, 1 << 20):
        with pytest.raises(zoo.DataError, match=r"04\.png cannot be read|05\.png is 9x9"):
            data = zoo.load_dataset(f"folder:{pictures}", max_bytes=limit)
            for split in data.splits.values():
                split.batch()
        data = zoo.load_dataset(f"folder:{pictures}", max_bytes=limit, on_error="skip")
        assert sum(len(s.batch()[0]) for s in data.splits.values()) == N - 2
        assert "38 images" in data.provenance and "2 left out" in data.provenance
    assert "04.png" in caplog.text and "05.png" in caplog.text
