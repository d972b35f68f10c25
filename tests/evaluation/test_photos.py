"""The photographs: patches of what is in the package, and no pixel in two splits."""

import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.data import photos as module
from zoo_core.errors import DataError
from zoo_core.evaluation.baselines import fitted_baselines


@pytest.fixture(scope="module")
def photos():
    return zoo.load_dataset("photos")


def test_patches_are_pieces_of_the_photographs(photos):
    patch = photos.split("test").x[7]
    found = []
    for path in module._paths():
        picture = torch.tensor(list(Image.open(path).convert("RGB").tobytes()), dtype=torch.uint8)
        windows = picture.view(427, 640, 3).permute(2, 0, 1).unfold(1, 16, 16).unfold(2, 16, 16)
        found.append((windows.permute(1, 2, 0, 3, 4) == patch).flatten(2).all(2).any())
    assert sum(map(bool, found)) == 1


@pytest.mark.parametrize("size", [16, 32])
def test_no_pixel_is_in_two_splits(size, monkeypatch):
    """With a number of its own in every pixel, the numbers of the splits are disjoint."""
    count = 427 * 640

    def numbered(path):
        first = count * module.NAMES.index(path.name)
        numbers = torch.arange(first, first + count).view(427, 640)
        digits = [numbers % 256, numbers // 256 % 256, numbers // 65536]
        return torch.stack(digits).to(torch.uint8), path.name

    monkeypatch.setattr(module, "_picture", numbered)
    data = zoo.load_dataset("photos", size=size)
    scale = torch.tensor([1, 256, 65536]).view(3, 1, 1)
    pixels = {
        k: set((s.x.long() * scale).sum(1).flatten().tolist()) for k, s in data.splits.items()
    }
    sizes = [len(p) for p in pixels.values()]
    assert len(set.union(*pixels.values())) == sum(sizes) == 2 * 6 * 10 * 64 * 64


def test_train_overlaps_and_the_others_do_not(photos):
    large = zoo.load_dataset("photos", size=32)
    sizes = [{k: len(s) for k, s in d.splits.items()} for d in (photos, large)]
    assert sizes[0] == {"valid": 18 * 16, "test": 30 * 16, "train": 72 * 13**2}
    assert sizes[1] == {"valid": 18 * 4, "test": 30 * 4, "train": 72 * 9**2}


@pytest.mark.slow
def test_the_gaussian_beats_independent_pixels_by_far(photos):
    best, worst = fitted_baselines(photos)
    assert (best.name, worst.name) == ("gaussian", "independent")
    x = photos.split("test").x
    bits = [-float(b.log_prob(x, None).mean()) / (768 * 0.6931471805599453) for b in (best, worst)]
    assert bits == pytest.approx([4.892, 7.413], abs=0.02)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="not installed") as caught:
        zoo.load_dataset("photos")
    assert "density-zoo[data]" in str(caught.value.hint)
