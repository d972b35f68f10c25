"""Generators of the DCGAN tutorial's layout become models that draw the same images."""

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_core.building import convert
from zoo_core.cli import main
from zoo_core.errors import IntegrityError, UsageError
from zoo_core.weights.third_party import Foreign

LATENT, WIDTH = 5, 4


class Tutorial(nn.Module):
    """The tutorial's generator, written with its own numbers of strides and paddings."""

    LAYERS = {
        64: [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1), (4, 2, 1)],
        32: [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1)],
        28: [(7, 1, 0), (4, 2, 1), (4, 2, 1)],
        "28 by 3": [(4, 1, 0), (3, 2, 1), (4, 2, 1), (4, 2, 1)],
        "28 cut": [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1), (1, 1, 2)],
    }

    def __init__(self, size, channels):
        super().__init__()
        layers, steps = [], self.LAYERS[size]
        widths = [LATENT, *(WIDTH * 2**i for i in reversed(range(len(steps) - 1))), channels]
        for i, (kernel, stride, padding) in enumerate(steps):
            layers.append(
                nn.ConvTranspose2d(*widths[i : i + 2], kernel, stride, padding, bias=False)
            )
            if i + 1 < len(steps):
                layers += [nn.BatchNorm2d(widths[i + 1]), nn.ReLU(True)]
        self.main = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z):
        return self.main(z)


def tutorial(size=32, channels=3):
    torch.manual_seed(1)
    net = Tutorial(size, channels)
    for _ in range(3):  # statistics that are not those of a fresh network
        net(2 * torch.randn(16, LATENT, 1, 1))
    return net.eval()


def discriminator():
    convolutions = nn.Conv2d(3, 4, 4, 2, 1), nn.Conv2d(4, 8, 4, 2, 1)
    layers = [convolutions[0], nn.LeakyReLU(), convolutions[1], nn.BatchNorm2d(8)]
    return {f"main.{k}": v for k, v in nn.Sequential(*layers).state_dict().items()}


def flat(tree, *path):
    """Nested state dicts as the zoo reads them: tensors by dotted names."""
    tensors = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            tensors |= flat(value, *path, key)
        elif isinstance(value, torch.Tensor):
            tensors[".".join((*path, key))] = value
    return tensors


def converted(state, **options):
    return convert(Foreign({}, {"": flat(state)}), "dcgan_tutorial", options)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", Tutorial.LAYERS)
def test_samples_equal_those_of_the_original_network(tmp_path, size, channels):
    net = tutorial(size, channels)
    model = converted(net.state_dict())
    model = zoo.load(str(model.save(tmp_path / "folder")))
    pixels = size if isinstance(size, int) else 28
    assert model.event == zoo.Event((channels, pixels, pixels), low=-1.0, high=1.0)
    assert (model.config.width, model.config.latent) == (WIDTH, LATENT)
    z = zoo.Rng(7, 6).normal((LATENT,), stream="z")
    with torch.no_grad():
        images = net(z[:, :, None, None])
    torch.testing.assert_close(model.sample(6, seed=7), images, rtol=0, atol=1e-6)


def test_the_command_converts_a_pickle_that_nests_it(tmp_path, capsys):
    state = tutorial().state_dict()
    torch.save({"epoch": 3, "netG": state, "netD": discriminator()}, tmp_path / "all.pth")
    argv = ["convert", tmp_path / "all.pth", tmp_path / "out", "--converter", "dcgan_tutorial"]
    assert main([str(a) for a in argv]) == 0, capsys.readouterr().err
    assert zoo.load(str(tmp_path / "out")).sample(1).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("key", ["generator", "module", "state.netG.module"])
def test_a_single_nested_generator_is_understood(key):
    state = tutorial().state_dict()
    nested = {"epoch": 3, "netD": discriminator()}
    place = nested
    *path, last = key.split(".")
    for part in path:
        place = place.setdefault(part, {})
    place[last] = state
    model = converted(nested)
    assert torch.equal(model.generator.main[0].weight, state["main.0.weight"])


def test_several_generators_are_asked_about_and_chosen_by_key():
    state = tutorial().state_dict()
    other = {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}
    both = {"g": state, "h": other, "d": discriminator()}
    with pytest.raises(UsageError, match="under 'g', 'h'") as error:
        converted(both)
    assert "--set key=g" in error.value.hint
    model = converted(both, key="h")
    assert torch.equal(model.generator.main[0].weight, other["main.0.weight"])
    with pytest.raises(UsageError, match="key = 'i' names no generator"):
        converted(both, key="i")


def test_the_moving_average_is_taken_and_said():
    state = tutorial().state_dict()
    other = {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}
    said = []
    checkpoint = Foreign({}, {"": flat({"g": state, "g_ema": other})})
    model = convert(checkpoint, "dcgan_tutorial", {}, say=said.append)
    assert torch.equal(model.generator.main[0].weight, other["main.0.weight"])
    assert said == ["read 'g_ema', not 'g' (--set key=NAME chooses another)"]


def test_counts_of_batches_may_be_absent():
    state = tutorial().state_dict()
    model = converted({k: v for k, v in state.items() if "num_batches" not in k})
    assert int(model.generator.main[1].num_batches_tracked) == 0


def test_other_networks_are_refused():
    with pytest.raises(IntegrityError, match="no generator of the DCGAN tutorial"):
        converted(discriminator())
    state = tutorial().state_dict() | {"main.3.weight": torch.zeros(16, 6, 4, 4)}
    with pytest.raises(IntegrityError, match="each taking what the one before gives"):
        converted(state)
    with pytest.raises(IntegrityError, match="1 tensors do not map"):
        converted(tutorial().state_dict() | {"main.3.scale": torch.ones(1)})


def test_a_generator_alone_samples_and_says_why_it_does_not_train():
    model = converted(tutorial().state_dict())
    assert model.discriminator is None
    with pytest.raises(UsageError, match="a generator without a discriminator"):
        model.players()


def test_a_config_beside_a_generator_is_not_overlooked():
    tensors = {"": tutorial().state_dict()}
    with pytest.raises(IntegrityError, match="config.json: activation = 'elu' has no counterpart"):
        convert(Foreign({"config.json": {"activation": "elu"}}, tensors), "dcgan_tutorial", {})
