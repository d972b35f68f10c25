"""Several processes train as one does, with gradients averaged player by player.

This file is also the script that is launched. (On CPUs `accelerate launch` wants MPI; torch's own
launcher, which it uses for GPUs, sets the same variables.)
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import zoo_core as zoo
from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import UsageError
from zoo_core.plugin import Loss, Player
from zoo_core.training import distributed

EVENT = zoo.Event((5,))


@dataclass(frozen=True)
class Config:
    hidden: int = 8


class Game(zoo.GenerativeModel):
    """A generator against a critic with unequal schedules and a lazy penalty."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, EVENT)
        self.generator = nn.Linear(3, 5)
        self.critic = nn.Sequential(nn.Linear(5, config.hidden), nn.SiLU())
        self.value = nn.Linear(config.hidden, 1)
        self.scale = nn.Parameter(torch.ones(()))  # used by the lazy penalty alone

    @torch.no_grad()
    def data_dependent_init(self, batch, rng):
        assert len(batch[0]) == len(rng) == 16  # on every process
        self.generator.bias.copy_(batch[0].mean(0) + rng.normal((5,), stream="s").mean(0))

    def make_players(self, loss):
        def score(x):
            return self.value(self.critic(x))

        def fake(rng, step):
            return self.generator(rng.normal((3,), stream="z", step=step))

        def critic(batch, rng, step):
            total = (score(fake(rng, step)) - score(batch[0])).sigmoid().mean()
            if step % 2 == 0:
                total = total + (self.scale * score(batch[0])).square().mean()
            return Loss(total)

        def generator(batch, rng, step):
            return Loss(-score(fake(rng, step)).mean())

        ours = [*self.critic.parameters(), *self.value.parameters(), self.scale]
        return {
            "critic": Player(ours, critic, steps=2),
            "generator": Player(list(self.generator.parameters()), generator, every=2),
        }


CONFIG = zoo.TrainConfig(
    steps=12,
    batch_size=15,
    accumulate=2,
    lr=0.02,
    clip=0.5,
    ema=0.9,
    eval_every=4,
    evaluate="loss",
    checkpoint_every=6,
    log_every=1,
)


def train(out: Path, seed: int = 0) -> zoo.GenerativeModel:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(1)) + 1
    splits = {"train": Split(x[:40]), "valid": Split(x[40:])}
    data = Dataset("toy", EVENT, zoo.Condition(), splits, "none", "drawn here")
    torch.manual_seed(seed)
    model = Game(Config())
    zoo.train(model, data, CONFIG, loss=lambda *_: None, out=out, progress=False)
    return model


def script(out: Path) -> None:
    """In each process: start from other parameters than the main one, and train."""
    rank = int(os.environ["RANK"])
    model = train(out, seed=rank)
    save_file(model.state_dict(), out / f"rank{rank}.safetensors")


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, __file__, str(together)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    one = train(alone).state_dict()
    ranks = [load_file(together / f"rank{r}.safetensors") for r in (0, 1)]
    for name, value in one.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-5)
    assert len((together / "log.jsonl").read_text().splitlines()) == len(
        (alone / "log.jsonl").read_text().splitlines()
    )


LEFT_OVER = {
    "size_alone": ({"RANK": "0", "WORLD_SIZE": "2"}, "but not MASTER_ADDR, MASTER_PORT"),
    "main": (
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"},
        "RANK = 0 and WORLD_SIZE = 2 are set, but 2 processes did not meet at 127.0.0.1:0 within "
        "0:00:01",
    ),
    "other": (
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
        "RANK = 1 and WORLD_SIZE = 2 are set",
    ),
}


@pytest.mark.parametrize("case", LEFT_OVER)
def test_variables_that_a_launcher_left_over_end_in_an_error_that_names_them(
    case, monkeypatch, caplog
):
    variables, message = LEFT_OVER[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "_RENDEZVOUS_TIMEOUT", timedelta(seconds=1))
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        distributed.ProcessGroup(torch.device("cpu"))
    assert "unset RANK WORLD_SIZE" in caught.value.hint
    said = f"process {variables['RANK']} waits for 2 in all (RANK, WORLD_SIZE are set)"
    assert caplog.messages == ([said] if "MASTER_ADDR" in variables else [])


def test_a_process_that_is_alone_says_nothing(caplog):
    assert distributed.ProcessGroup(torch.device("cpu")).world_size == 1
    assert caplog.messages == []


if __name__ == "__main__":
    script(Path(sys.argv[1]))
