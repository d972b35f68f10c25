"""Batches that are read ahead are those that the training would have read, and evaluation of a
part of the held-out events is of the same part each time."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zoo_core as zoo
from zoo_core.plugin import Loss, Player

CONFIG = zoo.TrainConfig(steps=7, batch_size=6, accumulate=2, seed=4)


@dataclass(frozen=True)
class Config:
    size: int = 4


class Two(zoo.GenerativeModel):
    """Two players with unequal turns on pictures that are transformed at random."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, zoo.Event((1, config.size, config.size), levels=256))
        self.a, self.b = nn.Linear(16, 3), nn.Linear(16, 2)

    def log_prob(self, x, cond=None):
        return -self.a(x.float().flatten(1) / 255).square().sum(1)

    def make_players(self, loss):
        def of(net):
            return lambda batch, rng, step: Loss(net(batch[0].flatten(1) / 255).square().mean())

        return {
            "a": Player(list(self.a.parameters()), of(self.a), steps=2),
            "b": Player(list(self.b.parameters()), of(self.b), every=3),
        }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    drawn = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    for i, picture in enumerate(drawn):
        Image.fromarray(picture).save(folder / f"{i:02d}.png")
    return folder


def data(folder: Path) -> zoo.Dataset:
    transforms = ["flip", {"shift": 1}]
    return zoo.load_dataset(f"folder:{folder}", max_bytes=1, valid=0.2, transforms=transforms)


def trained(folder: Path, config=CONFIG, **options):
    torch.manual_seed(0)
    model = Two(Config())
    result = zoo.train(model, data(folder), config, **options)
    return model.state_dict(), result


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_no_bit(workers, pictures):
    alone, _ = trained(pictures)
    helped, _ = trained(pictures, replace(CONFIG, workers=workers))
    for name, value in alone.items():
        assert torch.equal(helped[name], value), name


def test_a_training_is_resumed_with_other_workers(pictures, tmp_path):
    alone, _ = trained(pictures)
    trained(pictures, replace(CONFIG, steps=4), out=tmp_path)
    resumed, _ = trained(pictures, replace(CONFIG, workers=2), out=tmp_path, resume=True)
    for name, value in alone.items():
        assert torch.equal(resumed[name], value), name


def test_an_error_in_a_worker_is_the_error_that_names_the_file(pictures, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for file in pictures.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    source = data(folder)
    for file in sorted(folder.iterdir())[5:]:
        file.write_bytes(b"no picture")
    torch.manual_seed(0)
    with pytest.raises(zoo.DataError, match=r"\d\d\.png") as caught:
        zoo.train(Two(Config()), source, replace(CONFIG, workers=1))
    assert "Traceback" not in caught.value.message


def test_evaluation_of_a_part_scores_the_same_events_each_time(pictures, tmp_path):
    config = replace(CONFIG, eval_every=1, eval_limit=3, evaluate="loss", lr=0.0)
    logs = []
    for name in ("one", "two"):
        trained(pictures, config, out=tmp_path / name)
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        logs.append([line for line in lines if '"valid"' in line])
    assert logs[0] == logs[1]
    assert len({line.partition('"losses"')[2] for line in logs[0]}) == 1
    whole = replace(config, eval_limit=0)
    trained(pictures, whole, out=tmp_path / "whole")
    assert (tmp_path / "whole" / "log.jsonl").read_text() != (
        tmp_path / "one" / "log.jsonl"
    ).read_text()
