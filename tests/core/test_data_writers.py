"""Files of events: they hold what was written, or they are not there."""

import json
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.data import writers
from zoo_core.data.pictures import GAP, scatter
from zoo_core.data.writers import read_metadata, write, writing
from zoo_core.errors import OutputError, UsageError
from zoo_core.rng import Rng

IMAGES = zoo.Event((1, 4, 5), levels=17)
POINTS = zoo.Event((2,))
METADATA = {"model": "made.digits", "seed": 3, "sampler": {"name": "ddim", "steps": 5}, "ä": "ö"}
METADATA = {k: v for k, v in METADATA.items() if k.isascii()} | {"note": "ö"}


def images(n: int, event: zoo.Event = IMAGES) -> torch.Tensor:
    u = Rng(0, n).uniform(event.shape, stream="test")
    return (u * event.levels).long() if event.levels else u


@pytest.mark.parametrize(
    ("event", "dtype"),
    [
        (IMAGES, np.uint8),
        (zoo.Event((3,), levels=300), np.int64),
        (zoo.Event((2, 2)), np.float32),
        (zoo.Event((), levels=256), np.uint8),
    ],
)
def test_npz_holds_the_events_however_they_are_batched(tmp_path, event, dtype):
    x = images(10, event)
    for sizes in ([10], [3, 3, 4], [1] * 10):
        with writing(tmp_path / "a.npz", event, 10, METADATA) as put:
            for part in x.split(sizes):
                put(part)
        with np.load(tmp_path / "a.npz") as file:
            assert file["x"].dtype == dtype
            assert np.array_equal(file["x"], x.numpy())


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_metadata_come_back_with_versions_and_event(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", images(2), IMAGES, METADATA)
    found = read_metadata(tmp_path / f"a{suffix}")
    assert {k: found[k] for k in METADATA} == METADATA
    assert found["versions"]["density-zoo"] == zoo.__version__
    assert found["event"]["levels"] == 17


def test_labels_go_beside_the_events(tmp_path):
    write(tmp_path / "a.npz", images(3), IMAGES, y=torch.tensor([2, 0, 1]))
    with np.load(tmp_path / "a.npz") as file:
        assert file["y"].tolist() == [2, 0, 1]


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_picture_holds_every_image_at_its_place(tmp_path, channels, scale):
    shape = (4, 5) if channels is None else (channels, 4, 5)
    event = zoo.Event(shape, levels=256)
    x = images(7, event)
    write(tmp_path / "a.png", x, event, columns=3, scale=scale)
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    h, w = 4 * scale + GAP, 5 * scale + GAP
    assert picture.shape == (3 * h + GAP, 3 * w + GAP, 3)
    for i in range(7):
        top, left = GAP + i // 3 * h, GAP + i % 3 * w
        tile = picture[top : top + h - GAP : scale, left : left + w - GAP : scale]
        want = x[i].reshape(-1, 4, 5).expand(3, 4, 5).permute(1, 2, 0)
        assert np.array_equal(tile, want)
        block = picture[top : top + scale, left : left + scale]
        assert (block == block[0, 0]).all()  # nearest neighbour: no smoothing


@pytest.mark.parametrize(
    ("event", "x", "grey"),
    [
        (zoo.Event((1, 3), levels=3), [[0, 1, 2]], [0, 128, 255]),
        (zoo.Event((1, 3), low=-1.0, high=1.0), [[-1.0, 0.0, 1.0]], [0, 128, 255]),
        (zoo.Event((1, 3)), [[2.0, 4.0, 3.0]], [0, 255, 128]),
        (zoo.Event((1, 3)), [[5.0, 5.0, 5.0]], [0, 0, 0]),
        (zoo.Event((1, 2), levels=1), [[0, 0]], [0, 0]),
    ],
)
def test_brightness_follows_the_range_of_values(tmp_path, event, x, grey):
    write(tmp_path / "a.png", torch.tensor([x]), event, scale=1)
    assert np.asarray(Image.open(tmp_path / "a.png"))[GAP, GAP:-GAP, 0].tolist() == grey


def test_a_tiny_image_is_magnified_until_it_can_be_seen(tmp_path):
    event = zoo.Event((1, 8, 8), levels=17)
    write(tmp_path / "a.png", images(1, event), event)
    assert Image.open(tmp_path / "a.png").size == (64 + 2 * GAP, 64 + 2 * GAP)


def test_points_are_drawn_where_they_are(tmp_path):
    write(tmp_path / "a.png", zoo.load_dataset("moons").split("test").x, POINTS)
    assert Image.open(tmp_path / "a.png").size == (512, 512)
    picture = scatter(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), side=100)[:, :, 0]
    rows, columns = np.nonzero(picture < 255)
    assert sorted(zip(rows // 50, columns // 50, strict=True)) == [(0, 1), (1, 0), (1, 1)]
    assert (scatter(torch.zeros(5, 2)) < 255).sum() == 3  # one pixel of three channels


@contextmanager
def full_after(size: int):
    """No file may grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_a_full_disk_leaves_what_was_there(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"before")
    event = zoo.Event((1, 32, 32), levels=256)
    x = images(200, event)
    with full_after(4096), pytest.raises(OutputError, match="cannot be written"):
        write(path, x, event)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_nothing_half_written_is_left_when_sampling_fails(tmp_path, suffix):
    with (
        pytest.raises(ZeroDivisionError),
        writing(tmp_path / f"a{suffix}", IMAGES, 10) as put,
    ):
        put(images(4))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".npz", ".png"])
@pytest.mark.parametrize("n", [3, 5])
def test_too_few_and_too_many_events_are_refused(tmp_path, suffix, n):
    with (
        pytest.raises(UsageError, match="announced"),
        writing(tmp_path / f"a{suffix}", IMAGES, 4) as put,
    ):
        put(images(n))
    assert list(tmp_path.iterdir()) == []


def unwritable(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "a.npz"


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (lambda p: p / "a.jpg", OutputError, "it must be .png or .npz"),
        (lambda p: p / "a", OutputError, "it must be .png or .npz"),
        (unwritable, OutputError, "cannot be written"),
        (lambda p: Path("/proc/nowhere/a.png"), OutputError, "cannot be written"),
    ],
)
def test_paths_that_cannot_be_written_are_refused_before_any_event_is_drawn(
    tmp_path, path, error, message
):
    with pytest.raises(error, match=message), writing(path(tmp_path), IMAGES, 1):
        pytest.fail("the block must not be entered")


def test_a_folder_in_the_way_is_refused_and_kept(tmp_path):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "a.npz", images(1), IMAGES)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


@pytest.mark.parametrize(
    ("event", "options", "error", "message"),
    [
        (zoo.Event((5,)), {}, OutputError, "cannot be drawn"),
        (zoo.Event((2, 8, 8), levels=2), {}, OutputError, "write .npz"),
        (zoo.Event((2,), levels=4), {}, OutputError, "cannot be drawn"),
        (IMAGES, {"columns": 0}, UsageError, "columns"),
        (IMAGES, {"scale": -1}, UsageError, "scale"),
        (IMAGES, {"scale": 10_000}, UsageError, "pixels"),
        (IMAGES, {"metadata": {"a": torch.zeros(1)}}, UsageError, "JSON"),
        (IMAGES, {"metadata": {"a\n": 1}}, UsageError, "key"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, event, options, error, message):
    with pytest.raises(error, match=message):
        write(tmp_path / "a.png", images(2, event), event, **options)
    assert list(tmp_path.iterdir()) == []


def test_events_of_another_kind_are_refused(tmp_path):
    for x in (torch.zeros(2, 1, 4, 5), torch.zeros(2, 1, 5, 4).long(), images(2) + 17):
        with pytest.raises(zoo.DataError, match="expected"):
            write(tmp_path / "a.npz", x, IMAGES)
    with pytest.raises(UsageError, match="labels|label"):
        write(tmp_path / "a.npz", images(2), IMAGES, y=torch.zeros(3).long())
    assert list(tmp_path.iterdir()) == []


def test_memory_for_npz_does_not_grow_with_n(tmp_path, monkeypatch):
    """A million announced events cost nothing before they come."""
    event = zoo.Event((3, 64, 64), levels=256)
    writer = writers.NpzWriter(event, 10**9, {})
    assert json.dumps(writer.metadata) == "{}"
    with pytest.raises(UsageError, match="announced"), writer.to(tmp_path / "a.npz") as put:
        put(images(1, event))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
