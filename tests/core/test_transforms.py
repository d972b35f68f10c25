"""Transforms: random in training by (seed, step, row) alone, fixed everywhere else."""

from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_core.data.batches import take_augmented
from zoo_core.data.transforms import parse_transforms
from zoo_core.errors import ConfigError
from zoo_core.plugin import Rng

N = 32
X = torch.arange(N * 3 * 6 * 8).view(N, 3, 6, 8) % 251
EVENT = zoo.Event((3, 6, 8), levels=251)
RANDOM = [zoo.Flip(), zoo.Shift(2), zoo.Crop(4)]


def data(*transforms, x=X, event=EVENT):
    return zoo.as_dataset(x, event=event, transforms=transforms)


def augmented(transform, rows, *, seed=0, step=0):
    return data(transform).split("train").augmented(rows, Rng(seed, rows), step)[0]


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_a_row_is_transformed_by_seed_step_and_its_index_alone(transform):
    rows = torch.arange(N)
    whole = augmented(transform, rows)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augmented(transform, order), whole[order])
    assert torch.equal(augmented(transform, rows[5:7]), whole[5:7])
    assert not torch.equal(augmented(transform, rows, step=1), whole)
    assert not torch.equal(augmented(transform, rows, seed=1), whole)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_evaluation_sees_the_fixed_part(transform):
    x = data(transform).split("train").batch()[0]
    assert torch.equal(x, X[:, :, 1:5, 2:6] if isinstance(transform, zoo.Crop) else X)


def test_flips_mirror_about_half_of_the_images():
    x = augmented(zoo.Flip(), torch.arange(N))
    flipped = (x == X.flip(-1)).flatten(1).all(1)
    assert 8 < int(flipped.sum()) < 24
    assert torch.equal(x[~flipped], X[~flipped])


def test_shifts_and_crops_are_windows_of_the_image():
    edges = X[:, :, (torch.arange(10) - 2).clamp(0, 5)][..., (torch.arange(12) - 2).clamp(0, 7)]
    for transform, of, size in ((zoo.Shift(2), edges, (6, 8)), (zoo.Crop(4), X, (4, 4))):
        x = augmented(transform, torch.arange(N))
        windows = of.unfold(2, size[0], 1).unfold(3, size[1], 1)  # (N, C, i, j, h, w)
        same = (windows == x[:, :, None, None]).flatten(4).all(-1).all(1)  # (N, i, j)
        assert bool(same.flatten(1).any(1).all())
        assert len(same.flatten(1).int().argmax(1).unique()) > 5


def test_a_resize_keeps_constants_and_the_type():
    event = zoo.Event((1, 8, 12), levels=16)
    x = torch.full((2, 1, 8, 12), 7)
    small = data(zoo.Resize(4), x=x, event=event)
    assert small.event == zoo.Event((1, 4, 4), levels=16)
    assert torch.equal(small.split("train").batch()[0], torch.full((2, 1, 4, 4), 7))


def test_several_transforms_follow_each_other_with_draws_of_their_own():
    twice = augmented(zoo.Flip(), torch.arange(N)), data(zoo.Flip(), zoo.Flip())
    x, _ = twice[1].split("train").augmented(torch.arange(N), Rng(0, N), 0)
    assert not torch.equal(x, X) and not torch.equal(x, twice[0])
    chain = data(zoo.Resize(5), zoo.Crop(3), "flip")
    assert chain.event.shape == (3, 3, 3)


def test_training_sees_the_random_part_of_each_step():
    model = zoo.create("made", shape=(3, 6, 8), levels=251, hidden=4, layers=1)
    split = data("flip").split("train")
    rows = torch.arange(4)
    seen = [take_augmented(model, split, rows, Rng(0, rows), step)[0] for step in (0, 1)]
    assert not torch.equal(*seen)


def test_arrays_are_cropped_to_the_events_of_the_model():
    model = zoo.create("made", shape=(3, 4, 4), levels=251, hidden=4)
    config = zoo.TrainConfig(steps=1, batch_size=4)
    zoo.train(model, X, config, transforms=[{"crop": 4}, "flip"])
    with pytest.raises(zoo.DataError, match="3x4x4.*3x5x5"):
        zoo.train(model, X, config, transforms=[{"crop": 5}])


@dataclass(frozen=True)
class Invert:
    """A user's own transform."""

    def event(self, event):
        return event

    def __call__(self, x, event, rng, step):
        return event.levels - 1 - x


def test_names_tables_and_objects_are_transforms():
    entries = ["flip", {"shift": 2}, {"crop": {"size": 3}}, Invert()]
    parsed = parse_transforms(entries)
    assert parsed == (zoo.Flip(), zoo.Shift(2), zoo.Crop(3), Invert())
    assert torch.equal(data(Invert()).split("train").batch()[0], 250 - X)
    digits = zoo.load_dataset("digits", transforms=["flip", {"shift": 1}])
    assert digits.event == zoo.load_dataset("digits").event


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("flip", "must be a list"),
        (["flop"], "unknown transform 'flop'; transforms: crop, flip, resize, shift.*flip"),
        ([{"flip": {}, "shift": 1}], "one name with its options"),
        ([{"shift": "far"}], r"transforms\.0\.shift\.pixels = 'far'"),
        ([3], "give a name"),
    ],
)
def test_entries_that_are_no_transforms_are_refused(entries, message):
    with pytest.raises(ConfigError, match=message):
        parse_transforms(entries)


def test_transforms_that_do_not_fit_the_events_are_refused():
    with pytest.raises(zoo.DataError, match="crop of 7 pixels does not fit.*at most 6"):
        data(zoo.Crop(7))
    with pytest.raises(zoo.DataError, match="flip is for images"):
        zoo.load_dataset("moons", transforms=["flip"])
