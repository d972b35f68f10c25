"""Data sets from files: what fits is read, everything else is refused with a reason."""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.data import binarized_mnist
from zoo_core.data.arrays import read_array
from zoo_core.data.binarized_mnist import parse_text
from zoo_core.data.writers import write
from zoo_core.errors import DataError, NetworkError, UsageError, ZooWarning

RANDOM = np.random.default_rng(0)


def save(path: Path, **arrays) -> str:
    np.savez_compressed(path, **arrays)
    return f"npz:{path}"


# npz


def test_named_splits_are_read_apart_with_their_labels(tmp_path):
    x = {s: RANDOM.integers(0, 5, (n, 3)) for s, n in (("train", 6), ("valid", 3), ("test", 2))}
    y = {f"y_{s}": np.arange(len(a)) % 4 for s, a in x.items()}
    data = zoo.load_dataset(save(tmp_path / "a.npz", **x, **y), levels=5)
    assert data.event == zoo.Event((3,), levels=5)
    assert data.condition == zoo.Condition("classes", classes=4)
    for split in x:
        events, labels = data.split(split).batch()
        assert torch.equal(events, torch.from_numpy(x[split]))
        assert torch.equal(labels, torch.from_numpy(y[f"y_{split}"]))


@pytest.mark.parametrize(
    ("x", "levels"),
    [
        (np.array([[0, 3]], np.int64), 4),
        (np.array([[0, 16]], np.uint8), 17),
        (np.array([[0, 200]], np.uint8), 256),
        (np.array([[True, False]]), 2),
        (np.array([[0, 0]], np.int16), 2),
    ],
)
def test_levels_of_integers_are_inferred(tmp_path, x, levels):
    data = zoo.load_dataset(save(tmp_path / "a.npz", x=x))
    assert data.event.levels == levels
    assert torch.equal(data.split("test").batch()[0], torch.from_numpy(x.astype(np.int64)))


def test_floats_are_reals_in_the_stated_range(tmp_path):
    x = RANDOM.random((4, 2))
    data = zoo.load_dataset(save(tmp_path / "a.npz", x=x), low=0.0, high=1)
    assert data.event == zoo.Event((2,), low=0.0, high=1.0)
    assert data.split("test").x.dtype == torch.float32


def test_packed_bits_and_shapes_are_options(tmp_path):
    bits = RANDOM.integers(0, 2, (5, 3, 3)).astype(np.uint8)
    name = save(tmp_path / "a.npz", x=np.packbits(bits.reshape(5, 9), axis=1))
    data = zoo.load_dataset(name, packed=True, shape=[1, 3, 3])
    assert torch.equal(data.split("test").x, torch.from_numpy(bits[:, None]))
    assert data.event == zoo.Event((1, 3, 3), levels=2)


def test_one_array_is_held_out_data_unless_it_is_cut(tmp_path):
    x = np.arange(40)[:, None]
    name = save(tmp_path / "a.npz", x=x, y=np.arange(40) % 3)
    assert list(zoo.load_dataset(name).splits) == ["test"]
    data = zoo.load_dataset(name, valid=0.1, test=0.2, seed=5)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 28, "valid": 4, "test": 8}
    events = torch.cat([s.x[:, 0] for s in data.splits.values()])
    assert torch.equal(events.long().sort().values, torch.arange(40))
    for split in data.splits.values():
        assert torch.equal(split.y, split.x[:, 0].long() % 3)


def test_what_the_zoo_wrote_is_read_with_its_event(tmp_path):
    event = zoo.Event((1, 2, 2), levels=7)
    x = torch.tensor([[[[0, 1], [2, 3]]]])
    write(tmp_path / "a.npz", x, event, {"model": "m"}, y=torch.tensor([4]))
    data = zoo.load_dataset(f"npz:{tmp_path / 'a.npz'}")
    assert data.event == event
    assert torch.equal(data.split("test").batch()[0], x)
    assert data.condition.classes == 5


def forged(path: Path, header: dict, body: bytes) -> str:
    """An .npz file whose array header says what we like."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", file.getvalue() + body)
    return f"npz:{path}"


def test_absurd_headers_are_refused_before_memory_is_taken(tmp_path):
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)}
    with pytest.raises(zoo.DataError, match="at most"):
        zoo.load_dataset(forged(tmp_path / "a.npz", header, b"\0" * 64))
    header["shape"] = (1000,)
    with pytest.raises(zoo.DataError, match="claims 8000 bytes, 64 are there"):
        zoo.load_dataset(forged(tmp_path / "b.npz", header, b"\0" * 64))


def test_a_small_file_that_inflates_beyond_the_limit_is_refused(tmp_path):
    name = save(tmp_path / "a.npz", train=np.zeros((1000, 50)), test=np.zeros((1000, 50)))
    with pytest.raises(zoo.DataError, match="max_bytes"):
        zoo.load_dataset(name, max_bytes=600_000)
    assert len(zoo.load_dataset(name, max_bytes=800_000).split("test")) == 1000


def test_pickles_are_never_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    with pytest.raises(zoo.DataError, match="pickled"):
        zoo.load_dataset(save(tmp_path / "a.npz", x=np.array([Bomb()], object)))
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[60:])
    with pytest.raises(zoo.DataError, match="cannot be read"):
        zoo.load_dataset(f"npz:{tmp_path / 'b.npz'}")
    assert not (tmp_path / "boom").exists()


def test_truncated_and_corrupt_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    name = save(path, x=RANDOM.integers(0, 256, (50, 9)).astype(np.uint8))
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(zoo.DataError, match="cannot be read"):
            zoo.load_dataset(name)
    for at in range(0, len(whole), 7):  # any byte: an error of ours, or the very same data
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert zoo.load_dataset(name).split("test").x.shape == (50, 9)
        except zoo.DataError:
            continue


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": np.zeros((0, 2))}, {}, "no events"),
        ({"x": np.float64(1)}, {}, "no events"),
        ({"x": np.array([[np.nan]])}, {}, "NaN"),
        ({"x": np.array([[1e300]])}, {}, "infinite"),
        ({"x": np.array([["a"]])}, {}, "dtype"),
        ({"x": np.array([[1j]])}, {}, "dtype"),
        ({"x": np.array([[-1, 2]])}, {}, "-1 to 2"),
        ({"x": np.array([[9]])}, {"levels": 4}, "9 to 9"),
        ({"x": np.array([[10**9]])}, {}, "levels"),
        ({"x": np.array([[0.5]])}, {"levels": 4}, "floating point"),
        ({"x": np.array([[0.5]])}, {"high": 0.2}, "expected reals"),
        ({"x": np.zeros((2, 5))}, {"shape": [2, 3]}, "do not fit"),
        ({"x": np.zeros((2, 5), np.uint8)}, {"packed": True}, "shape"),
        ({"x": np.zeros((2, 5), np.uint8)}, {"packed": True, "shape": [3]}, "packed rows"),
        ({"x": np.zeros((2, 2))}, {"valid": 0.9}, "at least one"),
        ({"train": np.zeros((2, 2)), "test": np.zeros((2, 3))}, {}, "differ"),
        ({"train": np.zeros((2, 2)), "test": np.zeros((2, 2), int)}, {}, "differ"),
        ({"train": np.zeros((2, 2)), "test": np.zeros((2, 2))}, {"valid": 0.5}, "already"),
        ({"train": np.zeros((2, 2)), "x": np.zeros((2, 2))}, {}, "expected arrays"),
        ({"images": np.zeros((2, 2))}, {}, "images"),
        ({"x": np.zeros((2, 2)), "y": np.zeros(3, int)}, {}, "labels"),
        ({"x": np.zeros((2, 2)), "y": np.array([0, -1])}, {}, "labels"),
        ({"x": np.zeros((2, 2)), "y": np.zeros(2)}, {}, "labels"),
        (
            {"train": np.zeros((2, 2)), "test": np.zeros((2, 2)), "y_test": np.zeros(2, int)},
            {},
            "some splits",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_the_reason(tmp_path, arrays, options, message):
    with pytest.raises(zoo.DataError, match=message):
        zoo.load_dataset(save(tmp_path / "a.npz", **arrays), **options)


def test_another_programs_metadata_does_not_matter(tmp_path):
    for text in ("no json", "[]", '{"event": 3}', '{"event": {"levels": "many"}}'):
        name = save(tmp_path / "a.npz", x=np.array([[0, 3]]), metadata=np.array(text))
        assert zoo.load_dataset(name).event.levels == 4


# names


@pytest.mark.parametrize("form", ["npz:{}", "density-zoo:npz:{}"])
def test_a_path_may_stand_behind_the_name(tmp_path, form, monkeypatch):
    save(tmp_path / "a:b.npz", x=np.zeros((1, 1)))
    assert len(zoo.load_dataset(form.format(tmp_path / "a:b.npz")).split("test")) == 1
    assert len(zoo.load_dataset("npz", path=tmp_path / "a:b.npz").split("test")) == 1
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(zoo.load_dataset(form.format("~/a:b.npz")).split("test")) == 1


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("mons", {}, zoo.UnknownNameError, "moons"),
        ("./a.npz", {}, zoo.DataError, "does not exist"),
        ("a.npz", {}, zoo.DataError, "does not exist"),
        ("no/folder", {}, zoo.UnknownNameError, "does not exist"),
        (__file__, {}, zoo.UnknownNameError, "is no .npz, .npy, table or folder"),
        (7, {}, zoo.UnknownNameError, "7"),
        ("", {}, zoo.UnknownNameError, "not a dataset name"),
        ("npz:", {}, UsageError, "npz:PATH"),
        ("ising:x", {}, UsageError, "no path"),
        ("npz:x", {"path": "y"}, UsageError, "one path"),
        ("npz", {}, zoo.ConfigError, "npz.path is required"),
        ("digits", {"size": 3}, zoo.ConfigError, "digits.size"),
        ("npz:/nowhere/a.npz", {}, zoo.DataError, "does not exist"),
        ("folder:/nowhere", {}, zoo.DataError, "does not exist"),
    ],
)
def test_names_that_mean_nothing_are_refused_with_what_would(name, options, error, message):
    with pytest.raises(error, match=message):
        zoo.load_dataset(name, **options)


@pytest.mark.parametrize("name", ["{}/x.npz", "in/x.npz", "x.npz", "npz:x.npz", "./x.npz"])
def test_a_path_alone_is_a_data_set(tmp_path, monkeypatch, name):
    (tmp_path / "in").mkdir()
    for path in ("x.npz", "in/x.npz"):
        save(tmp_path / path, x=np.zeros((3, 1)))
    monkeypatch.chdir(tmp_path)
    assert len(zoo.load_dataset(name.format(tmp_path)).split("test")) == 3


@pytest.mark.parametrize("name", ["{}/in", "in", "./in", "folder:in"])
def test_a_folder_alone_is_a_data_set_of_images(tmp_path, monkeypatch, name):
    picture(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    data = zoo.load_dataset(name.format(tmp_path), valid=0.0, test=0.0)
    assert data.event.shape == (1, 4, 6)


def test_a_registered_name_goes_before_a_file_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "digits" / "a.png")
    with pytest.warns(ZooWarning, match="'digits' is taken for the registered name"):
        assert zoo.load_dataset("digits").event.shape == (1, 8, 8)
    assert zoo.load_dataset("./digits", valid=0.0, test=0.0).event.shape == (1, 4, 6)


UNREAD = [
    ({"train": 4, "train_y": 0}, "train_y"),
    ({"train": 4, "labels": 0, "ids": 0}, "labels, ids"),
    ({"train": 4, "y": 0}, "y, which"),
    ({"train": 4, "y_train": 0, "y_valid": 0}, "y_valid"),
    ({"x": 4, "y_test": 0}, "y_test"),
]


@pytest.mark.parametrize(("arrays", "message"), UNREAD)
def test_arrays_that_would_be_lost_are_refused_with_the_names_understood(
    tmp_path, arrays, message
):
    held = {k: np.zeros((2, n) if n else 2, int) for k, n in arrays.items()}
    name = save(tmp_path / "a.npz", **held)
    with pytest.raises(zoo.DataError, match=rf"{message}.*y_train, y_valid, y_test.*ignore="):
        zoo.load_dataset(name)
    rest = [k for k in arrays if k not in ("x", "train", "y_train")]
    assert zoo.load_dataset(name, ignore=rest).event.shape == (4,)


def test_a_missing_split_is_refused_with_those_there_are():
    with pytest.raises(zoo.DataError, match="train, valid, test"):
        zoo.load_dataset("digits").split("dev")


# image folders


def picture(path: Path, size=(6, 4), mode="L", value: object = None, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    noise = RANDOM.integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    image = Image.fromarray(noise.squeeze(), mode if bands > 1 else "L")
    image.convert(mode).save(path, **options)


def test_images_come_in_the_order_of_their_names(tmp_path):
    for name in ("b.png", "a.png", "c.PNG"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    data = zoo.load_dataset(f"folder:{tmp_path}", valid=0.0, test=0.0)
    assert data.event == zoo.Event((1, 4, 6), levels=256)
    want = [np.asarray(Image.open(tmp_path / n)) for n in ("a.png", "b.png", "c.PNG")]
    rows = {w.tobytes() for w in want}
    assert {x.numpy().tobytes() for x in data.split("train").x[:, 0]} == rows


def test_subfolders_are_classes_and_splits_are_seeded(tmp_path):
    for i in range(20):
        value = np.full((2, 2, 3), i, np.uint8)
        path = tmp_path / ("cat", "dog")[i % 2] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(value).save(path)
    data = zoo.load_dataset("folder", path=tmp_path, seed=3)
    assert data.condition == zoo.Condition("classes", classes=2)
    assert {k: len(s) for k, s in data.splits.items()} == {"train": 16, "valid": 2, "test": 2}
    for split in data.splits.values():
        assert torch.equal(split.x[:, 0, 0, 0].long() % 2, split.y)
    again, other = (zoo.load_dataset("folder", path=tmp_path, seed=s) for s in (3, 4))
    assert torch.equal(again.split("train").x, data.split("train").x)
    assert not torch.equal(other.split("train").x, data.split("train").x)


def test_split_folders_are_kept_apart(tmp_path):
    for split, n in (("train", 3), ("test", 2)):
        for label in ("a", "b"):
            for i in range(n):
                picture(tmp_path / split / label / f"{i}.jpg", mode="RGB")
    data = zoo.load_dataset(f"folder:{tmp_path}")
    assert {k: s.y.tolist() for k, s in data.splits.items()} == {
        "train": [0, 0, 0, 1, 1, 1],
        "test": [0, 0, 1, 1],
    }
    assert data.event.shape == (3, 4, 6)
    picture(tmp_path / "x.jpg")
    with pytest.raises(zoo.DataError, match="x.jpg"):
        zoo.load_dataset(f"folder:{tmp_path}")


def test_size_channels_and_levels_convert(tmp_path):
    picture(tmp_path / "a.png", (9, 5), "RGB")
    picture(tmp_path / "b.png", (4, 12), "L")
    whole = {"valid": 0.0, "test": 0.0}
    data = zoo.load_dataset(f"folder:{tmp_path}", size=3, channels=1, levels=4, **whole)
    x = data.split("train").x
    assert data.event == zoo.Event((1, 3, 3), levels=4)
    assert x.shape == (2, 1, 3, 3) and int(x.max()) <= 3
    picture(tmp_path / "c" / "a.png", (5, 5), "L")
    pixels = np.asarray(Image.open(tmp_path / "c" / "a.png"))
    two = zoo.load_dataset(f"folder:{tmp_path / 'c'}", levels=2, **whole).split("train").x
    assert np.array_equal(two[0, 0], pixels >= 128)


def broken(path: Path) -> None:
    picture(path, (60, 60))
    path.write_bytes(path.read_bytes()[:900])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no images"),
        (lambda p: (p / "a.png").write_bytes(b""), "a.png cannot be read"),
        (lambda p: (p / "a.png").write_bytes(b"GIF89a" + b"\0" * 50), "a.png cannot be read"),
        (lambda p: broken(p / "a.png"), "a.png cannot be read"),
        (lambda p: broken(p / "a.jpg"), "a.jpg cannot be read"),
        (lambda p: (picture(p / "a.png"), picture(p / "b.png", (5, 5))), "one size"),
        (lambda p: (picture(p / "a.png"), picture(p / "b.png", mode="RGB")), "channels"),
        (lambda p: picture(p / "a.png", mode="RGBA"), "transparent"),
        (lambda p: picture(p / "a.png", mode="I;16"), "16 bits"),
        (lambda p: (picture(p / "a.png"), picture(p / "c" / "b.png")), "has no class"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_the_file(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(zoo.DataError, match=message):
        zoo.load_dataset(f"folder:{tmp_path}", valid=0.0, test=0.0)


def test_huge_images_are_refused_before_they_are_decoded(tmp_path):
    picture(tmp_path / "a.png", (8, 8))
    data = bytearray((tmp_path / "a.png").read_bytes())
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes(data[24:29])
    data[12:29] = header
    data[29:33] = zipfile.crc32(header).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(zoo.DataError, match="pixels"):
        zoo.load_dataset(f"folder:{tmp_path}")


# digits and binarized MNIST


def test_digits_have_the_published_split():
    data = zoo.load_dataset("digits")
    assert data.event == zoo.Event((1, 8, 8), levels=17)
    assert {k: len(s) for k, s in data.splits.items()} == {
        "train": 1200,
        "valid": 237,
        "test": 360,
    }
    text = b"".join(s.x.numpy().tobytes() + s.y.numpy().tobytes() for s in data.splits.values())
    assert hashlib.sha256(text).hexdigest() == (
        "1d34b7f4cec7e05af493d4a72118e8d78344a55a58360f70e8a3e1e8db30be07"
    )
    counts = sum(s.y.bincount() for s in data.splits.values())
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets")
    digits = sklearn.load_digits()
    order = np.random.RandomState(0).permutation(1797)
    splits = zoo.load_dataset("digits").splits.values()
    assert np.array_equal(torch.cat([s.x for s in splits])[:, 0], digits.images[order])
    assert np.array_equal(torch.cat([s.y for s in splits]), digits.target[order])


def test_independent_pixels_score_digits_as_published():
    data = zoo.load_dataset("digits")
    train, test = (data.split(s).batch()[0].flatten(1) for s in ("train", "test"))
    p = torch.stack([(train == k).double().mean(0) for k in range(17)], -1)  # (64, 17)
    p = (p * len(train) + 1) / (len(train) + 17)
    bits = -p.log2().expand(len(test), -1, -1).gather(-1, test[..., None]).mean()
    assert float(bits) == pytest.approx(2.423, abs=5e-3)


def text_of(images: np.ndarray) -> bytes:
    cells = np.full((len(images), 2 * images.shape[1]), ord(" "), np.uint8)
    cells[:, ::2] = images + ord("0")
    cells[:, -1] = ord("\n")
    return cells.tobytes()


def test_text_lines_are_images():
    x = RANDOM.integers(0, 2, (7, 784)).astype(np.uint8)
    assert np.array_equal(parse_text(text_of(x), "t"), x)
    assert np.array_equal(parse_text(text_of(x).replace(b"\n", b" \r\n"), "t"), x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:-3], "cut off"),
        (lambda t: t[: 784 * 2 * 2 - 300] + t[784 * 2 * 2 :], "cut off"),
        (lambda t: t.replace(b"\n", b" ", 1), "784 digits"),
        (lambda t: b"2" + t[1:], "line 1"),
        (lambda t: t[:1600] + b"x" + t[1601:], "line 2"),
        (lambda t: b"00" + t, "expected digits"),
        (lambda t: b"<html>404</html>", "line 1"),
    ],
)
def test_text_that_is_no_image_is_refused(change, message):
    x = RANDOM.integers(0, 2, (5, 784)).astype(np.uint8)
    with pytest.raises(zoo.DataError, match=message):
        parse_text(change(text_of(x)), "t")


@pytest.fixture
def small(monkeypatch) -> dict[str, np.ndarray]:
    """The loader with splits of 50, 10 and 10 images."""
    sizes = {"train": 50, "valid": 10, "test": 10}
    monkeypatch.setattr(binarized_mnist, "SIZES", sizes)
    return {k: RANDOM.integers(0, 2, (n, 784)).astype(np.uint8) for k, n in sizes.items()}


def packed(path: Path, splits: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: np.packbits(x, axis=1) for k, x in splits.items()})
    return path


def texts(folder: Path, splits: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k, x in splits.items():
        (folder / f"binarized_mnist_{k}.amat").write_bytes(text_of(x))
    return folder


def test_both_layouts_of_binarized_mnist_give_the_same_images(tmp_path, small):
    for place in (packed(tmp_path / "a.npz", small), texts(tmp_path / "texts", small)):
        data = zoo.load_dataset(f"binarized_mnist:{place}")
        assert data.event == zoo.Event((1, 28, 28), levels=2)
        for k, x in small.items():
            assert np.array_equal(data.split(k).x.flatten(1), x)
            assert hashlib.sha256(x.tobytes()).hexdigest() in data.provenance
        assert "unknown hash" in data.provenance and "not the benchmark's mean" in data.provenance


def test_binarized_mnist_is_found_in_the_shared_folder_then_in_the_cache(
    tmp_path, small, monkeypatch
):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_SHARED", raising=False)
    with pytest.raises(NetworkError, match="binarized_mnist:PATH"):
        zoo.load_dataset("binarized_mnist", offline=True)
    flipped = {k: 1 - x for k, x in small.items()}
    cache, shared = tmp_path / "cache" / "data", tmp_path / "shared" / "data"
    places = [
        (texts, cache / "binarized_mnist", small),
        (packed, cache / "binarized_mnist.npz", flipped),
        (packed, shared / "binarized_mnist.npz", small),
    ]
    for put, place, images in places:
        put(place, images)
        if place.parent == shared:
            monkeypatch.setenv("ZOO_SHARED", str(tmp_path / "shared"))
        data = zoo.load_dataset("binarized_mnist", offline=True)
        assert f"static MNIST, {place.name}: " in data.provenance
        assert str(tmp_path) not in data.provenance
        assert np.array_equal(data.split("test").x.flatten(1), images["test"])


def test_downloading_goes_through_pooch_into_the_cache(tmp_path, small, monkeypatch):
    pooch = pytest.importorskip("pooch")
    source = texts(tmp_path / "server", small)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_SHARED", raising=False)
    asked = []

    def fetch(self, url, output_file, pooch_object):
        asked.append(url)
        Path(output_file).write_bytes((source / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fetch)
    for _ in range(2):
        data = zoo.load_dataset("binarized_mnist")
        assert np.array_equal(data.split("test").x.flatten(1), small["test"])
    assert [url.rpartition("/")[2] for url in asked] == [
        f"binarized_mnist_{k}.amat" for k in ("train", "valid", "test")
    ]


def test_no_network_and_no_pooch_are_said_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("ZOO_SHARED", raising=False)
    monkeypatch.setattr(binarized_mnist, "URL", "http://127.0.0.1:9/")
    pytest.importorskip("pooch")
    with pytest.raises(NetworkError, match="binarized_mnist:PATH"):
        zoo.load_dataset("binarized_mnist")
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(NetworkError, match=r"pip install density-zoo\[data\]"):
        zoo.load_dataset("binarized_mnist")
    assert not list(tmp_path.rglob("*.amat"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"valid": s["test"]}, "same images"),
        (lambda s: s | {"train": s["train"][:49]}, "49 images; expected 50"),
        (lambda s: {k: v for k, v in s.items() if k != "test"}, "test is missing"),
        (lambda s: s | {"test": s["test"][:, :392]}, "packbits"),
    ],
)
def test_binarized_mnist_with_wrong_splits_is_refused(tmp_path, small, change, message):
    place = packed(tmp_path / "a.npz", change(small))
    with pytest.raises(zoo.DataError, match=message):
        zoo.load_dataset(f"binarized_mnist:{place}")


def test_the_shared_copy_of_binarized_mnist_is_labelled(capsys):
    if not os.environ.get("ZOO_SHARED"):
        with capsys.disabled():
            print("\nZOO_SHARED is not set: the real binarized MNIST was not read.")
        pytest.skip("ZOO_SHARED is not set")
    data = zoo.load_dataset("binarized_mnist", offline=True)
    assert {k: len(s) for k, s in data.splits.items()} == binarized_mnist.SIZES
    assert "not the benchmark's mean" not in data.provenance
    mean = data.split("train").x.double().mean((0, 1)).clamp(1e-4, 1 - 1e-4)
    x = data.split("test").x.double()
    nats = (x * mean.log() + (1 - x) * (1 - mean).log()).sum((1, 2, 3)).mean()
    assert float(nats) == pytest.approx(-205.79, abs=0.1)  # independent pixels, as measured before


def test_every_dataset_says_its_licence_and_provenance():
    for name in ("digits", "ising", "moons"):
        data = zoo.load_dataset(name)
        assert data.license and data.provenance
        assert json.dumps(data.provenance)


def test_numpys_advice_to_trust_a_file_is_not_passed_on(tmp_path):
    header = b"\x93NUMPY\x01\x00" + (60000).to_bytes(2, "little") + b" " * 60000
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header)
    with pytest.raises(DataError, match="a header that is none of an array") as caught:
        read_array(tmp_path / "x.npz", "x")
    assert "allow_pickle" not in str(caught.value)
