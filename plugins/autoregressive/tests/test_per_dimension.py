"""Maps of log p add up to log p, and the command draws them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.cli import main
from zoo_core.data.pictures import heat
from zoo_core.likelihoods.per_dimension import log_prob_map


@pytest.mark.parametrize("arch", ["made", "gated_pixelcnn", "pixelcnn_pp"])
def test_map_of_log_p_adds_up_to_it(arch):
    model = zoo.create(arch, shape=(3, 4, 3), levels=5, classes=2, hidden=6)
    x, cond = torch.randint(5, (7, 3, 4, 3)), torch.arange(7) % 2
    per_value = log_prob_map(model, x, cond=cond, batch_size=3)
    nats = model.log_likelihood(x, cond=cond).nats
    assert per_value.shape == x.shape and torch.all(per_value <= 0)
    assert torch.allclose(per_value.flatten(1).sum(1), nats, rtol=1e-4)


def test_heat_goes_from_black_over_red_and_yellow_to_white():
    colours = heat(torch.tensor([[[0.0, 1 / 3, 2 / 3, 1.0]]]))[0, :, 0].T
    expected = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    assert torch.allclose(colours, expected, atol=1e-6)


def test_command_writes_the_map_as_numbers_and_as_a_picture(tmp_path, capsys):
    def run(path):
        arguments = ["likelihood", "made.digits", "--data", "digits", "--limit", "9", "--json"]
        assert main([*arguments, "--map", str(path)]) == 0
        return json.loads(capsys.readouterr().out)

    result = run(tmp_path / "map.npz")
    nats = np.load(tmp_path / "map.npz")["x"]
    assert nats.shape == (9, 1, 8, 8) and result["map"] == str(tmp_path / "map.npz")
    assert nats.sum((1, 2, 3)).mean() == pytest.approx(-result["nats"], rel=1e-5)
    run(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.mode == "RGB" and float(picture.info["brightest"]) == nats.max()
        assert np.asarray(picture).reshape(-1, 3).max(0).tolist() == [255, 255, 255]
