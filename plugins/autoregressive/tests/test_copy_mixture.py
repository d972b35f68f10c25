"""The head that copies: normalized, causal, and the same by channels as by pixels."""

import itertools

import pytest
import torch

import zoo_core as zoo
from zoo_autoregressive import nearby_pixels as at
from zoo_autoregressive.copy_mixture import CopyMixtureHead
from zoo_autoregressive.image_model import mirror_of_next
from zoo_autoregressive.nearby_pixels import NearbyPixels
from zoo_autoregressive.samplers import Sequential, draw
from zoo_core import Rng

HERE = (slice(2, 3), slice(3, 4))
SMALL = {
    "pixelcnn_pp": {"hidden": 4, "blocks": (1, 1), "mixtures": 7, "dropout": 0.0},
    "multiscale_pixelcnn": {"hidden": (4, 6), "blocks": (1, 1), "kernel_size": 5},
    "row_lstm": {"hidden": 4, "layers": 1, "kernel_size": 3},
    "diagonal_bilstm": {"hidden": 4, "layers": 1, "kernel_size": 3},
}


def small(arch, **options):
    torch.manual_seed(0)
    shape = {"shape": (3, 3, 4), "levels": 4}
    return zoo.create(arch, head="copy_mixture", **shape, **SMALL[arch], **options)


def head(channels=3, levels=4, mixtures=13, side=4):
    torch.manual_seed(0)
    made = CopyMixtureHead(5, (channels, side, side), levels, mixtures).double()
    with torch.no_grad():
        for p in made.parameters():
            p.normal_(std=0.5)
    return made


def image(channels=3, levels=4, side=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(levels, (2, channels, side, side), generator=generator)


@pytest.mark.parametrize("mixtures", [2, 5, 8, 13])
@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_of_a_pixel_sum_to_one(channels, mixtures):
    """Over all colours of the last pixel, of which no other is a copy."""
    made, x = head(channels, mixtures=mixtures), image(channels)
    s = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    others = made.logits(s, x).gather(-1, x[..., None])[..., 0].sum(1)
    others[:, -1, -1] = 0
    total = []
    for colour in itertools.product(range(4), repeat=channels):
        x[:, :, -1, -1] = torch.tensor(colour)
        total.append(made.log_prob(s, x))
    given = torch.stack(total).logsumexp(0)
    assert torch.allclose(given, others.flatten(1).sum(1), atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_by_channels_have_the_probability_of_whole_pixels(channels):
    made, x = head(channels), image(channels)
    s = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    logits = made.logits(s, x)
    assert torch.allclose(logits.exp().sum(-1), torch.ones(()).double(), atol=1e-9)
    by_channels = logits.gather(-1, x[..., None])[..., 0].flatten(1).sum(1)
    assert torch.allclose(by_channels, made.log_prob(s, x), atol=1e-9)
    one = made.logits(s[:, :, 2:3, 3:4], x, *HERE, slice(channels - 1, channels))
    assert torch.allclose(one[:, 0], logits[:, -1, 2:3, 3:4], atol=1e-9)


def test_candidates_are_earlier_pixels_at_their_places():
    near = NearbyPixels((1, 5, 5), 100)
    found = near(torch.arange(25).view(1, 1, 5, 5), torch.float64)
    levels, known = found.levels[0, 0], found.known
    assert levels[:, 2, 3].tolist() == [12, 8, 7, 9, 11, 3, 6, 99, 11, 12, 99, 99]
    assert known[:, 2, 3].tolist() == [True] * 7 + [False] + [True] * 2 + [False, True]
    assert levels[at.MIRROR_ROW, 4, 1] == 1 and known[at.MIRROR_ROW, 4, 1]
    assert levels[:, 0, 0].tolist() == [99] * at.CANDIDATES
    assert known[:, 0, 0].tolist() == [False] * at.COLOUR + [True]


def test_candidates_do_not_change_with_a_pixel_or_what_follows_it():
    near, x = NearbyPixels((3, 5, 5), 4), image(side=5)
    changed = x.clone()
    changed.flatten(2)[..., 13:] = 3 - changed.flatten(2)[..., 13:]
    before, after = near(x, torch.float64), near(changed, torch.float64)
    for a, b in ((before.values, after.values), (before.seen, after.seen)):
        assert torch.equal(a.flatten(-2)[..., :14], b.flatten(-2)[..., :14])
    assert not torch.equal(before.values, after.values)


def test_a_place_alone_has_the_candidates_that_it_has_in_the_whole():
    near, x = NearbyPixels((3, 5, 5), 4), image(side=5)
    whole, alone = near(x, torch.float64), near(x, torch.float64, *HERE)
    for a, b in zip(whole, alone, strict=True):
        assert torch.equal(a[..., 2:3, 3:4], b)


def test_the_colour_is_the_most_frequent_one_of_the_first_batch():
    model = zoo.create("depthwise_pixelcnn", shape=(3, 4, 4), levels=4, hidden=4, layers=1)
    x = image()
    x[:, :, :3] = torch.tensor([1, 2, 3]).view(3, 1, 1)
    model.data_dependent_init((x, None), Rng(0, 2))
    assert model.head.near.colour.tolist() == [1, 2, 3]


def test_an_image_of_one_colour_costs_little_once_copies_are_certain():
    made = head(levels=256)
    with torch.no_grad():
        for p in made.parameters():
            p.zero_()
        made.last.bias[at.COLOUR] = 20.0  # white, until data say otherwise
    x = torch.full((1, 3, 4, 4), 255)
    assert made.log_prob(torch.zeros(1, 5, 4, 4).double(), x) > -1e-3


def test_a_blend_of_two_neighbours_is_told_by_its_first_channel():
    made = head(levels=256, mixtures=6)
    with torch.no_grad():
        for p in made.parameters():
            p.zero_()
        made.last.bias[at.CANDIDATES + 1 + 5] = 20.0  # W and NE
    x = torch.zeros(1, 3, 4, 4, dtype=torch.long)
    west, east, blend = ([40, 80, 200], [240, 180, 0], [90, 105, 150])  # a quarter of the way
    x[0, :, 1, 0], x[0, :, 0, 2], x[0, :, 1, 1] = map(torch.tensor, (west, east, blend))
    logits = made.logits(torch.zeros(1, 5, 1, 1).double(), x, slice(1, 2), slice(1, 2))
    p = logits[0, :, 0, 0].exp()
    assert p[0, 90] < 0.05  # anywhere between 40 and 240
    assert p[1].argmax() == 105 and p[2].argmax() == 150
    assert p[1, 105] > 0.1 and p[2, 150] > 0.2


@pytest.mark.parametrize("W", [1, 2, 5, 6])
def test_the_mirror_of_the_next_pixel_is_known_before_it(W):
    v = torch.arange(1.0, W + 1).view(1, 1, 1, W)
    found = mirror_of_next(v, slice(None))[0, 0, 0]
    for c in range(1, W):  # the pixel whose input is that of column c - 1
        mirror = W - 1 - c
        assert found[c - 1] == (mirror + 1 if mirror < c else 0)
        assert mirror_of_next(v, slice(c - 1, c)).item() == found[c - 1]


@pytest.mark.parametrize("arch", SMALL)
def test_any_pixel_model_copies_and_samples_what_a_full_pass_per_value_does(arch):
    model = small(arch, classes=2)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    rng, cond = Rng(3, 8), torch.arange(8) % 2
    u = rng.uniform((36,), stream="value")
    x = torch.zeros(8, 3, 3, 4, dtype=torch.long)
    with torch.no_grad():
        for i, place in enumerate(model.order().tolist()):
            x.view(8, -1)[:, place] = draw(model.logits(x, cond).flatten(1, 3)[:, place], u[:, i])
        assert torch.equal(Sequential()(model, rng, cond), x)
        by_values = model.logits(x, cond).gather(-1, x[..., None]).flatten(1).sum(1)
        assert torch.allclose(by_values, model.log_prob(x, cond), atol=1e-3)


@pytest.mark.parametrize("arch", SMALL)
def test_a_pixel_model_that_copies_sees_no_later_value(arch):
    model = small(arch)
    x = torch.randint(4, (2, 3, 3, 4))
    before, order = model.logits(x).flatten(1, 3), model.order()
    for i in range(0, 36, 5):
        changed = x.clone()
        changed.view(2, -1)[:, order[i:]] = 3 - changed.view(2, -1)[:, order[i:]]
        after = model.logits(changed).flatten(1, 3)
        assert torch.allclose(before[:, order[: i + 1]], after[:, order[: i + 1]], atol=1e-5)
